/* Lists from files: a line at a time */
#include "policy/policy_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "policy/policy_lex.h"
#include "policy/policy_regex.h"

enum { ERRORS_MAX = 20, BLOCK = 256 * 1024 };

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* A comment begins a line or stands behind a blank: in a mailbox # is a letter like others. */
static const char *comment_find(const char *p, const char *end)
{
	for (const char *q = p; q < end; q++)
		if (*q == '#' && (q == p || blank(q[-1])))
			return q;
	return end;
}

/* Nothing but blanks and a comment follows. */
static bool ends(const char *p, const char *end)
{
	while (p < end && blank(*p))
		p++;
	return p == end || *p == '#';
}

static enum list_line bad(struct buf *err, const char *text)
{
	buf_adds(err, text);
	return LINE_BAD;
}

enum list_line policy_list_line(const char *p, size_t len, const char **entry, size_t *entry_len,
				size_t *column, struct buf *err)
{
	const char *start = p, *end = p + len, *close;

	while (p < end && blank(*p))
		p++;
	*column = (size_t)(p - start) + 1;
	if (p < end && *p == '"') {
		close = memchr(p + 1, '"', (size_t)(end - p - 1));
		if (!close)
			return bad(err, "a text without its end, expected \" on the same line");
		if (!ends(close + 1, end))
			return bad(err, "something after the text, expected the end of the line");
		*entry = p + 1;
		*entry_len = (size_t)(close - p - 1);
		return LINE_TEXT;
	}
	if (p < end && *p == '/') {
		for (close = p + 1; close < end && *close != '/'; close++)
			close += *close == '\\' && close + 1 < end;
		if (close >= end)
			return bad(err, "a regular expression without its end, expected / on the same line");
		if (!ends(close + 1, end))
			return bad(err, "something after the regular expression, expected the end of the line");
		*entry = p;
		*entry_len = (size_t)(close - p) + 1;
		return LINE_REGEX;
	}
	end = comment_find(p, end);
	while (end > p && blank(end[-1]))
		end--;
	*entry = p;
	*entry_len = (size_t)(end - p);
	return end > p ? LINE_ENTRY : LINE_EMPTY;
}

static int regex_add(struct policy_list *l, const char *p, size_t len, size_t *column, struct buf *err)
{
	struct token t = { .kind = TOKEN_REGEX, .text = p, .len = len };
	AUTO(buf) struct buf pattern = BUF_INIT(REGEX_PATTERN_MAX);
	size_t offset;
	int rc;

	if (token_value(&t, &pattern) < 0) {
		buf_addf(err, "a regular expression of %zu bytes, expected 1 to %d", len - 2, REGEX_PATTERN_MAX);
		return -EINVAL;
	}
	rc = policy_list_add_regex(l, buf_str(&pattern), pattern.len, &offset, err);
	if (offset)
		*column += offset + 1;
	return rc;
}

struct reader {
	struct policy_list *list;
	const char *label;
	struct buf *errors;
	int line, wrong;
};

static void line_read(struct reader *r, const char *p, size_t len)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);
	const char *entry;
	size_t entry_len, column;
	enum list_line kind = policy_list_line(p, len, &entry, &entry_len, &column, &err);
	int rc = kind == LINE_BAD ? -EINVAL : 0;

	r->line++;
	if (kind == LINE_ENTRY || kind == LINE_TEXT)
		rc = policy_list_add(r->list, entry, entry_len, kind == LINE_TEXT, &err);
	else if (kind == LINE_REGEX)
		rc = regex_add(r->list, entry, entry_len, &column, &err);
	if (rc >= 0)
		return;
	r->wrong++;
	buf_addf(r->errors, "%s:%d:%zu: %s\n", r->label, r->line, column,
		 err.len ? buf_str(&err) : "no memory for the list, expected a shorter one");
}

/* The complete lines of p; how many bytes those are. last: what is left is a line, too. */
static size_t lines_read(struct reader *r, const char *p, size_t len, bool last)
{
	const char *at = p, *end = p + len, *nl;

	while (at < end && r->wrong < ERRORS_MAX && (nl = memchr(at, '\n', (size_t)(end - at)))) {
		line_read(r, at, (size_t)(nl - at));
		at = nl + 1;
	}
	if (!last || at == end || r->wrong >= ERRORS_MAX)
		return (size_t)(at - p);
	line_read(r, at, (size_t)(end - at));
	return len;
}

int policy_list_read(struct policy_list *l, const char *text, size_t len, const char *label,
		     struct buf *errors)
{
	struct reader r = { .list = l, .label = label, .errors = errors };

	lines_read(&r, text, len, true);
	return r.wrong;
}

/* Files */

static int64_t nanoseconds(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static void stamp_of(const struct stat *st, struct list_stamp *out)
{
	*out = (struct list_stamp){ .there = true,
				    .dev = st->st_dev,
				    .ino = st->st_ino,
				    .size = (uint64_t)st->st_size,
				    .mtime_ns = nanoseconds(&st->st_mtim),
				    .ctime_ns = nanoseconds(&st->st_ctim) };
}

bool policy_list_stamp(const char *path, struct list_stamp *out)
{
	struct stat st;

	*out = (struct list_stamp){ .there = false };
	if (file_stat(path, &st) == 0)
		stamp_of(&st, out);
	return out->there;
}

bool policy_list_stamp_same(const struct list_stamp *a, const struct list_stamp *b)
{
	return a->there == b->there && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

static int blocks_read(struct reader *r, int fd, char *block)
{
	size_t have = 0, total = 0, used;

	while (r->wrong < ERRORS_MAX) {
		ssize_t n = read(fd, block + have, BLOCK - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		total += (size_t)n;
		if (total > LIST_FILE_BYTES_MAX)
			return -EFBIG;
		have += (size_t)n;
		used = lines_read(r, block, have, n == 0);
		if (n == 0)
			break;
		have -= used;
		memmove(block, block + used, have);
		if (have == BLOCK) {
			buf_addf(r->errors, "%s:%d:1: a line of more than %d bytes, expected shorter ones\n", r->label,
				 r->line + 1, BLOCK);
			r->wrong++;
			break;
		}
	}
	return 0;
}

static int file_read(struct reader *r, int fd)
{
	char *block = malloc(BLOCK);
	int rc = block ? policy_list_begin(r->list) : -ENOMEM;

	if (rc == 0)
		rc = blocks_read(r, fd, block);
	if (rc == 0 && r->wrong == 0)
		rc = policy_list_finish(r->list);
	free(block);
	return rc;
}

int policy_list_load(struct policy_list *l, const char *path, const char *label,
		     struct list_stamp *stamp, struct buf *errors)
{
	int fd = file_open(path), rc = 0;
	struct reader r = { .list = l, .label = label, .errors = errors };
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else if (st.st_size > LIST_FILE_BYTES_MAX)
		rc = -EFBIG;
	if (rc == 0 && stamp)
		stamp_of(&st, stamp);
	if (rc == 0)
		rc = file_read(&r, fd);
	close(fd);
	return rc < 0 ? rc : r.wrong;
}
