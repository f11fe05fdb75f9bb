#include "filters/html.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "filters/html_entity.h"

enum { NAME_MAX_BYTES = 15, STYLE_MAX = 512, META_WITHIN = 1024, TAG_LINKS_MAX = 4 };

struct reader {
	const char *p, *end;
	struct buf *out, *hidden, *links;       /* links may be NULL */
	char hiding[NAME_MAX_BYTES + 1];        /* the element that hides, "": none */
	unsigned nested;                        /* elements of that name that are open, it included */
};

/* A tag's name and what its attributes tell. */
struct tag {
	char name[NAME_MAX_BYTES + 1];          /* lower case, cut */
	bool closing, hides;
	const char *alt;
	size_t alt_len;
	struct { const char *p; size_t len; } link[TAG_LINKS_MAX];
	size_t link_count;
};

static char lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (name[0] == **names && strcmp(name, *names) == 0)
			return true;
	return false;
}

static struct buf *target(struct reader *r)
{
	return r->nested ? r->hidden : r->out;
}

static void add_character(struct buf *out, uint32_t c)
{
	char text[4];
	size_t n = utf8_put(c, text);

	buf_add(out, text, n);
}

/* Text with its references resolved; line ends are blanks. */
static void add_resolved(struct buf *out, const char *p, size_t len)
{
	for (size_t i = 0; i < len && !out->failed;) {
		size_t run = 0, used = 1;
		uint32_t c;

		while (i + run < len && p[i + run] != '&' && !is_blank(p[i + run]))
			run++;
		buf_add(out, p + i, run);
		i += run;
		if (i == len)
			break;
		c = p[i] == '&' ? html_entity(p + i, len - i, &used) : ' ';
		if (c == 0) {
			c = '&';
			used = 1;
		}
		i += used;
		add_character(out, c);
	}
}

static void add_text(struct reader *r, const char *p, size_t len)
{
	add_resolved(target(r), p, len);
}

/* A line of its own; of several addresses in <meta> there is but one, behind "url=". */
static void add_link(struct buf *links, const char *p, size_t len)
{
	if (len > HTML_LINK_MAX)
		len = HTML_LINK_MAX;
	if (len == 0 || links->len + len + 1 > links->max)
		return;
	add_resolved(links, p, len);
	buf_addc(links, '\n');
}

/* Just behind needle, or the end. */
static const char *behind(const char *p, const char *end, const char *needle)
{
	const char *at = memmem(p, (size_t)(end - p), needle, strlen(needle));

	return at ? at + strlen(needle) : end;
}

/* A declaration that hides, in the value of style; blanks do not count, nor what is behind STYLE_MAX octets. */
static bool style_hides(const char *p, size_t len)
{
	static const char *const words[] = { "display:none", "visibility:hidden", "mso-hide:all", NULL };
	static const char *const zeros[] = { "font-size:0", "opacity:0", NULL };
	char plain[STYLE_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < len && n < STYLE_MAX; i++)
		if (!is_blank(p[i]) && p[i] != '\0')
			plain[n++] = lower(p[i]);
	plain[n] = '\0';
	for (const char *const *w = words; *w; w++)
		if (strstr(plain, *w))
			return true;
	for (const char *const *z = zeros; *z; z++) {
		const char *at = strstr(plain, *z);

		/* "font-size:0.9em" hides nothing. */
		if (at && !strchr(".123456789", at[strlen(*z)]))
			return true;
		if (at && at[strlen(*z)] == '\0')
			return true;
	}
	return false;
}

static bool is_attribute(const char *p, size_t len, const char *name)
{
	return strlen(name) == len && strncasecmp(p, name, len) == 0;
}

