#include "pop3/pop3_scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/task.h"
#include "pop3/pop3_capa.h"
#include "pop3/pop3_hop.h"
#include "pop3/pop3_lines.h"
#include "pop3/pop3_notice.h"
#include "pop3/pop3_session.h"
#include "retrieval/retrieval.h"

enum {
	ANSWER_MS = 5 * 60 * 1000,
	COMMAND_MAX = 32,               /* "TOP 4294967295 4294967295" */
	UID_MAX = 250,                  /* RFC 1939 7 says 70 */
	LINES_ALL = INT32_MAX,          /* TOP with all of a message's lines */
	OCTETS_MAX = INT32_MAX,         /* of a message that is judged; more does not end */
	FETCH_AND_DELETE_MS = 10 * 60 * 1000,   /* so long a session lasts that only does that */
};

struct pop3_scan {
	struct pop3_session p;          /* for pop3_hop.h */
	struct retrieval *retrieval;
	struct retrieval_client client;
	const char *account;            /* access_account */
	uint64_t in;                    /* octets of the client's commands */
	bool no_uidl;                   /* the server does not know it */
	bool deletes;                   /* what it has marked comes again, if the session does not end with QUIT */
	uint32_t number;                /* whose the UIDL is; 0: nobody's */
	char uid[UID_MAX + 1];          /* "": the server has none */
	struct buf status;              /* its +OK to the present command */
};

static struct stream *server(const struct pop3_scan *x)
{
	return x->p.s->backend.stream;
}

static struct stream *client(const struct pop3_scan *x)
{
	return x->p.s->client;
}

/* The server is lost when a part of its answer has gone to the client: to him it must look cut off. */
static int cut_off(struct pop3_scan *x, int rc)
{
	access_end(x->p.s, rc == -ECANCELED ? "shutting down" : "backend lost", "in the middle of an answer");
	return rc;
}

static int not_now(struct pop3_scan *x)
{
	return pop3_say(&x->p, "-ERR [SYS/TEMP] the message cannot be looked at now, try again later");
}

/* The server's next octets. may wait */
static int hear(struct pop3_scan *x, const char **p, size_t *len)
{
	int rc = pop3_hop_await(&x->p, ANSWER_MS);

	return rc < 0 ? rc : stream_peek(server(x), ANSWER_MS, p, len);
}

/* --- what passes as it is --- */

/* An answer's lines, with their dots. may wait */
static int relay_lines(struct pop3_scan *x)
{
	struct pop3_lines lines = { 0 };

	while (!lines.done) {
		const char *p, *out;
		size_t len, used, n, at = 0;
		int rc = hear(x, &p, &len);

		while (rc == 0 && at < len && !lines.done) {
			pop3_lines_read(&lines, p + at, len - at, &used, &out, &n);
			at += used;
		}
		if (rc < 0)
			return cut_off(x, rc);
		rc = stream_write(client(x), p, at);
		if (rc < 0)
			return rc;
		stream_eat(server(x), at);
	}
	return 0;
}

/* A command, and what the server says to it. may wait */
static int relay(struct pop3_scan *x, const char *command, size_t len, bool many)
{
	struct pop3_reply r = { 0 };
	int rc = pop3_hop_exchange(&x->p, command, len, &r);

	if (rc < 0)
		return pop3_lost(&x->p, rc);
	rc = stream_write(client(x), r.line, r.line_len);
	return rc < 0 || !many || r.status != POP3_STATUS_OK ? rc : relay_lines(x);
}

/* --- what the server says of a message --- */

static const char *command_of(char out[COMMAND_MAX], const char *verb, uint32_t number)
{
	snprintf(out, COMMAND_MAX, "%s %u", verb, number);
	return out;
}

