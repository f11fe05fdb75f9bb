#include "filters/mime_param.h"

#include <errno.h>
#include <string.h>

#include "filters/charset.h"
#include "filters/rfc2047.h"

enum { SEGMENT_MAX = 999 };

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

struct reader {
	const char *p, *end;
	struct mime_params *out;
};

static void broken(struct reader *r, const char *why)
{
	if (!r->out->broken)
		r->out->broken = why;
}

/* Blanks and comments (RFC 5322 3.2.2), which may be nested. */
static void skip_cfws(struct reader *r)
{
	int depth = 0;

	for (; r->p < r->end; r->p++) {
		if (depth && *r->p == '\\' && r->end - r->p > 1)
			r->p++;
		else if (*r->p == '(')
			depth++;
		else if (depth && *r->p == ')')
			depth--;
		else if (!depth && !is_blank(*r->p))
			return;
	}
	if (depth)
		broken(r, "a comment without end");
}

/* Up to one of stop, a blank or a comment; lower case into out, whose size is max + 1. False: it was longer. */
static bool read_token(struct reader *r, const char *stop, char *out, size_t max)
{
	size_t n = 0;
	bool fits = true;

	for (; r->p < r->end && !is_blank(*r->p) && *r->p != '('; r->p++) {
		if (*r->p == '\0' || strchr(stop, *r->p))
			break;
		if (n < max)
			out[n++] = lower(*r->p);
		else
			fits = false;
	}
	out[n] = '\0';
	return fits;
}

/* "name*1*" is name, 1, extended; what does not follow RFC 2231 stays as it is. */
static void split_name(struct mime_param *v)
{
	size_t n = strlen(v->name);
	char *star;
	int number = 0;

	v->segment = -1;
	v->extended = n > 1 && v->name[n - 1] == '*';
	if (v->extended)
		v->name[--n] = '\0';
	star = strchr(v->name, '*');
	if (!star || star == v->name || !star[1])
		return;
	for (const char *d = star + 1; *d; d++) {
		if (*d < '0' || *d > '9' || number > SEGMENT_MAX)
			return;
		number = number * 10 + (*d - '0');
	}
	v->segment = number;
	*star = '\0';
}

/* After the opening quote. Only \" and \\ are pairs: a path's other backslashes are its own. */
static void read_quoted(struct reader *r, struct buf *out)
{
	for (r->p++; r->p < r->end; r->p++) {
		if (*r->p == '"') {
			r->p++;
			return;
		}
		if (*r->p == '\\' && r->end - r->p > 1 && (r->p[1] == '"' || r->p[1] == '\\'))
			r->p++;
		if (*r->p != '\r' && *r->p != '\n')
			buf_addc(out, *r->p);
	}
	broken(r, "a quote without end");
}

/* Without quotes it goes to the semicolon: names with blanks are sent so. A comment at its end is none of it. */
static void read_unquoted(struct reader *r, struct buf *out)
{
	const char *begin = r->p, *end, *comment;

	while (r->p < r->end && *r->p != ';')
		r->p++;
	end = r->p;
	while (end > begin && is_blank(end[-1]))
		end--;
	comment = end > begin && end[-1] == ')' ? memmem(begin, (size_t)(end - begin), " (", 2) : NULL;
	if (comment)
		end = comment;
	for (const char *p = begin; p < end; p++)
		if (*p != '\r' && *p != '\n')
			buf_addc(out, *p);
}

static void read_param(struct reader *r)
{
	struct mime_params *ps = r->out;
	struct mime_param v = { .at = ps->values.len };
	bool named = read_token(r, "=;", v.name, MIME_PARAM_NAME_MAX) && v.name[0];

	skip_cfws(r);
	if (r->p == r->end || *r->p != '=') {
		if (named)
			broken(r, "a parameter without a value");
		return;
	}
	r->p++;
	skip_cfws(r);
	if (r->p < r->end && *r->p == '"')
		read_quoted(r, &ps->values);
	else
		read_unquoted(r, &ps->values);
	v.len = ps->values.len - v.at;
	split_name(&v);
	if (!named)
		broken(r, "a parameter without a name");
	else if (ps->count < MIME_PARAMS_MAX)
		ps->v[ps->count++] = v;
	else
		broken(r, "too many parameters");
}

