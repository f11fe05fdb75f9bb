#include "pop3/pop3_capa.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/sasl.h"

/* What becomes of a capability. */
enum fate { PASS, OURS, MECHANISMS, PASSWORD, UNROUTED, GONE };

/* RFC 2449 6, RFC 2595 4, RFC 3206, RFC 5034 3, RFC 6856. All others: unknown. */
static const struct { const char *name; enum fate fate; } known[] = {
	{ "TOP", PASS },
	{ "UIDL", PASS },
	{ "RESP-CODES", PASS },
	{ "AUTH-RESP-CODE", PASS },
	{ "PIPELINING", PASS },
	{ "LOGIN-DELAY", PASS },
	{ "EXPIRE", PASS },
	{ "IMPLEMENTATION", PASS },
	{ "CAPA", PASS },
	{ "UTF8", UNROUTED },
	{ "LANG", UNROUTED },
	{ "USER", PASSWORD },
	{ "SASL", MECHANISMS },
	{ "STLS", OURS },
	{ "XCLIENT", GONE },
};

static size_t word(const char *p, size_t len)
{
	const char *blank = memchr(p, ' ', len);

	return blank ? (size_t)(blank - p) : len;
}

static enum fate fate_of(const char *p, size_t len, bool scan)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (len == strlen(known[i].name) && strncasecmp(p, known[i].name, len) == 0)
			return known[i].fate;
	return scan ? GONE : PASS;
}

static bool printable(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	return len > 0 && p[0] != '.';
}

/* "SASL" and those of its words that may pass; nothing if none does. */
static void sasl(const char *p, size_t len, unsigned mechanisms, struct buf *out)
{
	size_t before = out->len, at = word(p, len);
	bool any = false;

	buf_add(out, p, at);
	while (at < len) {
		size_t n;

		while (at < len && p[at] == ' ')
			at++;
		n = word(p + at, len - at);
		if (sasl_find(p + at, n) & mechanisms) {
			buf_addc(out, ' ');
			buf_add(out, p + at, n);
			any = true;
		}
		at += n;
	}
	if (any)
		buf_adds(out, "\r\n");
	else if (!out->failed)
		out->data[out->len = before] = '\0';
}

/* The next line, without its end; NULL: there is none. */
static const char *next_line(const char **p, const char *end, size_t *len)
{
	const char *line = *p, *lf;

	if (line >= end)
		return NULL;
	lf = memchr(line, '\n', (size_t)(end - line));
	*len = lf ? (size_t)(lf - line) : (size_t)(end - line);
	*p = lf ? lf + 1 : end;
	if (*len > 0 && line[*len - 1] == '\r')
		(*len)--;
	return line;
}

static int done(const struct buf *out)
{
	return out->failed ? -ENOSPC : 0;
}

int pop3_capa_adjust(const char *list, size_t len, const struct pop3_capa_rules *rules, struct buf *out)
{
	const char *at = list, *line;
	bool stls = rules->stls;
	size_t n;

	while ((line = next_line(&at, list + len, &n))) {
		enum fate fate = fate_of(line, word(line, n), rules->scan);

		if (!printable(line, n) || fate == GONE || (fate == PASSWORD && rules->no_clear) || (fate == UNROUTED && rules->routed))
			continue;
		if (fate == MECHANISMS) {
			sasl(line, n, rules->mechanisms, out);
			continue;
		}
		if (fate == OURS) {             /* in its place */
			if (!stls)
				continue;
			stls = false;
		}
		buf_add(out, line, n);
		buf_adds(out, "\r\n");
	}
	if (stls)
		buf_adds(out, "STLS\r\n");
	return done(out);
}

int pop3_capa_mechanisms(const char *list, size_t len, const struct pop3_capa_rules *rules, struct buf *out)
{
	const char *at = list, *line;
	size_t n;

	while ((line = next_line(&at, list + len, &n))) {
		if (!(sasl_find(line, n) & rules->mechanisms))
			continue;
		buf_add(out, line, n);
		buf_adds(out, "\r\n");
	}
	return done(out);
}

int pop3_capa_supposed(const struct pop3_capa_rules *rules, struct buf *out)
{
	static const char common[] = "TOP\r\nUIDL\r\nUSER\r\n";

	return pop3_capa_adjust(common, sizeof(common) - 1, rules, out);
}
