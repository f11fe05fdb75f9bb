/* Lists from files: a line at a time */
#include "policy/policy_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ERRORS_MAX = 20 };

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
	end = comment_find(p, end);
	while (end > p && blank(end[-1]))
		end--;
	*entry = p;
	*entry_len = (size_t)(end - p);
	return end > p ? LINE_ENTRY : LINE_EMPTY;
}

/* One line of a list file; whether it is in order. */
static bool line_read(struct policy_list *l, const char *p, size_t len, const char *label, int line,
		      struct buf *errors)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);
	const char *entry;
	size_t entry_len, column;
	enum list_line kind = policy_list_line(p, len, &entry, &entry_len, &column, &err);
	int rc = kind == LINE_BAD ? -EINVAL : 0;

	if (kind == LINE_ENTRY || kind == LINE_TEXT)
		rc = policy_list_add(l, entry, entry_len, kind == LINE_TEXT, &err);
	if (rc < 0)
		buf_addf(errors, "%s:%d:%zu: %s\n", label, line, column,
			 err.len ? buf_str(&err) : "no memory for the list, expected a shorter one");
	return rc >= 0;
}

int policy_list_read(struct policy_list *l, const char *text, size_t len, const char *label,
		     struct buf *errors)
{
	const char *end = text + len;
	int wrong = 0, line = 0;

	for (const char *p = text; p < end && wrong < ERRORS_MAX;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl ? nl : end;

		wrong += !line_read(l, p, (size_t)(stop - p), label, ++line, errors);
		p = nl ? nl + 1 : end;
	}
	return wrong;
}

static int read_all(const char *path, char **out, size_t *out_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
	struct stat st;
	char *p = NULL;
	size_t len = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else if (st.st_size > LIST_FILE_BYTES_MAX)
		rc = -EFBIG;
	else if (!(p = malloc((size_t)st.st_size + 1)))
		rc = -ENOMEM;
	while (rc == 0 && len < (size_t)st.st_size) {
		ssize_t n = read(fd, p + len, (size_t)st.st_size - len);

		if (n < 0)
			rc = errno == EINTR ? 0 : -errno;
		else if (n == 0)
			break;
		else
			len += (size_t)n;
	}
	close(fd);
	if (rc < 0) {
		free(p);
		return rc;
	}
	*out = p;
	*out_len = len;
	return 0;
}

int policy_list_load(struct policy_list *l, const char *path, const char *label, struct buf *errors)
{
	char *text = NULL;
	size_t len = 0;
	int rc = read_all(path, &text, &len);

	if (rc < 0)
		return rc;
	rc = policy_list_read(l, text, len, label, errors);
	free(text);
	return rc;
}
