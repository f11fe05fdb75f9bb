#include "filters/spamd_reply.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* What is left to be read. */
struct rest {
	const char *p;
	size_t len;
};

/* One line, without its end. False: there is no whole one. */
static bool line(struct rest *r, struct rest *out)
{
	const char *lf = memchr(r->p, '\n', r->len);
	size_t n = lf ? (size_t)(lf - r->p) : 0;

	if (!lf)
		return false;
	*out = (struct rest){ r->p, n > 0 && r->p[n - 1] == '\r' ? n - 1 : n };
	r->p += n + 1;
	r->len -= n + 1;
	return true;
}

static bool eat(struct rest *r, const char *word)
{
	size_t n = strlen(word);

	if (r->len < n || strncasecmp(r->p, word, n) != 0)
		return false;
	r->p += n;
	r->len -= n;
	return true;
}

static void blanks(struct rest *r)
{
	while (r->len > 0 && (*r->p == ' ' || *r->p == '\t')) {
		r->p++;
		r->len--;
	}
}

static bool digit(const struct rest *r)
{
	return r->len > 0 && *r->p >= '0' && *r->p <= '9';
}

static bool natural(struct rest *r, int64_t *out)
{
	if (!digit(r))
		return false;
	for (*out = 0; digit(r); r->p++, r->len--)
		if (*out <= SPAMD_SCORE_MAX)
			*out = *out * 10 + (*r->p - '0');
	return true;
}

/* "-0.1", "5", "15.25": rounded down. */
static bool decimal(struct rest *r, int64_t *out)
{
	bool minus = eat(r, "-"), rest = false;

	if (!natural(r, out))
		return false;
	if (*out > SPAMD_SCORE_MAX)
		*out = SPAMD_SCORE_MAX;
	if (eat(r, ".")) {
		if (!digit(r))
			return false;
		for (; digit(r); r->p++, r->len--)
			rest |= *r->p != '0';
	}
	if (minus)
		*out = -*out - (rest ? 1 : 0);
	return true;
}

/* "SPAMD/1.1 0 EX_OK" */
static bool status(struct rest l, struct spamd_reply *out)
{
	int64_t major, minor, code;
	size_t i;

	if (!eat(&l, "SPAMD/") || !natural(&l, &major) || !eat(&l, ".") || !natural(&l, &minor) || !eat(&l, " ") || !natural(&l, &code) || code > 255)
		return false;
	if (l.len > 0 && *l.p != ' ')
		return false;
	blanks(&l);
	out->code = (int)code;
	for (i = 0; i < l.len && i < SPAMD_ERROR_MAX; i++)
		out->error[i] = l.p[i] >= 0x20 && l.p[i] <= 0x7e ? l.p[i] : '?';
	out->error[i] = '\0';
	return true;
}

/* "True ; 15.2 / 5.0" */
static bool verdict(struct rest l, struct spamd_reply *out)
{
	blanks(&l);
	out->spam = eat(&l, "True") || eat(&l, "Yes");
	if (!out->spam && !eat(&l, "False") && !eat(&l, "No"))
		return false;
	blanks(&l);
	if (!eat(&l, ";"))
		return false;
	blanks(&l);
	if (!decimal(&l, &out->score))
		return false;
	blanks(&l);
	if (!eat(&l, "/"))
		return false;
	blanks(&l);
	if (!decimal(&l, &out->threshold))
		return false;
	blanks(&l);
	return l.len == 0;
}

static void symbols(struct rest r, struct spamd_reply *out)
{
	while (r.len > 0) {
		size_t n = 0;

		while (n < r.len && r.p[n] > 0x20 && r.p[n] <= 0x7e && r.p[n] != ',')
			n++;
		if (n > 0 && n <= SPAMD_SYMBOL_MAX && out->symbol_count < SPAMD_SYMBOLS_MAX)
			out->symbol[out->symbol_count++] = (struct spamd_symbol){ r.p, n };
		if (n < r.len)
			n++;
		r.p += n;
		r.len -= n;
	}
}

int spamd_reply_read(const char *p, size_t len, struct spamd_reply *out)
{
	struct rest r = { p, len }, l;
	bool told = false;

	memset(out, 0, sizeof(*out));
	if (!line(&r, &l) || !status(l, out))
		return -EBADMSG;
	if (out->code != 0)
		return 0;
	for (;;) {
		if (!line(&r, &l))
			return -EBADMSG;
		if (l.len == 0)
			break;
		if (eat(&l, "Spam:")) {
			if (told || !verdict(l, out))
				return -EBADMSG;
			told = true;
		}
	}
	if (!told)
		return -EBADMSG;
	symbols(r, out);
	return 0;
}

size_t spamd_reply_length(const char *p, size_t len)
{
	struct rest r = { p, len }, l;
	int64_t body = -1;

	while (line(&r, &l)) {
		if (l.len == 0)
			return body >= 0 && body <= SPAMD_REPLY_MAX ? (size_t)(r.p - p) + (size_t)body : 0;
		if (eat(&l, "Content-length:")) {
			blanks(&l);
			if (!natural(&l, &body))
				return 0;
		}
	}
	return 0;
}
