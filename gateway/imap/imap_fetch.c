#include "imap/imap_fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What shows nothing that is not the server's own word on a message, or a field of its header by name. */
static const char *const harmless[] = {
	"ALL", "FAST", "FULL",                                                          /* macros */
	"BODY", "BODYSTRUCTURE", "ENVELOPE", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "UID",     /* RFC 9051 */
	"MODSEQ",                                                                       /* RFC 7162 */
	"EMAILID", "THREADID", "SAVEDATE",                                              /* RFC 8474, 8514 */
	"X-GM-MSGID", "X-GM-THRID", "X-GM-LABELS", "X-GUID", "X-MAILBOX", "X-REAL-UID", "X-SAVEDATE",
};

/* Takes it from the front, if it stands there. */
static bool take(struct imap_span *s, const char *name)
{
	size_t n = strlen(name);

	if (s->len < n || strncasecmp(s->p, name, n) != 0)
		return false;
	s->p += n;
	s->len -= n;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* --- one item --- */

/* "1.2.3" and what follows it behind a dot. */
static struct imap_span take_part(struct imap_span *s)
{
	struct imap_span part = { s->p, 0 };
	size_t i = 0;

	while (i < s->len && is_digit(s->p[i])) {
		while (i < s->len && is_digit(s->p[i]))
			i++;
		part.len = i;
		if (i < s->len && s->p[i] == '.')
			i++;
	}
	if (part.len) {
		s->p += i;
		s->len -= i;
	}
	return part;
}

/* What stands in the brackets. */
static void parse_section(struct imap_span s, struct imap_item *out)
{
	out->part = take_part(&s);
	if (out->part.len) {
		if (imap_span_is(s, "MIME"))    /* the header of a part: names and types, which BODYSTRUCTURE tells, too */
			out->show = IMAP_SHOWS_NOTHING;
		else if (s.len == 0)
			out->section = IMAP_SECTION_PART;
		return;
	}
	if (s.len == 0) {
		out->section = IMAP_SECTION_WHOLE;
	} else if (imap_span_is(s, "TEXT")) {
		out->section = IMAP_SECTION_TEXT;
	} else if (imap_span_is(s, "HEADER")) {
		out->section = IMAP_SECTION_HEADER;
		out->show = IMAP_SHOWS_HEADER;
	} else if (take(&s, "HEADER.FIELDS")) {
		take(&s, ".NOT");
		if (s.len && s.p[0] == ' ')
			out->show = IMAP_SHOWS_NOTHING;
	}
}

/* "<0.100>" of a command, "<0>" of a response. */
static void parse_partial(struct imap_span s, struct imap_item *out)
{
	if (s.len < 3 || s.p[0] != '<' || !is_digit(s.p[1]))
		return;
	out->partial = true;
	for (size_t i = 1; i < s.len && is_digit(s.p[i]); i++)
		if (__builtin_mul_overflow(out->origin, 10, &out->origin) ||
		    __builtin_add_overflow(out->origin, (uint64_t)(s.p[i] - '0'), &out->origin))
			out->origin = UINT64_MAX / 2;
}

/* The bracket that closes the section, not one in a quoted name of a field. */
static const char *section_end(struct imap_span s)
{
	bool quoted = false;

	for (size_t i = 0; i < s.len; i++) {
		if (quoted && s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (s.p[i] == ']' && !quoted)
			return s.p + i;
	}
	return NULL;
}

void imap_item_parse(const char *p, size_t len, struct imap_item *out)
{
	struct imap_span s = { p, len };
	bool binary = false;
	const char *end;

	*out = (struct imap_item){ .show = IMAP_SHOWS_CONTENT };
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (imap_span_is(s, harmless[i]))
			out->show = IMAP_SHOWS_NOTHING;
	if (imap_span_is(s, "RFC822"))
		out->section = IMAP_SECTION_WHOLE;
	else if (imap_span_is(s, "RFC822.TEXT"))
		out->section = IMAP_SECTION_TEXT;
	else if (imap_span_is(s, "RFC822.HEADER"))
		*out = (struct imap_item){ .show = IMAP_SHOWS_HEADER, .section = IMAP_SECTION_HEADER };
	else if (take(&s, "BINARY.SIZE["))              /* a number */
		out->show = IMAP_SHOWS_NOTHING;
	else if (take(&s, "BODY.PEEK[") || take(&s, "BODY[") || (binary = take(&s, "BINARY.PEEK[") || take(&s, "BINARY["))) {
		end = section_end(s);
		if (!end) {                             /* a name that was cut: what it begins with says it, if it is a list of fields */
			if (!binary)
				parse_section(s, out);
			if (out->show != IMAP_SHOWS_NOTHING)
				*out = (struct imap_item){ .show = IMAP_SHOWS_CONTENT };
			return;
		}
		parse_section((struct imap_span){ s.p, (size_t)(end - s.p) }, out);
		parse_partial((struct imap_span){ end + 1, (size_t)(s.p + s.len - end) - 1 }, out);
		/* BINARY[] is the message decoded, BINARY[1] a part: plain text both (RFC 3516 section 4.3) */
		if (binary) {
			out->show = IMAP_SHOWS_CONTENT;
			out->section = out->section == IMAP_SECTION_WHOLE ? IMAP_SECTION_WHOLE : IMAP_SECTION_NONE;
		}
	}
}

/* --- a command --- */

static void skip_blanks(struct imap_span *s)
{
	while (s->len && s->p[0] == ' ') {
		s->p++;
		s->len--;
	}
}

/* One item of a command: up to a blank or parenthesis outside brackets. */
static struct imap_span take_item(struct imap_span *s)
{
	struct imap_span item = { s->p, 0 };
	bool section = false, quoted = false;
	size_t i;

	for (i = 0; i < s->len; i++) {
		char c = s->p[i];

		if (quoted && c == '\\' && i + 1 < s->len)
			i++;
		else if (section && c == '"')
			quoted = !quoted;
		else if (c == '[')
			section = true;
		else if (c == ']' && !quoted)
			section = false;
		else if (!section && (c == ' ' || c == '(' || c == ')'))
			break;
	}
	item.len = section ? 0 : i;
	s->p += item.len;
	s->len -= item.len;
	return item;
}

static const char *add_item(struct imap_span *s, struct imap_fetch *out)
{
	struct imap_span name = take_item(s);
	struct imap_item item;

	if (name.len == 0)
		return "what to fetch is not clear";
	imap_item_parse(name.p, name.len, &item);
	if (item.show > out->show)
		out->show = item.show;
	out->needs_header |= item.partial && (item.section == IMAP_SECTION_WHOLE || item.section == IMAP_SECTION_HEADER);
	out->needs_structure |= item.section == IMAP_SECTION_PART;
	/* Dovecot, and perhaps others: of a preview it may be said how lazily it is to be made (RFC 8970). */
	if (imap_span_is(name, "PREVIEW") || imap_span_is(name, "SNIPPET")) {
		struct imap_span t = *s;

		skip_blanks(&t);
		if (take(&t, "(LAZY)") || take(&t, "(LAZY=FORCE)") || take(&t, "(FUZZY)"))
			*s = t;
	}
	return NULL;
}

static const char *parse_items(struct imap_span *s, struct imap_fetch *out)
{
	const char *why;

	if (!take(s, "("))
		return add_item(s, out);
	skip_blanks(s);
	do {
		why = add_item(s, out);
		skip_blanks(s);
	} while (!why && s->len && s->p[0] != ')');
	return why ? why : take(s, ")") ? NULL : "a list is not closed";
}

/* RFC 4466: "(CHANGEDSINCE 12)", "(PARTIAL 1:100)". What is asked for in the one that needs QRESYNC would not say which messages are meant. */
static const char *check_modifiers(struct imap_span s)
{
	if (s.len == 0)
		return NULL;
	if (s.p[0] != '(' || s.p[s.len - 1] != ')')
		return "what follows the items is not clear";
	for (; s.len; s.p++, s.len--)
		if (take(&s, "VANISHED"))
			return "QRESYNC is not offered here";
	return NULL;
}

const char *imap_fetch_parse(const char *p, size_t len, struct imap_fetch *out)
{
	struct imap_span s = { p, len };
	struct imap_fetch f = { .show = IMAP_SHOWS_NOTHING };
	const char *blank, *why;

	skip_blanks(&s);
	blank = memchr(s.p, ' ', s.len);
	if (!blank)
		return "messages and items are needed";
	f.set = (struct imap_span){ s.p, (size_t)(blank - s.p) };
	if (!imap_set_valid(f.set))
		return "which messages is not clear";
	s.p += f.set.len;
	s.len -= f.set.len;
	f.rest = s;
	skip_blanks(&s);
	why = parse_items(&s, &f);
	skip_blanks(&s);
	while (s.len && s.p[s.len - 1] == ' ')
		s.len--;
	if (!why)
		why = check_modifiers(s);
	if (why)
		return why;
	*out = f;
	return NULL;
}

/* --- messages --- */

/* A number, or "*", which is 0 here. false: neither. */
static bool take_number(struct imap_span *s, uint32_t *out)
{
	uint64_t n = 0;
	size_t i = 0;

	if (s->len && s->p[0] == '*') {
		s->p++;
		s->len--;
		*out = 0;
		return true;
	}
	for (; i < s->len && i < 11 && is_digit(s->p[i]); i++)
		n = n * 10 + (uint64_t)(s->p[i] - '0');
	s->p += i;
	s->len -= i;
	*out = (uint32_t)n;
	return i > 0 && n > 0 && n <= UINT32_MAX;
}

static bool take_range(struct imap_span *s, uint32_t *lo, uint32_t *hi)
{
	if (!take_number(s, lo))
		return false;
	*hi = *lo;
	if (s->len && s->p[0] == ':') {
		s->p++;
		s->len--;
		if (!take_number(s, hi))
			return false;
	}
	if (s->len == 0)
		return true;
	if (s->p[0] != ',' || s->len == 1)
		return false;
	s->p++;
	s->len--;
	return true;
}

bool imap_set_valid(struct imap_span set)
{
	uint32_t lo, hi;

	if (imap_span_is(set, "$"))
		return true;
	if (set.len == 0)
		return false;
	while (set.len)
		if (!take_range(&set, &lo, &hi))
			return false;
	return true;
}

int imap_set_clip(struct imap_span set, uint32_t top, struct buf *out)
{
	uint32_t lo, hi;
	int count = 0;

	if (imap_span_is(set, "$"))
		return buf_adds(out, "$") < 0 ? -ENOSPC : 1;
	while (set.len && take_range(&set, &lo, &hi)) {
		/* "*" is the last message, whichever side it stands on, and even below the other: "9:*" of 5 messages is "5:9". */
		bool star = lo == 0 || hi == 0;
		uint32_t a = lo ? lo : hi ? hi : top, b = star ? top : hi;

		if (a > b) {
			uint32_t x = a;

			a = b;
			b = x;
		}
		b = b > top ? top : b;
		if (top == 0 || a > top)
			continue;
		if (a == b)
			buf_addf(out, "%s%u", count ? "," : "", a);
		else
			buf_addf(out, "%s%u:%u", count ? "," : "", a, b);
		count++;
	}
	return out->failed ? -ENOSPC : count;
}
