#include "filters/domainkeys.h"

#include <errno.h>
#include <string.h>

#include "filters/dkim_tag.h"

static const struct fact_def domainkeys_facts[] = {
	{ "domainkeys.domains", FACT_DOMAIN, true, STAGE_HEADER, NULL, "domains (d=) of DomainKeys signatures (RFC 4870, historic), which are not verified" },
	{ 0 },
};

int domainkeys_domain(const char *body, size_t len, char out[DOMAIN_MAX])
{
	const struct dkim_tag *d;
	struct dkim_tags tags;

	if (len > DOMAINKEYS_BYTES_MAX || dkim_tags_parse(body, len, &tags))
		return -EINVAL;
	d = dkim_tags_find(&tags, "d");
	return d ? domain_canonical(d->value, d->len, out) : -EINVAL;
}

static int add_once(struct facts *out, const char *domain)
{
	const struct fact *f = facts_get_name(out, "domainkeys.domains");

	for (size_t i = 0; f && i < f->count; i++)
		if (strcmp(f->text[i], domain) == 0)
			return 0;
	return facts_add(out, "domainkeys.domains", domain);
}

static int run(struct txn *t, int self, struct facts *out)
{
	int rc;

	if (!t->message)
		return 0;
	rc = facts_set_empty(out, "domainkeys.domains");
	for (size_t i = 0; i < DOMAINKEYS_FIELDS_MAX && rc == 0; i++) {
		const struct header_field *f = message_find(t->message, "DomainKey-Signature", i);
		char domain[DOMAIN_MAX];

		if (!f)
			break;
		if (domainkeys_domain(f->body, f->body_len, domain) == 0)
			rc = add_once(out, domain);
	}
	return rc;
}

const struct filter filter_domainkeys = {
	.name = "domainkeys", .scope = SCOPE_TXN, .stage = STAGE_HEADER, .facts = domainkeys_facts, .run = run,
};
