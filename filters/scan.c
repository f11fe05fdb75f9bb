#include "filters/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "policy/conf.h"

ssize_t scan_read(struct scan *s, size_t *off, size_t room)
{
	ssize_t n = s->txn && s->txn->message ? message_copy(s->message, *off, s->chunk + room, SCAN_CHUNK - room) : -ECANCELED;

	if (n > 0)
		*off += (size_t)n;
	return n < 0 && n != -ECANCELED ? -EIO : n;     /* of our own disk: not the daemon's fault */
}

int scan_send(struct scan *s, struct daemon_line *l)
{
	size_t off = 0;
	ssize_t n;

	while ((n = scan_read(s, &off, 0)) > 0) {
		int rc = daemon_write(l, s->chunk, (size_t)n);

		if (rc < 0)
			return rc;
	}
	return (int)n;
}

static void scan_free(struct scan *s)
{
	if (s->kind->release)
		s->kind->release(s);
	free(s);
}

static void scan_task(void *arg)
{
	struct scan *s = arg;
	int rc = -ENOMEM;

	s->chunk = malloc(SCAN_CHUNK);
	if (s->chunk)
		rc = daemon_ask(s->daemons, s->conf, s->deadline_ms, s->kind->talk, s);
	free(s->chunk);
	s->chunk = NULL;
	s->running = false;
	s->task = NULL;
	if (s->txn)
		future_resolve(&s->done, rc);
	else
		scan_free(s);
}

static struct scan *scan_of(struct txn *t, int self)
{
	return filter_evidence(t, self)->filter[self];
}

/* NULL: there is no such daemon. */
static const struct daemon_conf *conf_of(const struct scan_kind *kind, const struct txn *t)
{
	const struct daemon_conf *c = t->site ? kind->conf(t->site) : NULL;

	return c && c->address_count > 0 ? c : NULL;
}

void scan_begin(const struct scan_kind *kind, struct txn *t, int self)
{
	const struct daemon_conf *c = conf_of(kind, t);
	struct scan *s;

	if (scan_of(t, self) || !c || !t->message)
		return;
	s = calloc(1, kind->size);
	if (!s)
		return;
	filter_evidence(t, self)->filter[self] = s;
	*s = (struct scan){ .kind = kind, .conf = c, .txn = t, .message = t->message, .daemons = t->daemons,
			   .deadline_ms = txn_nearer(t->checked_by_ms, clock_ms() + c->timeout_ms) };
	if (message_size(t->message) > c->max_size) {
		s->skipped = "longer than max_size";
		future_resolve(&s->done, 0);
		return;
	}
	s->running = true;
	if (task_spawn("scan", scan_task, s, &s->task) < 0) {
		s->running = false;
		s->task = NULL;
		future_resolve(&s->done, -ENOMEM);
	}
}

static int skipped(const struct scan *s, struct facts *out)
{
	int rc = facts_set_bool(out, s->kind->skipped, true);

	return rc < 0 ? rc : facts_why(out, s->kind->skipped, "%s", s->skipped);
}

static const char *reason(const struct scan *s, int rc)
{
	if (s->failed)
		return s->failed;
	switch (rc) {
	case -ETIMEDOUT:
		return "no answer in time";
	case -EHOSTUNREACH:
		return "it cannot be connected to";
	case -EBUSY:
		return "too many wait for it";
	case -EPROTO:
	case -EMSGSIZE:
		return "its answer makes no sense";
	case -EPIPE:
		return "it ended the connection";
	default:
		return "there was an error";
	}
}

/* What that means the configuration says. */
static int away(const struct scan *s, int failed, struct facts *out)
{
	int rc = facts_set_bool(out, s->kind->away, true);

	if (rc == 0)
		rc = facts_why(out, s->kind->away, "%s", reason(s, failed));
	if (rc == 0)
		rc = facts_set_bool(out, s->kind->skipped, false);
	return rc < 0 ? rc : s->conf->away == DAEMON_AWAY_PASS && failed != -ECANCELED ? 0 : failed;
}

int scan_run(const struct scan_kind *kind, struct txn *t, int self, struct facts *out)
{
	struct scan *s;
	int rc;

	if (!conf_of(kind, t) || !t->message)
		return 0;
	scan_begin(kind, t, self);
	s = scan_of(t, self);
	if (!s)
		return -ENOMEM;
	rc = future_wait(&s->done, -1);         /* daemon_ask has the deadline */
	if (rc < 0)
		return away(s, rc, out);
	rc = facts_set_bool(out, kind->away, false);
	if (rc == 0 && !s->skipped)
		rc = kind->found(s, out);
	if (rc == 0 && s->failed)
		return away(s, -EREMOTEIO, out);
	if (rc == 0 && s->skipped)
		return skipped(s, out);
	return rc == 0 ? facts_set_bool(out, kind->skipped, false) : rc;
}

bool scan_ready(const struct scan_kind *kind, struct txn *t, int self)
{
	const struct scan *s = scan_of(t, self);

	return !conf_of(kind, t) || (s && s->done.done);
}

void scan_release(struct evidence *e, int self)
{
	struct scan *s = e->filter[self];

	e->filter[self] = NULL;
	if (!s)
		return;
	if (!s->running) {
		scan_free(s);
		return;
	}
	s->txn = NULL;
	task_cancel(s->task);
}
