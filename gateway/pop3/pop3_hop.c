#include "pop3/pop3_hop.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "access/access_backend.h"
#include "access/access_server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "pop3/pop3_session.h"

enum {
	GREETING_MS = 60 * 1000,
	ANSWER_MS = 2 * 60 * 1000,      /* a password may have to be asked of somebody else */
	STEP_MS = 500,                  /* who waits looks around */
	DRAIN_STEPS = 3,                /* so many more of them when we stop */
	LEFT_MS = 3000,                 /* so long for a client that has left */
	LINES_MAX = 1000,
	SHOWN_MAX = 80,
};

static struct stream *server(const struct pop3_session *p)
{
	return p->s->backend.stream;
}

/* Why nothing comes from it any more. */
static int lost(struct pop3_session *p, int rc, const char *what)
{
	if (!p->why[0])
		snprintf(p->why, sizeof(p->why), "%s: %s", what, rc == -ETIMEDOUT ? "no answer in time" : rc == -EPIPE ? "the server has closed" : strerror(-rc));
	return rc;
}

static int nonsense(struct pop3_session *p, const char *what, const char *line, size_t len)
{
	snprintf(p->why, sizeof(p->why), "%s: %.*s", what, (int)(len < SHOWN_MAX ? len : SHOWN_MAX), line);
	return -EPROTO;
}

/* Whether the server has spoken, or gone, without having been asked. TLS has words of its own that count for nothing. may wait */
static int unasked(struct pop3_session *p)
{
	const char *line = "";
	size_t len = 0;
	int rc;

	if (stream_pending(server(p)) == 0 && !stream_spoken_to(server(p)))
		return 0;
	rc = stream_peek(server(p), 0, &line, &len);
	if (rc == -ETIMEDOUT)
		return 0;
	if (rc < 0)
		return lost(p, rc, "before a command");
	return nonsense(p, "the server spoke unasked", line, len);
}

int pop3_hop_send(struct pop3_session *p, const char *line, size_t len)
{
	int rc = unasked(p);

	if (rc == 0)
		rc = stream_write(server(p), line, len);
	return rc < 0 ? lost(p, rc, "command") : 0;
}

int pop3_hop_say(struct pop3_session *p, const char *first, ...)
{
	int rc = unasked(p);
	va_list ap;

	va_start(ap, first);
	for (const char *word = first; word && rc == 0; word = va_arg(ap, const char *))
		rc = stream_write(server(p), word, strlen(word));
	va_end(ap);
	if (rc == 0)
		rc = stream_write(server(p), "\r\n", 2);
	return rc < 0 ? lost(p, rc, "command") : 0;
}

int pop3_hop_await(struct pop3_session *p, int timeout_ms)
{
	struct access_session *s = p->s;
	int64_t begun = clock_ms(), until = begun + (p->in && timeout_ms > s->conf->idle_timeout_ms ? s->conf->idle_timeout_ms : timeout_ms);
	int steps = 0;

	while (stream_pending(server(p)) == 0) {
		int64_t now = clock_ms(), deadline = stream_deadline(server(p));
		int rc;

		if (now >= until || (deadline && now >= deadline))
			return -ETIMEDOUT;
		rc = stream_wait_readable(server(p), until - now < STEP_MS ? (int)(until - now) : STEP_MS);
		if (rc != -ETIMEDOUT)
			return rc;
		if (p->in && s->svc->draining && ++steps >= DRAIN_STEPS)
			return -ECANCELED;
		if (p->in && clock_ms() - begun >= LEFT_MS && stream_left(s->client))
			return -ETIMEDOUT;
	}
	return 0;
}

static int read_line(struct pop3_session *p, int timeout_ms, const char **line, size_t *len)
{
	int rc = pop3_hop_await(p, timeout_ms);

	if (rc == 0)
		rc = stream_read_line(server(p), POP3_CHALLENGE_MAX, timeout_ms, line, len);
	if (rc == -EMSGSIZE)
		return nonsense(p, "a line without end", "", 0);
	return rc < 0 ? lost(p, rc, "answer") : 0;
}

int pop3_hop_read(struct pop3_session *p, struct pop3_reply *r)
{
	const char *line = "";
	size_t len = 0;
	int rc = read_line(p, ANSWER_MS, &line, &len);

	if (rc < 0)
		return rc;
	return pop3_reply_parse(line, len, r) ? 0 : nonsense(p, "the server said", line, len);
}

int pop3_hop_ask(struct pop3_session *p, const char *command, struct pop3_reply *r)
{
	int rc = pop3_hop_say(p, command, NULL);

	return rc < 0 ? rc : pop3_hop_read(p, r);
}