/* Whether the attribute leads somewhere; of <meta http-equiv=refresh content="0; url=..."> it is what stands behind "url=". */
static bool leads(const char *tag, const char *name, size_t name_len, const char **value, size_t *len)
{
	static const char *const names[] = { "href", "src", "action", "formaction", "background" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (is_attribute(name, name_len, names[i]))
			return true;
	if (strcmp(tag, "meta") != 0 || !is_attribute(name, name_len, "content"))
		return false;
	for (size_t i = 0; i + 4 < *len && i < STYLE_MAX; i++) {
		if (strncasecmp(*value + i, "url=", 4) != 0)
			continue;
		*value += i + 4;
		*len -= i + 4;
		return true;
	}
	return false;
}

static void note_attribute(struct tag *tag, const char *name, size_t name_len, const char *value, size_t len)
{
	if (is_attribute(name, name_len, "style"))
		tag->hides |= style_hides(value, len);
	else if (is_attribute(name, name_len, "hidden"))
		tag->hides = true;
	else if (is_attribute(name, name_len, "alt") && !tag->alt) {
		tag->alt = value;
		tag->alt_len = len;
	} else if (tag->link_count < TAG_LINKS_MAX && leads(tag->name, name, name_len, &value, &len)) {
		tag->link[tag->link_count].p = value;
		tag->link[tag->link_count++].len = len;
	}
}

/* The value behind an equals sign; p moves behind it. */
static const char *read_value(const char **p, const char *end, size_t *len)
{
	const char *at = *p, *stop;

	while (at < end && is_blank(*at))
		at++;
	if (at < end && (*at == '"' || *at == '\'')) {
		stop = memchr(at + 1, *at, (size_t)(end - at - 1));
		stop = stop ? stop : end;
		*len = (size_t)(stop - at - 1);
		*p = stop < end ? stop + 1 : end;
		return at + 1;
	}
	for (stop = at; stop < end && *stop != '>' && !is_blank(*stop);)
		stop++;
	*len = (size_t)(stop - at);
	*p = stop;
	return at;
}

/* From the name of a tag at p to behind its ">". */
static const char *read_tag(const char *p, const char *end, struct tag *tag)
{
	size_t n = 0;

	memset(tag, 0, sizeof(*tag));
	for (; p < end && !is_blank(*p) && *p != '/' && *p != '>'; p++)
		if (n < NAME_MAX_BYTES && *p != '\0')
			tag->name[n++] = lower(*p);
	while (p < end && *p != '>') {
		const char *name = p, *value = p;
		size_t name_len, len = 0;

		if (is_blank(*p) || *p == '/') {
			p++;
			continue;
		}
		do
			p++;            /* an equals sign may begin a name */
		while (p < end && !is_blank(*p) && *p != '/' && *p != '>' && *p != '=');
		name_len = (size_t)(p - name);
		while (p < end && is_blank(*p))
			p++;
		if (p < end && *p == '=') {
			p++;
			value = read_value(&p, end, &len);
		}
		note_attribute(tag, name, name_len, value, len);
	}
	return p < end ? p + 1 : end;
}

/* Behind the end tag of a script or style, whose content is no markup. */
static const char *skip_raw(const char *p, const char *end, const char *name)
{
	size_t len = strlen(name);

	while ((p = memmem(p, (size_t)(end - p), "</", 2))) {
		struct tag tag;

		p += 2;
		if ((size_t)(end - p) <= len || strncasecmp(p, name, len) != 0)
			continue;
		if (is_blank(p[len]) || p[len] == '/' || p[len] == '>')
			return read_tag(p, end, &tag);
	}
	return end;
}

static void leave_mark(struct reader *r, const char *name)
{
	static const char *const blocks[] = {
		"address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "div", "dl", "dt", "fieldset", "figure", "footer",
		"form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "li", "main", "nav", "ol", "option", "p", "pre", "section",
		"table", "tbody", "textarea", "tfoot", "thead", "title", "tr", "ul", NULL,
	};
	static const char *const cells[] = { "td", "th", "img", "input", "button", "select", NULL };

	if (is_among(name, blocks))
		buf_addc(target(r), '\n');
	else if (is_among(name, cells))
		buf_addc(target(r), ' ');
}

/* Whether what follows is seen. Elements without an end tag hide nothing but themselves. */
static void note_hiding(struct reader *r, const struct tag *tag)
{
	static const char *const empty[] = { "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", NULL };

	if (r->nested) {
		if (strcmp(tag->name, r->hiding) == 0)
			r->nested += tag->closing ? -1u : 1u;
	} else if (tag->hides && !tag->closing && !is_among(tag->name, empty)) {
		strcpy(r->hiding, tag->name);
		r->nested = 1;
		buf_addc(r->hidden, '\n');
	}
}

static const char *element(struct reader *r, const char *p, bool closing)
{
	struct tag tag;

	p = read_tag(p, r->end, &tag);
	tag.closing = closing;
	/* A block that is hidden cuts no word. */
	if (closing)
		leave_mark(r, tag.name);
	note_hiding(r, &tag);
	if (!closing)
		leave_mark(r, tag.name);
	for (size_t i = 0; r->links && !closing && i < tag.link_count; i++)
		add_link(r->links, tag.link[i].p, tag.link[i].len);
	if (tag.alt && !closing && strcmp(tag.name, "img") == 0) {
		add_text(r, tag.alt, tag.alt_len);
		buf_addc(target(r), ' ');
	}
	if (!closing && (strcmp(tag.name, "script") == 0 || strcmp(tag.name, "style") == 0))
		return skip_raw(p, r->end, tag.name);
	return p;
}

/* Behind what begins with "<!": a comment, or what counts as one. */
static const char *skip_comment(const char *p, const char *end)
{
	size_t left = (size_t)(end - p);

	if (left < 2 || p[0] != '-' || p[1] != '-')
		return behind(p, end, ">");
	if (left >= 3 && p[2] == '>')                   /* <!--> is whole, and so is <!---> */
		return p + 3;
	if (left >= 4 && p[2] == '-' && p[3] == '>')
		return p + 4;
	for (p += 2; (p = memmem(p, (size_t)(end - p), "--", 2)); p++) {
		const char *q = p + 2;

		if (q < end && *q == '!')
			q++;
		if (q < end && *q == '>')
			return q + 1;
	}
	return end;
}

/* A "<" at p. */
static const char *markup(struct reader *r, const char *p)
{
	const char *next = p + 1;

	if (next < r->end && is_letter(*next))
		return element(r, next, false);
	if (r->end - next > 1 && *next == '/' && is_letter(next[1]))
		return element(r, next + 1, true);
	if (next < r->end && *next == '!')
		return skip_comment(next + 1, r->end);
	if (next < r->end && (*next == '?' || *next == '/'))
		return behind(next, r->end, ">");
	add_text(r, p, 1);
	return next;
}

int html_text(const char *p, size_t len, struct buf *out, struct buf *hidden)
{
	return html_text_links(p, len, out, hidden, NULL);
}

int html_text_links(const char *p, size_t len, struct buf *out, struct buf *hidden, struct buf *links)
{
	struct reader r = { .end = p + len, .out = out, .hidden = hidden, .links = links };

	while (p < r.end && !out->failed && !hidden->failed) {
		const char *lt = memchr(p, '<', (size_t)(r.end - p));

		add_text(&r, p, (size_t)((lt ? lt : r.end) - p));
		p = lt ? markup(&r, lt) : r.end;
	}
	return out->failed || hidden->failed ? -ENOMEM : 0;
}

static bool is_label(char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || (c != '\0' && strchr("-_.:+", c));
}

size_t html_charset(const char *p, size_t len, const char **label)
{
	const char *end = p + (len < META_WITHIN ? len : META_WITHIN);

	while ((p = memchr(p, '<', (size_t)(end - p)))) {
		const char *close = memchr(p, '>', (size_t)(end - p)), *at = p;
		size_t n = 0;

		if (!close)
			return 0;
		p = close;
		if (close - at < 5 || strncasecmp(at, "<meta", 5) != 0)
			continue;
		while (close - at > 8 && strncasecmp(at, "charset", 7) != 0)
			at++;
		if (close - at <= 8)
			continue;
		for (at += 7; at < close && (is_blank(*at) || strchr("=\"'", *at));)
			at++;
		while (at + n < close && is_label(at[n]))
			n++;
		if (n == 0)
			continue;
		*label = at;
		return n;
	}
	return 0;
}
