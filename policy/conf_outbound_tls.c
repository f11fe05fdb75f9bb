/* conf_outbound_tls - gatepost.conf: what TLS with single domains has to be */
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define POLICY(field) offsetof(struct outbound_tls_policy, field)

const char *const conf_outbound_tls_words[] = { "off", "opportunistic", "required", "verified", NULL };

static void name_read(struct conf *c, void *at, const char *value, int line)
{
	struct outbound_tls_policy *p = at;
	char name[DOMAIN_MAX];

	if (domain_canonical(value, strlen(value), name) < 0) {
		conf_error(c, line, "name: \"%s\" is no host name, expected the one in the certificate", value);
		return;
	}
	free(p->name);
	p->name = conf_copy(name);
}

static const struct conf_option tls_policy_options[] = {
	{ "tls", CONF_WORD, POLICY(mode), "opportunistic", .words = conf_outbound_tls_words },
	CONF_OPTION("dane", CONF_BOOL, POLICY(dane), "yes"),
	CONF_OPTION("mta_sts", CONF_BOOL, POLICY(mta_sts), "yes"),
	{ "name", CONF_CUSTOM, 0, .read = name_read },
	{ 0 },
};

static void *tls_policy_open(struct conf *c, const char *title, int line)
{
	struct outbound_tls_conf *t = &c->site->outbound.tls;
	struct outbound_tls_policy *p;
	bool below = title[0] == '.';
	char domain[DOMAIN_MAX + 1] = ".";

	if (domain_canonical(title + below, strlen(title + below), domain + 1) < 0) {
		conf_error(c, line, "tls_policy: \"%s\" is no domain, expected one such as \"example.net\" or \".example.net\"", title);
		return NULL;
	}
	t->policy = conf_grow(t->policy, &t->policy_count, sizeof *t->policy);
	p = &t->policy[t->policy_count - 1];
	p->domain = conf_copy(below ? domain : domain + 1);
	p->line = line;
	return p;
}

static void tls_policy_close(struct conf *c, void *at, int line)
{
	const struct outbound_tls_policy *p = at;

	for (const struct outbound_tls_policy *o = c->site->outbound.tls.policy; o < p; o++)
		if (strcmp(o->domain, p->domain) == 0)
			conf_error(c, line, "tls_policy %s: there is one on line %d, expected one for a domain", p->domain, o->line);
	if (p->name && p->mode != OUTBOUND_TLS_VERIFIED)
		conf_warning(c, line, "tls_policy %s: name plays no part without tls = verified", p->domain);
}

const struct conf_section conf_tls_policy = { "tls_policy", "domain", tls_policy_options, tls_policy_open, tls_policy_close };
