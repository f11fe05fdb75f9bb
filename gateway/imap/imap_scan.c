#include "imap/imap_scan.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/stream_raw.h"
#include "base/task.h"
#include "imap/imap_scan_impl.h"

enum {
	LINE_MAX_BYTES = STREAM_CHUNK - 1,      /* a line of the client's: as much as can be held */
	MAILBOX_MAX = 1000,
	PENDING_MAX = 200,                      /* commands that wait for their answer: then the client waits */
	AHEAD_MAX = 16 * 1024,                  /* octets for the server that have not gone: the same */
	WORDS_MAX = 64 * 1024,
	ENABLE_MAX = 1024,
	MISTAKES_MAX = 20,
	ROUNDS_IN_A_ROW = 16,
	DRAIN_IDLE_MS = 1000,
	ENDED_IDLE_MS = 60 * 1000,
	FLUSH_MS = 60 * 1000,
	LAST_WORDS_MS = 5000,
};

/* What a client may turn on: nothing that would show messages, or number them, in ways that are not read here. */
static const char *const enabled[] = { "CONDSTORE", "UTF8=ACCEPT", "UTF8=ONLY", "IMAP4rev2", "METADATA", "METADATA-SERVER" };

/* --- our own words --- */

/* The client is not in the middle of a response: of those to questions of our own it gets what it gets at once. */
static bool between(const struct imap_scan *x)
{
	return imap_response_between(&x->response) || (x->own && x->response.says == IMAP_SAYS_FETCH);
}

int imap_scan_say(struct imap_scan *x, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_adds(&x->words, line);
	return buf_adds(&x->words, "\r\n");
}

int imap_scan_bye(struct imap_scan *x, const char *end, const char *why, const char *words)
{
	access_end(x->s, end, why);
	/* In the middle of a response it would be a part of that. */
	if (between(x)) {
		imap_scan_say(x, "* BYE %s", words);
		imap_wire_put(&x->client, buf_str(&x->words), x->words.len);
		buf_clear(&x->words);
	}
	return -EPIPE;
}

/* --- bytes --- */

static void news(void *arg)
{
	struct imap_scan *x = arg;

	x->news = true;
	if (x->waiting)
		task_wake(x->s->task, 0);
}

/* We stop: who is in the middle of something may finish it. */
static void hurry(struct access_session *s, void *arg)
{
	news(arg);
}

/* Where the server was when it went. NULL: in the middle of nothing. */
static const char *middle(const struct imap_scan *x)
{
	if (!imap_response_between(&x->response) || x->server.have)
		return "in the middle of a response";
	return x->first || x->own ? "before an answer" : NULL;
}

static int lost(struct imap_scan *x, const struct imap_wire *w, int rc)
{
	if (rc == -ECANCELED)
		return imap_scan_bye(x, pump_end_text(PUMP_CANCELED), NULL, "[UNAVAILABLE] shutting down, come again");
	if (rc != -ENOMEM && w == &x->server)
		return imap_scan_bye(x, pump_end_text(PUMP_RESET_B), middle(x), "[UNAVAILABLE] the mail server behind is lost");
	access_end(x->s, pump_end_text(rc == -ENOMEM ? PUMP_FAILED : PUMP_RESET_A), NULL);
	return -EPIPE;
}

/* The server has closed, and all that it said has gone. RFC 9051 section 7.1.5: it says BYE before; or else we do. */
static int closed(struct imap_scan *x)
{
	const char *where = middle(x);

	if (x->farewell || x->client.ended) {
		access_end(x->s, pump_end_text(PUMP_ENDED), x->farewell ? NULL : where);
		return -EPIPE;
	}
	if (where)
		return imap_scan_bye(x, "backend lost", where, "[UNAVAILABLE] the mail server behind is lost");
	return imap_scan_bye(x, pump_end_text(PUMP_ENDED), "by the server, without BYE", "[UNAVAILABLE] the mail server behind has closed");
}

