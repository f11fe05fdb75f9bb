#include "imap/imap_response.h"

#include <string.h>
#include <strings.h>

#include "imap/imap_command.h"

enum state {
	BETWEEN,                /* responses */
	STATUS_LINE,            /* the rest of a long line in which nothing is a literal */
	DATA_LINE,              /* a line of a response that is longer than one piece */
	DATA_LITERAL,           /* and a literal of it */
	ITEMS_OPEN,             /* FETCH: before its parenthesis */
	ITEM_GAP,               /* before an item's name */
	ITEM_NAME,
	VALUE_GAP,              /* before its value */
	VALUE,
	STRING_QUOTED,
	STRING_LITERAL,
	ITEMS_CLOSED,           /* before the line's end */
};

static const char *const statuses[] = {
	[IMAP_STATUS_OK] = "OK", [IMAP_STATUS_NO] = "NO", [IMAP_STATUS_BAD] = "BAD", [IMAP_STATUS_BYE] = "BYE", [IMAP_STATUS_PREAUTH] = "PREAUTH",
};

void imap_response_init(struct imap_response *r)
{
	memset(r, 0, sizeof(*r));
}

bool imap_response_between(const struct imap_response *r)
{
	return r->state == BETWEEN;
}

static enum imap_piece_kind give(struct imap_piece *out, enum imap_piece_kind kind, const char *p, size_t len)
{
	*out = (struct imap_piece){ .kind = kind, .p = p, .len = len };
	return kind;
}

static enum imap_piece_kind wrong(struct imap_piece *out, const char *p)
{
	return give(out, IMAP_PIECE_WRONG, p, 0);
}

/* --- the head of a response --- */

static bool begins(struct imap_span w, const char *name)
{
	return w.len >= strlen(name) && strncasecmp(w.p, name, strlen(name)) == 0;
}