int pop3_hop_exchange(struct pop3_session *p, const char *line, size_t len, struct pop3_reply *r)
{
	int rc = pop3_hop_send(p, line, len);

	return rc < 0 ? rc : pop3_hop_read(p, r);
}

int pop3_hop_lines(struct pop3_session *p, struct buf *out)
{
	for (int i = 0; i < LINES_MAX; i++) {
		const char *line = "";
		size_t len = 0;
		int rc = read_line(p, ANSWER_MS, &line, &len);

		if (rc < 0)
			return rc;
		if (len < 2 || line[len - 2] != '\r' || memchr(line, '\0', len) || memchr(line, '\r', len - 2))
			return nonsense(p, "a list with", line, len);
		if (len == 3 && line[0] == '.')
			return 0;
		if (buf_add(out, line, len) < 0)
			break;
	}
	return nonsense(p, "a list without end", "", 0);
}

/* --- its greeting --- */

static int greeting(struct pop3_session *p, struct pop3_reply *r)
{
	const char *line = "";
	size_t len = 0;
	int rc = read_line(p, GREETING_MS, &line, &len);

	if (rc < 0)
		return rc;
	if (!pop3_reply_parse(line, len, r) || r->status == POP3_STATUS_CHALLENGE)
		return nonsense(p, "the server greets with", line, len);
	buf_clear(&p->greeting);
	rc = buf_add(&p->greeting, line, len);
	if (rc < 0)
		return lost(p, rc, "greeting");
	pop3_reply_parse(p->greeting.data, p->greeting.len, r);
	return 0;
}

/* STLS in a list of CAPA, RFC 2595 4. */
static bool offers_stls(const struct buf *list)
{
	const char *line = buf_str(list), *end = line + list->len;

	for (; line < end; line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1)
		if ((size_t)(end - line) >= 6 && strncasecmp(line, "STLS\r\n", 6) == 0)
			return true;
	return false;
}

/* TLS with the server, as it is configured. -EAGAIN: the handshake failed, and it may go without. may wait */
static int starttls(struct pop3_session *p)
{
	AUTO(buf) struct buf list = BUF_INIT(POP3_LIST_MAX);
	bool required = p->s->backend.tls == TLS_REQUIRED;
	struct pop3_reply r = { 0 };
	int rc = pop3_hop_ask(p, "CAPA", &r);

	if (rc == 0 && r.status == POP3_STATUS_OK)
		rc = pop3_hop_lines(p, &list);
	if (rc < 0)
		return rc;
	if (offers_stls(&list)) {
		rc = pop3_hop_ask(p, "STLS", &r);
		if (rc < 0)
			return rc;
		if (r.status == POP3_STATUS_OK)
			return access_backend_starttls(p->s, p->why);
	}
	if (!required)
		return 0;
	snprintf(p->why, sizeof(p->why), "the server does not offer STLS, and tls = required");
	return -EPROTO;
}

/* Who the client is, where the server takes that from us. What it does not take it goes without. may wait */
static int tell(struct pop3_session *p)
{
	char told[ACCESS_TOLD_MAX];
	const char *command = p->xclient ? access_backend_xclient(p->s, told) : NULL;
	struct pop3_reply r = { 0 };
	int rc;

	if (!command)
		return 0;
	rc = pop3_hop_ask(p, command, &r);
	if (rc == 0 && r.status != POP3_STATUS_OK)
		log_notice("xclient-refused", "sid", p->s->id, "backend", p->s->backend.link.name, NULL);
	return rc;
}

int pop3_hop_open(struct pop3_session *p, const char *user)
{
	struct access_session *s = p->s;
	struct pop3_reply r = { 0 };
	int rc;

	rc = access_backend_open(s, user, p->why);
	for (bool again = true;;) {
		if (rc < 0)
			return rc;
		p->why[0] = '\0';
		access_login_on(s, server(p));
		rc = greeting(p, &r);
		if (rc < 0)
			return rc;
		if (r.status == POP3_STATUS_ERR)
			return POP3_HOP_REFUSED;
		if (!access_backend_wants_starttls(s) || s->backend.tls_failed)
			break;
		rc = starttls(p);
		if (rc == 0) {
			p->clear_greeting = s->backend.tls == TLS_REQUIRED;
			break;
		}
		if (rc != -EAGAIN || !again)
			return rc;
		again = false;
		rc = access_backend_open_clear(s, user, p->why);
	}
	pop3_reply_parse(p->greeting.data, p->greeting.len, &r);
	p->xclient = pop3_reply_is(&r, "XCLIENT");
	return tell(p);
}