/* Nothing moves: until it does. may wait */
static int rest(struct imap_scan *x)
{
	int64_t patience = x->s->svc->draining ? DRAIN_IDLE_MS : x->s->conf->idle_timeout_ms;
	int64_t left;
	int rc = 0;

	/* Who has ended his side, and may have left, waits no hour for a server that does not go on. */
	if (x->client.ended && patience > ENDED_IDLE_MS)
		patience = ENDED_IDLE_MS;
	left = x->moved_ms + patience - clock_ms();
	x->rounds = 0;
	imap_wire_rest(&x->client);
	imap_wire_rest(&x->server);
	if (x->words.len == 0)
		buf_release(&x->words);
	if (stream_raw_listen(x->client.stream) < 0 || stream_raw_listen(x->server.stream) < 0)
		return lost(x, &x->client, -ENOMEM);
	if (task_cancelled())
		rc = -ECANCELED;
	else if (left <= 0)
		rc = -ETIMEDOUT;
	else if (!x->news) {
		x->waiting = true;
		rc = task_park(left > INT_MAX ? INT_MAX : (int)left);
		x->waiting = false;
	}
	if (rc == -ETIMEDOUT && !x->s->svc->draining)
		return imap_scan_bye(x, pump_end_text(PUMP_IDLE), NULL, "idle for too long");
	return rc < 0 ? imap_scan_bye(x, pump_end_text(PUMP_CANCELED), NULL, "[UNAVAILABLE] shutting down, come again") : 0;
}

static int flush(struct imap_scan *x, struct imap_wire *w, bool *moved)
{
	int rc = imap_wire_flush(w);

	*moved |= rc > 0;
	return rc < 0 ? lost(x, w, rc) : 0;
}

static int read_server(struct imap_scan *x, bool *moved)
{
	int rc = imap_wire_queued(&x->client) ? 0 : imap_wire_read(&x->server);

	if (rc < 0)
		return lost(x, &x->server, rc);
	*moved |= rc > 0;
	rc = rc > 0 ? imap_scan_hear(x) : 0;
	if (rc < 0 && rc != -EPIPE)
		return lost(x, rc == -ENOMEM ? &x->server : &x->client, rc);
	return rc;
}

/* A place for our own words. */
static int speak(struct imap_scan *x, bool *moved)
{
	int rc;

	if (x->words.failed)
		return lost(x, &x->client, -ENOMEM);
	if (x->words.len == 0 || !between(x))
		return 0;
	rc = imap_wire_put(&x->client, x->words.data, x->words.len);
	buf_clear(&x->words);
	*moved = true;
	return rc < 0 ? lost(x, &x->client, rc) : 0;
}

int imap_scan_move(struct imap_scan *x)
{
	bool moved = false;
	int rc;

	x->news = false;
	rc = flush(x, &x->client, &moved);
	if (rc == 0)
		rc = flush(x, &x->server, &moved);
	if (rc == 0)
		rc = read_server(x, &moved);
	if (rc == 0)
		rc = speak(x, &moved);
	if (rc < 0)
		return rc;
	rc = imap_wire_read(&x->client);
	if (rc < 0)
		return lost(x, &x->client, rc);
	moved |= rc > 0;
	if (moved) {
		x->moved_ms = clock_ms();
		if (++x->rounds < ROUNDS_IN_A_ROW)
			return 0;
		x->rounds = 0;
		task_yield();
		return task_cancelled() ? rest(x) : 0;
	}
	return x->server.ended && !imap_wire_queued(&x->client) ? closed(x) : rest(x);
}

/* --- commands --- */

struct imap_pending *imap_scan_pending(struct imap_scan *x, const char *tag, enum imap_deed deed)
{
	struct imap_pending *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->deed = deed;
	snprintf(p->tag, sizeof(p->tag), "%s", tag);
	*x->last = p;
	x->last = &p->next;
	x->pending++;
	return p;
}

/* Of a command that is not taken: what its line announces. A literal that is not synchronising comes all the same. */
static int refuse(struct imap_scan *x, const struct imap_after *a, const char *why)
{
	if (a->literal && !a->sync) {
		x->up = IMAP_UP_SKIP;
		x->up_left = a->size;
	}
	if (++x->mistakes > MISTAKES_MAX)
		return imap_scan_bye(x, "refused", "too many errors", "too many errors");
	return imap_scan_say(x, "%s BAD %s", a->tag, why);
}

