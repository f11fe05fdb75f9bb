#include "policy/store_meta.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/json_whole.h"

static const char *text_of(const json_t *o, const char *a, const char *b, const char *c)
{
	const json_t *v = json_object_get(json_object_get(o, a), b);

	return json_string_value(c ? json_object_get(v, c) : v);
}

static int recipients_read(struct store_meta *m)
{
	json_t *one;
	size_t i;

	json_array_foreach(m->rcpt, i, one) {
		const char *address = json_string_value(json_object_get(one, "address"));

		if (!address)
			continue;
		if (m->recipients.len)
			buf_addc(&m->recipients, '\n');
		buf_adds(&m->recipients, address);
	}
	return m->recipients.failed ? -ENOMEM : 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum { NAMES_MAX = 64 };

/* One word or a list of words. */
static size_t names_add(const json_t *v, const char **name, size_t count)
{
	json_t *one;
	size_t i, k;

	if (json_is_string(v) && count < NAMES_MAX)
		name[count++] = json_string_value(v);
	json_array_foreach(v, i, one) {
		for (k = 0; json_is_string(one) && k < count && strcmp(name[k], json_string_value(one)) != 0; k++)
			;
		if (json_is_string(one) && k == count && count < NAMES_MAX)
			name[count++] = json_string_value(one);
	}
	return count;
}

/* Those of all recipients, and the fact, which is that of one of them. */
static int classes_read(struct store_meta *m)
{
	const char *name[NAMES_MAX];
	size_t count = names_add(json_object_get(m->facts, "class"), name, 0), i;
	json_t *one;

	json_array_foreach(m->rcpt, i, one)
		count = names_add(json_object_get(one, "classes"), name, count);
	qsort(name, count, sizeof(*name), by_text);
	for (i = 0; i < count; i++) {
		if (!*name[i] || strpbrk(name[i], " \n") || (i && strcmp(name[i], name[i - 1]) == 0))
			continue;
		buf_addf(&m->classes, "%s%s ", m->classes.len ? "" : " ", name[i]);
	}
	return m->classes.failed ? -ENOMEM : 0;
}

int store_meta_read(const char *text, size_t len, struct store_meta *out)
{
	int rc;

	*out = (struct store_meta){ .recipients = BUF_INIT(1024 * 1024), .classes = BUF_INIT(16 * 1024) };
	errno = 0;
	out->root = json_whole_load(text, len, JSON_ALLOW_NUL);
	if (!json_is_object(out->root))
		return !out->root && errno == ENOMEM ? -ENOMEM : -EINVAL;
	out->sender = text_of(out->root, "envelope", "from", NULL);
	out->client = text_of(out->root, "client", "ip", NULL);
	out->rule = text_of(out->root, "verdict", "rule", "name");
	out->message_id = text_of(out->root, "message", "id", NULL);
	out->header_from = text_of(out->root, "message", "from", NULL);
	out->subject = text_of(out->root, "message", "subject", NULL);
	out->facts = json_object_get(out->root, "facts");
	out->rcpt = json_object_get(json_object_get(out->root, "envelope"), "rcpt");
	rc = recipients_read(out);
	return rc < 0 ? rc : classes_read(out);
}

void store_meta_release(struct store_meta *m)
{
	json_decref(m->root);
	m->root = NULL;
	buf_release(&m->recipients);
	buf_release(&m->classes);
}

static void add_lower(struct buf *b, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_addc(b, p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i]);
}

int store_meta_name(const char *text, struct buf *out)
{
	size_t len = strlen(text);

	buf_clear(out);
	if (strcmp(text, "<>") == 0)
		return 0;
	if (len > 1 && text[0] == '<' && text[len - 1] == '>') {
		text++;
		len -= 2;
	}
	if (len == 0 || len > STORE_META_TEXT || (text[len - 1] == '@'))
		return -EINVAL;
	if (!memchr(text, '@', len))
		buf_addc(out, '@');
	add_lower(out, text, len);
	return out->failed ? -EINVAL : 0;
}

/* Names that have been said. */
struct said {
	int (*fn)(void *arg, const char *name);
	void *arg;
	json_t *seen;                           /* as a set */
	struct buf name;
};

static int say_once(struct said *s)
{
	const char *name = buf_str(&s->name);

	if (s->name.failed || strlen(name) != s->name.len || json_object_get(s->seen, name) ||
	    json_object_size(s->seen) >= STORE_META_PARTIES)
		return 0;
	/* No UTF-8 cannot be there, as it came from JSON. */
	json_object_set_new(s->seen, name, json_true());
	return s->fn(s->arg, name);
}

static int say(struct said *s, const char *address, size_t len)
{
	const char *at = memrchr(address, '@', len);
	int rc;

	if (len > STORE_META_TEXT)
		return 0;
	buf_clear(&s->name);
	add_lower(&s->name, address, len);
	rc = say_once(s);
	if (rc || !at || at + 1 == address + len)
		return rc;
	buf_clear(&s->name);
	add_lower(&s->name, at, len - (size_t)(at - address));
	return say_once(s);
}

static int said_end(struct said *s, int rc)
{
	json_decref(s->seen);
	buf_release(&s->name);
	return rc;
}

#define SAID(f, a) { .fn = f, .arg = a, .seen = json_object(), .name = BUF_INIT(STORE_META_TEXT + 16) }

/*
 * The address in a From field as a person reads it, where the filter that knows better was not asked: what stands between the last
 * < and its >, or the whole.
 */
static int say_author(struct said *s, const char *text)
{
	const char *open = strrchr(text, '<'), *close = open ? strchr(open, '>') : NULL;
	size_t len = strlen(text);

	if (close) {
		text = open + 1;
		len = (size_t)(close - text);
	}
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (!memchr(text, '@', len) || memchr(text, ' ', len))
		return 0;
	return say(s, text, len);
}

int store_meta_from(const struct store_meta *m, int (*fn)(void *arg, const char *name), void *arg)
{
	struct said s = SAID(fn, arg);
	json_t *authors = json_object_get(m->facts, "from.addresses"), *one;
	int rc = m->sender ? say(&s, m->sender, strlen(m->sender)) : 0;
	size_t i;

	json_array_foreach(authors, i, one)
		if (rc == 0 && json_is_string(one))
			rc = say(&s, json_string_value(one), json_string_length(one));
	if (rc == 0 && json_array_size(authors) == 0 && m->header_from)
		rc = say_author(&s, m->header_from);
	return said_end(&s, rc);
}

int store_meta_to(const struct store_meta *m, int (*fn)(void *arg, const char *name), void *arg)
{
	struct said s = SAID(fn, arg);
	json_t *one;
	int rc = 0;
	size_t i;

	json_array_foreach(m->rcpt, i, one) {
		json_t *address = json_object_get(one, "address");

		if (rc == 0 && json_is_string(address))
			rc = say(&s, json_string_value(address), json_string_length(address));
	}
	return said_end(&s, rc);
}
