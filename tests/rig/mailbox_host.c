#include "rig/mailbox_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rig/mailhost.h"

enum { COMMAND_MAX = 1 << 20 };

#define CAPS "IMAP4rev1 LITERAL+ SASL-IR ID IDLE NAMESPACE UIDPLUS AUTH=PLAIN AUTH=LOGIN"
#define FIRST "Subject: one\r\nFrom: a@example.org\r\n\r\nhello\r\n"
#define SECOND "Subject: hold\r\nFrom: b@example.org\r\n\r\n..dots\r\n.\r\nend\r\n"

void mailbox_host_begin(struct mailbox_host *h, struct end *end, bool imap, bool starttls)
{
	*h = (struct mailbox_host){ .end = end, .imap = imap, .starttls = starttls, .command = BUF_INIT(COMMAND_MAX) };
	end_says(end, imap ? "* OK [CAPABILITY " CAPS : "+OK ready <17.4@store.example>\r\n");
	if (imap)
		end_says(end, starttls ? " STARTTLS] ready\r\n" : "] ready\r\n");
}

void mailbox_host_release(struct mailbox_host *h)
{
	buf_release(&h->command);
}

static bool word(const char *p, const char *what)
{
	size_t n = strlen(what);

	return strncasecmp(p, what, n) == 0 && (!p[n] || p[n] == ' ' || p[n] == '\r');
}

/* --- IMAP --- */

static void tagged(struct mailbox_host *h, const char *text)
{
	end_says(h->end, h->tag);
	end_says(h->end, " ");
	end_says(h->end, text);
	end_says(h->end, "\r\n");
}

static void literal_fetch(struct mailbox_host *h, int n, const char *text)
{
	char line[128];

	snprintf(line, sizeof(line), "* %d FETCH (UID %d FLAGS (\\Seen) RFC822.SIZE %zu BODY[] {%zu}\r\n", n, 100 + n, strlen(text), strlen(text));
	end_says(h->end, line);
	end_says(h->end, text);
	end_says(h->end, ")\r\n");
}

static void imap_login(struct mailbox_host *h, bool good)
{
	h->in |= good;
	tagged(h, good ? "OK [CAPABILITY " CAPS "] in" : "NO [AUTHENTICATIONFAILED] no");
}

static void imap_authenticate(struct mailbox_host *h, const char *args)
{
	const char *initial = strchr(args, ' ');

	if (initial) {
		imap_login(h, strstr(initial, "AHVzZXIAc2VjcmV0") != NULL);
		return;
	}
	h->step = 'a';
	end_says(h->end, "+ \r\n");
}

static void imap_other(struct mailbox_host *h, const char *verb)
{
	if (word(verb, "UID"))
		verb += strcspn(verb, " ") + 1;
	if (word(verb, "SELECT") || word(verb, "EXAMINE")) {
		end_says(h->end, "* 2 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 103] ok\r\n");
		tagged(h, "OK [READ-WRITE] selected");
	} else if (word(verb, "FETCH")) {
		literal_fetch(h, 1, FIRST);
		literal_fetch(h, 2, SECOND);
		tagged(h, "OK fetched");
	} else if (word(verb, "IDLE")) {
		h->step = 'i';
		end_says(h->end, "+ idling\r\n* 2 EXISTS\r\n");
	} else if (word(verb, "LOGOUT")) {
		end_says(h->end, "* BYE then\r\n");
		tagged(h, "OK bye");
		h->end->then = END_FIN;
		h->deaf = true;
	} else {
		tagged(h, "OK done");
	}
}

static void imap_command(struct mailbox_host *h)
{
	const char *p = buf_str(&h->command), *verb = strchr(p, ' ');
	size_t n = verb ? (size_t)(verb - p) : 0;

	if (h->step == 'a') {
		h->step = 0;
		imap_login(h, strstr(p, "AHVzZXIAc2VjcmV0") != NULL);
		return;
	}
	if (h->step == 'i') {
		h->step = 0;
		tagged(h, "OK idled");
		return;
	}
	if (!n || n >= sizeof(h->tag)) {
		if (!h->in)
			rig_wrong("what the server hears before the login is no command", h->end);
		end_says(h->end, "* BAD what\r\n");
		return;
	}
	memcpy(h->tag, p, n);
	h->tag[n] = '\0';
	verb++;
	if (word(verb, "LOGIN")) {
		imap_login(h, strstr(verb, "secret") != NULL);
	} else if (word(verb, "AUTHENTICATE")) {
		imap_authenticate(h, verb + strcspn(verb, " ") + 1);
	} else if (word(verb, "CAPABILITY")) {
		end_says(h->end, h->starttls && !h->end->ssl ? "* CAPABILITY " CAPS " STARTTLS\r\n" : "* CAPABILITY " CAPS "\r\n");
		tagged(h, "OK done");
	} else if (word(verb, "STARTTLS") && h->starttls && !h->end->ssl) {
		tagged(h, "OK begin");
		end_tls(h->end, end_server_ctx(), true);
	} else {
		imap_other(h, verb);
	}
}