/*
 * A line goes to the server; what comes behind it. A literal that the client does not wait with (LITERAL+) becomes one that we do: a server that does
 * not know the command, or finds the line wrong, would take its octets for commands, which nobody here has seen.
 */
static int forward(struct imap_scan *x, const char *line, size_t len, bool literal, bool sync, uint64_t size)
{
	int rc;

	x->up = literal ? IMAP_UP_PLUS : IMAP_UP_COMMAND;
	x->up_after = IMAP_UP_LITERAL;
	x->up_left = size;
	x->plus_ours = literal && !sync;
	if (!literal)
		x->current = x->naming = NULL;
	if (!x->plus_ours)
		return imap_wire_put(&x->server, line, len);
	rc = imap_wire_put(&x->server, line, len - strlen("+}\r\n"));
	return rc < 0 ? rc : imap_wire_puts(&x->server, "}\r\n");
}

static int pass(struct imap_scan *x, const struct imap_after *a, const char *line, size_t len)
{
	x->current = imap_scan_pending(x, a->tag, a->deed);
	if (!x->current)
		return -ENOMEM;
	return forward(x, line, len, a->literal, a->sync, a->size);
}

static int do_select(struct imap_scan *x, const struct imap_after *a, const char *line, size_t len)
{
	char *name = malloc(MAILBOX_MAX + 1);
	struct imap_pending *p;
	int rc;

	if (!name)
		return -ENOMEM;
	rc = imap_after_mailbox(a, name, MAILBOX_MAX + 1);
	if (rc == -EINVAL || (a->literal && (rc != -EAGAIN || a->size > MAILBOX_MAX))) {
		free(name);
		return refuse(x, a, "which mailbox is not clear");
	}
	if (rc == -EAGAIN)
		name[0] = '\0';
	rc = pass(x, a, line, len);
	if (rc < 0) {
		free(name);
		return rc;
	}
	for (p = x->first; p->next;)
		p = p->next;
	p->mailbox = name;
	x->naming = a->literal ? p : NULL;
	return 0;
}

static bool may_enable(struct imap_span w)
{
	for (size_t i = 0; i < sizeof(enabled) / sizeof(enabled[0]); i++)
		if (w.len == strlen(enabled[i]) && strncasecmp(w.p, enabled[i], w.len) == 0)
			return true;
	return false;
}

/* RFC 5161: what a server does not know, it leaves out of its answer. */
static int do_enable(struct imap_scan *x, const struct imap_after *a)
{
	AUTO(buf) struct buf line = BUF_INIT(ENABLE_MAX + 256);
	struct imap_span s = a->args;
	size_t begun;

	if (a->literal || s.len == 0 || s.len > ENABLE_MAX)
		return refuse(x, a, "what to enable is not clear");
	buf_addf(&line, "%s ENABLE", a->tag);
	begun = line.len;
	while (s.len) {
		const char *blank = memchr(s.p, ' ', s.len);
		struct imap_span w = { s.p, blank ? (size_t)(blank - s.p) : s.len };

		if (may_enable(w))
			buf_addf(&line, " %.*s", (int)w.len, w.p);
		s.p += w.len + (blank != NULL);
		s.len -= w.len + (blank != NULL);
	}
	if (line.len == begun) {
		imap_scan_say(x, "* ENABLED");
		return imap_scan_say(x, "%s OK nothing of that is offered here", a->tag);
	}
	buf_adds(&line, "\r\n");
	return line.failed ? -ENOMEM : pass(x, a, line.data, line.len);
}

static int do_idle(struct imap_scan *x, const struct imap_after *a, const char *line, size_t len)
{
	int rc;

	if (a->literal || a->args.len)
		return refuse(x, a, "IDLE has no arguments");
	rc = pass(x, a, line, len);
	x->up = IMAP_UP_PLUS;
	x->up_after = IMAP_UP_IDLE;
	return rc;
}

