#include "imap/imap_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/sasl.h"
#include "base/utf8.h"

enum { TEXT_FIRST = 128 };

static const struct { const char *name; enum imap_verb verb; } verbs[] = {
	{ "LOGIN", IMAP_LOGIN },
	{ "AUTHENTICATE", IMAP_AUTHENTICATE },
	{ "CAPABILITY", IMAP_CAPABILITY },
	{ "NOOP", IMAP_NOOP },
	{ "LOGOUT", IMAP_LOGOUT },
	{ "STARTTLS", IMAP_STARTTLS },
	{ "ID", IMAP_ID },
};

const char *imap_verb_name(enum imap_verb v)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (verbs[i].verb == v)
			return verbs[i].name;
	return "";
}

/* --- octets, RFC 3501 section 9 --- */

/* ATOM-CHAR */
static bool is_atom(char c)
{
	return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f && !strchr("(){%*\"\\]", c);
}

/* ASTRING-CHAR */
static bool is_astring(char c)
{
	return is_atom(c) || c == ']';
}

/* A line is one: it ends in CR LF, and has no other CR, and no NUL. */
static const char *line_wrong(const char *p, size_t len)
{
	if (len < 2 || p[len - 2] != '\r' || p[len - 1] != '\n')
		return "lines end with CR LF";
	if (memchr(p, '\0', len))
		return "NUL in a command";
	return memchr(p, '\r', len - 2) ? "bare CR in a command" : NULL;
}

/* Digits; saturating, since a size that does not fit is too large, not small. */
static bool number(const char *p, size_t len, uint64_t *out)
{
	uint64_t n = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(p[i] - '0'), &n))
			n = UINT64_MAX / 10 + 1;        /* overflows with every further digit, too */
	}
	*out = n;
	return true;
}

bool imap_literal_at_end(const char *p, size_t len, uint64_t *size, bool *sync)
{
	const char *open = memrchr(p, '{', len);
	size_t n;

	if (len < 3 || p[len - 1] != '}' || !open)
		return false;
	n = (size_t)(p + len - open) - 2;
	*sync = n == 0 || open[n] != '+';
	return number(open + 1, *sync ? n : n - 1, size);
}

/* --- the text --- */

void imap_command_init(struct imap_command *c)
{
	memset(c, 0, sizeof(*c));
	strcpy(c->tag, "*");
}

void imap_command_release(struct imap_command *c)
{
	if (c->text)
		explicit_bzero(c->text, c->cap);
	free(c->text);
	imap_command_init(c);
}

/* No copy stays behind. */
static bool reserve(struct imap_command *c, size_t len)
{
	size_t cap = c->len + len > TEXT_FIRST ? c->len + len : TEXT_FIRST;
	char *text;

	if (c->len + len <= c->cap)
		return true;
	text = malloc(cap);
	if (!text)
		return false;
	if (c->text) {
		memcpy(text, c->text, c->len);
		explicit_bzero(c->text, c->cap);
		free(c->text);
	}
	c->text = text;
	c->cap = cap;
	return true;
}

/* --- the grammar --- */

/* The text is read from its beginning with each line: there are few, and nothing has to be kept. */
enum result { FINE, LITERAL_COMES, WRONG };

struct reader {
	struct imap_command *c;
	size_t i;
	int literals;           /* that were read */
	uint64_t size;          /* of the one that is to come */
	bool sync;
	const char *why;        /* more than that it is malformed */
};

static char at(const struct reader *r)
{
	return r->i < r->c->len ? r->c->text[r->i] : '\0';
}

static bool take(struct reader *r, char c)
{
	if (at(r) != c)
		return false;
	r->i++;
	return true;
}

/* Blanks at the end are none of the grammar's, and harm nobody. */
static bool at_end(struct reader *r)
{
	while (at(r) == ' ')
		r->i++;
	return r->c->len - r->i == 2 && at(r) == '\r';
}

static size_t atom(struct reader *r, bool (*is)(char))
{
	size_t from = r->i;

	while (r->i < r->c->len && is(r->c->text[r->i]))
		r->i++;
	return r->i - from;
}

