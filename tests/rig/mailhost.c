#include "rig/mailhost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LINE_MAX_BYTES = 4096, MESSAGE_MAX = 8 << 20 };

void mailhost_begin(struct mailhost *m, struct mailhost_site *site, struct end *end, bool scripted)
{
	*m = (struct mailhost){ .site = site, .end = end, .scripted = scripted, .wait = MAILHOST_GREETING, .message = BUF_INIT(MESSAGE_MAX),
				.answer = BUF_INIT(1 << 20) };
	if (!scripted) {
		end_says(end, "220 host.example ESMTP\r\n");
		m->wait = MAILHOST_NONE;
	}
}

void mailhost_release(struct mailhost *m)
{
	buf_release(&m->message);
	buf_release(&m->answer);
}

static void answer(struct mailhost *m, const char *text)
{
	if (m->scripted)
		return;
	end_says(m->end, text);
	m->wait = MAILHOST_NONE;
}

/* --- what commands look like --- */

/* A word of printable characters; UTF-8 where it was announced, or anyway. */
static bool printable(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
	return true;
}

/* "<...>" with quotes as RFC 5321 4.1.2 has them. Its length, 0: it is none. */
static size_t path(const char *p, size_t len)
{
	bool quoted = false;

	if (!len || p[0] != '<')
		return 0;
	for (size_t i = 1; i < len; i++) {
		if (quoted && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			quoted = !quoted;
		else if (!quoted && p[i] == '>')
			return i + 1;
		else if (!quoted && (p[i] == ' ' || p[i] == '<'))
			return 0;
	}
	return 0;
}

/* " KEY" or " KEY=VALUE", none or more. */
static bool params(const char *p, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = 1;

		if (p[i] != ' ')
			return false;
		while (i + n < len && p[i + n] != ' ')
			n++;
		if (n == 1 || p[i + 1] == '=')
			return false;
		i += n;
	}
	return true;
}

static bool path_command(const char *p, size_t len, const char *start, const char **at, size_t *n)
{
	size_t head = strlen(start);

	if (len <= head || strncmp(p, start, head) != 0)
		return false;
	*n = path(p + head, len - head);
	*at = p + head;
	return *n && params(p + head + *n, len - head - *n);
}

static bool begins(const char *p, size_t n, const char *what)
{
	return n > strlen(what) && strncasecmp(p, what, strlen(what)) == 0;
}

/* --- commands --- */

static void keep_line(struct mailhost *m, const char *p, size_t len)
{
	buf_add(&m->site->kept, p, len);
	buf_add(&m->site->kept, "\r\n", 2);
}

static void do_ehlo(struct mailhost *m)
{
	m->wait = MAILHOST_EHLO;
	m->ehlo = true;
	m->mail = false;
	if (m->site->plain)
		answer(m, "250 host.example\r\n");
	else if (m->site->starttls && !m->end->ssl)
		answer(m, "250-host.example\r\n250-STARTTLS\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 10000000\r\n");
	else
		answer(m, "250-host.example\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-AUTH PLAIN LOGIN\r\n"
			  "250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n");
}

static void do_mail(struct mailhost *m, const char *p, size_t len, const char *at, size_t n)
{
	if (!m->scripted && (!m->ehlo || m->mail))
		rig_wrong("MAIL is out of place", m->end);
	m->wait = MAILHOST_MAIL;
	m->mail = true;
	m->rcpt = 0;
	m->full = begins(at, n, "<full@");
	keep_line(m, p, len);
	answer(m, "250 2.1.0 ok\r\n");
}

static void do_rcpt(struct mailhost *m, const char *p, size_t len, const char *at, size_t n)
{
	if (!m->mail)
		rig_wrong("RCPT is out of place", m->end);
	m->wait = MAILHOST_RCPT;
	if (begins(at, n, "<no@") || begins(at, n, "<gatepost-")) {
		answer(m, "550 5.1.1 nobody here\r\n");
	} else if (begins(at, n, "<later@")) {
		answer(m, "450 4.2.0 later\r\n");
	} else if (begins(at, n, "<away@")) {
		answer(m, "421 4.3.2 going\r\n");
		m->end->then = END_CLOSE;
		m->reading = MAILHOST_DEAF;
	} else {
		m->rcpt++;
		keep_line(m, p, len);
		answer(m, "250 2.1.5 ok\r\n");
	}
}

static void do_data(struct mailhost *m)
{
	if (!m->mail || (!m->scripted && !m->rcpt))
		rig_wrong("DATA is out of place", m->end);
	m->wait = MAILHOST_DATA;
	if (m->scripted)
		return;
	answer(m, "354 go on\r\n");
	m->reading = MAILHOST_LINES;
}

