#include "filters/from_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/domain.h"

enum { COMMENT_DEPTH_MAX = 32 };        /* nested comments; RFC 5322 3.2.2 sets no bound */
enum { SCAN_MAX = 4 * FROM_ADDRESSES_MAX };     /* "@" that are looked at in a field that is none */

enum token { TOKEN_END, TOKEN_ATOM, TOKEN_QUOTED, TOKEN_LITERAL, TOKEN_SPECIAL, TOKEN_BAD };

/* Reads one token after the other; the present one is in kind and at p[start..end). */
struct reader {
	const char *p;
	size_t len, at;
	enum token kind;
	size_t start, end;
	const char *why;                /* of TOKEN_BAD, and of the first thing that was wrong */
};

/* RFC 5322 3.2.3, and every 8-bit byte (RFC 6532 3.2; raw GBK as well: it is common). */
static bool is_atext(char c)
{
	if ((unsigned char)c >= 0x80)
		return true;
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool bad(struct reader *r, const char *why)
{
	r->kind = TOKEN_BAD;
	if (!r->why)
		r->why = why;
	return false;
}

/* The byte at i may stand in a comment or quoted string: NUL never, line ends only as part of a
 * fold. */
static bool quotable(const struct reader *r, size_t i)
{
	char c = r->p[i];

	if (c == '\r')
		return i + 1 < r->len && r->p[i + 1] == '\n';
	if (c == '\n')
		return i > 0 && r->p[i - 1] == '\r' && i + 1 < r->len &&
		       (r->p[i + 1] == ' ' || r->p[i + 1] == '\t');
	return c != '\0';
}

/* From an opening parenthesis to behind its end. */
static bool skip_comment(struct reader *r)
{
	int depth = 0;

	for (; r->at < r->len; r->at++) {
		char c = r->p[r->at];

		if (!quotable(r, r->at))
			return bad(r, "a control character in a comment");
		if (c == '\\') {
			r->at++;
		} else if (c == '(') {
			if (++depth > COMMENT_DEPTH_MAX)
				return bad(r, "comments nested too deeply");
		} else if (c == ')' && --depth == 0) {
			r->at++;
			return true;
		}
	}
	return bad(r, "a comment without end");
}

static bool skip_cfws(struct reader *r)
{
	while (r->at < r->len) {
		char c = r->p[r->at];

		if (c == '(') {
			if (!skip_comment(r))
				return false;
		} else if (c == ' ' || c == '\t') {
			r->at++;
		} else if (c == '\r' || c == '\n') {
			if (!quotable(r, r->at))
				return bad(r, "a line end that is no fold");
			r->at++;
		} else {
			break;
		}
	}
	return true;
}

/* From an opening quote or bracket to behind its end. */
static bool read_enclosed(struct reader *r, char end, const char *open_why)
{
	for (r->at++; r->at < r->len; r->at++) {
		char c = r->p[r->at];

		if (!quotable(r, r->at))
			return bad(r, "a control character between quotes");
		if (c == '\\') {
			r->at++;
		} else if (c == end) {
			r->at++;
			return true;
		} else if (end == ']' && c == '[') {
			break;
		}
	}
	return bad(r, open_why);
}

static void next(struct reader *r)
{
	char c;

	if (r->kind == TOKEN_BAD || !skip_cfws(r))
		return;
	r->start = r->end = r->at;
	r->kind = TOKEN_END;
	if (r->at == r->len)
		return;
	c = r->p[r->at];
	if (is_atext(c)) {
		while (r->at < r->len && is_atext(r->p[r->at]))
			r->at++;
		r->kind = TOKEN_ATOM;
	} else if (c == '"') {
		if (!read_enclosed(r, '"', "a quoted string without end"))
			return;
		r->kind = TOKEN_QUOTED;
	} else if (c == '[') {
		if (!read_enclosed(r, ']', "an address literal without end"))
			return;
		r->kind = TOKEN_LITERAL;
	} else if (strchr("<>@,;:.", c) && c != '\0') {
		r->at++;
		r->kind = TOKEN_SPECIAL;
	} else {
		bad(r, "a character that must be quoted");
		return;
	}
	r->end = r->at;
}

static bool is(const struct reader *r, char special)
{
	return r->kind == TOKEN_SPECIAL && r->p[r->start] == special;
}

static bool is_word(const struct reader *r)
{
	return r->kind == TOKEN_ATOM || r->kind == TOKEN_QUOTED;
}

static int list_add(char ***list, size_t *count, const char *text)
{
	char **more = realloc(*list, (*count + 1) * sizeof **list), *copy;

	if (!more)
		return -ENOMEM;
	*list = more;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	more[(*count)++] = copy;
	return 0;
}

static int domain_add(struct from_authors *a, const char *domain)
{
	for (size_t i = 0; i < a->domain_count; i++) {
		if (strcmp(a->domain[i], domain) == 0)
			return 0;
	}
	if (a->domain_count == FROM_ADDRESSES_MAX) {
		a->overflow = true;
		return 0;
	}
	return list_add(&a->domain, &a->domain_count, domain);
}

/* Text is put together here, without the blanks and comments between its parts. */
struct text {
	char s[FROM_ADDRESS_BYTES];
	size_t len;
	bool cut;
};

static void text_add(struct text *t, const char *p, size_t len)
{
	if (len >= sizeof t->s - t->len) {
		t->cut = true;
		return;
	}
	memcpy(t->s + t->len, p, len);
	t->len += len;
}

/* "[192.0.2.1]", lower case, without blanks. */
static bool literal_text(const struct text *in, char *out, size_t size)
{
	size_t n = 0;

	if (in->len < 3 || in->len >= size || in->s[0] != '[' || in->s[in->len - 1] != ']')
		return false;
	for (size_t i = 0; i < in->len; i++) {
		unsigned char c = (unsigned char)in->s[i];

		if (c <= ' ' || c >= 0x7f || c == '\\')
			return false;
		out[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	out[n] = '\0';
	return true;
}

/* One address is complete. 0, -EBADMSG when its domain is none, -ENOMEM. */
static int author_add(struct from_authors *a, const struct text *local, const struct text *domain)
{
	char name[DOMAIN_MAX], address[FROM_ADDRESS_BYTES + DOMAIN_MAX + 2];
	size_t n = local->len;
	int rc;

	if (local->cut || domain->cut || memchr(local->s, '\0', local->len))
		return -EBADMSG;
	if (!literal_text(domain, name, sizeof name) &&
	    domain_canonical(domain->s, domain->len, name) < 0)
		return -EBADMSG;
	if (a->address_count == FROM_ADDRESSES_MAX) {
		a->overflow = true;
		return -EBADMSG;
	}
	rc = domain_add(a, name);
	if (rc < 0)
		return rc;
	memcpy(address, local->s, n);
	address[n++] = '@';
	strcpy(address + n, name);
	return list_add(&a->address, &a->address_count, address);
}

/* word *("." word): a local part, or with literal a domain. RFC 5322 4.4 allows blanks around the
 * dots. */
static bool read_dotted(struct reader *r, struct text *out, bool domain)
{
	if (domain && r->kind == TOKEN_LITERAL) {
		text_add(out, r->p + r->start, r->end - r->start);
		next(r);
		return true;
	}
	for (;;) {
		if (domain ? r->kind != TOKEN_ATOM : !is_word(r))
			return bad(r, domain ? "no domain after @" : "no local part before @");
		text_add(out, r->p + r->start, r->end - r->start);
		next(r);
		if (!is(r, '.'))
			return r->kind != TOKEN_BAD;
		text_add(out, ".", 1);
		next(r);
	}
}

/* "@" domain, the present token being the "@"; then the address is complete. */
static int read_domain(struct reader *r, const struct text *local, struct from_authors *a)
{
	struct text domain = { .len = 0 };
	int rc;

	if (!is(r, '@')) {
		bad(r, "no @ in an address");
		return -EBADMSG;
	}
	next(r);
	if (!read_dotted(r, &domain, true))
		return -EBADMSG;
	rc = author_add(a, local, &domain);
	if (rc == -EBADMSG)
		bad(r, a->overflow ? "too many addresses"
		                   : "the part after @ is not a domain name");
	return rc;
}

/* Between angles: [route ":"] addr-spec. The route (RFC 5322 4.4, obs-route) names no author. */
static int read_angle(struct reader *r, struct from_authors *a)
{
	struct text local = { .len = 0 };
	int rc;

	next(r);
	if (is(r, '@') || is(r, ',')) {
		while (is(r, '@') || is(r, ',')) {
			struct text hop = { .len = 0 };

			if (is(r, '@')) {
				next(r);
				if (!read_dotted(r, &hop, true))
					return -EBADMSG;
			} else {
				next(r);
			}
		}
		if (!is(r, ':')) {
			bad(r, "a route without colon");
			return -EBADMSG;
		}
		next(r);
	}
	if (!read_dotted(r, &local, false))
		return -EBADMSG;
	rc = read_domain(r, &local, a);
	if (rc < 0)
		return rc;
	if (!is(r, '>')) {
		bad(r, "no > after an address");
		return -EBADMSG;
	}
	next(r);
	return 0;
}

/*
 * What begins with words: a local part and its domain, or a phrase (with the dots of RFC 5322 4.1)
 * before "<" or, with group not NULL, before the ":" of a group.
 */
static int read_words(struct reader *r, struct from_authors *a, bool *group)
{
	struct text local = { .len = 0 };
	bool dotted = true, want_word = true;

	while (is_word(r) || is(r, '.')) {
		bool dot = is(r, '.');

		dotted &= dot != want_word;     /* word and dot by turns: it may be a local part */
		want_word = dot;
		text_add(&local, r->p + r->start, r->end - r->start);
		next(r);
	}
	if (is(r, '<'))
		return read_angle(r, a);
	if (group && is(r, ':')) {
		*group = true;
		next(r);
		return 0;
	}
	if (is(r, '@') && dotted && !want_word)
		return read_domain(r, &local, a);
	bad(r, is(r, '@') ? "words before an address without <>" : "words without an address");
	return -EBADMSG;
}

/* One mailbox, or the head of a group. */
static int read_address(struct reader *r, struct from_authors *a, bool *group)
{
	if (is(r, '<'))
		return read_angle(r, a);
	/* A phrase begins with a word, RFC 5322 3.2.5. */
	if (is_word(r))
		return read_words(r, a, group);
	bad(r, "a special character where an address was expected");
	return -EBADMSG;
}

/* The list; RFC 5322 4.4 allows empty elements. */
static int read_list(struct reader *r, struct from_authors *a)
{
	bool in_group = false, any = false;

	for (next(r); r->kind != TOKEN_END;) {
		bool head = false;
		int rc = 0;

		if (!is(r, ',') && !(in_group && is(r, ';'))) {
			rc = read_address(r, a, in_group ? NULL : &head);
			if (rc < 0)
				return rc;
			any = true;
		}
		if (head) {
			in_group = true;
			continue;
		}
		if (in_group && is(r, ';')) {
			in_group = false;
			next(r);
		}
		if (is(r, ','))
			next(r);
		else if (r->kind != TOKEN_END && !(in_group && is(r, ';'))) {
			bad(r, "more after an address, without a comma");
			return -EBADMSG;
		}
	}
	if (in_group)
		bad(r, "a group without ;");
	else if (!any)
		bad(r, "no address");
	return in_group || !any ? -EBADMSG : 0;
}

static bool is_address_byte(char c)
{
	return is_atext(c) || c == '.';
}

/* Where the quoted string or comment at i ends, or i when it does not. */
static size_t enclosed_end(const char *p, size_t len, size_t i)
{
	struct reader r = { .p = p, .len = len, .at = i };

	return (p[i] == '(' ? skip_comment(&r) : read_enclosed(&r, '"', "")) ? r.at : i;
}

/* The "@" at i, with what stands around it. */
static int scan_address(const char *p, size_t len, size_t i, struct from_authors *a)
{
	struct text local = { .len = 0 }, domain = { .len = 0 };
	size_t from = i, to = i + 1;

	while (from > 0 && i - from < FROM_ADDRESS_BYTES / 2 && is_address_byte(p[from - 1]))
		from--;
	while (to < len && to - i < DOMAIN_MAX &&
	       (is_address_byte(p[to]) || p[to] == '[' || p[to] == ']'))
		to++;
	text_add(&local, p + from, i - from);
	text_add(&domain, p + i + 1, to - i - 1);
	return author_add(a, &local, &domain);
}

/*
 * Every "words@domain" that stands outside of well-formed quoted strings and comments. Past the
 * first that has no end, its opening character is one like any other: each byte is read at most
 * three times.
 */
static int scan_for_addresses(const char *p, size_t len, struct from_authors *a)
{
	bool open[2] = { false, false };
	int tries = 0;

	for (size_t i = 0; i < len; i++) {
		bool *unended = &open[p[i] == '('];

		if ((p[i] == '"' || p[i] == '(') && !*unended) {
			size_t end = enclosed_end(p, len, i);

			*unended = end == i;
			if (end > i)
				i = end - 1;
		} else if (p[i] == '@') {
			if (++tries > SCAN_MAX)
				a->overflow = true;
			if (a->overflow)
				return 0;
			if (scan_address(p, len, i, a) == -ENOMEM)
				return -ENOMEM;
		}
	}
	return 0;
}

int from_parse(const char *p, size_t len, struct from_authors *out, const char **why)
{
	struct reader r = { .p = p, .len = len };
	struct from_authors found = { .address = NULL };
	int rc, scanned = 0;

	rc = read_list(&r, &found);
	if (rc == 0 && r.kind == TOKEN_BAD)
		rc = -EBADMSG;
	if (rc == -EBADMSG) {
		from_authors_release(&found);
		scanned = scan_for_addresses(p, len, &found);
		*why = r.why ? r.why : "not an address list";
	}
	for (size_t i = 0; scanned == 0 && i < found.domain_count; i++)
		scanned = domain_add(out, found.domain[i]);
	for (size_t i = 0; scanned == 0 && i < found.address_count; i++) {
		if (out->address_count == FROM_ADDRESSES_MAX)
			out->overflow = true;
		else
			scanned = list_add(&out->address, &out->address_count, found.address[i]);
	}
	out->overflow |= found.overflow;
	from_authors_release(&found);
	return scanned < 0 ? scanned : rc;
}

void from_authors_release(struct from_authors *a)
{
	for (size_t i = 0; i < a->address_count; i++)
		free(a->address[i]);
	for (size_t i = 0; i < a->domain_count; i++)
		free(a->domain[i]);
	free(a->address);
	free(a->domain);
	*a = (struct from_authors){ .address = NULL };
}