/* QUOTED-CHAR, with the UTF-8 of RFC 9051 */
static enum result quoted(struct reader *r, struct imap_arg *out)
{
	const struct imap_command *c = r->c;

	*out = (struct imap_arg){ IMAP_QUOTED, ++r->i, 0 };
	for (size_t n; at(r) != '"'; r->i += n) {
		n = r->i < c->len ? utf8_len(c->text + r->i, c->len - r->i) : 0;
		if (n == 0 || at(r) == '\r') {
			r->why = n == 0 && r->i < c->len ? "8-bit octets that are no UTF-8" : "a quoted string without its end";
			return WRONG;
		}
		if (at(r) == '\\') {
			r->i++;
			if (at(r) != '"' && at(r) != '\\')
				return WRONG;
		}
	}
	out->len = r->i++ - out->off;
	return FINE;
}

static enum result literal(struct reader *r, struct imap_arg *out)
{
	const struct imap_command *c = r->c;
	const char *p = c->text + r->i, *end = memchr(p, '\r', c->len - r->i);

	if (!end || end[1] != '\n' || !imap_literal_at_end(p, (size_t)(end - p), &r->size, &r->sync) || memrchr(p, '{', (size_t)(end - p)) != p)
		return WRONG;
	r->i += (size_t)(end - p) + 2;
	if (r->literals == c->literals)
		return LITERAL_COMES;
	r->literals++;
	*out = (struct imap_arg){ IMAP_LITERAL, r->i, (size_t)r->size };        /* was let in, so it is small */
	r->i += out->len;
	return FINE;
}

static enum result string(struct reader *r, struct imap_arg *out)
{
	if (at(r) == '"')
		return quoted(r, out);
	return at(r) == '{' ? literal(r, out) : WRONG;
}

static enum result astring(struct reader *r, struct imap_arg *out)
{
	if (at(r) == '"' || at(r) == '{')
		return string(r, out);
	*out = (struct imap_arg){ IMAP_ATOM, r->i, 0 };
	out->len = atom(r, is_astring);
	return out->len > 0 ? FINE : WRONG;
}

/* astring SP astring */
static enum result login(struct reader *r)
{
	struct imap_arg *arg = r->c->arg;
	enum result result = take(r, ' ') ? astring(r, &arg[0]) : WRONG;

	if (result == FINE)
		result = take(r, ' ') ? astring(r, &arg[1]) : WRONG;
	if (result != FINE)
		return result;
	return at_end(r) ? FINE : WRONG;
}