/* may wait */
static int do_fetch(struct imap_scan *x, const struct imap_after *a, const char *line, size_t len, bool *eaten)
{
	struct imap_fetch f;
	const char *why = a->literal ? "no literals in a FETCH" : imap_fetch_parse(a->args.p, a->args.len, &f);

	if (why)
		return refuse(x, a, why);
	if (f.show == IMAP_SHOWS_NOTHING)
		return pass(x, a, line, len);
	/* By the policy of yesterday nothing is shown: a session may last for days. */
	if (x->s->svc->retired)
		return imap_scan_bye(x, "retired", "messages are judged by a new policy", "[UNAVAILABLE] the gateway has been reloaded, come again");
	*eaten = true;
	return imap_scan_fetch(x, a, len);
}

/* A line of a new command; *eaten: it does not lie there any more. may wait */
static int command(struct imap_scan *x, const char *line, size_t len, bool *eaten)
{
	struct imap_after a;

	imap_after_parse(line, len, &a);
	switch (a.deed) {
	case IMAP_DEED_PASS:
	case IMAP_DEED_CLOSE:
		return pass(x, &a, line, len);
	case IMAP_DEED_SELECT:
		return do_select(x, &a, line, len);
	case IMAP_DEED_FETCH:
		return do_fetch(x, &a, line, len, eaten);
	case IMAP_DEED_ENABLE:
		return do_enable(x, &a);
	case IMAP_DEED_IDLE:
		return do_idle(x, &a, line, len);
	case IMAP_DEED_REFUSE:
		return refuse(x, &a, a.why);
	case IMAP_DEED_STRAY_DONE:
		break;
	}
	return 0;
}

/* A line behind a literal. */
static int more(struct imap_scan *x, const char *line, size_t len)
{
	bool literal, sync = true, skip = x->up == IMAP_UP_SKIP_MORE;
	uint64_t size = 0;

	if (!imap_after_more(line, len, &literal, &size, &sync))
		return imap_scan_bye(x, "refused", "a line is none", "lines end with CR LF, and hold no other CR, no LF, no NUL");
	if (skip) {
		/* Nobody answers to a synchronising one: it does not come. */
		x->up = literal && !sync ? IMAP_UP_SKIP : IMAP_UP_COMMAND;
		x->up_left = size;
		return 0;
	}
	return forward(x, line, len, literal, sync, size);
}

static int idle(struct imap_scan *x, const char *line, size_t len)
{
	if (len == 6 && strncasecmp(line, "DONE\r\n", 6) == 0) {
		x->up = IMAP_UP_COMMAND;
		x->current = NULL;
		return imap_wire_put(&x->server, line, len);
	}
	if (++x->mistakes > MISTAKES_MAX)
		return imap_scan_bye(x, "refused", "too many errors", "too many errors");
	return imap_scan_say(x, "* BAD an IDLE ends with DONE");
}

/* Of a literal what has come. */
static int literal(struct imap_scan *x)
{
	size_t n = x->client.have < x->up_left ? x->client.have : (size_t)x->up_left;
	const char *p = imap_wire_in(&x->client);
	int rc = 0;

	if (x->up == IMAP_UP_LITERAL) {
		if (x->naming) {
			char *name = x->naming->mailbox;
			size_t at = strlen(name);

			memcpy(name + at, p, n);
			name[at + n] = '\0';
			if (n == x->up_left)
				imap_mailbox_fold(name, at + n);
		}
		rc = n ? imap_wire_put(&x->server, p, n) : 0;
	}
	imap_wire_eat(&x->client, n);
	x->up_left -= n;
	if (x->up_left == 0) {
		x->up = x->up == IMAP_UP_LITERAL ? IMAP_UP_MORE : IMAP_UP_SKIP_MORE;
		x->naming = NULL;
	}
	return rc;
}

/* A line, if there is one. 0; 1: done with it. may wait */
static int take_line(struct imap_scan *x)
{
	const char *line = imap_wire_in(&x->client), *lf = memchr(line, '\n', x->client.have);
	size_t len = lf ? (size_t)(lf - line) + 1 : 0;
	bool eaten = false;
	int rc;

	if (!lf && x->client.have < LINE_MAX_BYTES)
		return 0;
	if (!lf)
		return imap_scan_bye(x, "refused", "a line is too long", "the line is too long");
	switch (x->up) {
	case IMAP_UP_IDLE:
		rc = idle(x, line, len);
		break;
	case IMAP_UP_MORE:
	case IMAP_UP_SKIP_MORE:
		rc = more(x, line, len);
		break;
	default:
		rc = command(x, line, len, &eaten);
		break;
	}
	if (rc < 0)
		return rc == -EPIPE ? rc : lost(x, &x->server, rc);
	if (!eaten)
		imap_wire_eat(&x->client, len);
	return 1;
}

