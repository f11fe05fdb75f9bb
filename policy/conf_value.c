/* conf_value - readers of the kinds of values; declared in conf_table.h */
#include "policy/conf_table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { PASSWORD_MAX = 512 };

jmp_buf *conf_way_out;

void conf_no_memory(void)
{
	if (conf_way_out)
		longjmp(*conf_way_out, 1);
	fputs("out of memory while the configuration is read\n", stderr);
	_exit(1);
}

char *conf_copy(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		conf_no_memory();
	return copy;
}

void *conf_grow(void *list, size_t *count, size_t size)
{
	char *more = reallocarray(list, *count + 1, size);

	if (!more)
		conf_no_memory();
	memset(more + *count * size, 0, size);
	++*count;
	return more;
}

void conf_list_add(char ***list, size_t *count, const char *text)
{
	*list = conf_grow(*list, count, sizeof **list);
	(*list)[*count - 1] = conf_copy(text);
}

/* A value that is quoted may hold anything ("a\n"): each message is a line, for a person. */
static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void conf_error(struct conf *c, int line, const char *fmt, ...)
{
	struct conf_message *m = &c->error[c->error_count];
	va_list ap;

	if (c->error_count == CONF_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	if (vasprintf(&m->text, fmt, ap) < 0)
		conf_no_memory();
	va_end(ap);
	one_line(m->text);
	m->line = line;
	c->error_count++;
}

void conf_warning(struct conf *c, int line, const char *fmt, ...)
{
	char *text;
	va_list ap;

	if (!c->warnings)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		conf_no_memory();
	va_end(ap);
	one_line(text);
	if (line > 0)
		buf_addf(c->warnings, "%s:%d: %s\n", c->path, line, text);
	else
		buf_addf(c->warnings, "%s: %s\n", c->path, text);
	free(text);
}

char *conf_path(const struct conf *c, const char *path)
{
	char *out;

	if (path[0] == '/')
		return conf_copy(path);
	if (asprintf(&out, "%s/%s", c->dir, path) < 0)
		conf_no_memory();
	return out;
}

/* All of fd into b. 0 or -errno; -EFBIG past b's bound. */
static int read_all(int fd, struct buf *b)
{
	struct stat st;
	ssize_t n = 1;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	while (n > 0) {
		if (buf_reserve(b, 4096) < 0)
			return -EFBIG;
		n = read(fd, b->data + b->len, 4096);
		if (n > 0)
			b->len += (size_t)n;
	}
	return n < 0 ? -errno : 0;
}

static void file_error(struct conf *c, const char *name, const char *full, int line, const char *why)
{
	if (line > 0)
		conf_error(c, line, "%s: %s: %s, expected a readable text file", name, full, why);
	else                            /* the configuration itself, which stands before each message */
		conf_error(c, 0, "%s, expected a readable text file", why);
}

char *conf_file_large(struct conf *c, const char *name, const char *path, int line, size_t max, size_t *len)
{
	AUTO(buf) struct buf b = BUF_INIT(max + 4096);
	char *full = conf_path(c, path);
	int fd = file_open(full);
	int rc = fd < 0 ? fd : read_all(fd, &b);

	if (fd >= 0)
		close(fd);
	if (rc == 0 && b.len > max)
		rc = -EFBIG;
	if (rc == 0 && b.data && memchr(b.data, '\0', b.len))
		rc = -EILSEQ;
	if (rc == -EACCES && c->command && line > 0)
		conf_warning(c, line, "%s: %s: not readable for this user", name, full);
	else if (rc < 0)
		file_error(c, name, full, line, rc == -EISDIR ? "not a file" : rc == -EILSEQ ? "not text" : strerror(-rc));
	free(full);
	if (rc < 0)
		return NULL;
	*len = b.len;
	return b.data ? conf_copy((b.data[b.len] = '\0', b.data)) : conf_copy("");
}

char *conf_file(struct conf *c, const char *name, const char *path, int line, size_t *len)
{
	return conf_file_large(c, name, path, line, CONF_TEXT_MAX, len);
}

void conf_password(struct conf *c, const char *name, const char *path, int line, char **out)
{
	size_t len;
	char *text = conf_file(c, name, path, line, &len);

	if (!text)
		return;
	len = strcspn(text, "\r\n");
	if (len == 0 || len > PASSWORD_MAX) {
		conf_error(c, line, "%s: the first line of %s is no password, expected 1 to %d bytes", name, path, PASSWORD_MAX);
	} else {
		free(*out);
		*out = strndup(text, len);
		if (!*out)
			conf_no_memory();
	}
	explicit_bzero(text, strlen(text));
	free(text);
}

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit times[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	{ NULL, 0 },
};
static const struct unit sizes[] = {
	{ "", 1 }, { "K", 1024 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { NULL, 0 },
};

/* A whole number and one of the units. False: it is not that, or too large for any use. */
static bool read_quantity(const char *text, const struct unit *units, int64_t *out)
{
	int64_t n = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 12)
		return false;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (text[i] - '0');
	for (; units->name; units++) {
		if (strcmp(units->name, text + digits) == 0 && n <= INT64_MAX / units->factor) {
			*out = n * units->factor;
			return true;
		}
	}
	/* Nothing is nothing in every unit. */
	*out = 0;
	return n == 0 && text[digits] == '\0';
}

static bool read_int(const char *text, int64_t *out)
{
	int64_t n = 0;
	size_t sign = text[0] == '-', digits = strspn(text + sign, "0123456789");

	if (digits == 0 || digits > 12 || text[sign + digits])
		return false;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (text[sign + i] - '0');
	*out = sign ? -n : n;
	return true;
}

/* A bound, as one would write it: "5m", "256K". Static buffer in the caller. */
static const char *quantity_text(int64_t v, const struct unit *units, char *out, size_t size)
{
	const struct unit *best = &units[0];

	for (const struct unit *u = units; u->name && v != 0; u++)
		if (v % u->factor == 0)
			best = u;
	snprintf(out, size, "%" PRId64 "%s", v / best->factor, v == 0 ? "" : best->name);
	return out;
}

static void read_number(struct conf *c, const struct conf_option *o, void *at, const char *text,
                        int line)
{
	bool time = o->kind == CONF_DURATION_MS || o->kind == CONF_DURATION_S, ok;
	const struct unit *units = time ? times : sizes;
	int64_t scale = o->kind == CONF_DURATION_S ? 1000 : 1, v = 0;
	char min[32], max[32];

	ok = o->kind == CONF_INT ? read_int(text, &v) : read_quantity(text, units, &v);
	if (!ok) {
		int kind = time ? 0 : o->kind == CONF_INT ? 1 : 2;
		static const char *const kinds[] = { "duration", "number", "size" };
		static const char *const expected[] = {
			"a number and ms, s, m, h or d, such as \"30s\"",
			"one such as 20",
			"a number of bytes, or with K, M or G, such as \"50M\"",
		};

		conf_error(c, line, "%s: \"%s\" is no %s, expected %s", o->name, text, kinds[kind],
		           expected[kind]);
		return;
	}
	if (v < o->min * scale || v > o->max * scale) {
		if (o->kind == CONF_INT)
			conf_error(c, line,
			           "%s: %s is out of range, expected %" PRId64 " to %" PRId64,
			           o->name, text, o->min, o->max);
		else
			conf_error(c, line, "%s: %s is out of range, expected %s to %s", o->name,
			           text, quantity_text(o->min * scale, units, min, sizeof min),
			           quantity_text(o->max * scale, units, max, sizeof max));
		return;
	}
	if (v % scale) {
		conf_error(c, line, "%s: %s is too fine, expected whole seconds", o->name, text);
		return;
	}
	if (o->kind == CONF_SIZE)
		*(size_t *)at = (size_t)v;
	else if (o->kind == CONF_SIZE64)
		*(uint64_t *)at = (uint64_t)v;
	else
		*(int *)at = (int)(v / scale);
}

static void read_bool(struct conf *c, const struct conf_option *o, bool *at, const char *text,
                      int line)
{
	if (strcmp(text, "yes") == 0)
		*at = true;
	else if (strcmp(text, "no") == 0)
		*at = false;
	else
		conf_error(c, line, "%s: \"%s\" is neither yes nor no, expected one of them",
		           o->name, text);
}

static void read_word(struct conf *c, const struct conf_option *o, int *at, const char *text,
                      int line)
{
	AUTO(buf) struct buf all = BUF_INIT(1024);

	for (int i = 0; o->words[i]; i++) {
		if (strcmp(o->words[i], text) == 0) {
			*at = i;
			return;
		}
		buf_addf(&all, "%s%s", i == 0 ? "" : o->words[i + 1] ? ", " : " or ", o->words[i]);
	}
	conf_error(c, line, "%s: \"%s\" is not known, expected %s", o->name, text, buf_str(&all));
}

static void replace(char **at, char *text)
{
	free(*at);
	*at = text;
}

static_assert(sizeof(enum engine) == sizeof(int), "CONF_WORD writes an int where an enum is");

void conf_read(struct conf *c, const struct conf_option *o, void *base, const char *text, int line)
{
	void *at = (char *)base + o->offset;
	size_t len;

	switch (o->kind) {
	case CONF_TEXT:
		replace(at, conf_copy(text));
		break;
	case CONF_PATH:
		if (*text)
			replace(at, conf_path(c, text));
		else
			conf_error(c, line, "%s: is empty, expected a path", o->name);
		break;
	case CONF_FILE:
		replace(at, conf_file(c, o->name, text, line, &len));
		break;
	case CONF_DURATION_MS:
	case CONF_DURATION_S:
	case CONF_SIZE:
	case CONF_SIZE64:
	case CONF_INT:
		read_number(c, o, at, text, line);
		break;
	case CONF_BOOL:
		read_bool(c, o, at, text, line);
		break;
	case CONF_WORD:
		read_word(c, o, at, text, line);
		break;
	case CONF_CUSTOM:
	case CONF_LIST:
		o->read(c, base, text, line);
		break;
	}
}

bool conf_given(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->value_count; i++)
		if (c->current && c->value[i].section == c->current &&
		    strcmp(c->value[i].name, name) == 0)
			return true;
	return false;
}

