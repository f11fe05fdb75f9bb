#include "filters/milter_mail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/conf.h"

static int room_for_field(struct milter_mail *m)
{
	size_t cap = m->cap ? m->cap * 2 : 64;
	struct milter_field *v;

	if (m->count < m->cap)
		return 0;
	v = reallocarray(m->field, cap, sizeof(*v));
	if (!v)
		return -ENOMEM;
	m->field = v;
	m->cap = cap;
	return 0;
}

int milter_mail_init(struct milter_mail *m, const struct txn *t, uint64_t body_max)
{
	*m = (struct milter_mail){ .txn = t, .body_max = body_max };
	for (size_t i = 0; i < message_field_count(t->message); i++) {
		const struct header_field *h = message_field(t->message, i);

		if (room_for_field(m) < 0) {
			milter_mail_release(m);
			return -ENOMEM;
		}
		m->field[m->count++] = (struct milter_field){ .raw = h->raw, .len = h->raw_len, .name_len = h->name_len };
		m->bytes += h->raw_len;
	}
	return 0;
}

void milter_mail_release(struct milter_mail *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->field[i].own);
	free(m->field);
	message_free(m->body);
	message_free(m->began);
	for (size_t i = 0; i < m->added_count; i++) {
		free(m->added[i].address);
		free(m->added[i].params);
	}
	free(m->added);
	free(m->deleted);
	free(m->from);
	free(m->from_params);
	memset(m, 0, sizeof(*m));
}

/* ---- header ---- */

/* A name as RFC 5322 2.2 has it. */
static bool name_ok(const char *name)
{
	size_t n = 0;

	while (name[n] > 32 && name[n] < 127 && name[n] != ':')
		n++;
	return n > 0 && n <= 200 && !name[n];
}

/*
 * Every line end becomes CRLF with a blank behind it; those at the end go. A line of nothing but blanks goes, too: some take it for the header's end, and RFC 5322
 * section 3.2.2 has none made.
 */
static void fold(struct buf *out, const char *value)
{
	static const char ends[] = "\r\n", white[] = "\r\n \t";

	for (const char *p = value; *p;) {
		size_t n = strcspn(p, ends), gap = strspn(p + n, white), last = gap;

		buf_add(out, p, n);
		p += n + gap;
		if (!*p)
			break;
		/* what stands behind the last line end of the gap begins the next line */
		while (!strchr(ends, p[-(ptrdiff_t)(gap - last) - 1]))
			last--;
		buf_addf(out, "\r\n%.*s", (int)(gap - last), p - (gap - last));
		if (gap == last)
			buf_addc(out, '\t');
	}
	buf_adds(out, "\r\n");
}

static int field_make(const struct milter_mail *m, const char *name, const char *value, bool leading_space, struct milter_field *out)
{
	size_t max = m->txn->site->limits.message.header_bytes;
	AUTO(buf) struct buf text = BUF_INIT(max);

	buf_addf(&text, leading_space ? "%s:" : "%s: ", name);
	fold(&text, value);
	if (text.failed)
		return text.len + strlen(value) >= max / 2 ? -EMSGSIZE : -ENOMEM;
	out->len = text.len;
	out->name_len = strlen(name);
	out->raw = out->own = buf_steal(&text);
	return out->own ? 0 : -ENOMEM;
}

static int insert(struct milter_mail *m, size_t at, const struct milter_reply *r, bool leading_space)
{
	const struct message_limits *lim = &m->txn->site->limits.message;
	struct milter_field f;
	int rc;

	if (!name_ok(r->text[0]))
		return 1;
	rc = room_for_field(m);
	if (rc == 0)
		rc = field_make(m, r->text[0], r->text[1], leading_space, &f);
	if (rc < 0)
		return rc;
	if (m->count + 1 > lim->header_fields || m->bytes + f.len + 2 > lim->header_bytes) {
		free(f.own);
		return -EMSGSIZE;
	}
	memmove(m->field + at + 1, m->field + at, (m->count - at) * sizeof(*m->field));
	m->field[at] = f;
	m->count++;
	m->bytes += f.len;
	m->header_changed = true;
	return 0;
}

