#include "retrieval/reading.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* As in filters/message.c. */
static bool is_field(const char *line, size_t len)
{
	size_t n = 0, colon;

	while (n < len && line[n] > ' ' && line[n] < 0x7f && line[n] != ':')
		n++;
	for (colon = n; colon < len && is_blank(line[colon]); colon++)
		;
	return n > 0 && colon < len && line[colon] == ':';
}

size_t reading_header(const char *p, size_t len, struct buf *out, bool *ended)
{
	bool within = false;            /* a field that is taken */

	*ended = false;
	for (size_t at = 0; at < len;) {
		size_t line = 0, next;

		while (at + line < len && p[at + line] != '\r' && p[at + line] != '\n')
			line++;
		next = at + line + (at + line < len);
		if (next < len && next > at + line && p[next - 1] == '\r' && p[next] == '\n')
			next++;
		if (line == 0) {
			*ended = true;
			return next;
		}
		if (!is_blank(p[at]))
			within = is_field(p + at, line);
		if (within) {
			buf_add(out, p + at, line);
			buf_adds(out, "\r\n");
		}
		at = next;
	}
	return len;
}