const struct conf_section *conf_section_find(const char *name, size_t len)
{
	for (size_t i = 1; conf_sections[i]; i++)
		if (strlen(conf_sections[i]->name) == len &&
		    memcmp(conf_sections[i]->name, name, len) == 0)
			return conf_sections[i];
	return NULL;
}

const struct conf_option *conf_option_find(const struct conf_section *s, const char *name,
                                           size_t len)
{
	for (const struct conf_option *o = s->options; o->name; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

bool conf_prefix_add(struct conf *c, const char *option, struct net_prefix **list, size_t *count, const char *value, int line)
{
	struct net_prefix p;

	if (net_parse_prefix(value, &p) < 0) {
		conf_error(c, line, "%s: \"%s\" is no network, expected one such as \"192.0.2.0/24\" or \"2001:db8::/32\"", option, value);
		return false;
	}
	*list = conf_grow(*list, count, sizeof **list);
	(*list)[*count - 1] = p;
	return true;
}

bool conf_title_ok(struct conf *c, const char *section, const char *title, int line)
{
	size_t len = strlen(title);

	if (len > 0 && len <= 40 &&
	    strspn(title, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == len)
		return true;
	conf_error(c, line, "%s: \"%s\" is no name, expected up to 40 letters, digits, dots and hyphens", section, title);
	return false;
}