/* RFC 3030 2: BDAT n [LAST]. */
static void do_bdat(struct mailhost *m, const char *p, size_t len)
{
	size_t i = 5;

	if (!m->mail || (!m->scripted && !m->rcpt))
		rig_wrong("BDAT is out of place", m->end);
	m->chunk = 0;
	for (; i < len && p[i] >= '0' && p[i] <= '9' && i < 15; i++)
		m->chunk = m->chunk * 10 + (uint64_t)(p[i] - '0');
	m->last = len - i == 5 && strncmp(p + i, " LAST", 5) == 0;
	if (i == 5 || (i != len && !m->last))
		rig_wrong("BDAT with something else than a number", m->end);
	m->reading = MAILHOST_CHUNK;
}

static bool is(const char *p, size_t len, const char *word)
{
	return len == strlen(word) && strncmp(p, word, len) == 0;
}

static void do_other(struct mailhost *m, const char *p, size_t len)
{
	if (is(p, len, "QUIT")) {
		m->wait = MAILHOST_QUIT;
		answer(m, "221 2.0.0 bye\r\n");
		m->reading = MAILHOST_DEAF;
		if (!m->scripted)
			m->end->then = END_FIN;
	} else if (is(p, len, "RSET") || is(p, len, "NOOP")) {
		m->wait = MAILHOST_RSET;
		m->mail = m->mail && p[0] == 'N';
		answer(m, "250 2.0.0 ok\r\n");
	} else if (is(p, len, "STARTTLS") && !m->end->up) {
		m->wait = MAILHOST_STARTTLS;
		answer(m, "220 2.0.0 go on\r\n");
		m->ehlo = m->mail = false;
		if (!m->scripted)
			end_tls(m->end, end_server_ctx(), true);
	} else if (len > 8 && strncmp(p, "XCLIENT ", 8) == 0) {
		m->wait = MAILHOST_OTHER;
		answer(m, "220 host.example again\r\n");
	} else {
		rig_wrong("a command that no server knows", m->end);
	}
}

/* The name "user" with the password "secret", by PLAIN at once or step by step. */
static void do_auth(struct mailhost *m, const char *p, size_t len)
{
	bool first = m->wait != MAILHOST_AUTH;

	if (m->mail)
		rig_wrong("AUTH is out of place", m->end);
	m->wait = MAILHOST_AUTH;
	if (m->scripted)
		return;
	if (first && (is(p, len, "AUTH PLAIN") || is(p, len, "AUTH LOGIN"))) {
		end_says(m->end, "334 VXNlcm5hbWU6\r\n");
		return;
	}
	m->authenticated = len >= 16 && memmem(p, len, "AHVzZXIAc2VjcmV0", 16);
	answer(m, m->authenticated ? "235 2.7.0 welcome\r\n" : is(p, len, "*") ? "501 5.7.0 as you like\r\n" : "535 5.7.8 no\r\n");
}

static void do_line(struct mailhost *m, const char *p, size_t len)
{
	const char *at = NULL;
	size_t n = 0;

	m->site->commands++;
	if (!printable(p, len))
		rig_wrong("a command with controls", m->end);
	if (m->wait == MAILHOST_AUTH) {
		do_auth(m, p, len);
		return;
	}
	if (m->wait != MAILHOST_NONE && !is(p, len, "QUIT"))
		rig_wrong("a command before the answer to the last", m->end);
	if ((len > 5 && strncmp(p, "EHLO ", 5) == 0) || (len > 5 && strncmp(p, "HELO ", 5) == 0)) {
		if (memchr(p + 5, ' ', len - 5))
			rig_wrong("EHLO with several words", m->end);
		do_ehlo(m);
	} else if (path_command(p, len, "MAIL FROM:", &at, &n)) {
		do_mail(m, p, len, at, n);
	} else if (path_command(p, len, "RCPT TO:", &at, &n)) {
		do_rcpt(m, p, len, at, n);
	} else if (is(p, len, "DATA")) {
		do_data(m);
	} else if (len > 5 && strncmp(p, "BDAT ", 5) == 0) {
		do_bdat(m, p, len);
	} else if (len > 5 && strncmp(p, "AUTH ", 5) == 0) {
		do_auth(m, p, len);
	} else {
		do_other(m, p, len);
	}
}

/* --- messages --- */

static void message_done(struct mailhost *m)
{
	char text[64];

	m->reading = MAILHOST_COMMANDS;
	m->site->messages++;
	m->wait = MAILHOST_MESSAGE;
	if (m->scripted)
		return;
	buf_add(&m->site->kept, m->message.data, m->message.len);
	buf_adds(&m->site->kept, "\r\n.\r\n");
	buf_clear(&m->message);
	m->mail = false;
	if (m->full) {
		answer(m, "452 4.3.1 no room\r\n");
		return;
	}
	snprintf(text, sizeof(text), "250 2.0.0 kept-%d\r\n", ++m->site->taken);
	answer(m, text);
}

