#include "hop/smtp_client.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/proxy_stream.h"
#include "base/sasl.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls_weak.h"
#include "filters/message.h"
#include "hop/smtp_client_impl.h"
#include "hop/xclient.h"
#include "policy/conf.h"
#include "smtp/smtp_data.h"

enum {
	YIELD_BYTES = 256 * 1024,       /* others run after so much copying */
	QUIT_WAIT_MS = 2000,            /* nobody needs the reply to QUIT */
};

int smtp_client_broken(struct smtp_client *c, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	c->broken = true;
	c->error = rc;
	return rc;
}

const char *smtp_client_rc_words(int rc)
{
	switch (rc) {
	case -ETIMEDOUT:
		return "no answer in time";
	case -EPIPE:
	case -ECONNRESET:
		return "the connection was closed";
	case -ECANCELED:
		return "cancelled";
	case -EPROTO:
		return "a malformed reply";
	default:
		return strerror(-rc);
	}
}

const char *smtp_client_reply_words(const struct smtp_reply *r, char *out, size_t size)
{
	const char *p = buf_str(&r->text);
	size_t n = 0;

	for (; *p && *p != '\n' && n + 1 < size; p++)
		out[n++] = (unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e ? '?' : *p;
	out[n] = '\0';
	return out;
}

bool smtp_client_quiet(struct smtp_client *c)
{
	struct pollfd p = { .fd = c->broken ? -1 : stream_fd(c->stream), .events = POLLIN | POLLRDHUP };
	const char *bytes;
	size_t len;

	if (c->broken || stream_pending(c->stream) > 0)
		return false;
	if (poll(&p, 1, 0) == 0)
		return true;
	/* Under TLS 1.3 readable may mean a session ticket, which is nobody's reply. */
	return stream_is_tls(c->stream) && stream_peek(c->stream, 0, &bytes, &len) == -ETIMEDOUT;
}

/* One reply to what was just sent. go_on: a 3xx code that is right here, 0 if none. */
static int reply(struct smtp_client *c, const char *to, int timeout_ms, int go_on)
{
	int rc = stream_flush(c->stream, timeout_ms);

	if (rc == 0)
		rc = smtp_reply_read(c->stream, timeout_ms, &c->reply);
	if (rc < 0)
		return smtp_client_broken(c, rc, "%s: %s", to, smtp_client_rc_words(rc));
	if (stream_pending(c->stream) > 0)
		return smtp_client_broken(c, -EPROTO, "%s: more than one reply (%d and another)", to, c->reply.code);
	if (!smtp_reply_final(&c->reply) && c->reply.code != go_on)
		return smtp_client_broken(c, -EPROTO, "%s: reply %d is out of place", to, c->reply.code);
	if (c->reply.code == 421)
		c->closing = true;
	return 0;
}

int smtp_client_ready(struct smtp_client *c, const char *what, int64_t deadline_ms)
{
	if (c->broken)
		return -EPIPE;
	stream_set_deadline(c->stream, deadline_ms);
	if (!smtp_client_quiet(c))
		return smtp_client_broken(c, -EPROTO, "before %s: an unsolicited reply, or the connection was closed", what);
	return 0;
}

int smtp_client_command(struct smtp_client *c, const char *what, const struct buf *line, int timeout_ms, int go_on, int64_t deadline_ms)
{
	int rc = smtp_client_ready(c, what, deadline_ms);

	if (rc < 0)
		return rc;
	if (line->failed)
		return -ENOMEM;
	rc = stream_write(c->stream, line->data, line->len);
	if (rc < 0)
		return smtp_client_broken(c, rc, "%s: %s", what, smtp_client_rc_words(rc));
	return reply(c, what, timeout_ms, go_on);
}

static int simple_command(struct smtp_client *c, const char *word, const char *arg, int timeout_ms, int go_on, int64_t deadline_ms)
{
	AUTO(buf) struct buf line = BUF_INIT(1024);

	buf_addf(&line, "%s%s%s\r\n", word, arg ? " " : "", arg ? arg : "");
	return smtp_client_command(c, word, &line, timeout_ms, go_on, deadline_ms);
}

static bool starts(const char *line, size_t len, const char *keyword)
{
	size_t n = strlen(keyword);

	return len >= n && strncasecmp(line, keyword, n) == 0 && (len == n || line[n] == ' ');
}

/* A decimal number at p, at most end; 0 if there is none; saturating. */
static uint64_t decimal(const char *p, const char *end)
{
	uint64_t n = 0;

	for (; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return 0;               /* more than anybody sends: no limit */
	return n;
}

static int limit(const char *p, const char *end, const char *name)
{
	size_t n = strlen(name);

	for (; p < end; p++)
		if ((size_t)(end - p) > n && p[-1] == ' ' && strncasecmp(p, name, n) == 0 && p[n] == '=') {
			uint64_t v = decimal(p + n + 1, end);

			return v > 1000000 ? 0 : (int)v;
		}
	return 0;
}

void smtp_caps_parse(const char *text, struct smtp_caps *out)
{
	const char *line = strchr(text, '\n');

	memset(out, 0, sizeof(*out));
	out->esmtp = true;
	while (line) {
		const char *next = strchr(++line, '\n'), *end = next ? next : line + strlen(line);
		size_t len = (size_t)(end - line);

		if (starts(line, len, "SIZE")) {
			out->size = true;
			out->size_max = len > 5 ? decimal(line + 5, end) : 0;
		} else if (starts(line, len, "LIMITS")) {
			out->limit_mail = limit(line + 6, end, "MAILMAX");
			out->limit_rcpt = limit(line + 6, end, "RCPTMAX");
		} else if (starts(line, len, "AUTH") || (len >= 5 && strncasecmp(line, "AUTH=", 5) == 0)) {
			out->auth |= len > 5 ? sasl_list(line + 5, len - 5) : 0;
			out->auth_old |= len >= 5 && line[4] == '=';
		} else if (starts(line, len, "XCLIENT")) {
			out->xclient = xclient_offered(line + 7, end);
		} else {
			out->eightbit |= starts(line, len, "8BITMIME");
			out->smtputf8 |= starts(line, len, "SMTPUTF8");
			out->dsn |= starts(line, len, "DSN");
			out->pipelining |= starts(line, len, "PIPELINING");
			out->chunking |= starts(line, len, "CHUNKING");
			out->starttls |= starts(line, len, "STARTTLS");
			out->enhanced |= starts(line, len, "ENHANCEDSTATUSCODES");
		}
		line = next;
	}
}

static int smaller_limit(int a, int b)
{
	return a == 0 ? b : b == 0 || a < b ? a : b;
}

void smtp_caps_meet(struct smtp_caps *a, const struct smtp_caps *b)
{
	/* A bound that one has said holds, whether or not the other says any. */
	if (b->size && b->size_max != 0 && (a->size_max == 0 || b->size_max < a->size_max))
		a->size_max = b->size_max;
	a->esmtp &= b->esmtp;
	a->size &= b->size;
	a->eightbit &= b->eightbit;
	a->smtputf8 &= b->smtputf8;
	a->dsn &= b->dsn;
	a->pipelining &= b->pipelining;
	a->chunking &= b->chunking;
	a->starttls &= b->starttls;
	a->enhanced &= b->enhanced;
	a->xclient &= b->xclient;
	a->auth &= b->auth;
	a->auth_old &= b->auth_old;
	a->limit_mail = smaller_limit(a->limit_mail, b->limit_mail);
	a->limit_rcpt = smaller_limit(a->limit_rcpt, b->limit_rcpt);
}

static void say_flag(struct buf *out, bool a, bool b, const char *name)
{
	if (a && !b)
		buf_addf(out, "%s%s", out->len ? " " : "", name);
}

static void say_number(struct buf *out, bool a, uint64_t value, bool b, uint64_t other, const char *name)
{
	if (a && (!b || value != other))
		buf_addf(out, "%s%s=%llu", out->len ? " " : "", name, (unsigned long long)value);
}

void smtp_caps_text(const struct smtp_caps *a, const struct smtp_caps *b, struct buf *out)
{
	static const struct smtp_caps nothing;
	char names[SASL_NAMES_MAX];
	unsigned auth;

	if (!b)
		b = &nothing;
	say_flag(out, a->esmtp, b->esmtp, "EHLO");
	say_number(out, a->size, a->size_max, b->size, b->size_max, "SIZE");
	say_flag(out, a->eightbit, b->eightbit, "8BITMIME");
	say_flag(out, a->smtputf8, b->smtputf8, "SMTPUTF8");
	say_flag(out, a->dsn, b->dsn, "DSN");
	say_flag(out, a->pipelining, b->pipelining, "PIPELINING");
	say_flag(out, a->chunking, b->chunking, "CHUNKING");
	say_flag(out, a->starttls, b->starttls, "STARTTLS");
	say_flag(out, a->enhanced, b->enhanced, "ENHANCEDSTATUSCODES");
	say_flag(out, a->xclient != 0, b->xclient != 0, "XCLIENT");
	auth = a->auth & ~b->auth;
	for (unsigned bit = 1; auth; bit <<= 1, auth &= ~(bit >> 1))
		if (auth & bit)
			buf_addf(out, "%sAUTH=%s", out->len ? " " : "", sasl_names(bit, names));
	say_number(out, a->limit_mail > 0, (uint64_t)a->limit_mail, b->limit_mail > 0, (uint64_t)b->limit_mail, "MAILMAX");
	say_number(out, a->limit_rcpt > 0, (uint64_t)a->limit_rcpt, b->limit_rcpt > 0, (uint64_t)b->limit_rcpt, "RCPTMAX");
}

/* It answered, but not with what we need: come later (4xx) or never. */
static int refused(struct smtp_client *c, const char *to)
{
	char words[120];

	c->refused = c->reply.code / 100 == 4 || c->reply.code / 100 == 5;
	return smtp_client_broken(c, c->reply.code / 100 == 4 ? -EBUSY : c->reply.code / 100 == 5 ? -ECONNREFUSED : -EPROTO,
		      "%s was answered %d %s", to, c->reply.code, smtp_client_reply_words(&c->reply, words, sizeof(words)));
}

static int ehlo(struct smtp_client *c, const char *name, int64_t deadline_ms)
{
	int rc;

	memset(&c->caps, 0, sizeof(c->caps));
	rc = simple_command(c, "EHLO", name, c->conf->timeouts->helo_ms, 0, deadline_ms);
	if (rc < 0)
		return rc;
	if (c->reply.code == 250) {
		smtp_caps_parse(buf_str(&c->reply.text), &c->caps);
		return 0;
	}
	if (c->reply.code / 100 != 5)
		return refused(c, "EHLO");
	rc = simple_command(c, "HELO", name, c->conf->timeouts->helo_ms, 0, deadline_ms);
	if (rc < 0)
		return rc;
	return c->reply.code == 250 ? 0 : refused(c, "HELO");
}

/* After its 220, or at once. */
static int handshake(struct smtp_client *c)
{
	const struct smtp_client_conf *cf = c->conf;
	int ms = cf->timeouts->helo_ms, rc;

	/* The server speaks next only after our ClientHello: whatever is there now was injected. */
	if (!smtp_client_quiet(c))
		return smtp_client_broken(c, -EPROTO, "%sbytes before the handshake (injection)", cf->implicit ? "" : "STARTTLS: ");
	if (cf->tls_dane)
		rc = stream_tls_connect_dane(c->stream, cf->tls_ctx, cf->tls_dane, ms);
	else if (cf->tls_any)
		rc = stream_tls_connect_any(c->stream, cf->tls_ctx, cf->tls_name, ms);
	else
		rc = stream_tls_connect(c->stream, cf->tls_ctx, cf->tls_name, ms);
	if (rc < 0)
		return smtp_client_broken(c, rc, "TLS handshake: %s", rc == -EPROTO ? stream_error(c->stream) : smtp_client_rc_words(rc));
	if (stream_tls_pinned(c->stream))
		c->proof = TLS_PROOF_PIN;
	else if (stream_tls_trusted(c->stream))
		c->proof = cf->tls_dane ? TLS_PROOF_DANE : cf->tls_proof ? cf->tls_proof : TLS_PROOF_PKIX;
	return 0;
}

int smtp_client_starttls_begin(struct smtp_client *c, int64_t deadline_ms)
{
	return simple_command(c, "STARTTLS", NULL, c->conf->timeouts->helo_ms, 0, deadline_ms);
}

int smtp_client_starttls_finish(struct smtp_client *c, int64_t deadline_ms)
{
	int rc;

	stream_set_deadline(c->stream, deadline_ms);
	rc = handshake(c);
	return rc < 0 ? rc : ehlo(c, c->conf->hostname, deadline_ms);
}

/* 1: under TLS now. 0: the server does not do it now, and need not. */
static int starttls(struct smtp_client *c, int64_t deadline_ms)
{
	bool required = c->conf->tls == TLS_REQUIRED;
	int rc;

	if (!c->caps.starttls)
		return required ? smtp_client_broken(c, -EPROTO, "TLS is required, and the server does not offer STARTTLS") : 0;
	rc = smtp_client_starttls_begin(c, deadline_ms);
	if (rc < 0)
		return rc;
	if (c->reply.code != 220)
		return required ? refused(c, "STARTTLS") : 0;
	rc = handshake(c);
	return rc < 0 ? rc : 1;
}

static int greet(struct smtp_client *c, bool with_tls, int64_t deadline_ms, bool *tls_failed)
{
	int rc;

	stream_set_deadline(c->stream, deadline_ms);
	stream_set_write_timeout(c->stream, c->conf->timeouts->block_ms);
	rc = c->conf->implicit ? handshake(c) : 0;
	if (rc == 0)
		rc = reply(c, "greeting", c->conf->timeouts->greeting_ms, 0);
	if (rc < 0)
		return rc;
	if (c->reply.code != 220)
		return refused(c, "greeting");
	rc = ehlo(c, c->conf->hostname, deadline_ms);
	if (rc < 0 || !with_tls || c->conf->tls == TLS_OFF || c->conf->implicit)
		return rc;
	rc = starttls(c, deadline_ms);
	if (rc > 0)
		rc = ehlo(c, c->conf->hostname, deadline_ms);   /* what was said before TLS is forgotten */
	/* Under TLS 1.3 a server that does not like ours says so only now. */
	*tls_failed = rc < 0 && rc != -ECANCELED && !c->refused;
	return rc;
}

int smtp_client_xclient(struct smtp_client *c, const struct smtp_identity *who, int64_t deadline_ms)
{
	AUTO(buf) struct buf line = BUF_INIT(XCLIENT_LINE_MAX);
	int rc;

	if (!(c->caps.xclient & XCLIENT_ADDR))
		return -EOPNOTSUPP;
	rc = xclient_command(who, c->caps.xclient, &line);
	if (rc == 0)
		rc = smtp_client_command(c, "XCLIENT", &line, c->conf->timeouts->helo_ms, 0, deadline_ms);
	if (rc < 0)
		return rc;
	if (c->reply.code / 100 != 2)
		return -EACCES;
	/* Its answer is a greeting; what it takes for the client's HELO is the one that comes now. */
	return ehlo(c, xclient_helo_ok(who->helo) ? who->helo : c->conf->hostname, deadline_ms);
}

const char *smtp_client_refusal(const struct smtp_client *c, char *out)
{
	snprintf(out, SMTP_WHY_MAX, "%d ", c->reply.code);
	smtp_client_reply_words(&c->reply, out + 4, SMTP_WHY_MAX - 4);
	return out;
}

/* The header of a connection that is to begin with one. may wait */
static int say_proxied(struct smtp_client *c, const struct net_addr *to, int timeout_ms)
{
	struct proxy_header h = c->conf->proxied;
	int rc;

	if (h.told && !h.destination.family)
		h.destination = *to;
	rc = proxy_stream_write(c->stream, c->conf->proxy, &h, timeout_ms);
	return rc < 0 ? smtp_client_broken(c, rc, "PROXY header: %s", smtp_client_rc_words(rc)) : 0;
}

static int open_once(const struct smtp_client_conf *conf, const struct net_addr *to, const struct net_addr *from, bool with_tls,
		     int64_t deadline_ms, struct smtp_client **out, char *why, char *refusal, bool *tls_failed)
{
	AUTO(smtp_client) struct smtp_client *c = calloc(1, sizeof(*c));
	int64_t left = deadline_ms ? deadline_ms - clock_ms() : conf->connect_timeout_ms;
	int rc;

	*tls_failed = false;
	if (!c) {
		snprintf(why, SMTP_WHY_MAX, "out of memory");
		return -ENOMEM;
	}
	c->conf = conf;
	smtp_reply_init(&c->reply);
	if (left > conf->connect_timeout_ms)
		left = conf->connect_timeout_ms;
	rc = left <= 0 ? -ETIMEDOUT : conf->dial ? conf->dial(conf->dial_arg, to, (int)left, &c->stream) : stream_connect(to, from, (int)left, &c->stream);
	if (rc < 0) {
		snprintf(why, SMTP_WHY_MAX, "connect: %s", strerror(-rc));
		return rc;
	}
	if (conf->proxy != PROXY_NO)
		rc = say_proxied(c, to, (int)left);
	if (rc == 0)
		rc = greet(c, with_tls, deadline_ms, tls_failed);
	if (rc < 0) {
		memcpy(why, c->why, SMTP_WHY_MAX);
		if (refusal && c->refused)
			smtp_client_refusal(c, refusal);
		return rc;
	}
	*out = c;
	c = NULL;
	return 0;
}

int smtp_client_open_told(const struct smtp_client_conf *conf, const struct net_addr *to, const struct net_addr *from, int64_t deadline_ms,
			  struct smtp_client **out, char *why, char *refusal)
{
	bool tls_failed, skipped = conf->tls == TLS_OPPORTUNISTIC && conf->weak && !conf->tls_always && tls_weak_skip(conf->weak);
	int rc;

	if (refusal)
		refusal[0] = '\0';
	rc = open_once(conf, to, from, !skipped, deadline_ms, out, why, refusal, &tls_failed);
	if (rc == 0 && skipped && (*out)->caps.starttls) {
		snprintf((*out)->tls_failed, sizeof((*out)->tls_failed), "TLS failed a while ago");
		(*out)->tls_skipped = true;
	}
	/* Opportunistic is what it says: rather in the clear than not at all (RFC 7435). */
	if (rc < 0 && tls_failed && conf->tls == TLS_OPPORTUNISTIC) {
		char first[SMTP_WHY_MAX];

		snprintf(first, sizeof(first), "%s", why);
		rc = open_once(conf, to, from, false, deadline_ms, out, why, refusal, &tls_failed);
		if (rc == 0)
			snprintf((*out)->tls_failed, sizeof((*out)->tls_failed), "%s", first);
	}
	return rc;
}

int smtp_client_open(const struct smtp_client_conf *conf, const struct net_addr *to, const struct net_addr *from, int64_t deadline_ms,
		     struct smtp_client **out, char *why)
{
	return smtp_client_open_told(conf, to, from, deadline_ms, out, why, NULL);
}

void smtp_client_free(struct smtp_client *c)
{
	if (!c)
		return;
	stream_free(c->stream);
	smtp_reply_release(&c->reply);
	free(c);
}

void smtp_client_quit(struct smtp_client *c)
{
	int wait = c->conf->timeouts->quit_ms;

	if (!c->broken && wait != 0) {
		if (wait < 0 || wait > QUIT_WAIT_MS)
			wait = QUIT_WAIT_MS;
		simple_command(c, "QUIT", NULL, wait, 0, clock_ms() + wait);
	}
	smtp_client_free(c);
}

/* A parameter that this server has offered to take. */
static bool offered(const struct smtp_caps *caps, const char *word, size_t len)
{
	static const char *const dsn[] = { "RET=", "ENVID=", "NOTIFY=", "ORCPT=" };

	if (len > 5 && strncasecmp(word, "BODY=", 5) == 0)
		return caps->eightbit;
	if (len == 8 && strncasecmp(word, "SMTPUTF8", 8) == 0)
		return caps->smtputf8;
	for (size_t i = 0; i < sizeof(dsn) / sizeof(dsn[0]); i++)
		if (len > strlen(dsn[i]) && strncasecmp(word, dsn[i], strlen(dsn[i])) == 0)
			return caps->dsn;
	return false;
}

/* Foreign values never become a second command. */
static bool clean(const char *p)
{
	for (; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

static int path_command(struct smtp_client *c, const char *what, const char *start, const char *path, const char *params, uint64_t size,
			int timeout_ms, int64_t deadline_ms)
{
	AUTO(buf) struct buf line = BUF_INIT(4096);

	if (!clean(path) || !clean(params))
		return -EINVAL;
	buf_addf(&line, "%s<%s>", start, path);
	while (*params) {
		size_t n = strcspn(params, " ");

		if (offered(&c->caps, params, n)) {
			buf_addc(&line, ' ');
			buf_add(&line, params, n);
		} else if (n == 8 && strncasecmp(params, "SMTPUTF8", 8) == 0) {
			return -ENOTSUP;        /* cannot be downgraded (RFC 6531) */
		}
		params += n;
		params += strspn(params, " ");
	}
	if (size > 0 && c->caps.size)
		buf_addf(&line, " SIZE=%llu", (unsigned long long)size);
	buf_adds(&line, "\r\n");
	return smtp_client_command(c, what, &line, timeout_ms, 0, deadline_ms);
}

int smtp_client_mail(struct smtp_client *c, const char *from, const char *params, uint64_t size, int64_t deadline_ms)
{
	return path_command(c, "MAIL", "MAIL FROM:", from, params, size, c->conf->timeouts->mail_ms, deadline_ms);
}

int smtp_client_rcpt(struct smtp_client *c, const char *to, const char *params, int64_t deadline_ms)
{
	return path_command(c, "RCPT", "RCPT TO:", to, params, 0, c->conf->timeouts->rcpt_ms, deadline_ms);
}

int smtp_client_rset(struct smtp_client *c, int64_t deadline_ms)
{
	return simple_command(c, "RSET", NULL, c->conf->timeouts->mail_ms, 0, deadline_ms);
}

int smtp_client_noop(struct smtp_client *c, int64_t deadline_ms)
{
	return simple_command(c, "NOOP", NULL, c->conf->timeouts->mail_ms, 0, deadline_ms);
}

uint64_t smtp_content_size(const struct smtp_content *content)
{
	uint64_t n = message_size(content->message);

	for (size_t i = 0; i < content->edit_count; i++)
		n = n + content->edit[i].text_len - content->edit[i].len;
	return n;
}

/* How content leaves: stuffed (DATA) or as it is (BDAT). */
struct sender {
	struct smtp_client *c;
	struct smtp_encode encode;
	bool raw;
	uint64_t left;                  /* raw: bytes that BDAT announced and that were not written yet */
	bool complete;                  /* raw: the last of them has been given to the stream */
	bool hold;                      /* raw: the last octet is kept back in `last` */
	char last;
	size_t since_yield;
};

static int send_bytes(struct sender *s, const char *p, size_t len)
{
	int rc = 0;

	s->since_yield += len;
	if (s->since_yield >= YIELD_BYTES) {
		s->since_yield = 0;
		task_yield();
	}
	if (s->raw) {
		assert(len <= s->left);
		s->left -= len;
		if (s->left == 0 && s->hold && len > 0) {
			s->last = p[--len];
			return len > 0 ? stream_write(s->c->stream, p, len) : 0;
		}
		s->complete = s->left == 0;
		return stream_write(s->c->stream, p, len);
	}
	while (len > 0 && rc >= 0) {
		const char *out;
		size_t used, n;

		smtp_encode(&s->encode, p, len, &used, &out, &n);
		if (n > 0)
			rc = stream_write(s->c->stream, out, n);
		p += used;
		len -= used;
	}
	return rc;
}

/* The bytes of the message from off up to end. */
static int send_range(struct sender *s, struct message *m, size_t off, size_t end)
{
	while (off < end) {
		const char *p;
		size_t len;
		int rc = message_read(m, off, &p, &len);

		if (rc < 0)
			return rc;
		if (len == 0)
			return -EIO;
		if (len > end - off)
			len = end - off;
		rc = send_bytes(s, p, len);
		if (rc < 0)
			return rc;
		off += len;
	}
	return 0;
}

static int send_content(struct sender *s, const struct smtp_content *content)
{
	size_t off = 0;
	int rc = 0;

	for (size_t i = 0; i < content->edit_count && rc >= 0; i++) {
		const struct smtp_edit *e = &content->edit[i];

		assert(e->off >= off && e->off + e->len <= message_size(content->message));
		rc = send_range(s, content->message, off, e->off);
		if (rc >= 0 && e->text_len > 0)
			rc = send_bytes(s, e->text, e->text_len);
		off = e->off + e->len;
	}
	return rc < 0 ? rc : send_range(s, content->message, off, message_size(content->message));
}

/* All but the end lies with the server: now or never. */
static int before_end(struct smtp_client *c, const struct smtp_content *content)
{
	int rc = content->before_end ? content->before_end(content->arg) : 0;

	return rc < 0 ? smtp_client_broken(c, rc, "broken off before the end of the message") : 0;
}

/* The octet that makes the chunk whole. */
static int send_last(struct sender *s, const struct smtp_content *content)
{
	int rc = stream_flush(s->c->stream, s->c->conf->timeouts->block_ms);

	if (rc >= 0)
		rc = before_end(s->c, content);
	if (rc < 0)
		return rc;
	s->complete = true;
	return stream_write(s->c->stream, &s->last, 1);
}

static int data_bdat(struct smtp_client *c, const struct smtp_content *content, int64_t deadline_ms, enum smtp_outcome *outcome)
{
	struct sender s = { .c = c, .raw = true, .left = smtp_content_size(content) };
	int rc = smtp_client_ready(c, "BDAT", deadline_ms);

	if (rc < 0)
		return rc;
	s.complete = s.left == 0;
	s.hold = content->before_end != NULL && !s.complete;
	rc = s.complete ? before_end(c, content) : 0;   /* the command is all there is */
	if (rc < 0)
		return rc;
	rc = stream_printf(c->stream, "BDAT %llu LAST\r\n", (unsigned long long)s.left);
	if (rc >= 0)
		rc = send_content(&s, content);
	if (rc >= 0 && s.hold)
		rc = send_last(&s, content);
	if (s.complete)
		*outcome = OUTCOME_UNKNOWN;
	if (rc < 0)
		return c->broken ? rc : smtp_client_broken(c, rc, "BDAT: %s", smtp_client_rc_words(rc));
	rc = reply(c, "BDAT", c->conf->timeouts->dot_ms, 0);
	if (rc == 0)
		*outcome = OUTCOME_ANSWERED;
	return rc;
}

static bool begins(const char *p, size_t len, const char *name)
{
	size_t n = strlen(name);

	return len > n && strncasecmp(p, name, n) == 0;
}

/* It was signed or sealed here (signing.h, sealing.h): that is over lines that end with CRLF. */
static bool is_signed(const struct smtp_content *content)
{
	const struct smtp_edit *e = content->edit_count && content->edit[0].off == 0 && content->edit[0].text_len ? content->edit : NULL;
	const struct header_field *h = e ? NULL : message_field(content->message, 0);
	const char *p = content->as_it_came ? "" : e ? e->text : h ? h->raw : "";
	size_t len = content->as_it_came ? 0 : e ? e->text_len : h ? h->raw_len : 0;

	return begins(p, len, "DKIM-Signature:") || begins(p, len, "ARC-Seal:");
}

int smtp_client_data(struct smtp_client *c, const struct smtp_content *content, int64_t deadline_ms, enum smtp_outcome *outcome)
{
	struct sender s = { .c = c };
	const char *end;
	int rc;

	*outcome = OUTCOME_REFUSED;
	if (c->caps.chunking && message_has_bare(content->message) && !is_signed(content))
		return data_bdat(c, content, deadline_ms, outcome);
	rc = simple_command(c, "DATA", NULL, c->conf->timeouts->data_ms, 354, deadline_ms);
	if (rc < 0)
		return rc;
	if (c->reply.code != 354)
		return c->reply.code / 100 == 2 ? smtp_client_broken(c, -EPROTO, "DATA: reply %d is out of place", c->reply.code) : 0;
	smtp_encode_init(&s.encode);
	rc = send_content(&s, content);
	if (rc >= 0)
		rc = stream_flush(c->stream, c->conf->timeouts->block_ms);
	if (rc < 0)
		return smtp_client_broken(c, rc, "message: %s", smtp_client_rc_words(rc));
	/* A reply before the end cannot be about the whole message; taken for it, mail would be lost. */
	if (!smtp_client_quiet(c))
		return smtp_client_broken(c, -EPROTO, "message: a reply before its end, or the connection was closed");
	rc = before_end(c, content);
	if (rc < 0)
		return rc;
	*outcome = OUTCOME_UNKNOWN;
	end = smtp_encode_end(&s.encode);
	rc = stream_write(c->stream, end, strlen(end));
	if (rc < 0)
		return smtp_client_broken(c, rc, "end of data: %s", smtp_client_rc_words(rc));
	rc = reply(c, "end of data", c->conf->timeouts->dot_ms, 0);
	if (rc == 0)
		*outcome = OUTCOME_ANSWERED;
	return rc;
}
