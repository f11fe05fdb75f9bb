#include "filters/received.h"

#include <string.h>
#include <strings.h>

enum { COMMENTS_MAX = 16, NESTED_MAX = 4, WORDS_MAX = 64 };

struct span {
	const char *p;
	size_t len;
};

/* A word, or a comment: what is between its parentheses. */
struct token {
	struct span s;
	bool comment;
};

struct scan {
	const char *p, *end;
	unsigned comments, words;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.len && is_space(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len && is_space(s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool is(struct span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.p, word, s.len) == 0;
}

static bool begins(struct span s, const char *word)
{
	return s.len >= strlen(word) && strncasecmp(s.p, word, strlen(word)) == 0;
}

/* The first n octets of s are gone. */
static struct span past(struct span s, size_t n)
{
	return (struct span){ s.p + n, s.len - n };
}

/* The octets of s up to the first of these, all if there is none. */
static struct span until(struct span s, const char *stop)
{
	size_t n = 0;

	while (n < s.len && !strchr(stop, s.p[n]))
		n++;
	return (struct span){ s.p, n };
}

static bool comment(struct scan *s, struct token *t)
{
	const char *begin = ++s->p;
	int depth = 1;

	if (++s->comments > COMMENTS_MAX)
		return false;
	for (; s->p < s->end; s->p++) {
		if (*s->p == '\\' && s->p + 1 < s->end)
			s->p++;
		else if (*s->p == '(' && ++depth > NESTED_MAX)
			return false;
		else if (*s->p == ')' && --depth == 0)
			break;
	}
	if (s->p >= s->end)
		return false;
	*t = (struct token){ .s = trim((struct span){ begin, (size_t)(s->p - begin) }), .comment = true };
	s->p++;
	return true;
}

/* The next one up to the date. 1, 0 at the end, -1: not to be read. */
static int next(struct scan *s, struct token *t)
{
	const char *begin;

	while (s->p < s->end && is_space(*s->p))
		s->p++;
	if (s->p >= s->end || *s->p == ';')
		return 0;
	if (*s->p == '(')
		return comment(s, t) ? 1 : -1;
	if (*s->p == ')' || ++s->words > WORDS_MAX)
		return -1;
	for (begin = s->p; s->p < s->end && !is_space(*s->p) && !strchr("();", *s->p);)
		s->p++;
	*t = (struct token){ .s = { begin, (size_t)(s->p - begin) } };
	return 1;
}

/* ---- addresses and names ---- */

/* "192.0.2.7", "2001:db8::7", "IPv6:2001:db8::7"; nothing else. */
static bool address(struct span s, struct net_addr *out)
{
	char text[NET_TEXT_MAX];

	if (begins(s, "IPv6:"))
		s = past(s, 5);
	if (s.len == 0 || s.len >= sizeof(text) || memchr(s.p, '\0', s.len))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	return net_parse(text, out) == 0;
}

/* "[192.0.2.7]" at the start of s; *used is its length. */
static bool literal(struct span s, struct net_addr *out, size_t *used)
{
	struct span inside;

	if (!begins(s, "["))
		return false;
	inside = until(past(s, 1), "]");
	if (inside.len + 2 > s.len || !address(inside, out))
		return false;
	*used = inside.len + 2;
	return true;
}

static void name_set(char out[RECEIVED_NAME_MAX], struct span s)
{
	out[0] = '\0';
	if (s.len == 0 || s.len >= RECEIVED_NAME_MAX)
		return;
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
			return;
	memcpy(out, s.p, s.len);
	out[s.len] = '\0';
}

/* Exim: ":25 helo=NAME ident=WORD" behind an address, "helo=NAME port=25" without one. False: there is anything else. */
static bool pairs(struct span s, struct received *r)
{
	if (begins(s, ":")) {
		struct span port = until(past(s, 1), " \t\r\n");

		for (size_t i = 0; i < port.len; i++)
			if (port.p[i] < '0' || port.p[i] > '9')
				return false;
		if (port.len == 0 || port.len > 5)
			return false;
		s = past(s, 1 + port.len);
	}
	for (s = trim(s); s.len; s = trim(s)) {
		struct span pair = until(s, " \t\r\n");

		if (begins(pair, "helo="))
			name_set(r->helo, past(pair, 5));
		else if (!begins(pair, "ident=") && !begins(pair, "port="))
			return false;
		s = past(s, pair.len);
	}
	return true;
}

/* "NAME [ADDRESS]", with "(may be forged)" behind it where Sendmail thinks so. */
static bool named_address(struct span c, struct net_addr *out)
{
	struct span name = until(c, " \t\r\n"), rest;
	size_t used;

	if (name.len == 0 || name.len == c.len || memchr(name.p, '[', name.len))
		return false;
	rest = trim(past(c, name.len));
	if (!literal(rest, out, &used))
		return false;
	rest = trim(past(rest, used));
	return rest.len == 0 || is(rest, "(may be forged)");
}

/* "ADDRESS", "user@ADDRESS" (qmail has asked by ident), "[ADDRESS]". */
static bool bare_address(struct span c, struct net_addr *out)
{
	const char *at = memchr(c.p, '@', c.len);
	size_t used;

	if (at)
		c = past(c, (size_t)(at - c.p) + 1);
	return address(c, out) || (literal(c, out, &used) && used == c.len);
}

/* Whether a comment says an address in one of these ways. */
static bool tells_address(struct span c)
{
	struct net_addr a;
	size_t used;

	return literal(c, &a, &used) || named_address(c, &a) || bare_address(c, &a);
}

/* ---- the clauses ---- */

/* The second comment has an address only behind a HELO in the first one. */
static bool one_address(const struct token *c, size_t n)
{
	return n < 2 || begins(c[0].s, "HELO ") || begins(c[0].s, "EHLO ") || !tells_address(c[1].s);
}

/* "from NAME (...) (...)": what is in c[0..n) behind the name. */
static bool from_clause(struct span name, const struct token *c, size_t n, bool exim, struct received *r)
{
	struct net_addr own;
	size_t used;
	bool is_literal = literal(name, &own, &used) && used == name.len;

	name_set(r->helo, is(name, "unknown") ? (struct span){ "", 0 } : name);
	if (n == 0 || (n > 0 && (begins(c[0].s, "helo=") || begins(c[0].s, "port=")))) {
		/* Exim alone puts the address itself there; elsewhere it is what the client has said. */
		r->addr = own;
		r->addr.family = is_literal && exim ? own.family : 0;
		if (n > 0)
			r->helo[0] = '\0';
		return r->addr.family && (n == 0 || pairs(c[0].s, r));
	}
	if (begins(c[0].s, "HELO ") || begins(c[0].s, "EHLO ")) {
		name_set(r->helo, trim(past(c[0].s, 5)));
		return n > 1 && bare_address(c[1].s, &r->addr);
	}
	if (!one_address(c, n))
		return false;
	if (literal(c[0].s, &r->addr, &used))
		return pairs(past(c[0].s, used), r);
	return named_address(c[0].s, &r->addr) || bare_address(c[0].s, &r->addr);
}

static const char *version_in(struct span c)
{
	static const struct { const char *text, *version; } words[] = {
		{ "TLSv1.3", "TLSv1.3" }, { "TLSv1.2", "TLSv1.2" }, { "TLSv1.1", "TLSv1.1" }, { "TLS1_3", "TLSv1.3" }, { "TLS1_2", "TLSv1.2" },
		{ "TLS1_1", "TLSv1.1" },  { "TLS1.3", "TLSv1.3" },  { "TLS1.2", "TLSv1.2" },  { "TLS1.1", "TLSv1.1" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (memmem(c.p, c.len, words[i].text, strlen(words[i].text)))
			return words[i].version;
	return NULL;
}

/* What is behind "with": RFC 3848, RFC 6531; "Microsoft SMTP Server". False: no SMTP. */
static bool protocol(struct span w, struct received *r)
{
	static const struct { const char *word; bool esmtp, tls; } words[] = {
		{ "SMTP", false, false },	{ "ESMTP", true, false },	{ "ESMTPS", true, true },	{ "ESMTPSA", true, true },
		{ "ESMTPA", true, false },	{ "SMTPS", false, true },	{ "LMTP", true, false },	{ "LMTPS", true, true },
		{ "LMTPA", true, false },	{ "LMTPSA", true, true },	{ "UTF8SMTP", true, false },	{ "UTF8SMTPS", true, true },
		{ "UTF8SMTPA", true, false },	{ "UTF8SMTPSA", true, true },	{ "Microsoft", true, false },	{ "asmtp", true, false },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!is(w, words[i].word))
			continue;
		r->esmtp = words[i].esmtp;
		r->tls = words[i].tls;
		return true;
	}
	return false;
}

/* What is said of the line as a whole, behind "from". */
struct rest {
	bool by, exim, with, smtp;
};

/* The clauses from "by" on. False: not to be read. */
static bool read_rest(struct scan *s, struct token *t, int more, struct rest *out, struct received *r)
{
	bool with = false;

	for (; more > 0; more = next(s, t)) {
		if (t->comment) {
			const char *version = version_in(t->s);

			out->exim = out->exim || begins(t->s, "Exim ");
			if (version && !r->tls_version)
				r->tls_version = version;
		} else if (with) {
			out->smtp = protocol(t->s, r);
			with = false;
		} else if (is(t->s, "with") && !out->with) {
			out->with = with = true;
		} else if (is(t->s, "by")) {
			if (out->by)
				return false;
			out->by = true;
		}
	}
	return more == 0;
}

void received_parse(const char *body, size_t len, struct received *out)
{
	struct scan s = { .p = body, .end = body + len };
	struct token t = { 0 }, c[2];
	struct span name = { 0 };
	struct rest rest = { 0 };
	size_t n = 0;
	bool from;
	int more;

	*out = (struct received){ .kind = RECEIVED_UNREADABLE };
	if (len > RECEIVED_MAX || memchr(body, '\0', len))
		return;
	more = next(&s, &t);
	/* qmail's first line, above the one with the address; "invoked by uid 1000", "by alias": it began there. */
	if (more > 0 && t.comment && begins(t.s, "qmail ")) {
		out->kind = memmem(t.s.p, t.s.len, "invoked from network", 20) ? RECEIVED_HANDED_ON : RECEIVED_ORIGIN;
		return;
	}
	from = more > 0 && !t.comment && is(t.s, "from");
	if (from) {
		more = next(&s, &t);
		if (more <= 0 || t.comment)
			return;
		name = t.s;
		/* Postfix, and others, say more in comments behind: how TLS was, who logged in. A second address is somebody's forgery. */
		while ((more = next(&s, &t)) > 0 && t.comment) {
			const char *version = n > 0 ? version_in(t.s) : NULL;

			if (n > 1 && tells_address(t.s))
				return;
			if (n < 2)
				c[n++] = t;
			if (version && !out->tls_version)
				out->tls_version = version;
		}
	}
	if (more <= 0 || !is(t.s, "by") || !read_rest(&s, &t, more, &rest, out))
		more = -1;
	if (more < 0 || !rest.by) {
		*out = (struct received){ .kind = RECEIVED_UNREADABLE };
		return;
	}
	if (!from || (rest.with && !rest.smtp)) {
		enum received_kind kind = rest.with && rest.smtp ? RECEIVED_SILENT : RECEIVED_ORIGIN;

		*out = (struct received){ .kind = kind };
		return;
	}
	out->kind = from_clause(name, c, n, rest.exim, out) ? RECEIVED_CLIENT : RECEIVED_UNREADABLE;
	if (out->kind != RECEIVED_CLIENT) {
		*out = (struct received){ .kind = RECEIVED_UNREADABLE };
		return;
	}
	out->addr.port = 0;
	out->tls = out->tls || out->tls_version;
}
