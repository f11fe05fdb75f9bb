#include "pop3/pop3_lines.h"

#include <string.h>

/* What has been read of a line: nothing; a dot, and a CR behind it; something; something that ends with CR. */
enum { START, DOT, DOT_CR, TEXT, CR };

/* Up to where p[0..len) goes as it is: behind a CRLF that a dot follows, or all. The state is that behind it. */
static size_t plain(struct pop3_lines *l, const char *p, size_t len)
{
	for (size_t at = 0; at < len;) {
		const char *lf = memchr(p + at, '\n', len - at);
		size_t i;

		if (!lf)
			break;
		i = (size_t)(lf - p);
		at = i + 1;
		if (i > 0 ? p[i - 1] != '\r' : l->state != CR)
			continue;
		if (at == len || p[at] == '.') {
			l->state = START;
			return at;
		}
	}
	l->state = p[len - 1] == '\r' ? CR : TEXT;
	return len;
}

void pop3_lines_read(struct pop3_lines *l, const char *p, size_t len, size_t *used, const char **out, size_t *out_len)
{
	*out = p;
	*out_len = 0;
	*used = 1;
	if (l->state == START && p[0] == '.') {
		l->state = DOT;
		return;
	}
	if (l->state == DOT && p[0] == '\r') {
		l->state = DOT_CR;
		return;
	}
	if (l->state == DOT_CR && p[0] == '\n') {
		l->done = true;
		return;
	}
	if (l->state == DOT_CR) {       /* content after all: ".\rx" */
		l->state = CR;
		*out = "\r";
		*out_len = 1;
		*used = 0;
		return;
	}
	*out_len = *used = plain(l, p, len);
}

size_t pop3_lines_write(struct pop3_lines *l, const char *p, size_t len, bool *dot)
{
	*dot = l->state == START && p[0] == '.';
	return plain(l, p, len);
}

const char *pop3_lines_end(const struct pop3_lines *l)
{
	return l->state == START ? ".\r\n" : l->state == CR ? "\n.\r\n" : "\r\n.\r\n";
}