/* Whether the client has to wait. */
static bool holds(const struct imap_scan *x)
{
	return x->up == IMAP_UP_PLUS || x->pending >= PENDING_MAX || imap_wire_queued(&x->server) > AHEAD_MAX || x->words.len > WORDS_MAX / 2;
}

/* What the client has said, as far as it can be done now. 0: no more of it. may wait */
static int take(struct imap_scan *x)
{
	int rc;

	if (holds(x))
		return 0;
	if ((x->up == IMAP_UP_LITERAL || x->up == IMAP_UP_SKIP) && (x->client.have || x->up_left == 0)) {
		rc = literal(x);
		return rc < 0 ? lost(x, &x->server, rc) : 1;
	}
	return x->client.have ? take_line(x) : 0;
}

/* --- the session --- */

static int serve(struct imap_scan *x)
{
	int rc = 0;

	while (rc == 0) {
		do
			rc = take(x);
		while (rc > 0);
		/* What it wanted has gone on; what it had begun is nothing. */
		if (rc == 0 && x->client.ended && !holds(x))
			imap_wire_shut(&x->server);
		if (rc == 0)
			rc = imap_scan_move(x);
	}
	return rc;
}

static void scan_free(struct imap_scan *x)
{
	struct imap_pending *p;

	while ((p = x->first)) {
		x->first = p->next;
		free(p->mailbox);
		free(p);
	}
	imap_wire_release(&x->client);
	imap_wire_release(&x->server);
	buf_release(&x->words);
	imap_shower_free(x->shower);
	free(x->mailbox);
	free(x);
}

static struct imap_scan *scan_new(struct access_session *s)
{
	struct imap_scan *x = calloc(1, sizeof(*x));
	unsigned char random[4];

	if (!x)
		return NULL;
	x->s = s;
	x->last = &x->first;
	/* What passes the client's leg counts, not what we ask for ourselves. */
	imap_wire_init(&x->client, s->client, &s->pump.from_a, &s->pump.from_b);
	imap_wire_init(&x->server, s->backend.stream, NULL, NULL);
	imap_response_init(&x->response);
	buf_init(&x->words, WORDS_MAX);
	x->view = (struct imap_view){ .scanning = true, .logged_in = true, .mechanisms = s->svc->site->auth.mechanisms };
	/* A tag that the client does not happen to use. */
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		memset(random, 0, sizeof(random));
	snprintf(x->prefix, sizeof(x->prefix), "GP%02X%02X%02X", random[0], random[1], random[2]);
	x->moved_ms = clock_ms();
	return x;
}

/* What the client can still be told. may wait */
static void last_words(struct imap_scan *x)
{
	const struct imap_wire *w = &x->client;
	size_t n = imap_wire_queued(w);

	stream_set_write_timeout(w->stream, LAST_WORDS_MS);
	if (n == 0 || stream_write(w->stream, w->out.data + w->out_at, n) == 0)
		stream_close(w->stream, LAST_WORDS_MS);
}

void imap_scan_serve(struct access_session *s)
{
	struct imap_scan *x = scan_new(s);

	if (!x) {
		access_end(s, pump_end_text(PUMP_FAILED), NULL);
		return;
	}
	if (stream_flush(s->client, FLUSH_MS) < 0 || stream_flush(s->backend.stream, FLUSH_MS) < 0) {
		access_end(s, pump_end_text(PUMP_RESET_A), NULL);
		scan_free(x);
		return;
	}
	stream_raw_watch(s->client, news, x);
	stream_raw_watch(s->backend.stream, news, x);
	s->drain = hurry;
	s->drain_arg = x;
	task_stack_trim();              /* what the login needed */
	serve(x);
	s->drain = NULL;
	stream_raw_watch(s->client, NULL, NULL);
	stream_raw_watch(s->backend.stream, NULL, NULL);
	last_words(x);
	scan_free(x);
}
