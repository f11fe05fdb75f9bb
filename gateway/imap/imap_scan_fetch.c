#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/task.h"
#include "imap/imap_scan_impl.h"
#include "policy/conf.h"
#include "retrieval/notice.h"

enum {
	BATCH = 100,                            /* messages that retrieval/ is asked about at once */
	CONVICTS_MAX = 10000,
	HELD_MAX = 8 * 1024 * 1024,             /* headers and structures of all convicted messages of a FETCH */
	COMMAND_MAX = 128 * 1024,
	TELL_MS = 25 * 1000,                    /* clients give up after a minute, some after half of one */
};

#define UNAVAILABLE "NO [UNAVAILABLE] these messages cannot be checked now, try again later"
#define TOO_MANY "NO [LIMIT] too many messages at once"

void imap_job_free(struct imap_job *job)
{
	if (!job)
		return;
	for (size_t i = 0; i < job->convicts; i++) {
		free(job->convict[i].header);
		free(job->convict[i].structure);
	}
	free(job->convict);
	imap_runs_release(&job->runs);
	free(job->args);
	free(job);
}

static struct imap_job *job_new(const struct imap_after *a)
{
	struct imap_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->args = malloc(a->args.len + 1);
	if (!job->args) {
		free(job);
		return NULL;
	}
	memcpy(job->args, a->args.p, a->args.len);
	job->args[a->args.len] = '\0';
	memcpy(job->tag, a->tag, sizeof(job->tag));
	job->uid = a->uid;
	job->told_ms = clock_ms();
	imap_fetch_parse(job->args, a->args.len, &job->fetch);  /* once more, where it lies now */
	return job;
}

