#include "filters/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"
#include "filters/html.h"
#include "filters/parts.h"
#include "filters/rfc2047.h"

enum { NAMES_MAX = 16 * 1024, WIDEST = 6 };

enum kind { NO_TEXT, PLAIN, HTML };

struct reader {
	int (*on_text)(void *arg, const char *p, size_t len);
	void *arg;
	struct buf *links;              /* where links in HTML lead to, a line each; NULL: not wanted */
	struct buf *names;              /* of attachments, a line each; NULL: not wanted */
	enum kind kind;                 /* of the present part */
	char charset[MIME_CHARSET_MAX + 1];
	struct buf octets;
	size_t left;                    /* of TEXT_MESSAGE_MAX */
	size_t octets_left;             /* of TEXT_OCTETS_IN_ALL */
	const char *cut;
};

static void note_cut(struct reader *r, const char *why)
{
	if (!r->cut)
		r->cut = why;
}

static enum kind kind_of(const struct mime_part *part)
{
	static const struct { const char *extension; enum kind kind; } files[] = {
		{ "txt", PLAIN }, { "htm", HTML }, { "html", HTML }, { "xhtml", HTML }, { "shtml", HTML },
	};
	char extension[MIME_EXTENSION_MAX + 1];

	if (part->container)
		return NO_TEXT;
	if (strstr(part->type, "html") || strcmp(part->type, "text/enriched") == 0)
		return HTML;
	for (size_t i = 0; i < part->name_count; i++)
		for (size_t k = 0; k < sizeof(files) / sizeof(*files); k++)
			if (mime_extension(part->names[i], extension) && strcmp(extension, files[k].extension) == 0)
				return files[k].kind;
	return strncmp(part->type, "text/", 5) == 0 ? PLAIN : NO_TEXT;
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct reader *r = arg;

	for (size_t i = 0; r->names && i < part->name_count; i++)
		if (r->names->len + strlen(part->names[i]) + 1 <= r->names->max) {
			buf_adds(r->names, part->names[i]);
			buf_addc(r->names, '\n');
		}
	if (r->names && r->names->failed)
		return -ENOMEM;
	r->kind = kind_of(part);
	if (r->kind != NO_TEXT && (r->left == 0 || r->octets_left == 0)) {
		note_cut(r, "more text than is read of a message");
		return 0;
	}
	strcpy(r->charset, part->charset);
	return r->kind != NO_TEXT;
}

static int on_content(void *arg, const char *p, size_t len)
{
	struct reader *r = arg;
	size_t room = TEXT_OCTETS_MAX - r->octets.len, n;
	int rc;

	if (room > r->octets_left)
		room = r->octets_left;
	n = len < room ? len : room;
	rc = buf_add(&r->octets, p, n);
	r->octets_left -= n;
	if (rc < 0 || len <= room)
		return rc;
	note_cut(r, "a text part of more octets than are read");
	return 1;
}

/* Soft hyphen, combining grapheme joiner, directions, zero width, invisible operators, byte order mark. */
static bool is_invisible(uint32_t c, uint32_t before)
{
	if (c == 0x200c || c == 0x200d)         /* (non-)joiners: in Arabic and Indic text, and between emoji, they mean something */
		return before < 0x590;
	return c == 0xad || c == 0x34f || c == 0x61c || c == 0x180e || c == 0x200b || c == 0x200e || c == 0x200f ||
	       (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

static bool is_space(uint32_t c)
{
	return c <= ' ' || (c >= 0x7f && c <= 0xa0) || (c >= 0x2000 && c <= 0x200a) || c == 0x202f || c == 0x205f || c == 0x3000;
}

static uint32_t character(const char *p, size_t n)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t c = (unsigned char)p[0] & first[n];

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)p[i] & 0x3f);
	return c;
}