static bool is_mechanism(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool is_response(char c)
{
	return (unsigned char)c > 0x20 && c != 0x7f;
}

/* auth-type [SP initial-resp], RFC 4959 section 3 */
static enum result authenticate(struct reader *r)
{
	struct imap_arg *arg = r->c->arg;
	const char *response;

	if (!take(r, ' '))
		return WRONG;
	arg[0] = (struct imap_arg){ IMAP_ATOM, r->i, 0 };
	arg[0].len = atom(r, is_mechanism);
	if (arg[0].len == 0 || arg[0].len > IMAP_MECHANISM_MAX)
		return WRONG;
	arg[1] = (struct imap_arg){ IMAP_NONE, 0, 0 };
	if (at_end(r))
		return FINE;
	if (r->i != arg[0].off + arg[0].len + 1)        /* at_end has gone past blanks: one there is */
		return WRONG;
	arg[1] = (struct imap_arg){ IMAP_ATOM, r->i, 0 };
	arg[1].len = atom(r, is_response);
	response = r->c->text + arg[1].off;
	if (!(arg[1].len == 1 && *response == '=') && !sasl_base64_ok(response, arg[1].len)) {
		r->why = "the response is no base64";
		return WRONG;
	}
	return at_end(r) ? FINE : WRONG;
}

static bool is_nil(struct reader *r)
{
	const struct imap_command *c = r->c;

	if (c->len - r->i < 3 || strncasecmp(c->text + r->i, "NIL", 3) != 0)
		return false;
	r->i += 3;
	return true;
}

/* string SP nstring */
static enum result id_pair(struct reader *r, struct imap_arg *field, struct imap_arg *value)
{
	enum result result = string(r, field);

	if (result != FINE)
		return result;
	if (!take(r, ' '))
		return WRONG;
	if (is_nil(r)) {
		*value = (struct imap_arg){ IMAP_NIL, 0, 0 };
		return FINE;
	}
	return string(r, value);
}

/* id_params_list, RFC 2971 section 4 */
static enum result id(struct reader *r)
{
	struct imap_arg field, value;
	enum result result;

	if (!take(r, ' '))
		return WRONG;
	r->c->id = r->i;
	if (is_nil(r))
		return at_end(r) ? FINE : WRONG;
	if (!take(r, '('))
		return WRONG;
	for (int n = 0; !take(r, ')'); n++) {
		if (n == IMAP_ID_FIELDS_MAX || (n > 0 && !take(r, ' ')))
			return WRONG;
		result = id_pair(r, &field, &value);
		if (result != FINE)
			return result;
		if (field.len > 2 * IMAP_ID_FIELD_MAX || value.len > 2 * IMAP_ID_VALUE_MAX) {     /* backslashes count twice */
			r->why = "a field of ID is too long";
			return WRONG;
		}
	}
	return at_end(r) ? FINE : WRONG;
}

static bool tag(struct reader *r)
{
	struct imap_command *c = r->c;
	size_t n = 0;

	while (n < c->len && is_astring(c->text[n]) && c->text[n] != '+')
		n++;
	if (n == 0 || n > IMAP_TAG_MAX || (c->text[n] != ' ' && c->text[n] != '\r'))
		return false;
	memcpy(c->tag, c->text, n);
	c->tag[n] = '\0';
	r->i = n;
	return true;
}

static void verb(struct reader *r)
{
	const char *word = r->c->text + r->i;
	size_t len = atom(r, is_atom);

	r->c->verb = IMAP_UNKNOWN;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (len == strlen(verbs[i].name) && strncasecmp(word, verbs[i].name, len) == 0)
			r->c->verb = verbs[i].verb;
}

static enum result command(struct reader *r)
{
	if (!tag(r)) {
		r->why = "a command begins with a tag";
		return WRONG;
	}
	if (!take(r, ' ')) {
		r->why = "a tag and no command";
		return WRONG;
	}
	verb(r);
	switch (r->c->verb) {
	case IMAP_LOGIN:
		return login(r);
	case IMAP_AUTHENTICATE:
		return authenticate(r);
	case IMAP_ID:
		return id(r);
	case IMAP_UNKNOWN:
		r->why = "unknown command, or none before a login";
		return WRONG;
	default:
		return at_end(r) ? FINE : WRONG;
	}
}

/* --- step by step --- */

static enum imap_step no_memory(struct imap_command *c)
{
	c->why = "out of memory";
	return IMAP_FATAL;
}

/* The command is none. What is still to come of it, by the end of this line, is read past. */
static enum imap_step read_past(struct imap_command *c, const char *line, size_t len)
{
	uint64_t size;
	bool sync;

	if (c->text)
		explicit_bzero(c->text, c->len);
	c->len = 0;
	if (len < 2 || line[len - 2] != '\r' || !imap_literal_at_end(line, len - 2, &size, &sync) || sync)
		return IMAP_BAD;
	if (size > IMAP_SKIP_MAX || c->literals == IMAP_LITERALS_MAX)
		return IMAP_FATAL;
	c->past = true;
	c->literals++;
	c->want = (size_t)size;
	return c->want > 0 ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
}

/* The text ends in a literal that the grammar allows there. */
static enum imap_step announced(struct imap_command *c, const struct reader *r)
{
	if (r->size > IMAP_LITERAL_MAX)
		c->why = "a literal is too long";
	else if (c->literals == IMAP_LITERALS_MAX)
		c->why = "too many literals";
	else if (c->len + r->size > IMAP_TEXT_MAX)
		c->why = "the command is too long";
	if (c->why)
		return IMAP_BAD;
	c->literals++;
	c->want = (size_t)r->size;
	if (r->sync)
		return IMAP_WANTS_CONTINUE;
	return c->want > 0 ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
}

/* One that is in order in itself. NULL: go on; else why not. */
static const char *line_refused(const struct imap_command *c, const char *line, size_t len)
{
	const char *wrong = line_wrong(line, len);

	if (wrong)
		return wrong;
	/* Only SASL needs more, and it has no literals. */
	if (len > IMAP_READ_MAX || (len > IMAP_LINE_MAX && c->literals > 0))
		return "the line is too long";
	if (c->len + len > IMAP_TEXT_MAX)
		return "the command is too long";
	return c->nul ? "NUL in a literal" : NULL;
}

enum imap_step imap_command_line(struct imap_command *c, const char *line, size_t len)
{
	struct reader r = { .c = c, .why = "malformed command" };
	enum imap_step step = IMAP_COMMAND;
	enum result result;

	c->want = 0;
	if (c->past)
		return read_past(c, line, len);
	c->why = line_refused(c, line, len);
	if (c->why) {
		if (c->len == 0 && line_wrong(line, len) == NULL) {     /* whose it is, all the same */
			struct imap_command head = { .text = (char *)line, .len = len < IMAP_TAG_MAX + 2 ? len : IMAP_TAG_MAX + 2 };
			struct reader h = { .c = &head };

			if (tag(&h))
				memcpy(c->tag, head.tag, sizeof(c->tag));
		}
		return read_past(c, line, len);
	}
	if (!reserve(c, len))
		return no_memory(c);
	memcpy(c->text + c->len, line, len);
	c->len += len;
	result = command(&r);
	if (result == WRONG || (len > IMAP_LINE_MAX && c->verb != IMAP_AUTHENTICATE)) {
		c->why = result == WRONG ? r.why : "the line is too long";
		return read_past(c, line, len);
	}
	if (result == LITERAL_COMES) {
		step = announced(c, &r);
		if (step == IMAP_BAD)
			return read_past(c, line, len);
		if (c->want > 0 && !reserve(c, c->want + 64))   /* the next line, too, as a rule */
			return no_memory(c);
	}
	return step;
}

enum imap_step imap_command_literal(struct imap_command *c, const char *p, size_t len)
{
	if (!c->past) {
		memcpy(c->text + c->len, p, len);
		c->len += len;
		c->nul = c->nul || memchr(p, '\0', len);
	}
	c->want -= len;
	return c->want > 0 ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
}

/* --- arguments --- */

const char *imap_arg_text(const struct imap_command *c, const struct imap_arg *a)
{
	return c->text + a->off;
}

int imap_arg_decode(const struct imap_command *c, const struct imap_arg *a, char *out, size_t size)
{
	const char *p = imap_arg_text(c, a);
	size_t n = 0;

	for (size_t i = 0; i < a->len; i++) {
		if (a->form == IMAP_QUOTED && p[i] == '\\')
			i++;
		if (n == size)
			return -ENOSPC;
		out[n++] = p[i];
	}
	return (int)n;
}

bool imap_arg_has(const struct imap_command *c, const struct imap_arg *a, const char *set)
{
	const char *p = imap_arg_text(c, a);

	for (size_t i = 0; i < a->len; i++)
		if (p[i] && strchr(set, p[i]))
			return true;
	return false;
}

bool imap_id_next(const struct imap_command *c, size_t *pos, struct imap_arg *field, struct imap_arg *value)
{
	/* The reader writes to nothing of a command that is complete. */
	struct reader r = { .c = (struct imap_command *)c, .i = *pos ? *pos : c->id, .literals = -1 };

	if (*pos == 0 && !take(&r, '('))
		return false;                           /* NIL */
	take(&r, ' ');
	if (at(&r) == ')' || id_pair(&r, field, value) != FINE)
		return false;
	*pos = r.i;
	return true;
}
