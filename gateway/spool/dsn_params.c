#include "spool/dsn_params.h"

#include <string.h>
#include <strings.h>

enum { WORDS_MAX = 32 };

static const char *value_of(const char *word, size_t len, const char *key, size_t *value_len)
{
	size_t n = strlen(key);

	if (len <= n || strncasecmp(word, key, n) != 0)
		return NULL;
	*value_len = len - n;
	return word + n;
}

/* NEVER stands alone (RFC 3461 4.1). 0: malformed. */
static unsigned notify_parse(const char *p, size_t len)
{
	static const struct { const char *name; unsigned bit; } names[] = {
		{ "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS }, { "FAILURE", NOTIFY_FAILURE }, { "DELAY", NOTIFY_DELAY },
	};
	const char *end = p + len;
	unsigned bits = 0;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		size_t n = (size_t)((comma ? comma : end) - p);
		unsigned bit = 0;

		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (strlen(names[i].name) == n && strncasecmp(p, names[i].name, n) == 0)
				bit = names[i].bit;
		if (!bit)
			return 0;
		bits |= bit;
		p += n + (comma != NULL);
	}
	return bits & NOTIFY_NEVER && bits != NOTIFY_NEVER ? 0 : bits;
}

static void read_word(const char *word, size_t len, struct dsn_params *out)
{
	const char *value;
	size_t n;

	if ((value = value_of(word, len, "NOTIFY=", &n))) {
		out->notify = notify_parse(value, n);
	} else if ((value = value_of(word, len, "ORCPT=", &n)) && n <= SMTP_ORCPT_MAX) {
		memcpy(out->orcpt, value, n);
		out->orcpt[n] = '\0';
	} else if ((value = value_of(word, len, "ENVID=", &n))) {
		if (smtp_xtext_decode(value, n, out->envid, sizeof(out->envid)) < 0)
			out->envid[0] = '\0';
	} else if ((value = value_of(word, len, "RET=", &n))) {
		out->ret = n == 4 && strncasecmp(value, "FULL", 4) == 0 ? RET_FULL : n == 4 && strncasecmp(value, "HDRS", 4) == 0 ? RET_HDRS : RET_NONE;
	} else if (len == 8 && strncasecmp(word, "SMTPUTF8", 8) == 0) {
		out->utf8 = true;
	}
}

void dsn_params_parse(const char *params, struct dsn_params *out)
{
	const char *p = params ? params : "";

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < WORDS_MAX && *p; i++) {
		size_t len = strcspn(p, " ");

		read_word(p, len, out);
		p += len + strspn(p + len, " ");
	}
}

static unsigned notify_of(const char *params)
{
	struct dsn_params p;

	dsn_params_parse(params, &p);
	return p.notify;
}

bool dsn_wants_failure(const char *rcpt_params)
{
	unsigned notify = notify_of(rcpt_params);

	return !notify || notify & NOTIFY_FAILURE;
}

bool dsn_wants_delay(const char *rcpt_params)
{
	unsigned notify = notify_of(rcpt_params);

	return !notify || notify & NOTIFY_DELAY;
}

bool dsn_wants_success(const char *rcpt_params)
{
	return notify_of(rcpt_params) & NOTIFY_SUCCESS;
}
