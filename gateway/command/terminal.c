#include "command/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"

/* The character at p, of a sequence that utf8_len has found good. */
static unsigned decode(const char *p, size_t n)
{
	static const unsigned char first[5] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	unsigned c = (unsigned char)p[0] & first[n];

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)p[i] & 0x3f);
	return c;
}

/* It would act on the terminal, or on the order in which the rest is read. */
static bool acts(unsigned c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xe0000 && c <= 0xe007f);
}

static void escape(unsigned c, struct buf *out)
{
	if (c == '\n')
		buf_adds(out, "\\n");
	else if (c == '\t')
		buf_adds(out, "\\t");
	else if (c == '\r')
		buf_adds(out, "\\r");
	else
		buf_addf(out, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
}

int terminal_text(const char *p, size_t len, size_t max, struct buf *out)
{
	size_t shown = 0;

	for (size_t i = 0; i < len; shown++) {
		size_t n = utf8_len(p + i, len - i);
		unsigned c = n ? decode(p + i, n) : 0;

		if (max && shown == max)
			return buf_adds(out, "...");
		if (!n)
			buf_addf(out, "\\x%02x", (unsigned char)p[i]);
		else if (acts(c))
			escape(c, out);
		else
			buf_add(out, p + i, n);
		i += n ? n : 1;
	}
	return buf_adds(out, "");
}

bool terminal_is(void)
{
	return isatty(STDOUT_FILENO);
}

const char *terminal_colour(enum terminal_colour c)
{
	static const char *const codes[] = { "\033[0m", "\033[31m", "\033[32m", "\033[33m", "\033[1m", "\033[2m" };

	return terminal_is() && !getenv("NO_COLOR") ? codes[c] : "";
}

int terminal_columns(void)
{
	struct winsize w;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}
