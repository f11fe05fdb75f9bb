/* conf_rate - gatepost.conf: how much one of ours may send in a time */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "policy/conf_table.h"

#define RATE(field) offsetof(struct rate_conf, field)

static const char *const by_words[] = { "sender", "account", "client", NULL };
static const char *const count_words[] = { "recipients", "messages", NULL };

static const struct conf_option rate_options[] = {
	{ "by", CONF_WORD, RATE(by), "account", .words = by_words },
	{ "count", CONF_WORD, RATE(count), "recipients", .words = count_words },
	CONF_NUMBER("limit", CONF_INT, RATE(limit), "1000", 1, 100000000),
	CONF_NUMBER("period", CONF_DURATION_S, RATE(period_s), "1h", 60, 31 * 86400),
	{ 0 },
};

static void *rate_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	struct rate_conf *r;
	size_t len = strlen(title);

	if (len == 0 || len >= RATE_NAME_MAX || strspn(title, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len) {
		conf_error(c, line, "rate: \"%.100s\" is no name, expected up to %d letters, digits, dots and hyphens", title, RATE_NAME_MAX - 1);
		return NULL;
	}
	if (s->rate_count == RATES_MAX) {
		conf_error(c, line, "rate: more than %d", RATES_MAX);
		return NULL;
	}
	r = &s->rate[s->rate_count++];
	snprintf(r->name, sizeof(r->name), "%s", title);
	return r;
}

const struct conf_section conf_rate = { "rate", "name", rate_options, rate_open, NULL };

void conf_rate_check(struct conf *c)
{
	const struct site *s = c->site;

	if (!s->rate_count || !s->policy)
		return;
	for (size_t i = 0; i < policy_rule_count(s->policy); i++)
		if (strstr(policy_rule(s->policy, i)->text, "rate.over"))
			return;
	conf_warning(c, 0, "rate %s: no rule of the policy asks for rate.over, so nothing is counted", s->rate[0].name);
}