static enum imap_status status_find(struct imap_span w)
{
	for (size_t i = IMAP_STATUS_OK; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (imap_span_is(w, statuses[i]))
			return (enum imap_status)i;
	return IMAP_STATUS_NONE;
}

/* RFC 9051 section 9: nz-number and number are of 32 bits. */
static bool number(struct imap_span w, uint32_t *out)
{
	uint64_t n = 0;

	if (w.len == 0 || w.len > 10)
		return false;
	for (size_t i = 0; i < w.len; i++) {
		if (w.p[i] < '0' || w.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(w.p[i] - '0');
	}
	*out = (uint32_t)n;
	return n <= UINT32_MAX;
}

/* What stands between "[" and the bracket that closes it; in quotes there may be one, too. */
static void find_code(struct imap_response *r)
{
	bool quoted = false;

	if (r->rest.len == 0 || r->rest.p[0] != '[')
		return;
	for (size_t i = 1; i < r->rest.len; i++) {
		char c = r->rest.p[i];

		if (quoted && c == '\\') {
			i++;
		} else if (c == '"') {
			quoted = !quoted;
		} else if (c == ']' && !quoted) {
			r->code = (struct imap_span){ r->rest.p + 1, i - 1 };
			return;
		}
	}
}

/* "* 12 EXISTS" and all that begins like it. */
static void find_numbered(struct imap_response *r, struct imap_span s)
{
	struct imap_span w = imap_span_take(&s);

	/* "FETCH(UID 7)" may be one to a client that is less strict: it must not pass for something else. */
	if (begins(w, "FETCH") || begins(w, "UIDFETCH")) {
		r->says = IMAP_SAYS_FETCH;
		r->uidfetch = begins(w, "UIDFETCH");
	} else if (imap_span_is(w, "EXISTS")) {
		r->says = IMAP_SAYS_EXISTS;
	} else if (imap_span_is(w, "EXPUNGE")) {
		r->says = IMAP_SAYS_EXPUNGE;
	}
	r->rest = s;
}

/* What p[0..len), the line or as much as there is of it, is. false: nothing that a server says. */
static bool head(struct imap_response *r, const char *p, size_t len)
{
	struct imap_span s = { p, len }, first, w;

	imap_response_init(r);
	r->says = IMAP_SAYS_OTHER;
	first = imap_span_take(&s);
	r->rest = s;
	if (imap_span_is(first, "+")) {                  /* some say "+" alone */
		r->says = IMAP_SAYS_CONTINUE;
		return true;
	}
	w = imap_span_take(&s);
	r->status = status_find(w);
	if (r->status) {
		bool untagged = imap_span_is(first, "*");

		r->rest = s;
		r->says = untagged ? IMAP_SAYS_STATUS : IMAP_SAYS_TAGGED;
		r->tag = first;
		find_code(r);
		return untagged || (first.len > 0 && r->status <= IMAP_STATUS_BAD);
	}
	if (!imap_span_is(first, "*") || w.len == 0)
		return false;
	if (number(w, &r->number)) {
		find_numbered(r, s);
	} else {
		r->says = imap_span_is(w, "CAPABILITY") ? IMAP_SAYS_CAPABILITY : imap_span_is(w, "VANISHED") ? IMAP_SAYS_VANISHED : IMAP_SAYS_OTHER;
		r->rest = s;
	}
	return true;
}

/* --- lines that are no FETCH --- */

/* Whether a line, of which this is the end, its line end not counted, announces a literal. -1: something like it that is none. */
static int literal_at(const char *p, size_t len, uint64_t *size)
{
	bool sync = true;
	size_t digits = len ? len - 1 : 0;

	if (len == 0 || p[len - 1] != '}')
		return 0;
	if (!imap_literal_at_end(p, len, size, &sync)) {
		while (digits && p[digits - 1] >= '0' && p[digits - 1] <= '9')
			digits--;
		return digits ? 0 : -1;         /* more of them than are looked at */
	}
	return sync && *size <= INT64_MAX ? 1 : -1;
}

/* A line has ended that may announce a literal. */
static bool line_ended(struct imap_response *r, const char *p, size_t len)
{
	int literal = literal_at(p, len, &r->left);

	r->state = literal > 0 ? DATA_LITERAL : BETWEEN;
	r->tail_len = 0;
	return literal >= 0;
}

static void keep_tail(struct imap_response *r, const char *p, size_t len)
{
	size_t keep;

	if (len >= sizeof(r->tail)) {
		memcpy(r->tail, p + len - sizeof(r->tail), sizeof(r->tail));
		r->tail_len = sizeof(r->tail);
		return;
	}
	keep = sizeof(r->tail) - len < r->tail_len ? sizeof(r->tail) - len : r->tail_len;
	memmove(r->tail, r->tail + r->tail_len - keep, keep);
	memcpy(r->tail + keep, p, len);
	r->tail_len = keep + len;
}

/*
 * A part of a line; the CR goes only with its LF, so that a line end is one piece. A bare LF is not one for all clients: what follows it would be
 * a response to one, and a part of this one to the other.
 */
static enum imap_piece_kind read_line(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	const char *lf = memchr(p, '\n', len);
	size_t n = lf ? (size_t)(lf - p) + 1 : len;

	if (!lf && p[len - 1] == '\r')
		n--;
	if (n == 0)
		return give(out, IMAP_PIECE_MORE, p, 0);
	if (!lf) {
		keep_tail(r, p, n);
		return give(out, IMAP_PIECE_REST, p, n);
	}
	if (n < 2 || p[n - 2] != '\r')
		return wrong(out, p);
	keep_tail(r, p, n - 2);
	if (r->state == STATUS_LINE) {
		r->state = BETWEEN;
		r->tail_len = 0;
	} else if (!line_ended(r, r->tail, r->tail_len)) {
		return wrong(out, p);
	}
	return give(out, r->state == BETWEEN ? IMAP_PIECE_END : IMAP_PIECE_REST, p, n);
}

static enum imap_piece_kind read_literal(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	size_t n = len < r->left ? len : (size_t)r->left;

	r->left -= n;
	if (r->left == 0)
		r->state = DATA_LINE;
	return give(out, IMAP_PIECE_REST, p, n);
}

/* --- a response begins --- */

static bool is_status(const struct imap_response *r)
{
	return r->says <= IMAP_SAYS_STATUS;
}

/* It is longer than what is held: its first part. */
static enum imap_piece_kind begin_long(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	if (!head(r, p, len) || r->says == IMAP_SAYS_FETCH)
		return wrong(out, p);
	r->code.len = r->rest.len = 0;                  /* they may not be all */
	r->state = is_status(r) ? STATUS_LINE : DATA_LINE;
	if (p[len - 1] == '\r')
		len--;
	keep_tail(r, p, len);
	return give(out, IMAP_PIECE_BEGIN, p, len);
}

static bool ends(const char *p, const char *end, const char *with)
{
	size_t len = strlen(with);

	return (size_t)(end - p) >= len && strncasecmp(end - len, with, len) == 0;
}

/* "* 12 FETCH (": what begins like this is not waited for until its line ends. 0: it is something else; or there is not enough yet. */
static size_t fetch_head(struct imap_response *r, const char *p, size_t len)
{
	const char *open = memchr(p, '(', len < 64 ? len : 64);

	if (!open || p[0] != '*' || !(ends(p, open, " FETCH ") || ends(p, open, " UIDFETCH ")))
		return 0;
	if (!head(r, p, (size_t)(open - p) - 1) || r->says != IMAP_SAYS_FETCH || r->rest.len)
		return 0;
	return (size_t)(open - p);
}

static enum imap_piece_kind read_first(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	size_t seen = r->seen < len ? r->seen : 0, n;
	const char *lf;

	n = seen < 64 ? fetch_head(r, p, len) : 0;
	if (n) {
		r->state = ITEMS_OPEN;
		return give(out, IMAP_PIECE_BEGIN, p, n);
	}
	lf = memchr(p + seen, '\n', len - seen);
	if (!lf && len < IMAP_HOLD_MAX) {
		imap_response_init(r);
		r->seen = len;
		return give(out, IMAP_PIECE_MORE, p, 0);
	}
	if (!lf || lf - p >= IMAP_HOLD_MAX)
		return begin_long(r, p, IMAP_HOLD_MAX, out);
	n = (size_t)(lf - p) + 1;
	if (n < 2 || p[n - 2] != '\r' || !head(r, p, n - 2) || r->says == IMAP_SAYS_FETCH)
		return wrong(out, p);
	if (is_status(r))
		return give(out, IMAP_PIECE_LINE, p, n);
	if (!line_ended(r, p, n - 2))
		return wrong(out, p);
	return give(out, r->state == BETWEEN ? IMAP_PIECE_LINE : IMAP_PIECE_BEGIN, p, n);
}

/* --- FETCH --- */

/*
 * "{5}" CRLF, or "~{5}" CRLF, at the front. Its octets; 0: more of it is needed; -1: it is none. *size
 */
static int literal_here(const char *p, size_t len, uint64_t *size)
{
	size_t i = p[0] == '~';
	size_t from = i + 1;

	if (i >= len)
		return 0;
	if (p[i] != '{')
		return -1;
	*size = 0;
	for (i = from; i < len && p[i] >= '0' && p[i] <= '9'; i++) {
		if (i - from >= 18)
			return -1;
		*size = *size * 10 + (uint64_t)(p[i] - '0');
	}
	if (i == from && i < len)
		return -1;
	for (const char *end = "}\r\n"; *end; end++, i++) {
		if (i >= len)
			return 0;
		if (p[i] != *end)
			return -1;
	}
	return (int)i;
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20;
}

/* A literal or a quoted string begins; what of it stands in a name has no content of interest. */
static void string_begins(struct imap_response *r, enum state state, uint64_t size)
{
	r->in_name = r->state == ITEM_NAME;
	r->state = (unsigned char)state;
	r->left = size;
	r->offset = 0;
	if (state == STRING_LITERAL && size == 0)
		r->state = r->in_name ? ITEM_NAME : VALUE;
}

/* The value has ended: only a list's last parenthesis, or what follows an atom or a string at the outermost level, says so. */
static enum imap_piece_kind value_ended(struct imap_response *r, const char *p, size_t n, struct imap_piece *out)
{
	r->state = ITEM_GAP;
	give(out, IMAP_PIECE_VALUE, p, n);
	out->last = true;
	return out->kind;
}

static enum imap_piece_kind name_ends_at(struct imap_response *r, const char *p, size_t n, struct imap_piece *out, bool last)
{
	size_t room = sizeof(r->name) - r->name_len, keep = n < room ? n : room;

	memcpy(r->name + r->name_len, p, keep);
	r->name_len += keep;
	r->name_cut |= keep < n;
	give(out, IMAP_PIECE_NAME, p, n);
	out->last = last;
	if (last)
		r->state = VALUE_GAP;
	return out->kind;
}

static enum imap_piece_kind read_name(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	for (size_t i = 0; i < len; i++) {
		char c = p[i];
		uint64_t size;
		int n;

		if (c == '{' && r->in_section) {
			n = literal_here(p + i, len - i, &size);
			if (n < 0)
				return wrong(out, p);
			if (n == 0)
				return i ? name_ends_at(r, p, i, out, false) : give(out, IMAP_PIECE_MORE, p, 0);
			name_ends_at(r, p, i + (size_t)n, out, false);
			string_begins(r, STRING_LITERAL, size);
			return out->kind;
		}
		if (is_control(c))
			return wrong(out, p);
		if (c == '"' && r->in_section) {
			name_ends_at(r, p, i + 1, out, false);
			string_begins(r, STRING_QUOTED, 0);
			return out->kind;
		}
		if (c == '[')
			r->in_section = true;
		else if (c == ']')
			r->in_section = false;
		else if (c == ' ' && !r->in_section)
			return name_ends_at(r, p, i, out, true);
		else if ((c == ')' || c == '(' || c == '"' || c == '{') && !r->in_section)
			return wrong(out, p);
	}
	return name_ends_at(r, p, len, out, false);
}

static enum imap_piece_kind read_value(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	for (size_t i = 0; i < len; i++) {
		char c = p[i];
		uint64_t size;
		int n;

		if (c == '{' || (c == '~' && (i + 1 == len || p[i + 1] == '{'))) {
			n = literal_here(p + i, len - i, &size);
			if (n < 0)
				return wrong(out, p);
			if (n == 0)
				return give(out, i ? IMAP_PIECE_VALUE : IMAP_PIECE_MORE, p, i);
			string_begins(r, STRING_LITERAL, size);
			return give(out, IMAP_PIECE_VALUE, p, i + (size_t)n);
		}
		if (c == '"') {
			string_begins(r, STRING_QUOTED, 0);
			return give(out, IMAP_PIECE_VALUE, p, i + 1);
		}
		if (is_control(c))
			return wrong(out, p);
		if (r->nest == 0 && (c == ' ' || c == ')'))
			return value_ended(r, p, i, out);
		if (c == '(' && ++r->nest > IMAP_NEST_MAX)
			return wrong(out, p);
		if (c == ')' && --r->nest == 0)
			return value_ended(r, p, i + 1, out);
	}
	return give(out, IMAP_PIECE_VALUE, p, len);
}

/* What a string of the name holds belongs to the name, of which it is not kept; else it is content. */
static enum imap_piece_kind string_piece(struct imap_response *r, const char *p, size_t n, struct imap_piece *out)
{
	if (r->in_name)
		return give(out, IMAP_PIECE_NAME, p, n);
	give(out, IMAP_PIECE_STRING, p, n);
	out->offset = r->offset;
	return out->kind;
}

static enum imap_piece_kind read_string(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	size_t n = len < r->left ? len : (size_t)r->left;

	string_piece(r, p, n, out);
	r->left -= n;
	r->offset += n;
	if (r->left == 0) {
		out->last = out->kind == IMAP_PIECE_STRING;
		r->state = r->in_name ? ITEM_NAME : VALUE;
	}
	return out->kind;
}

/* Up to the quote that closes it, which is the value's again. A pair of backslash and octet is a piece of its own. */
static enum imap_piece_kind read_quoted(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	size_t n = 0;

	if (p[0] == '"') {
		r->state = r->in_name ? ITEM_NAME : VALUE;
		return give(out, r->in_name ? IMAP_PIECE_NAME : IMAP_PIECE_VALUE, p, 1);
	}
	if (p[0] == '\\') {
		if (len < 2)
			return give(out, IMAP_PIECE_MORE, p, 0);
		if (is_control(p[1]))
			return wrong(out, p);
		string_piece(r, p, 2, out);
		out->escaped = true;
		r->offset++;
	} else {
		while (n < len && p[n] != '"' && p[n] != '\\' && p[n] != '\r' && p[n] != '\n' && p[n] != '\0')
			n++;
		if (n == 0)
			return wrong(out, p);
		string_piece(r, p, n, out);
		r->offset += n;
	}
	out->quoted = true;
	return out->kind;
}

/* Blanks and parentheses around the items. */
static enum imap_piece_kind read_gap(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	size_t n = 0;

	if (r->state == ITEMS_OPEN) {
		r->state = ITEM_GAP;
		return give(out, IMAP_PIECE_GAP, p, 1);
	}
	while (n < len && p[n] == ' ')
		n++;
	if (r->state == ITEM_GAP && n < len && p[n] == ')') {
		r->state = ITEMS_CLOSED;
		return give(out, IMAP_PIECE_GAP, p, n + 1);
	}
	if (n < len) {
		r->state = r->state == ITEM_GAP ? ITEM_NAME : VALUE;
		if (r->state == ITEM_NAME) {
			r->name_len = 0;
			r->name_cut = r->in_section = false;
		}
		r->nest = 0;
		/* A name has octets; so has a value. */
		if (is_control(p[n]) || p[n] == ')')
			return wrong(out, p);
	}
	return give(out, IMAP_PIECE_GAP, p, n);
}

static enum imap_piece_kind read_closed(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	if (p[0] == ' ')
		return give(out, IMAP_PIECE_GAP, p, 1);
	if (p[0] != '\r' || (len > 1 && p[1] != '\n'))
		return wrong(out, p);
	if (len < 2)
		return give(out, IMAP_PIECE_MORE, p, 0);
	r->state = BETWEEN;
	return give(out, IMAP_PIECE_END, p, 2);
}

enum imap_piece_kind imap_response_read(struct imap_response *r, const char *p, size_t len, struct imap_piece *out)
{
	if (len == 0)
		return give(out, IMAP_PIECE_MORE, p, 0);
	switch ((enum state)r->state) {
	case STATUS_LINE:
	case DATA_LINE:
		return read_line(r, p, len, out);
	case DATA_LITERAL:
		return read_literal(r, p, len, out);
	case ITEMS_OPEN:
	case ITEM_GAP:
	case VALUE_GAP:
		return read_gap(r, p, len, out);
	case ITEM_NAME:
		return read_name(r, p, len, out);
	case VALUE:
		return read_value(r, p, len, out);
	case STRING_QUOTED:
		return read_quoted(r, p, len, out);
	case STRING_LITERAL:
		return read_string(r, p, len, out);
	case ITEMS_CLOSED:
		return read_closed(r, p, len, out);
	case BETWEEN:
		break;
	}
	return read_first(r, p, len, out);
}

bool imap_code_is(const struct imap_response *r, const char *name, struct imap_span *arg)
{
	*arg = r->code;
	return r->code.len && imap_span_is(imap_span_take(arg), name);
}