const struct imap_convict *imap_job_convict(const struct imap_job *job, uint32_t uid)
{
	size_t lo = 0, hi = job->convicts;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (job->convict[mid].uid == uid)
			return &job->convict[mid];
		if (job->convict[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int convict(struct imap_job *job, uint32_t uid, const struct retrieval_verdict *v)
{
	struct imap_convict *grown, *c;

	if (job->convicts >= CONVICTS_MAX)
		return -ENOSPC;
	if (job->convicts == job->cap) {
		grown = realloc(job->convict, (job->cap ? job->cap * 2 : 4) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		job->convict = grown;
		job->cap = job->cap ? job->cap * 2 : 4;
	}
	c = &job->convict[job->convicts++];
	memset(c, 0, sizeof(*c));
	c->uid = uid;
	memcpy(c->id, v->id, sizeof(c->id));
	memcpy(c->reason, v->reason, sizeof(c->reason));
	return 0;
}

/* --- which messages --- */

/* The rest of the command's life waits for all before it. may wait */
static int wait_answered(struct imap_scan *x)
{
	int rc = 0;

	while (rc == 0 && x->first)
		rc = imap_scan_move(x);
	return rc;
}

/* What functions that do a part of the job return, beside errors of the session: the client has been answered. */
enum { ANSWERED = 1 };

static int answer(struct imap_scan *x, const char *words)
{
	int rc = imap_scan_say(x, "%s %s", x->job->tag, words);

	return rc < 0 ? rc : ANSWERED;
}

/* What went wrong here, not with a connection. */
static int answer_error(struct imap_scan *x, int error)
{
	return answer(x, error == -ENOSPC ? TOO_MANY : UNAVAILABLE);
}

/* may wait */
static int ask_which(struct imap_scan *x)
{
	AUTO(buf) struct buf what = BUF_INIT(COMMAND_MAX);
	struct imap_job *job = x->job;
	struct imap_own own;
	int rc;

	imap_own_init(&own, IMAP_OWN_UIDS, job->uid);
	own.runs = &job->runs;
	buf_add(&what, job->fetch.set.p, job->fetch.set.len);
	buf_adds(&what, " (UID)");
	rc = what.failed ? -ENOMEM : imap_own_ask(x, &own, what.data, what.len);
	imap_own_release(&own);
	if (rc < 0)
		return rc;
	if (own.rc == 0)
		own.rc = imap_runs_sort(&job->runs);
	if (own.rc < 0)
		return answer_error(x, own.rc);
	if (job->runs.messages)
		return 0;
	/* The server's own words on messages that are not there. */
	return answer(x, own.status == IMAP_STATUS_OK ? "OK there are no such messages" : own.words);
}

/* --- what is known of them --- */

struct batch {
	size_t count;
	struct retrieval_key key[BATCH];
	struct retrieval_verdict verdict[BATCH];
	uint32_t uid[BATCH];
	char text[BATCH][12];
};

static void batch_add(const struct imap_scan *x, struct batch *b, uint32_t uid)
{
	const struct access_session *s = x->s;
	/* Who it is, and which mailbox, must be known for a verdict to be kept. */
	const char *account = access_account(s);
	bool nameless = !account || !x->validity[0];

	snprintf(b->text[b->count], sizeof(b->text[0]), "%u", uid);
	b->uid[b->count] = uid;
	b->key[b->count] = (struct retrieval_key){
		.backend = s->backend.conf ? s->backend.conf->name : s->backend.link.address, .account = account ? account : s->user ? s->user : "",
		.mailbox = x->mailbox ? x->mailbox : "", .validity = x->validity, .uid = nameless ? "" : b->text[b->count], .listener = s->conf->name,
	};
	b->count++;
}

int imap_job_tell(struct imap_scan *x)
{
	if (!x->job || clock_ms() - x->job->told_ms < TELL_MS)
		return 0;
	x->job->told_ms = clock_ms();
	return imap_scan_say(x, "* OK [INPROGRESS] the messages are being checked");
}

/* A message of which nothing is known. 0: *out, or the message is gone; ANSWERED; less. may wait */
static int scan(struct imap_scan *x, const struct retrieval_key *key, uint32_t uid, struct retrieval_verdict *out)
{
	const struct retrieval_client client = {
		.addr = &x->s->addr, .protocol = "imap", .sid = x->s->id, .listener = x->s->conf->name, .tls = stream_tls_version(x->s->client),
	};
	struct imap_job *job = x->job;
	struct imap_own own;
	uint32_t seq;
	char what[64];
	int rc;

	if (!imap_runs_seq(&job->runs, uid, &seq))
		return 0;                               /* expunged meanwhile */
	rc = imap_job_tell(x);
	if (rc < 0)
		return rc;
	imap_own_init(&own, IMAP_OWN_MESSAGE, job->uid);
	own.number = job->uid ? uid : seq;
	own.expected = uid;
	own.scan = retrieval_scan_new(x->s->svc->retrieval, &client, key);
	if (!own.scan)
		return answer_error(x, -ENOMEM);
	snprintf(what, sizeof(what), "%u (UID BODY.PEEK[])", own.number);
	rc = imap_own_ask(x, &own, what, strlen(what));
	imap_own_release(&own);
	if (rc == 0 && own.rc == 0 && own.got)
		own.rc = retrieval_scan_end(own.scan, out);
	retrieval_scan_free(own.scan);
	if (rc == 0 && task_cancelled())
		rc = -ECANCELED;
	if (rc < 0)
		return rc;
	if (own.rc < 0) {
		log_warning("imap-scan", "sid", x->s->id, "backend", x->s->backend.link.name, "mailbox", x->mailbox, "uid", key->uid, "error", strerror(-own.rc),
			    NULL);
		return answer_error(x, own.rc);
	}
	/* Gone, or kept back by the server itself: what it shows of it all the same is not checked. */
	if (!own.got)
		imap_runs_forget(&job->runs, uid);
	return 0;
}

static int judge(struct imap_scan *x, struct batch *b)
{
	int rc = 0;

	retrieval_known(x->s->svc->retrieval, b->key, b->count, b->verdict);
	for (size_t i = 0; i < b->count && rc == 0; i++) {
		if (b->verdict[i].answer == RETRIEVAL_UNKNOWN && x->job->fetch.show == IMAP_SHOWS_CONTENT)
			rc = scan(x, &b->key[i], b->uid[i], &b->verdict[i]);
		if (rc == 0 && b->verdict[i].answer == RETRIEVAL_NOTICE) {
			rc = convict(x->job, b->uid[i], &b->verdict[i]);
			if (rc < 0)
				rc = answer_error(x, rc);
		}
	}
	return rc;
}

/* may wait */
static int judge_all(struct imap_scan *x)
{
	struct batch *b = malloc(sizeof(*b));
	uint32_t seq, uid = 0;
	bool more = true;
	int rc = 0;

	if (!b || !x->s->svc->retrieval) {
		free(b);
		return answer_error(x, -ENOMEM);
	}
	while (rc == 0 && more) {
		b->count = 0;
		while (b->count < BATCH && (more = imap_runs_next(&x->job->runs, uid, &seq, &uid)))
			batch_add(x, b, uid);
		if (b->count)
			rc = judge(x, b);
	}
	free(b);
	return rc;
}

/* --- those that are not to be seen --- */

static int details_of(struct imap_scan *x, struct imap_convict *c)
{
	const struct imap_fetch *f = &x->job->fetch;
	struct imap_own own;
	uint32_t seq;
	char what[80];
	int rc;

	if (!imap_runs_seq(&x->job->runs, c->uid, &seq))
		return 0;
	imap_own_init(&own, IMAP_OWN_DETAILS, x->job->uid);
	own.number = x->job->uid ? c->uid : seq;
	own.expected = c->uid;
	snprintf(what, sizeof(what), "%u (UID%s%s)", own.number, f->needs_header ? " BODY.PEEK[HEADER]" : "", f->needs_structure ? " BODYSTRUCTURE" : "");
	rc = imap_own_ask(x, &own, what, strlen(what));
	x->job->held += own.header.len + own.structure.len;
	if (rc == 0 && own.rc == 0 && (own.header.failed || own.structure.failed || x->job->held > HELD_MAX))
		own.rc = -ENOSPC;
	if (rc == 0 && own.rc == 0) {
		c->header_len = own.header.len;
		c->structure_len = own.structure.len;
		c->header = buf_steal(&own.header);
		c->structure = buf_steal(&own.structure);
		if (c->header_len)
			notice_header_fix(c->header, c->header_len);
	}
	imap_own_release(&own);
	return rc < 0 ? rc : own.rc < 0 ? answer_error(x, own.rc) : 0;
}

/* may wait */
static int details(struct imap_scan *x)
{
	int rc = 0;

	if (!x->job->fetch.needs_header && !x->job->fetch.needs_structure)
		return 0;
	for (size_t i = 0; i < x->job->convicts && rc == 0; i++)
		rc = details_of(x, &x->job->convict[i]);
	return rc;
}

/* --- the client's own command --- */

/* To the messages that were looked at: one that has come since is not shown, and not as one that is kept from the user either. may wait */
static int pass(struct imap_scan *x)
{
	AUTO(buf) struct buf line = BUF_INIT(COMMAND_MAX);
	struct imap_job *job = x->job;
	uint32_t seq, uid;
	int n;

	imap_runs_top(&job->runs, &seq, &uid);
	buf_addf(&line, "%s %sFETCH ", job->tag, job->uid ? "UID " : "");
	n = seq ? imap_set_clip(job->fetch.set, job->uid ? uid : seq, &line) : 0;
	buf_add(&line, job->fetch.rest.p, job->fetch.rest.len);
	buf_adds(&line, "\r\n");
	if (n == 0)
		return answer(x, "OK there are no such messages any more");
	if (line.failed)
		return answer_error(x, -ENOSPC);
	if (!imap_scan_pending(x, job->tag, IMAP_DEED_FETCH) || imap_wire_put(&x->server, line.data, line.len) < 0)
		return -ENOMEM;
	x->asked = true;
	return wait_answered(x);
}

int imap_scan_fetch(struct imap_scan *x, const struct imap_after *a, size_t line_len)
{
	struct imap_job *job = job_new(a);
	int rc = job ? 0 : -ENOMEM;

	imap_wire_eat(&x->client, line_len);
	if (rc == 0)
		rc = wait_answered(x);
	x->job = job;
	if (rc == 0 && !x->selected)
		rc = answer(x, "BAD no mailbox is selected");
	if (rc == 0)
		rc = ask_which(x);
	if (rc == 0)
		rc = judge_all(x);
	if (rc == 0)
		rc = details(x);
	if (rc == 0)
		rc = pass(x);
	x->asked = false;
	x->job = NULL;
	imap_job_free(job);
	if (!x->replacing) {                    /* something that came behind the answer, and goes on */
		imap_shower_free(x->shower);
		x->shower = NULL;
	}
	task_stack_trim();
	return rc < 0 ? rc : 0;
}
