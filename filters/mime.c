#include "filters/mime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/mime_param.h"

enum {
	LINE_MAX_BYTES = 64 * 1024,     /* of a line, as far as it is looked at */
	FIELDS_MAX = 64 * 1024,         /* of a part's fields, as far as they are read here */
	BOUNDARY_MAX = 1024,            /* RFC 2046 5.1.1 says 70 */
	NAME_BYTES_MAX = 6 * MIME_PARAM_BYTES_MAX,
};

/* A container that is open. */
struct level {
	bool multipart, digest;         /* else a message/rfc822 */
	bool closed;                    /* its closing delimiter has come */
	bool any;                       /* a delimiter has come */
	size_t len;
	char boundary[BOUNDARY_MAX];
};

struct mime {
	int (*on_part)(void *arg, const struct mime_part *part);
	int (*on_content)(void *arg, const char *p, size_t len);
	void *arg;
	struct level level[MIME_DEPTH_MAX];
	int depth, deepest;
	bool in_header, of_interest;
	bool in_content;                /* what is no delimiter belongs to the part told last */
	bool passing;                   /* the present line of content is no delimiter: the rest of it is not kept */
	char held[2];                   /* the line end before, which is content unless a delimiter follows */
	size_t held_len;
	struct buf line;                /* the beginning of a line whose end has not come */
	struct buf fields;              /* of the present header, those of interest */
	struct mime_params type, disposition;
	size_t total, leaves;
	const char *broken;
};

static const char *const interesting[] = { "Content-Type", "Content-Disposition", "Content-Transfer-Encoding" };

struct mime *mime_new(int (*on_part)(void *arg, const struct mime_part *part), void *arg)
{
	struct mime *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->on_part = on_part;
	m->arg = arg;
	m->in_header = true;
	buf_init(&m->line, LINE_MAX_BYTES);
	buf_init(&m->fields, FIELDS_MAX);
	return m;
}

void mime_want_content(struct mime *m, int (*on_content)(void *arg, const char *p, size_t len))
{
	m->on_content = on_content;
}

void mime_free(struct mime *m)
{
	if (!m)
		return;
	buf_release(&m->line);
	buf_release(&m->fields);
	mime_params_release(&m->type);
	mime_params_release(&m->disposition);
	free(m);
}

size_t mime_parts(const struct mime *m)
{
	return m->leaves;
}

int mime_depth(const struct mime *m)
{
	return m->deepest;
}

const char *mime_broken(const struct mime *m)
{
	return m->broken;
}