static void erase(struct milter_mail *m, size_t at)
{
	m->bytes -= m->field[at].len;
	free(m->field[at].own);
	memmove(m->field + at, m->field + at + 1, (m->count - at - 1) * sizeof(*m->field));
	m->count--;
	m->header_changed = true;
}

/* The nth (from 1) of that name; count: there are fewer. */
static size_t find(const struct milter_mail *m, const char *name, uint32_t nth)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < m->count; i++)
		if (m->field[i].name_len == len && strncasecmp(m->field[i].raw, name, len) == 0 && (nth < 2 || --nth == 0))
			return i;
	return m->count;
}

/* An empty value deletes; what is not there is added at the end (libmilter's smfi_chgheader). */
static int change(struct milter_mail *m, const struct milter_reply *r, bool leading_space)
{
	size_t at = find(m, r->text[0], r->index);
	int rc;

	if (!r->text[1][0]) {
		if (at == m->count)
			return 1;
		erase(m, at);
		return 0;
	}
	rc = insert(m, at, r, leading_space);
	if (rc == 0 && at + 1 < m->count)
		erase(m, at + 1);
	return rc;
}

/*
 * 0 and 1 are the top: above the first field that a filter is shown. Sendmail's and Postfix's own Received field, which it is not shown, is number 0 there;
 * ours, and Authentication-Results, stand above all that filters insert.
 */
static size_t insert_place(const struct milter_mail *m, uint32_t index)
{
	size_t at = index > 0 ? index - 1 : 0;

	return at < m->count ? at : m->count;
}

/* ---- body ---- */

static int replace_body(struct milter_mail *m, const struct milter_reply *r)
{
	if (!m->began) {
		m->began = message_new_like(m->txn->message);
		if (!m->began || message_add(m->began, "\r\n", 2) < 0)
			return -ENOMEM;
	}
	if (message_size(m->began) + r->len > m->body_max)
		return -EMSGSIZE;
	return message_add(m->began, r->data, r->len);
}

int milter_mail_settle(struct milter_mail *m)
{
	int rc = m->began ? message_end(m->began) : 0;

	if (!m->began || rc < 0)
		return rc;
	message_free(m->body);
	m->body = m->began;
	m->began = NULL;
	return 0;
}

/* ---- envelope ---- */

/* "<user@example.com>" or without the brackets, as a new string; NULL: it is no address, or (errno) there is no memory. */
static char *address_of(const char *text, bool null_too)
{
	size_t len = strlen(text);

	errno = 0;
	if (len >= 2 && text[0] == '<' && text[len - 1] == '>') {
		text++;
		len -= 2;
	}
	if ((len == 0 && !null_too) || len > MILTER_ADDRESS_MAX)
		return NULL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= 32 || text[i] == 127 || text[i] == '<' || text[i] == '>')
			return NULL;
	return strndup(text, len);
}

/* Parameters of MAIL and RCPT: words of printable ASCII. NULL: none such. */
static char *params_of(const char *text)
{
	errno = 0;
	for (const char *p = text; *p; p++)
		if (*p < 32 || *p > 126)
			return NULL;
	return strlen(text) > MILTER_ADDRESS_MAX ? NULL : strdup(text);
}

/* Of two strings that are wanted. */
static int both(char **address, char **params, const char *text, const char *words, bool null_too)
{
	int rc;

	*address = address_of(text, null_too);
	rc = *address ? 0 : errno ? -ENOMEM : 1;
	*params = rc == 0 ? params_of(words ? words : "") : NULL;
	if (rc == 0 && !*params)
		rc = errno ? -ENOMEM : 1;
	if (rc != 0) {
		free(*address);
		*address = NULL;
	}
	return rc;
}

static int add_rcpt(struct milter_mail *m, const struct milter_reply *r)
{
	struct milter_rcpt to, *v;
	int rc = both(&to.address, &to.params, r->text[0], r->text[1], false);

	if (rc != 0)
		return rc;
	v = m->added_count < (size_t)m->txn->site->limits.recipients ? reallocarray(m->added, m->added_count + 1, sizeof(*v)) : NULL;
	if (!v) {
		free(to.address);
		free(to.params);
		return m->added_count < (size_t)m->txn->site->limits.recipients ? -ENOMEM : -EMSGSIZE;
	}
	m->added = v;
	m->added[m->added_count++] = to;
	return 0;
}