int mime_params_parse(const char *p, size_t len, struct mime_params *out)
{
	struct reader r = { .p = p, .end = p + len, .out = out };

	out->count = 0;
	out->broken = NULL;
	out->values.max = MIME_PARAM_BYTES_MAX;
	buf_clear(&out->values);
	if (len > MIME_PARAM_BYTES_MAX) {
		r.end = p + MIME_PARAM_BYTES_MAX;
		broken(&r, "a field that is too long");
	}
	skip_cfws(&r);
	if (!read_token(&r, ";", out->value, MIME_VALUE_MAX))
		broken(&r, "a value that is too long");
	while (r.p < r.end) {
		skip_cfws(&r);
		if (r.p < r.end && *r.p != ';')
			broken(&r, "more where a semicolon was expected");
		while (r.p < r.end && *r.p != ';')
			r.p++;
		if (r.p < r.end)
			r.p++;
		skip_cfws(&r);
		read_param(&r);
	}
	return out->values.failed ? -ENOMEM : 0;
}

void mime_params_release(struct mime_params *ps)
{
	buf_release(&ps->values);
}

static int hex_digit(char c)
{
	c = lower(c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void add_octets(const char *p, size_t len, bool percent, struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		bool escape = percent && p[i] == '%' && len - i > 2;
		int high = escape ? hex_digit(p[i + 1]) : -1, low = escape ? hex_digit(p[i + 2]) : -1;

		if (high >= 0 && low >= 0) {
			buf_addc(out, (char)(high * 16 + low));
			i += 2;
		} else {
			buf_addc(out, p[i]);
		}
	}
}

/* charset'language' before the octets of an extended value. RFC 2231 4. How many octets that is. */
static size_t charset_of(const char *p, size_t len, const struct charset **out)
{
	const char *first = memchr(p, '\'', len);
	const char *second = first ? memchr(first + 1, '\'', len - (size_t)(first + 1 - p)) : NULL;

	if (!second)
		return 0;
	*out = charset_find(first == p ? "us-ascii" : p, first == p ? 8 : (size_t)(first - p));
	return (size_t)(second + 1 - p);
}

static const struct mime_param *find(const struct mime_params *ps, const char *name, int segment)
{
	for (size_t i = 0; i < ps->count; i++)
		if (ps->v[i].segment == segment && strcmp(ps->v[i].name, name) == 0)
			return &ps->v[i];
	return NULL;
}

/* v and, when it is segment 0, those that follow. */
static int assemble(const struct mime_params *ps, const struct mime_param *v, bool decoded, struct buf *out)
{
	AUTO(buf) struct buf octets = BUF_INIT(MIME_PARAM_BYTES_MAX);
	const struct charset *charset = charset_find("us-ascii", 8);
	bool extended = v->extended;
	size_t start = out->len;
	int rc;

	for (int i = v->segment; v; v = i < 0 ? NULL : find(ps, v->name, ++i)) {
		const char *p = buf_str(&ps->values) + v->at;
		size_t skip = v->extended && i <= 0 ? charset_of(p, v->len, &charset) : 0;

		add_octets(p + skip, v->len - skip, v->extended, &octets);
	}
	if (octets.failed)
		return -ENOMEM;
	if (!decoded)
		return buf_add(out, buf_str(&octets), octets.len) < 0 ? -ENOMEM : 1;
	rc = extended ? charset_decode(charset, buf_str(&octets), octets.len, out)
		      : rfc2047_decode(buf_str(&octets), octets.len, out);
	if (rc < 0)
		return -ENOMEM;
	charset_tidy(out, start);
	return 1;
}

int mime_params_get(const struct mime_params *ps, const char *name, size_t nth, bool decoded, struct buf *out)
{
	for (size_t i = 0; i < ps->count; i++) {
		const struct mime_param *v = &ps->v[i];

		if (strcmp(v->name, name) != 0 || v->segment > 0)
			continue;
		if (v->segment == 0 && v != find(ps, name, 0))
			continue;               /* given twice: the first */
		if (nth-- == 0)
			return assemble(ps, v, decoded, out);
	}
	return 0;
}
