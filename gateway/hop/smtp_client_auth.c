/* smtp_client_auth - AUTH, RFC 4954: our own login, and the dialogue of a client's that is passed on */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/sasl.h"
#include "base/stream.h"
#include "hop/smtp_client_impl.h"
#include "policy/conf.h"

/* --- our own --- */

/* A line of a login and its reply; nothing of it is left in memory. go_on as of reply. */
static int login_line(struct smtp_client *c, const char *word, const char *secret, size_t len, int go_on, int64_t deadline_ms)
{
	AUTO(buf) struct buf line = BUF_INIT(4096);
	unsigned char text[1500];
	int rc = -EINVAL;

	if (len <= sizeof(text) / 4 * 3 - 4) {
		EVP_EncodeBlock(text, (const unsigned char *)secret, (int)len);
		buf_addf(&line, "%s%s\r\n", word, (const char *)text);
		rc = smtp_client_command(c, "AUTH", &line, c->conf->timeouts->mail_ms, go_on, deadline_ms);
	}
	explicit_bzero(text, sizeof(text));
	if (line.data)
		explicit_bzero(line.data, line.len);
	return rc;
}

static int login_plain(struct smtp_client *c, const char *username, const char *password, int64_t deadline_ms)
{
	char secret[1100];
	int n = snprintf(secret, sizeof(secret), "%c%s%c%s", 0, username, 0, password), rc = -EINVAL;

	if (n < (int)sizeof(secret))
		rc = login_line(c, "AUTH PLAIN ", secret, (size_t)n, 0, deadline_ms);
	explicit_bzero(secret, sizeof(secret));
	return rc;
}

static int login_login(struct smtp_client *c, const char *username, const char *password, int64_t deadline_ms)
{
	int rc = login_line(c, "AUTH LOGIN", "", 0, 334, deadline_ms);

	if (rc == 0 && c->reply.code == 334)
		rc = login_line(c, "", username, strlen(username), 334, deadline_ms);
	if (rc == 0 && c->reply.code == 334)
		rc = login_line(c, "", password, strlen(password), 0, deadline_ms);
	return rc;
}

int smtp_client_login(struct smtp_client *c, const char *username, const char *password, int64_t deadline_ms)
{
	char words[120];
	int rc;

	if (!stream_is_tls(c->stream) || !(c->caps.auth & (SASL_PLAIN | SASL_LOGIN))) {
		snprintf(c->why, sizeof(c->why), stream_is_tls(c->stream) ? "it offers neither AUTH PLAIN nor LOGIN" : "no password without TLS");
		return -EOPNOTSUPP;
	}
	rc = c->caps.auth & SASL_PLAIN ? login_plain(c, username, password, deadline_ms) : login_login(c, username, password, deadline_ms);
	if (rc < 0 || c->reply.code / 100 == 2)
		return rc;
	snprintf(c->why, sizeof(c->why), "AUTH was answered %d %s", c->reply.code, smtp_client_reply_words(&c->reply, words, sizeof(words)));
	return -EACCES;
}

/* --- a client's --- */

/* 334 and its text, which need not be base64: Exchange says "334 NTLM supported". -EPROTO: it is none */
static int challenge_parse(const char *line, size_t len, struct buf *challenge)
{
	if (len < 5 || line[len - 2] != '\r' || (line[3] != ' ' && len > 5))
		return -EPROTO;
	for (size_t i = 4; i + 2 < len; i++)
		if (line[i] < 0x20 || line[i] > 0x7e)
			return -EPROTO;
	return len > 6 ? buf_add(challenge, line + 4, len - 6) : 0;
}

/* The reply to a line of a dialogue, whose challenges are longer than other replies. may wait */
static int auth_reply(struct smtp_client *c, struct buf *challenge, int timeout_ms)
{
	struct smtp_reply *r = &c->reply;
	int rc = stream_flush(c->stream, timeout_ms);
	enum parse more = PARSE_MORE;

	buf_clear(challenge);
	buf_clear(&r->text);
	r->code = r->lines = 0;
	while (rc == 0 && more == PARSE_MORE) {
		const char *line;
		size_t len;

		rc = stream_read_line(c->stream, r->lines ? SMTP_REPLY_LINE_MAX : SASL_LINE_MAX, timeout_ms, &line, &len);
		if (rc < 0)
			break;
		if (r->lines == 0 && len > 3 && memcmp(line, "334", 3) == 0) {
			r->code = 334;
			rc = challenge_parse(line, len, challenge);
			break;
		}
		more = smtp_reply_add(r, line, len);
	}
	if (rc == -EMSGSIZE || more == PARSE_BAD)
		rc = -EPROTO;
	return r->text.failed || challenge->failed ? -ENOMEM : rc;
}

int smtp_client_auth(struct smtp_client *c, const char *line, size_t len, struct buf *challenge, int64_t deadline_ms)
{
	int rc = smtp_client_ready(c, "AUTH", deadline_ms);

	if (rc < 0)
		return rc;
	stream_set_secret(c->stream, true);
	rc = stream_write(c->stream, line, len);
	if (rc == 0)
		rc = stream_write(c->stream, "\r\n", 2);
	if (rc == 0)
		rc = auth_reply(c, challenge, c->conf->timeouts->data_ms);
	if (rc < 0)
		return smtp_client_broken(c, rc, "AUTH: %s", smtp_client_rc_words(rc));
	if (stream_pending(c->stream) > 0)
		return smtp_client_broken(c, -EPROTO, "AUTH: more than one reply (%d and another)", c->reply.code);
	if (!smtp_reply_final(&c->reply) && c->reply.code != 334)
		return smtp_client_broken(c, -EPROTO, "AUTH: reply %d is out of place", c->reply.code);
	if (c->reply.code == 421)
		c->closing = true;
	if (c->reply.code != 334)
		stream_set_secret(c->stream, false);
	return 0;
}