void mime_set_broken(struct mime *m, const char *why)
{
	if (!m->broken)
		m->broken = why;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The octets of a field's name at the line's beginning; *colon is where its body follows. 0: the line is no field. */
static size_t field_name(const char *p, size_t len, size_t *colon)
{
	size_t n = 0, k;

	while (n < len && p[n] > ' ' && p[n] < 0x7f && p[n] != ':')
		n++;
	for (k = n; k < len && is_blank(p[k]);)
		k++;
	if (n == 0 || k == len || p[k] != ':')
		return 0;
	*colon = k;
	return n;
}

static bool is_named(const char *p, size_t len, const char *name)
{
	return strlen(name) == len && strncasecmp(p, name, len) == 0;
}

/* The nth field of that name in what was kept: its body. False: there are fewer. */
static bool find_field(const struct mime *m, const char *name, size_t nth, const char **body, size_t *body_len)
{
	const char *p = buf_str(&m->fields), *end = p + m->fields.len;

	while (p < end) {
		const char *next = p;
		size_t colon = 0, n = field_name(p, (size_t)(end - p), &colon);

		do {
			next = memchr(next, '\n', (size_t)(end - next));
			next = next ? next + 1 : end;
		} while (next < end && (*next == ' ' || *next == '\t'));
		if (n && is_named(p, n, name) && nth-- == 0) {
			*body = p + colon + 1;
			*body_len = (size_t)(next - *body);
			return true;
		}
		p = next;
	}
	return false;
}

/* The field, parsed; *found: there is one. Several: the first counts, as most programs have it. */
static int read_field(struct mime *m, const char *name, struct mime_params *out, bool *found)
{
	const char *p = "";
	size_t len = 0;
	int rc;

	*found = find_field(m, name, 0, &p, &len);
	rc = mime_params_parse(p, len, out);
	if (out->broken)
		mime_set_broken(m, out->broken);
	return rc;
}

static enum transfer_encoding encoding(struct mime *m)
{
	static const char name[] = "Content-Transfer-Encoding";
	const char *p = "";
	size_t len = 0;

	if (find_field(m, name, 1, &p, &len))
		mime_set_broken(m, "two Content-Transfer-Encoding fields");
	return find_field(m, name, 0, &p, &len) ? transfer_find(p, len) : TRANSFER_PLAIN;
}

/* Of the part whose header has been read. */
struct names {
	char *v[MIME_NAMES_MAX];
	size_t count;
};

static int add_names(struct mime *m, const struct mime_params *ps, const char *param, struct names *names)
{
	int rc = 1;

	for (size_t nth = 0; rc > 0; nth++) {
		AUTO(buf) struct buf text = BUF_INIT(NAME_BYTES_MAX);
		bool known = false;

		rc = mime_params_get(ps, param, nth, true, &text);
		if (rc <= 0 || text.len == 0)
			continue;
		for (size_t i = 0; i < names->count; i++)
			known |= strcmp(names->v[i], buf_str(&text)) == 0;
		if (known)
			continue;
		if (names->count == MIME_NAMES_MAX) {
			mime_set_broken(m, "a part with too many names");
			return 0;
		}
		names->v[names->count] = buf_steal(&text);
		if (!names->v[names->count++])
			return -ENOMEM;
	}
	return rc;
}

/* The names in every Content-Type and Content-Disposition field: programs differ in which one they go by. */
static int collect_names(struct mime *m, struct names *names)
{
	static const struct { const char *field, *param; } places[] = {
		{ "Content-Disposition", "filename" },
		{ "Content-Type", "name" },
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		const char *p;
		size_t len;

		for (size_t nth = 0; rc == 0 && nth < MIME_NAMES_MAX && find_field(m, places[i].field, nth, &p, &len); nth++) {
			struct mime_params *ps = i == 0 ? &m->disposition : &m->type;

			if (nth)
				mime_set_broken(m, i == 0 ? "two Content-Disposition fields" : "two Content-Type fields");
			rc = mime_params_parse(p, len, ps);
			if (rc == 0)
				rc = add_names(m, ps, places[i].param, names);
		}
	}
	return rc;
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* What the part is, where its field is missing or no type. RFC 2045 5.2, RFC 2046 5.1.5 */
static void default_type(struct mime *m, bool given)
{
	const struct level *around = m->depth ? &m->level[m->depth - 1] : NULL;
	const char *slash = strchr(m->type.value, '/');

	if (slash && slash != m->type.value && slash[1])
		return;
	if (given && m->type.value[0])
		mime_set_broken(m, "a Content-Type that is none");
	strcpy(m->type.value, around && around->digest && !given ? "message/rfc822" : "text/plain");
}

/* Whether the part is a container that is entered; level is then what it becomes. */
static int enter(struct mime *m, enum transfer_encoding encoded, struct level *level, bool *entered)
{
	AUTO(buf) struct buf boundary = BUF_INIT(MIME_PARAM_BYTES_MAX);
	bool multipart = starts(m->type.value, "multipart/");
	int rc = 0;

	*entered = false;
	if (!multipart && strcmp(m->type.value, "message/rfc822") != 0 && strcmp(m->type.value, "message/global") != 0)
		return 0;
	if (multipart)
		rc = mime_params_get(&m->type, "boundary", 0, false, &boundary);
	if (rc < 0)
		return rc;
	while (boundary.len && is_blank(boundary.data[boundary.len - 1]))
		boundary.len--;
	if (encoded != TRANSFER_PLAIN)
		mime_set_broken(m, "a container that is encoded");
	if (m->depth == MIME_DEPTH_MAX)
		mime_set_broken(m, "containers nested too deeply");
	else if (multipart && (boundary.len == 0 || boundary.len > BOUNDARY_MAX))
		mime_set_broken(m, "a multipart without a boundary");
	else
		*entered = multipart || encoded == TRANSFER_PLAIN;
	if (!*entered)
		return 0;
	*level = (struct level){ .multipart = multipart, .digest = strcmp(m->type.value, "multipart/digest") == 0 };
	level->len = boundary.len;
	memcpy(level->boundary, buf_str(&boundary), boundary.len);
	return 0;
}

static int charset_of(const struct mime_params *type, char out[MIME_CHARSET_MAX + 1])
{
	AUTO(buf) struct buf text = BUF_INIT(NAME_BYTES_MAX);
	int rc = mime_params_get(type, "charset", 0, true, &text);

	if (rc < 0)
		return rc;
	snprintf(out, MIME_CHARSET_MAX + 1, "%s", buf_str(&text));
	return 0;
}

static int tell(struct mime *m, struct mime_part part)
{
	struct names names = { .count = 0 };
	int rc = collect_names(m, &names);

	part.names = (const char *const *)names.v;
	part.name_count = names.count;
	if (rc == 0)
		rc = m->on_part(m->arg, &part);
	for (size_t i = 0; i < names.count; i++)
		free(names.v[i]);
	return rc;
}

/* The header is complete: what follows is the part's content, or the header of a message within. */
static int finish_header(struct mime *m)
{
	char type[MIME_VALUE_MAX + 1];
	char charset[MIME_CHARSET_MAX + 1];
	struct mime_part part = { .depth = m->depth, .type = type, .charset = charset };
	bool typed = false, disposed = false, full = m->total >= MIME_PARTS_MAX;
	int rc;

	m->in_header = m->of_interest = m->in_content = false;
	m->held_len = 0;
	if (m->fields.failed)
		mime_set_broken(m, "a header that is too long");
	if (full) {
		mime_set_broken(m, "too many parts");
		return 0;
	}
	m->total++;
	rc = read_field(m, "Content-Type", &m->type, &typed);
	if (rc == 0)
		rc = read_field(m, "Content-Disposition", &m->disposition, &disposed);
	if (rc < 0)
		return rc;
	default_type(m, typed);
	strcpy(type, m->type.value);
	part.encoding = encoding(m);
	rc = charset_of(&m->type, charset);
	if (rc < 0)
		return rc;
	part.attachment = disposed && strcmp(m->disposition.value, "attachment") == 0;
	/* In place: a level is too large for the stack. None is open there yet. */
	rc = enter(m, part.encoding, &m->level[m->depth < MIME_DEPTH_MAX ? m->depth : 0], &part.container);
	if (rc == 0)
		rc = tell(m, part);
	if (rc < 0)
		return rc;
	if (!part.container) {
		m->leaves++;
		m->in_content = true;
		return 0;
	}
	m->in_header = !m->level[m->depth].multipart;
	m->depth++;
	if (m->depth > m->deepest)
		m->deepest = m->depth;
	buf_clear(&m->fields);
	return 0;
}

/* Everything above depth ends here. */
static void leave(struct mime *m, int depth)
{
	for (; m->depth > depth; m->depth--) {
		const struct level *l = &m->level[m->depth - 1];

		if (l->multipart && !l->closed)
			mime_set_broken(m, l->any ? "a multipart without end" : "a multipart without parts");
	}
}

/* The innermost container whose delimiter the line is, or -1. RFC 2046 5.1.1: blanks may follow. */
static int delimiter_of(const struct mime *m, const char *p, size_t len, bool *closing)
{
	if (len < 3 || p[0] != '-' || p[1] != '-')
		return -1;
	while (is_blank(p[len - 1]))
		len--;
	for (int i = m->depth - 1; i >= 0; i--) {
		const struct level *l = &m->level[i];

		if (!l->multipart || len < l->len + 2 || memcmp(p + 2, l->boundary, l->len) != 0)
			continue;
		*closing = len == l->len + 4 && p[len - 2] == '-' && p[len - 1] == '-';
		if (*closing || len == l->len + 2)
			return i;
	}
	return -1;
}

static int delimiter(struct mime *m, int i, bool closing)
{
	int rc = 0;

	while (rc == 0 && m->in_header)         /* a part without content; of a message within, too */
		rc = finish_header(m);
	if (rc < 0)
		return rc;
	leave(m, i + 1);
	if (m->level[i].closed && !closing)
		mime_set_broken(m, "a part after the end of a multipart");
	m->level[i].closed = closing;
	m->level[i].any = true;
	m->in_header = !closing;
	m->of_interest = m->in_content = false;
	buf_clear(&m->fields);
	return 0;
}

/* One line of a header, without its end. 1: it is the first of the content. */
static int header_line(struct mime *m, const char *p, size_t len)
{
	size_t colon, n;

	if (len == 0)
		return finish_header(m);
	if (*p == ' ' || *p == '\t') {
		if (m->of_interest) {
			buf_add(&m->fields, p, len);
			buf_addc(&m->fields, '\n');
		}
		return 0;
	}
	n = field_name(p, len, &colon);
	if (n == 0) {                           /* the rest is content, as for the message's own header */
		int rc;

		mime_set_broken(m, "a line of a header is no field");
		rc = finish_header(m);
		return rc < 0 || m->in_header ? rc : 1;
	}
	m->of_interest = false;
	for (size_t i = 0; i < sizeof(interesting) / sizeof(*interesting); i++)
		m->of_interest |= is_named(p, n, interesting[i]);
	if (m->of_interest) {
		buf_add(&m->fields, p, len);
		buf_addc(&m->fields, '\n');
	}
	return 0;
}

static int content(struct mime *m, const char *p, size_t len)
{
	int rc = 0;

	if (!m->in_content || !m->on_content)
		return 0;
	if (m->held_len)
		rc = m->on_content(m->arg, m->held, m->held_len);
	m->held_len = 0;
	if (len && p[len - 1] == '\r') {
		m->held[m->held_len++] = '\r';
		len--;
	}
	return rc < 0 || len == 0 ? rc : m->on_content(m->arg, p, len);
}

static void content_line_end(struct mime *m)
{
	if (m->in_content && m->on_content)
		m->held[m->held_len++] = '\n';
	m->passing = false;
}

/* Not in a header: what looks like a delimiter and is none is content. */
static bool may_be_delimiter(const char *p, size_t len)
{
	return p[0] == '-' && (len == 1 || p[1] == '-');
}

/* A line that is complete, without its LF, as far as it is looked at. */
static int line(struct mime *m, const char *p, size_t len)
{
	size_t all = len;
	bool closing;
	int i, rc = 1;

	while (len && p[len - 1] == '\r')
		len--;
	i = delimiter_of(m, p, len, &closing);
	if (i >= 0) {
		m->held_len = 0;
		return delimiter(m, i, closing);
	}
	if (m->in_header)
		rc = header_line(m, p, len);
	if (rc <= 0)
		return rc;
	rc = content(m, p, all);
	content_line_end(m);
	return rc;
}

/* An unfinished line: as much as is looked at, or, when it can be no delimiter, what is content. */
static int keep(struct mime *m, const char *p, size_t len)
{
	size_t room = LINE_MAX_BYTES - m->line.len, n = len < room ? len : room;
	bool closing;
	int rc;

	if (len == 0)
		return 0;
	if (n < len && m->in_header)
		mime_set_broken(m, "a line of a header is too long");
	if (buf_add(&m->line, p, n) < 0)
		return -ENOMEM;
	if (m->in_header)
		return 0;
	if (may_be_delimiter(m->line.data, m->line.len) && (n == len || delimiter_of(m, m->line.data, m->line.len, &closing) >= 0))
		return 0;
	m->passing = true;
	rc = content(m, m->line.data, m->line.len);
	buf_clear(&m->line);
	return rc < 0 || n == len ? rc : content(m, p + n, len - n);
}

/* The piece p[0..len) of a line, which ends behind it, or goes on. */
static int piece(struct mime *m, const char *p, size_t len, bool ends)
{
	bool whole = ends && len <= LINE_MAX_BYTES;
	int rc;

	if (!m->passing && m->line.len == 0 && whole)
		return line(m, p, len);
	rc = m->passing ? content(m, p, len) : keep(m, p, len);
	if (rc < 0 || !ends)
		return rc;
	if (m->passing) {
		content_line_end(m);
		return 0;
	}
	rc = line(m, buf_str(&m->line), m->line.len);
	buf_clear(&m->line);
	return rc;
}

int mime_add(struct mime *m, const char *p, size_t len)
{
	const char *end = p + len;
	int rc = 0;

	while (rc == 0 && p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		const char *stop = lf ? lf : end;

		rc = piece(m, p, (size_t)(stop - p), lf);
		p = lf ? lf + 1 : end;
	}
	return rc;
}

int mime_end(struct mime *m)
{
	int rc = 0;

	if (m->line.len)
		rc = line(m, m->line.data, m->line.len);
	else if (!m->in_header)
		rc = content(m, "", 0);
	buf_clear(&m->line);
	while (rc == 0 && m->in_header)
		rc = finish_header(m);
	if (rc == 0)
		leave(m, 0);
	return rc;
}

bool mime_extension(const char *name, char out[MIME_EXTENSION_MAX + 1])
{
	size_t len = strlen(name), start;

	while (len && (name[len - 1] == '.' || is_blank(name[len - 1])))
		len--;
	for (start = len; start && !strchr("./\\", name[start - 1]);)
		start--;
	if (start == 0 || name[start - 1] != '.' || start == len || len - start > MIME_EXTENSION_MAX)
		return false;
	for (size_t i = start; i < len; i++)
		out[i - start] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
	out[len - start] = '\0';
	return true;
}