/* A literal that is announced at the end of the line. false: none. */
static bool announces(struct mailbox_host *h, const char *p, size_t len, size_t *size, bool *at_once)
{
	const char *brace = len > 4 && p[len - 3] == '}' ? memrchr(p, '{', len) : NULL;
	char *end;

	if (!brace || brace[1] < '0' || brace[1] > '9')
		return false;
	*size = strtoul(brace + 1, &end, 10);
	*at_once = *end == '+';
	end += *at_once;
	return end == p + len - 3 && *size < COMMAND_MAX / 2;
}

/* --- POP3 --- */

static void pop3_list(struct mailbox_host *h, const char *verb)
{
	char line[100];

	if (strchr(verb, ' ')) {
		snprintf(line, sizeof(line), "+OK 1 %s\r\n", word(verb, "UIDL") ? "u1" : "44");
		end_says(h->end, line);
	} else {
		end_says(h->end, word(verb, "UIDL") ? "+OK\r\n1 u1\r\n2 u2\r\n.\r\n" : "+OK\r\n1 44\r\n2 53\r\n.\r\n");
	}
}

static void pop3_login(struct mailbox_host *h, bool good)
{
	h->in |= good;
	end_says(h->end, good ? "+OK in\r\n" : "-ERR [AUTH] no\r\n");
}

static void pop3_mail(struct mailbox_host *h, const char *verb)
{
	if (word(verb, "STAT")) {
		end_says(h->end, "+OK 2 97\r\n");
	} else if (word(verb, "LIST") || word(verb, "UIDL")) {
		pop3_list(h, verb);
	} else if (word(verb, "RETR") || word(verb, "TOP")) {
		end_says(h->end, "+OK it follows\r\n");
		end_says(h->end, strstr(verb, " 1") ? FIRST ".\r\n" : "Subject: hold\r\nFrom: b@example.org\r\n\r\n...dots\r\n..\r\nend\r\n.\r\n");
	} else {
		end_says(h->end, "+OK done\r\n");
	}
}

static void pop3_command(struct mailbox_host *h)
{
	const char *verb = buf_str(&h->command);

	if (h->step == 'a') {
		h->step = 0;
		pop3_login(h, strstr(verb, "AHVzZXIAc2VjcmV0") != NULL);
	} else if (word(verb, "CAPA")) {
		end_says(h->end, "+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\nSASL PLAIN LOGIN\r\n");
		end_says(h->end, h->starttls && !h->end->ssl ? "STLS\r\n.\r\n" : ".\r\n");
	} else if (word(verb, "STLS") && h->starttls && !h->end->ssl) {
		end_says(h->end, "+OK begin\r\n");
		end_tls(h->end, end_server_ctx(), true);
	} else if (word(verb, "QUIT")) {
		end_says(h->end, "+OK bye\r\n");
		h->end->then = END_FIN;
		h->deaf = true;
	} else if (h->in) {
		pop3_mail(h, verb);
	} else if (word(verb, "USER")) {
		h->named = true;
		end_says(h->end, "+OK password\r\n");
	} else if (word(verb, "PASS")) {
		pop3_login(h, h->named && strstr(verb, "secret"));
	} else if (word(verb, "APOP")) {
		pop3_login(h, false);
	} else if (word(verb, "AUTH") && strlen(verb) > 14) {
		pop3_login(h, strstr(verb, "AHVzZXIAc2VjcmV0") != NULL);
	} else if (word(verb, "AUTH")) {
		h->step = 'a';
		end_says(h->end, "+ \r\n");
	} else {
		end_says(h->end, "-ERR what\r\n");
	}
}

/* --- both --- */

static bool take_literal(struct mailbox_host *h)
{
	size_t len = h->end->heard.len - h->at;

	if (len > h->literal)
		len = h->literal;
	buf_add(&h->command, h->end->heard.data + h->at, len);
	h->at += len;
	h->literal -= len;
	return len > 0;
}

static bool take_line(struct mailbox_host *h)
{
	const char *p = h->end->heard.data + h->at;
	const char *lf = memchr(p, '\n', h->end->heard.len - h->at);
	size_t len = lf ? (size_t)(lf - p) + 1 : 0, size;
	bool at_once;

	if (!lf)
		return false;
	if (!h->in && (len < 2 || lf[-1] != '\r' || memchr(p, '\r', len - 2) || memchr(p, '\0', len)))
		rig_wrong("a line to the server with a CR or LF alone, or a NUL", h->end);
	h->at += len;
	buf_add(&h->command, p, len);
	if (h->imap && !h->step && announces(h, p, len, &size, &at_once)) {
		h->literal = size;
		if (!at_once)
			end_says(h->end, "+ go on\r\n");
		return true;
	}
	if (h->imap)
		imap_command(h);
	else
		pop3_command(h);
	buf_clear(&h->command);
	return true;
}

bool mailbox_host_step(struct mailbox_host *h)
{
	size_t before = h->at;

	while (!h->deaf && h->at < h->end->heard.len)
		if (!(h->literal ? take_literal(h) : take_line(h)))
			break;
	/* Who hears the end of the gateway's side ends his own. */
	if (h->end->over && h->end->w && h->end->then == END_STAYS && !h->end->w->in_end)
		h->end->then = END_FIN;
	return h->at != before;
}