/* Appends p[0..len), well-formed UTF-8, without what nobody sees; blanks and line ends as one. A little more than TEXT_PART_MAX, then it ends. */
static void tidy(const char *p, size_t len, struct buf *out)
{
	size_t start = out->len, n;
	uint32_t before = 0;
	char gap = '\0';

	for (size_t i = 0; i < len && out->len - start <= TEXT_PART_MAX && !out->failed; i += n) {
		uint32_t c;

		for (n = 0; i + n < len && p[i + n] > ' ' && p[i + n] < 0x7f;)  /* most of most texts */
			n++;
		if (n) {
			if (gap && out->len > start)
				buf_addc(out, gap);
			gap = '\0';
			buf_add(out, p + i, n);
			before = 'x';
			continue;
		}
		n = utf8_len(p + i, len - i);
		if (n == 0) {
			n = 1;
			continue;
		}
		c = character(p + i, n);
		if (c == '\0' || is_invisible(c, before))
			continue;
		before = c;
		if (is_space(c)) {
			gap = c == '\n' || c == '\r' || gap == '\n' ? '\n' : ' ';
			continue;
		}
		if (gap && out->len > start)
			buf_addc(out, gap);
		gap = '\0';
		buf_add(out, p + i, n);
	}
}

/* The longest beginning of p[0..len) that is at most max octets and ends with a character. */
static size_t cut_at(const char *p, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max && ((unsigned char)p[max] & 0xc0) == 0x80)
		max--;
	return max;
}

/* The text of the part, decoded, before it is tidied. */
static int decode(struct reader *r, struct buf *out)
{
	AUTO(buf) struct buf source = BUF_INIT(WIDEST * TEXT_OCTETS_MAX), hidden = BUF_INIT(WIDEST * TEXT_OCTETS_MAX);
	const char *label = r->charset, *p = buf_str(&r->octets);
	size_t len = strlen(label);
	int rc;

	if (r->kind == PLAIN)
		return charset_decode_body(label, len, p, r->octets.len, out);
	if (!charset_find(label, len))
		len = html_charset(p, r->octets.len, &label);
	rc = charset_decode_body(label, len, p, r->octets.len, &source);
	if (rc == 0)
		rc = html_text_links(buf_str(&source), source.len, out, &hidden, r->links);
	if (rc == 0 && hidden.len)
		rc = buf_add(out, hidden.data, hidden.len);
	return rc;
}

static int on_end(void *arg)
{
	struct reader *r = arg;
	AUTO(buf) struct buf text = BUF_INIT(2 * WIDEST * TEXT_OCTETS_MAX), tidied = BUF_INIT(2 * WIDEST * TEXT_OCTETS_MAX);
	size_t len;
	int rc = decode(r, &text);

	buf_release(&r->octets);
	if (rc < 0)
		return rc;
	tidy(buf_str(&text), text.len, &tidied);
	if (tidied.failed)
		return -ENOMEM;
	len = cut_at(buf_str(&tidied), tidied.len, TEXT_PART_MAX);
	if (len < tidied.len)
		note_cut(r, "a part with more text than is kept");
	if (len > r->left) {
		len = cut_at(buf_str(&tidied), len, r->left);
		note_cut(r, "more text than is read of a message");
	}
	r->left -= len;
	if (len == 0)
		return 0;
	tidied.data[len] = '\0';
	return r->on_text(r->arg, tidied.data, len);
}

static int read_text(struct reader *r, struct message *m)
{
	const struct parts_reader reader = { .part = on_part, .content = on_content, .end = on_end, .arg = r };
	AUTO(parts) struct parts *parts = parts_new(&reader);
	int rc;

	if (!parts)
		return -ENOMEM;
	buf_init(&r->octets, TEXT_OCTETS_MAX);
	r->left = TEXT_MESSAGE_MAX;
	r->octets_left = TEXT_OCTETS_IN_ALL;
	rc = parts_read(parts, m);
	buf_release(&r->octets);
	return rc;
}

int text_parts(struct message *m, int (*on_text)(void *arg, const char *p, size_t len), void *arg, const char **cut)
{
	return text_parts_links(m, on_text, arg, NULL, cut);
}

