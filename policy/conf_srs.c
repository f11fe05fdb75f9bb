/* conf_srs - gatepost.conf: how the return path of a forwarded message is rewritten */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define SRS(field) offsetof(struct site, srs.field)

enum { DAY_S = 86400 };

static void domain_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	char domain[DOMAIN_MAX];

	if (domain_canonical(value, strlen(value), domain) < 0 || domain_labels(domain) < 2) {
		conf_error(c, line, "domain: \"%.200s\" is no domain, expected one such as \"example.com\"", value);
		return;
	}
	free(s->srs.domain);
	s->srs.domain = conf_copy(domain);
}

/* A secret in each line; the first makes new addresses, the others are those of before. */
static void secrets_read(struct conf *c, void *at, const char *value, int line)
{
	struct srs_conf *srs = &((struct site *)at)->srs;
	size_t all;
	char *text = conf_file(c, "secret_file", value, line, &all), *rest = text, *one;

	while (text && (one = strsep(&rest, "\r\n"))) {
		size_t len = strlen(one);

		if (len == 0)
			continue;
		if (len < SRS_SECRET_MIN || len > SRS_SECRET_MAX)
			conf_error(c, line, "secret_file: a line of %s has %zu bytes, expected %d to %d of chance in each", value, len, SRS_SECRET_MIN, SRS_SECRET_MAX);
		else if (srs->secret_count == SRS_SECRETS_MAX)
			conf_error(c, line, "secret_file: %s has more than %d secrets", value, SRS_SECRETS_MAX);
		else
			srs->secret[srs->secret_count++] = conf_copy(one);
	}
	if (text && srs->secret_count == 0)
		conf_error(c, line, "secret_file: %s is empty, expected a secret: openssl rand -hex 16 >%s", value, value);
	if (text)
		explicit_bzero(text, all);
	free(text);
}

static const struct conf_option srs_options[] = {
	{ "domain", CONF_CUSTOM, 0, .read = domain_read },
	{ "secret_file", CONF_CUSTOM, 0, .read = secrets_read },
	CONF_NUMBER("life", CONF_DURATION_S, SRS(life_s), "21d", DAY_S, SRS_LIFE_MAX_DAYS * (int64_t)DAY_S),
	{ 0 },
};

static void srs_close(struct conf *c, void *at, int line)
{
	if (conf_given(c, "domain") != conf_given(c, "secret_file"))
		conf_error(c, line, "srs: domain and secret_file belong together, expected both");
}

const struct conf_section conf_srs = { "srs", NULL, srs_options, NULL, srs_close };

void conf_srs_free(struct site *s)
{
	for (size_t i = 0; i < s->srs.secret_count; i++) {
		explicit_bzero(s->srs.secret[i], strlen(s->srs.secret[i]));
		free(s->srs.secret[i]);
	}
	free(s->srs.domain);
}