/* A line of a message, its end included. */
static void do_data_line(struct mailhost *m, const char *p, size_t len)
{
	if (len == 3 && p[0] == '.') {
		message_done(m);
		return;
	}
	if (p[0] == '.' && p[1] != '.')
		rig_wrong("a line of a message that begins with a dot alone", m->end);
	if (memchr(p, '\r', len - 2) || memchr(p, '\0', len))
		rig_wrong("a CR alone or a NUL in a message", m->end);
	buf_add(&m->message, p, len);
}

/* One line, of a command or of a message. false: it is not whole. */
static bool take_line(struct mailhost *m)
{
	const char *p = m->end->heard.data + m->at;
	size_t len = m->end->heard.len - m->at;
	const char *lf = memchr(p, '\n', len);

	if (!lf) {
		if (len > LINE_MAX_BYTES && m->reading == MAILHOST_COMMANDS)
			rig_wrong("a command without end", m->end);
		return false;
	}
	len = (size_t)(lf - p) + 1;
	if (len < 2 || lf[-1] != '\r')
		rig_wrong("an LF alone", m->end);
	m->at += len;
	if (m->reading == MAILHOST_LINES) {
		do_data_line(m, p, len);
		return true;
	}
	if (len > LINE_MAX_BYTES || memchr(p, '\r', len - 2))
		rig_wrong("a command that is too long, or has a CR alone", m->end);
	do_line(m, p, len - 2);
	return true;
}

static bool take_chunk(struct mailhost *m)
{
	size_t len = m->end->heard.len - m->at;

	if (len > m->chunk)
		len = (size_t)m->chunk;
	buf_add(&m->message, m->end->heard.data + m->at, len);
	m->at += len;
	m->chunk -= len;
	if (m->chunk)
		return false;
	m->reading = MAILHOST_COMMANDS;
	if (m->last)
		message_done(m);
	else
		m->wait = MAILHOST_OTHER, answer(m, "250 2.0.0 chunk\r\n");
	return true;
}

bool mailhost_step(struct mailhost *m)
{
	size_t before = m->at;

	/* The beginning of a handshake that the test does not want is no command. */
	if (m->reading == MAILHOST_HANDSHAKE && !m->end->ssl)
		m->at = m->end->heard.len;
	else if (m->reading == MAILHOST_HANDSHAKE)
		m->reading = MAILHOST_COMMANDS;
	while (m->reading != MAILHOST_DEAF && (m->at < m->end->heard.len || (m->reading == MAILHOST_CHUNK && !m->chunk)))
		if (!(m->reading == MAILHOST_CHUNK ? take_chunk(m) : take_line(m)))
			break;
	return m->at != before;
}

/* --- the test's own answers --- */

static bool digit(char c, char from, char to)
{
	return c >= from && c <= to;
}

/* One line of a reply: its code; 0: it is none. */
static int reply_code(const char *p, size_t len, bool *last)
{
	*last = len >= 4 && p[3] != '-';
	if (len < 5 || !digit(p[0], '2', '5') || !digit(p[1], '0', '9') || !digit(p[2], '0', '9'))
		return 0;
	if (p[3] != ' ' && p[3] != '-' && p[3] != '\r')
		return 0;
	return (p[0] - '0') * 100 + (p[1] - '0') * 10 + p[2] - '0';
}

static void reply_came(struct mailhost *m, int code)
{
	enum mailhost_wait what = m->wait;

	/* Another step of the dialogue. */
	if (what == MAILHOST_AUTH && code == 334)
		return;
	m->wait = MAILHOST_NONE;
	if (what == MAILHOST_MESSAGE) {
		m->site->taken += code / 100 == 2;
		m->mail = false;
	} else if (what == MAILHOST_STARTTLS && code == 220) {
		m->reading = MAILHOST_HANDSHAKE;
	} else if (what == MAILHOST_DATA && code == 354) {
		m->reading = MAILHOST_LINES;
	} else if (what == MAILHOST_RCPT && code / 100 == 2) {
		m->rcpt++;
	} else if (what == MAILHOST_MAIL && code / 100 != 2) {
		m->mail = false;
	} else if (what == MAILHOST_EHLO || what == MAILHOST_RSET) {
		m->mail = false;
	}
}

void mailhost_said(struct mailhost *m, const char *p, size_t len)
{
	const char *lf;

	if (!len || m->spoiled)
		return;
	m->spoiled = m->wait == MAILHOST_NONE;
	buf_add(&m->answer, p, len);
	while (!m->spoiled && m->answer.len && (lf = memchr(m->answer.data, '\n', m->answer.len))) {
		size_t n = (size_t)(lf - m->answer.data) + 1;
		bool last;
		int code = reply_code(m->answer.data, n, &last);

		m->spoiled = !code;
		if (code && last)
			reply_came(m, code);
		buf_eat(&m->answer, n);
		m->spoiled |= code && last && m->answer.len > 0;
	}
}