/* Behind the number that was asked about: "+OK 7 whqtswO00WBw418f9t5JxYwZ". NULL: it says something else. */
static const char *about(const struct pop3_reply *r, uint32_t number, size_t *len)
{
	const char *p = r->text, *end = r->text + r->text_len;
	uint64_t n = 0;

	if (r->status != POP3_STATUS_OK || p == end)
		return NULL;
	for (; p < end && *p >= '0' && *p <= '9' && n < UINT32_MAX; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	if (n != number || p == end || *p != ' ')
		return NULL;
	while (p < end && *p == ' ')
		p++;
	while (end > p && end[-1] == ' ')
		end--;
	*len = (size_t)(end - p);
	return *len > 0 ? p : NULL;
}

/* Its UIDL to x->uid, unless it lies there. may wait */
static int ask_uid(struct pop3_scan *x, uint32_t number)
{
	char command[COMMAND_MAX];
	struct pop3_reply r = { 0 };
	const char *uid;
	size_t len;
	int rc;

	if (x->number == number || x->no_uidl || !x->account)
		return 0;
	x->uid[0] = '\0';
	rc = pop3_hop_ask(&x->p, command_of(command, "UIDL", number), &r);
	if (rc < 0)
		return pop3_lost(&x->p, rc);
	x->number = number;
	uid = about(&r, number, &len);
	if (!uid || len > UID_MAX)
		return 0;
	for (size_t i = 0; i < len; i++)
		if (uid[i] < 0x21 || uid[i] > 0x7e)
			return 0;
	memcpy(x->uid, uid, len);
	x->uid[len] = '\0';
	return 0;
}

/* How long LIST says that it is; 0: it does not. may wait */
static int ask_size(struct pop3_scan *x, uint32_t number, uint64_t *size)
{
	char command[COMMAND_MAX];
	struct pop3_reply r = { 0 };
	const char *p;
	size_t len;
	int rc = pop3_hop_ask(&x->p, command_of(command, "LIST", number), &r);

	if (rc < 0)
		return pop3_lost(&x->p, rc);
	p = about(&r, number, &len);
	*size = 0;
	for (size_t i = 0; p && i < len && i < 18 && p[i] >= '0' && p[i] <= '9'; i++)
		*size = *size * 10 + (uint64_t)(p[i] - '0');
	return 0;
}

/* --- a message from the server --- */

/*
 * Say RETR, or TOP with all lines. 0: its lines follow, and its +OK is in x->status; 1: it has none, and the client has heard that; negative: it is over.
 * may wait
 */
static int fetch(struct pop3_scan *x, uint32_t number, bool top)
{
	char command[COMMAND_MAX];
	struct pop3_reply r = { 0 };
	int rc;

	if (top)
		snprintf(command, sizeof(command), "TOP %u %d", number, LINES_ALL);
	rc = pop3_hop_ask(&x->p, top ? command : command_of(command, "RETR", number), &r);
	if (rc == 0 && r.status == POP3_STATUS_CHALLENGE) {
		snprintf(x->p.why, sizeof(x->p.why), "the server answers RETR with a challenge");
		rc = -EPROTO;
	}
	if (rc < 0)
		return pop3_lost(&x->p, rc);
	if (r.status == POP3_STATUS_ERR) {
		rc = stream_write(client(x), r.line, r.line_len);
		return rc < 0 ? rc : 1;
	}
	if (!x->uid[0] && x->account)
		x->no_uidl = true;      /* it has the message, and no UIDL of it */
	buf_clear(&x->status);
	return buf_add(&x->status, r.line, r.line_len);
}

/* Its content, piece by piece, to take. The server's failure is returned, take's own sticks and is *failed. may wait */
static int content(struct pop3_scan *x, pop3_notice_put *take, void *arg, uint64_t *octets, int *failed)
{
	struct pop3_lines lines = { 0 };

	*octets = 0;
	*failed = 0;
	while (!lines.done) {
		const char *p, *out;
		size_t len, used, n, at = 0;
		int rc = hear(x, &p, &len);

		if (rc < 0) {
			snprintf(x->p.why, sizeof(x->p.why), "in the middle of a message");
			return rc;
		}
		while (at < len && !lines.done) {
			pop3_lines_read(&lines, p + at, len - at, &used, &out, &n);
			if (n > 0 && *failed == 0)
				*failed = take(arg, out, n);
			*octets += n;
			at += used;
		}
		if (*octets > OCTETS_MAX) {
			snprintf(x->p.why, sizeof(x->p.why), "a message without end");
			return -EPROTO;
		}
		stream_eat(server(x), at);
	}
	return 0;
}

/* --- to the client --- */

struct answer {
	struct pop3_scan *x;
	struct pop3_lines lines;
};

/* Content, dots put before dots. may wait */
static int put(void *arg, const char *p, size_t len)
{
	struct answer *a = arg;

	while (len > 0) {
		bool dot;
		size_t n = pop3_lines_write(&a->lines, p, len, &dot);
		int rc = dot ? stream_write(client(a->x), ".", 1) : 0;

		if (rc == 0)
			rc = stream_write(client(a->x), p, n);
		if (rc < 0)
			return rc;
		p += n;
		len -= n;
	}
	return 0;
}

static int answer_begin(struct pop3_scan *x)
{
	return stream_write(client(x), x->status.data, x->status.len);
}

static int answer_end(const struct answer *a)
{
	const char *end = pop3_lines_end(&a->lines);

	return stream_write(client(a->x), end, strlen(end));
}

/* --- judged --- */

static int add(void *arg, const char *p, size_t len)
{
	retrieval_scan_add(arg, p, len);        /* its end tells, too */
	return 0;
}

static struct retrieval_key key_of(const struct pop3_scan *x)
{
	const struct access_backend *b = &x->p.s->backend;

	return (struct retrieval_key){
		.backend = b->conf ? b->conf->name : b->link.address, .account = x->account ? x->account : "", .mailbox = "", .validity = "", .uid = x->uid,
		.listener = x->client.listener,
	};
}

/* The message is taken into a scan that is new. As fetch(). may wait */
static int take_in(struct pop3_scan *x, uint32_t number, bool top, const struct retrieval_verdict *known, struct retrieval_scan **scan, uint64_t *octets)
{
	struct retrieval_key key = key_of(x);
	int rc = fetch(x, number, top), failed;

	if (rc != 0)
		return rc;
	*scan = retrieval_scan_new(x->retrieval, &x->client, &key);
	if (!*scan) {
		not_now(x);
		return cut_off(x, -ENOMEM);
	}
	if (x->uid[0])
		retrieval_scan_bind(*scan, known);
	rc = content(x, add, *scan, octets, &failed);
	return rc < 0 ? pop3_lost(&x->p, rc) : 0;
}

/* The same, of what the client wants the top of: by TOP, if that brings all. may wait */
static int take_in_top(struct pop3_scan *x, uint32_t number, const struct retrieval_verdict *known, struct retrieval_scan **scan, uint64_t *octets)
{
	uint64_t size = 0;
	int rc = ask_size(x, number, &size);

	if (rc == 0)
		rc = take_in(x, number, true, known, scan, octets);
	if (rc != 0 || *octets == size)
		return rc;
	retrieval_scan_free(*scan);
	*scan = NULL;
	return take_in(x, number, false, known, scan, octets);
}

/* The gateway's copy, through take. 0 or -errno. may wait */
static int copy(struct retrieval_scan *scan, pop3_notice_put *take, void *arg)
{
	for (uint64_t off = 0;;) {
		const char *p;
		size_t len;
		int rc = retrieval_scan_read(scan, off, &p, &len);

		if (rc == 0 && len > 0)
			rc = take(arg, p, len);
		if (rc < 0)
			return rc;
		if (len == 0)
			return 0;
		off += len;
	}
}

/* Of a message beyond limits.message_bytes the gateway's copy lacks the end. */
static bool all_here(struct retrieval_scan *scan, uint64_t octets)
{
	const char *p;
	size_t len;

	return retrieval_scan_read(scan, octets, &p, &len) == 0;
}

static int notice_take(void *arg, const char *p, size_t len)
{
	return pop3_notice_add(arg, p, len);
}

/* The notice, over the copy of a scan, or (NULL) over the message that the server now sends. may wait */
static int say_notice(struct pop3_scan *x, const struct pop3_command *c, const struct retrieval_verdict *v, struct retrieval_scan *scan)
{
	struct answer a = { .x = x };
	struct pop3_notice *n = calloc(1, sizeof(*n));
	uint64_t octets;
	int rc, failed = 0;

	if (!n)
		return cut_off(x, -ENOMEM);
	notice_init(&n->notice, v->reason, v->id);
	n->put = put;
	n->arg = &a;
	n->top = c->verb == POP3_TOP;
	n->lines = c->lines;
	pop3_notice_begin(n);
	rc = answer_begin(x);
	if (rc == 0)
		rc = scan ? copy(scan, notice_take, n) : content(x, notice_take, n, &octets, &failed);
	if (rc == 0)
		rc = failed;
	if (rc == 0)
		rc = pop3_notice_end(n);
	pop3_notice_release(n);
	free(n);
	if (rc == 0)
		rc = answer_end(&a);
	return rc < 0 ? cut_off(x, rc) : 0;
}

/* A message of which it is known already that it is kept back. may wait */
static int known_notice(struct pop3_scan *x, const struct pop3_command *c, const struct retrieval_verdict *v)
{
	int rc = fetch(x, c->number, c->verb == POP3_TOP);

	return rc == 0 ? say_notice(x, c, v, NULL) : rc > 0 ? 0 : rc;
}

static int relay_message(struct pop3_scan *x, const struct pop3_command *c)
{
	char command[COMMAND_MAX + 2];
	int len = c->verb == POP3_TOP ? snprintf(command, sizeof(command), "TOP %u %u\r\n", c->number, c->lines) :
					snprintf(command, sizeof(command), "RETR %u\r\n", c->number);

	return relay(x, command, (size_t)len, true);
}

static int say_copy(struct pop3_scan *x, struct retrieval_scan *scan)
{
	struct answer a = { .x = x };
	int rc = answer_begin(x);

	if (rc == 0)
		rc = copy(scan, put, &a);
	if (rc == 0)
		rc = answer_end(&a);
	return rc < 0 ? cut_off(x, rc) : 0;
}

/* What is known of its name is all there is. may wait */
static int say_known(struct pop3_scan *x, const struct pop3_command *c, const struct retrieval_verdict *known)
{
	switch (known->answer) {
	case RETRIEVAL_PASS:
		return relay_message(x, c);
	case RETRIEVAL_NOTICE:
		return known_notice(x, c, known);
	case RETRIEVAL_UNKNOWN:
		break;
	}
	return not_now(x);
}

/* A message that has to be judged, or to be seen to be the one that was. may wait */
static int judge(struct pop3_scan *x, const struct pop3_command *c, const struct retrieval_verdict *known)
{
	struct retrieval_verdict verdict, *v = &verdict;
	AUTO(retrieval_scan) struct retrieval_scan *scan = NULL;
	bool top = c->verb == POP3_TOP;
	uint64_t octets = 0;
	int rc = top ? take_in_top(x, c->number, known, &scan, &octets) : take_in(x, c->number, false, known, &scan, &octets);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (retrieval_scan_end(scan, v) < 0)            /* no room for it: nobody has to go without a message that was looked at before */
		return say_known(x, c, known);
	if (v->answer == RETRIEVAL_PASS && (top || !all_here(scan, octets)))
		return relay_message(x, c);
	if (v->answer == RETRIEVAL_PASS)
		return say_copy(x, scan);
	return all_here(scan, octets) ? say_notice(x, c, v, scan) : known_notice(x, c, v);
}

/*
 * The gateway has been reloaded, and judges by another policy now, perhaps: a session that somebody keeps open for days shows nothing by the old one. Who
 * fetches and deletes would get twice what he has, and is done soon.
 */
static bool outdated(const struct pop3_scan *x)
{
	return x->p.s->svc->retired && (!x->deletes || clock_ms() - x->p.s->begun_ms > FETCH_AND_DELETE_MS);
}

static int do_message(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	struct retrieval_verdict v = { .answer = RETRIEVAL_UNKNOWN };
	struct retrieval_key key;
	int rc;

	if (!x->retrieval)
		return not_now(x);
	if (outdated(x)) {
		access_end(x->p.s, "retired", "messages are judged by a new policy");
		rc = pop3_say(&x->p, "-ERR [SYS/TEMP] the gateway has been reloaded, come again");
		return rc < 0 ? rc : -ESHUTDOWN;
	}
	rc = ask_uid(x, c->number);
	if (rc < 0)
		return rc;
	key = key_of(x);
	if (x->uid[0])
		retrieval_known(x->retrieval, &key, 1, &v);
	if (v.answer != RETRIEVAL_UNKNOWN && c->verb == POP3_TOP && c->lines == 0)      /* nothing of the body */
		return say_known(x, c, &v);
	return judge(x, c, &v);
}

/* --- the other commands --- */

static int do_one(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	return relay(x, line, len, false);
}

static int do_dele(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	x->deletes = c->verb == POP3_DELE;
	return relay(x, line, len, false);
}

static int do_list(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	return relay(x, line, len, !c->has_number);
}

static int do_lang(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	return relay(x, line, len, c->arg_len == 0);
}

static int do_quit(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	int rc = relay(x, line, len, false);

	access_end(x->p.s, "closed", NULL);
	return rc < 0 ? rc : -ESHUTDOWN;
}

static int do_capa(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len)
{
	return pop3_list(&x->p, "CAPA");
}

static const struct {
	enum pop3_verb verb;
	int (*run)(struct pop3_scan *x, const struct pop3_command *c, const char *line, size_t len);
} handlers[] = {
	{ POP3_RETR, do_message },
	{ POP3_TOP, do_message },
	{ POP3_LIST, do_list },
	{ POP3_UIDL, do_list },
	{ POP3_STAT, do_one },
	{ POP3_DELE, do_dele },
	{ POP3_NOOP, do_one },
	{ POP3_RSET, do_dele },
	{ POP3_LAST, do_one },
	{ POP3_LANG, do_lang },
	{ POP3_CAPA, do_capa },
	{ POP3_QUIT, do_quit },
};

static int command(struct pop3_scan *x, const char *line, size_t len)
{
	struct pop3_command c;
	enum pop3_command_error e = pop3_command_parse(line, len, &c);

	if (e == POP3_COMMAND_OK)
		for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
			if (handlers[i].verb == c.verb)
				return handlers[i].run(x, &c, line, len);
	return pop3_refuse(&x->p, e == POP3_COMMAND_OK ? "-ERR not after the login" : pop3_command_reply(e));
}

/* Nothing is allocated for a client that waits. may wait */
static int wait_for_command(struct pop3_scan *x)
{
	if (stream_pending(client(x)) > 0)
		return 0;
	task_stack_trim();
	return stream_wait_readable(client(x), x->p.s->conf->idle_timeout_ms);
}

static void converse(struct pop3_scan *x)
{
	struct access_session *s = x->p.s;
	int rc = 0;

	while (rc == 0) {
		const char *line;
		size_t len;

		s->midway = false;
		rc = s->svc->draining ? -ECANCELED : wait_for_command(x);
		if (rc == 0)
			rc = stream_read_line(client(x), POP3_NAME_LINE_MAX, s->conf->idle_timeout_ms, &line, &len);
		s->midway = true;
		x->in += rc == 0 ? len : 0;
		if (rc == 0)
			rc = command(x, line, len);
		else if (rc == -EMSGSIZE)
			rc = pop3_refuse(&x->p, pop3_command_reply(POP3_COMMAND_LONG));
	}
	access_end(s, rc == -ETIMEDOUT ? "idle" : rc == -ECANCELED ? "shutting down" : "closed", NULL);
}

void pop3_scan_serve(struct access_session *s)
{
	struct pop3_scan *x = calloc(1, sizeof(*x));
	uint64_t out = stream_bytes_out(s->client);

	if (!x) {
		access_end(s, "no memory", NULL);
		return;
	}
	x->p.s = s;
	x->p.in = true;
	x->retrieval = s->svc->retrieval;
	x->client = (struct retrieval_client){
		.addr = &s->addr, .protocol = "pop3", .sid = s->id, .listener = s->conf->name, .tls = stream_tls_version(s->client),
	};
	x->account = access_account(s);
	buf_init(&x->status, POP3_REPLY_MAX);
	s->errors = 0;
	converse(x);
	pop3_leave(s);
	s->pump.from_a = x->in;
	s->pump.from_b = stream_bytes_out(s->client) - out;
	buf_release(&x->status);
	free(x);
}
