#include "imap/imap_caps.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/*
 * What a scan cannot see through: other octets than the message's (RFC 4978, 5259), messages shown without being fetched (5465 with its own
 * fetches, 8970, 4467, 4469), another user in the same session (8437), messages without numbers (9586), flags and removals in ways of their own (7162's
 * QRESYNC). "*" at the end: all that begin so.
 */
static const char *const blinding[] = {
	"COMPRESS=*", "CONVERT", "NOTIFY", "QRESYNC", "PREVIEW", "PREVIEW=*", "SNIPPET=*", "URLAUTH", "URLAUTH=*", "URL-PARTIAL", "CATENATE", "UNAUTHENTICATE",
	"UIDONLY",
};

static bool is(const char *p, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(p, word, len) == 0;
}

static bool begins(const char *p, size_t len, const char *with)
{
	return len >= strlen(with) && strncasecmp(p, with, strlen(with)) == 0;
}

static bool is_blinding(const char *p, size_t len)
{
	for (size_t i = 0; i < sizeof(blinding) / sizeof(blinding[0]); i++) {
		size_t n = strlen(blinding[i]);

		if (blinding[i][n - 1] == '*' ? len >= n - 1 && strncasecmp(p, blinding[i], n - 1) == 0 : is(p, len, blinding[i]))
			return true;
	}
	return false;
}

bool imap_caps_mechanism(const struct imap_view *v, const char *name, size_t len)
{
	unsigned known = sasl_find(name, len);

	if (is(name, len, "EXTERNAL") || (len > 5 && strncasecmp(name + len - 5, "-PLUS", 5) == 0))
		return false;
	if (v->routed && !(known & SASL_NAME_FIRST))
		return false;
	/* One that is not known may say a password as it is (PLAIN-CLIENTTOKEN, XYMCOOKIE); SCRAM never does. */
	if (v->clear_refused && (known ? known & SASL_SHOWS_PASSWORD : !begins(name, len, "SCRAM-")))
		return false;
	return !known || (known & v->mechanisms);
}

/* Whether a word of the server's stays. */
static bool stays(const struct imap_view *v, const char *p, size_t len)
{
	if (is(p, len, "STARTTLS"))
		return v->starttls && !v->logged_in;
	if (begins(p, len, "AUTH="))
		return imap_caps_mechanism(v, p + 5, len - 5);
	return !(v->scanning && is_blinding(p, len));
}

/* The blanks before a word, and its length; 0: only blanks are left. */
static size_t word(const char *p, const char *end, size_t *blanks)
{
	const char *from = p, *blank;

	while (p < end && *p == ' ')
		p++;
	*blanks = (size_t)(p - from);
	blank = memchr(p, ' ', (size_t)(end - p));
	return (size_t)((blank ? blank : end) - p);
}

static bool find(const char *p, const char *end, const char *what)
{
	size_t blanks, n;

	for (; (n = word(p, end, &blanks)) > 0; p += blanks + n)
		if (is(p + blanks, n, what))
			return true;
	return false;
}

static void add(struct buf *out, size_t begun, const char *p)
{
	if (out->len > begun)
		buf_addc(out, ' ');
	buf_adds(out, p);
}

int imap_caps_adjust(const struct imap_view *v, const char *p, size_t len, struct buf *out)
{
	const char *end = p + len;
	bool starttls = v->starttls && !v->logged_in && !find(p, end, "STARTTLS");
	bool disabled = v->clear_refused && !v->logged_in && !find(p, end, "LOGINDISABLED");
	size_t begun = out->len, blanks, n;

	for (; (n = word(p, end, &blanks)) > 0; p += blanks + n) {
		/* Where servers have it as a rule: before the mechanisms. */
		if (starttls && (begins(p + blanks, n, "AUTH=") || is(p + blanks, n, "LOGINDISABLED"))) {
			add(out, begun, "STARTTLS");
			starttls = false;
		}
		if (!stays(v, p + blanks, n))
			continue;
		if (out->len > begun)
			blanks ? buf_add(out, p, blanks) : buf_addc(out, ' ');
		buf_add(out, p + blanks, n);
	}
	if (starttls)
		add(out, begun, "STARTTLS");
	if (disabled)
		add(out, begun, "LOGINDISABLED");
	buf_add(out, p, (size_t)(end - p));     /* a blank at the end */
	return out->failed ? -ENOMEM : 0;
}

void imap_caps_read(struct imap_caps *out, const char *p, size_t len)
{
	const char *end = p + len;
	size_t blanks, n;

	*out = (struct imap_caps){ .known = true };
	for (; (n = word(p, end, &blanks)) > 0; p += n) {
		p += blanks;
		if (is(p, n, "LOGINDISABLED"))
			out->login_disabled = true;
		else if (is(p, n, "STARTTLS"))
			out->starttls = true;
		else if (is(p, n, "LITERAL+"))
			out->literal_plus = true;
		else if (is(p, n, "LITERAL-") || is(p, n, "IMAP4rev2"))         /* RFC 9051 has it */
			out->literal_minus = true;
		else if (is(p, n, "SASL-IR"))
			out->sasl_ir = true;
		else if (is(p, n, "ID"))
			out->id = true;
		if (is(p, n, "IMAP4rev2"))                                      /* and this */
			out->sasl_ir = true;
	}
}

bool imap_caps_find(const char *line, size_t len, size_t *off, size_t *n)
{
	static const char name[] = "CAPABILITY ";
	const char *end = line + len, *p = memchr(line, ' ', len), *close;

	if (!p)
		return false;
	p++;
	if (begins(p, (size_t)(end - p), name) && line[0] == '*') {
		p += sizeof(name) - 1;
		*off = (size_t)(p - line);
		*n = (size_t)(end - p);
		return true;
	}
	/* A code: behind OK, and behind PREAUTH, NO, BAD, BYE all the same. */
	p = memchr(p, ' ', (size_t)(end - p));
	if (!p || end - p < 3 || p[1] != '[' || !begins(p + 2, (size_t)(end - p) - 2, name))
		return false;
	p += 2 + sizeof(name) - 1;
	close = memchr(p, ']', (size_t)(end - p));
	if (!close)
		return false;
	*off = (size_t)(p - line);
	*n = (size_t)(close - p);
	return true;
}