static bool unadd(struct milter_mail *m, const char *address)
{
	for (size_t i = 0; i < m->added_count; i++) {
		if (strcasecmp(m->added[i].address, address) != 0)
			continue;
		free(m->added[i].address);
		free(m->added[i].params);
		m->added[i] = m->added[--m->added_count];
		return true;
	}
	return false;
}

static int del_rcpt(struct milter_mail *m, const struct milter_reply *r)
{
	const struct envelope *env = &m->txn->env;
	char *address = address_of(r->text[0], false);
	bool found = false;

	if (!address)
		return errno ? -ENOMEM : 1;
	if (!m->deleted)
		m->deleted = calloc(env->rcpt_count + 1, sizeof(*m->deleted));
	for (size_t i = 0; m->deleted && i < env->rcpt_count; i++) {
		if (m->deleted[i] || strcasecmp(env->rcpt[i].address, address) != 0)
			continue;
		m->deleted[i] = found = true;
	}
	if (!found)
		found = unadd(m, address);
	free(address);
	return !m->deleted ? -ENOMEM : found ? 0 : 1;
}

static int change_from(struct milter_mail *m, const struct milter_reply *r)
{
	char *from, *params;
	int rc = both(&from, &params, r->text[0], r->text[1], true);

	if (rc != 0)
		return rc;
	free(m->from);
	free(m->from_params);
	m->from = from;
	m->from_params = params;
	return 0;
}

/* ---- all ---- */

int milter_mail_change(struct milter_mail *m, const struct milter_reply *r, bool leading_space)
{
	if (r->what == MILTER_REPLACE_BODY)
		return replace_body(m, r);
	if (++m->changes > MILTER_CHANGES_MAX)
		return -EMSGSIZE;
	switch (r->what) {
	case MILTER_ADD_HEADER:
		return insert(m, m->count, r, leading_space);
	case MILTER_INSERT_HEADER:
		return insert(m, insert_place(m, r->index), r, leading_space);
	case MILTER_CHANGE_HEADER:
		return change(m, r, leading_space);
	case MILTER_ADD_RCPT:
	case MILTER_ADD_RCPT_PARAMS:
		return add_rcpt(m, r);
	case MILTER_DEL_RCPT:
		return del_rcpt(m, r);
	case MILTER_CHANGE_FROM:
		return change_from(m, r);
	default:
		return 1;
	}
}

bool milter_mail_changed(const struct milter_mail *m)
{
	return m->header_changed || m->body;
}

size_t milter_mail_left(const struct milter_mail *m)
{
	size_t left = m->added_count;

	for (size_t i = 0; i < m->txn->env.rcpt_count; i++)
		left += !m->deleted || !m->deleted[i];
	return left;
}

struct message *milter_mail_body(const struct milter_mail *m, size_t *off)
{
	struct message *body = m->body ? m->body : m->txn->message;

	*off = message_body_offset(body);
	return body;
}

static struct header_field as_field(const struct milter_field *f)
{
	struct header_field h = { .raw = f->raw, .raw_len = f->len, .name = f->raw, .name_len = f->name_len };
	const char *end = f->raw + f->len;

	h.body = (const char *)memchr(f->raw + f->name_len, ':', f->len - f->name_len) + 1;
	if (end > h.body && end[-1] == '\n')
		end--;
	if (end > h.body && end[-1] == '\r')
		end--;
	h.body_len = (size_t)(end - h.body);
	return h;
}

struct message *milter_mail_message(const struct milter_mail *m, bool (*stays)(void *arg, const struct header_field *h), void *arg)
{
	AUTO(buf) struct buf header = BUF_INIT(m->bytes + 4);
	size_t off;
	struct message *body = milter_mail_body(m, &off);

	for (size_t i = 0; i < m->count; i++) {
		const struct milter_field *f = &m->field[i];
		struct header_field h = as_field(f);

		if (stays && !f->own && !stays(arg, &h))
			continue;
		buf_add(&header, f->raw, f->len);
		/* The last line of a message that is all header may have no end. */
		if (f->raw[f->len - 1] != '\n')
			buf_adds(&header, "\r\n");
	}
	buf_adds(&header, "\r\n");
	return header.failed ? NULL : message_derive(body, header.data, header.len);
}