int text_parts_links(struct message *m, int (*on_text)(void *arg, const char *p, size_t len), void *arg, struct buf *links, const char **cut)
{
	struct reader r = { .on_text = on_text, .arg = arg, .links = links };
	int rc = read_text(&r, m);

	*cut = r.cut;
	return rc;
}

static int collect(void *arg, const char *p, size_t len)
{
	struct buf *out = arg;
	int rc = buf_add(out, p, len);

	return rc < 0 ? rc : buf_addc(out, '\n');
}

static int add_field(const struct message *m, const char *name, struct buf *out)
{
	const struct header_field *h = message_find(m, name, 0);
	int rc = h ? rfc2047_decode(h->body, h->body_len, out) : 0;

	return rc < 0 || !h ? rc : buf_addc(out, '\n');
}

int text_extract(struct message *m, size_t max, struct buf *out)
{
	static const char *const fields[] = { "From", "To", "Subject" };
	enum { FIELDS = sizeof(fields) / sizeof(*fields) };
	AUTO(buf) struct buf names = BUF_INIT(NAMES_MAX), text = BUF_INIT(TEXT_MESSAGE_MAX + MIME_PARTS_MAX);
	AUTO(buf) struct buf all = BUF_INIT(FIELDS * (RFC2047_TEXT_MAX + 1) + NAMES_MAX + TEXT_MESSAGE_MAX + MIME_PARTS_MAX);
	struct reader r = { .on_text = collect, .arg = &text, .names = &names };
	int rc = read_text(&r, m);

	for (size_t i = 0; rc == 0 && i < FIELDS; i++)
		rc = add_field(m, fields[i], &all);
	if (rc == 0)
		rc = buf_add(&all, buf_str(&names), names.len);
	if (rc == 0)
		rc = buf_add(&all, buf_str(&text), text.len);
	return rc == 0 ? buf_add(out, buf_str(&all), cut_at(buf_str(&all), all.len, max)) : rc;
}

static const struct fact_def text_facts[] = {
	{ "text", FACT_TEXT, true, STAGE_DATA, NULL, "what each text part says: decoded, HTML as it is seen" },
	{ "text.cut", FACT_BOOL, false, STAGE_DATA, NULL, "there is more text than is read" },
	{ "text.unread", FACT_BOOL, false, STAGE_DATA, NULL, "it could not be looked at: whatever reads it was ended" },
	{ 0 },
};

struct listing {
	struct facts *out;
	size_t count;
};

static int list(void *arg, const char *p, size_t len)
{
	struct listing *l = arg;

	l->count++;
	return facts_add(l->out, "text", p);
}

static int unpack(struct message *m, struct facts *out)
{
	struct listing l = { .out = out };
	const char *cut = NULL;
	int rc = facts_set_empty(out, "text");

	if (rc == 0)
		rc = facts_set_bool(out, "text.unread", false);
	if (rc == 0)
		rc = text_parts(m, list, &l, &cut);
	if (rc < 0) {
		facts_temperror(out, "text", strerror(-rc));    /* half of it is none */
		return rc;
	}
	if (l.count > FACT_LIST_MAX && !cut)
		cut = "more text parts than are listed";
	rc = facts_set_bool(out, "text.cut", cut);
	return rc < 0 || !cut ? rc : facts_why(out, "text.cut", "%s", cut);
}

/* As of filter_mime. */
static int unread(struct facts *out, const char *why)
{
	int rc = facts_set_bool(out, "text.unread", true);

	if (rc == 0)
		rc = facts_why(out, "text.unread", "%s", why);
	if (rc == 0)
		rc = facts_set_bool(out, "text.cut", true);
	if (rc == 0)
		rc = facts_why(out, "text.cut", "%s", why);
	return rc < 0 ? rc : facts_temperror(out, "text", why);
}

const struct filter filter_text = {
	.name = "text",
	.scope = SCOPE_TXN,
	.stage = STAGE_DATA,
	.facts = text_facts,
	.unpack = unpack,
	.unread = unread,
};
