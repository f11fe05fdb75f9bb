#include "imap/imap_structure.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 64 };                /* parts within parts */

/* Fields of a part that is no multipart: type, subtype, parameters, id, description, encoding, size; of message/rfc822 then envelope, body. */
enum { ENCODING_FIELD = 5, FIELDS_BEFORE_BODY = 8 };

struct reader {
	const char *p, *end;
};

static bool peek(const struct reader *r, char c)
{
	return r->p < r->end && *r->p == c;
}

static void blanks(struct reader *r)
{
	while (peek(r, ' '))
		r->p++;
}

/* A quoted string or literal at the front; *out is what stands in it, as it came. */
static bool take_string(struct reader *r, struct imap_span *out)
{
	uint64_t n = 0;

	if (peek(r, '"')) {
		out->p = ++r->p;
		while (r->p < r->end && *r->p != '"')
			r->p += *r->p == '\\' && r->end - r->p > 1 ? 2 : 1;
		out->len = (size_t)(r->p - out->p);
		if (r->p >= r->end)
			return false;
		r->p++;
		return true;
	}
	if (peek(r, '~'))
		r->p++;
	if (!peek(r, '{'))
		return false;
	for (r->p++; r->p < r->end && *r->p >= '0' && *r->p <= '9' && n < 1000000000; r->p++)
		n = n * 10 + (uint64_t)(*r->p - '0');
	if (r->end - r->p < 3 || memcmp(r->p, "}\r\n", 3) != 0 || n > (uint64_t)(r->end - r->p) - 3)
		return false;
	*out = (struct imap_span){ r->p + 3, (size_t)n };
	r->p = out->p + n;
	return true;
}

/* One value of any kind. false: there is none, or it does not end. */
static bool skip(struct reader *r)
{
	struct imap_span s;
	size_t depth = 0;

	blanks(r);
	do {
		const char *from = r->p;

		if (r->p >= r->end)
			return false;
		if (*r->p == '(') {
			depth++;
			r->p++;
		} else if (*r->p == ')') {
			if (depth == 0)
				return false;
			depth--;
			r->p++;
		} else if (*r->p == '"' || *r->p == '{' || *r->p == '~') {
			if (!take_string(r, &s))
				return false;
		} else {
			while (r->p < r->end && !strchr(" ()\"{~", *r->p))
				r->p++;
		}
		blanks(r);
		if (r->p == from)
			return false;
	} while (depth);
	return true;
}

static bool skip_many(struct reader *r, int n)
{
	while (n-- > 0)
		if (!skip(r))
			return false;
	return true;
}

/* "12." at the front of a part's name. 0: none. */
static unsigned take_number(struct imap_span *part)
{
	unsigned n = 0;

	while (part->len && part->p[0] >= '0' && part->p[0] <= '9' && n < 100000) {
		n = n * 10 + (unsigned)(part->p[0] - '0');
		part->p++;
		part->len--;
	}
	if (part->len && part->p[0] == '.') {
		part->p++;
		part->len--;
	}
	return n;
}

/* At the fields of a part, behind its parenthesis. */
static enum transfer_encoding encoding_here(struct reader r)
{
	struct imap_span s;

	if (!skip_many(&r, ENCODING_FIELD))
		return TRANSFER_PLAIN;
	blanks(&r);
	return take_string(&r, &s) ? transfer_find(s.p, s.len) : TRANSFER_PLAIN;
}

/* At the fields of a part: to the body of the message that it holds. */
static bool enter_message(struct reader *r)
{
	struct reader q = *r;
	struct imap_span type, subtype;

	blanks(&q);
	if (!take_string(&q, &type))
		return false;
	blanks(&q);
	if (!take_string(&q, &subtype) || type.len != 7 || strncasecmp(type.p, "message", 7) != 0)
		return false;
	if (!skip_many(r, FIELDS_BEFORE_BODY))
		return false;
	blanks(r);
	return peek(r, '(');
}

/*
 * At each step r stands at the parenthesis of a body. A multipart begins with those of its parts; what is none is part 1 of itself, whether it is the
 * message or the one that a message/rfc822 holds (RFC 9051 section 6.4.5.1).
 */
enum transfer_encoding imap_structure_encoding(const char *p, size_t len, struct imap_span part)
{
	struct reader r = { p, p + len };
	bool entered = true;            /* a message, of which parts can be asked for */

	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		unsigned n;

		blanks(&r);
		if (!peek(&r, '('))
			return TRANSFER_PLAIN;
		r.p++;
		blanks(&r);
		if (peek(&r, '(')) {
			n = take_number(&part);
			if (n == 0 || !skip_many(&r, (int)n - 1))
				return TRANSFER_PLAIN;
			blanks(&r);
			entered = false;
			continue;
		}
		if (entered && part.len && take_number(&part) != 1)
			return TRANSFER_PLAIN;
		if (part.len == 0)
			return encoding_here(r);
		if (!enter_message(&r))
			return TRANSFER_PLAIN;
		entered = true;
	}
	return TRANSFER_PLAIN;
}
