#include "filters/from.h"

#include <errno.h>

enum { FIELDS_READ = 16 };

static const struct fact_def from_facts[] = {
	{ "from.count", FACT_NUMBER, false, STAGE_HEADER, NULL, "From fields; a message has one" },
	{ "from.valid", FACT_BOOL, false, STAGE_HEADER, NULL,
	  "there is a From field, and it follows RFC 5322" },
	{ "from.addresses", FACT_ADDRESS, true, STAGE_HEADER, NULL, "the authors' addresses" },
	{ "from.domains", FACT_DOMAIN, true, STAGE_HEADER, NULL,
	  "the authors' domains, each once" },
	{ "from.domain_count", FACT_NUMBER, false, STAGE_HEADER, NULL, "how many those are" },
	{ "from.domain", FACT_DOMAIN, false, STAGE_HEADER, NULL,
	  "the authors' domain, when there is exactly one" },
	{ 0 },
};

int from_of_message(const struct message *m, struct from_authors *out, const char **why)
{
	const struct header_field *h;
	int n = 0;

	*why = NULL;
	for (; (h = message_find(m, "From", (size_t)n)); n++) {
		const char *wrong = NULL;
		int rc = n < FIELDS_READ ? from_parse(h->body, h->body_len, out, &wrong) : 0;

		if (rc == -ENOMEM)
			return rc;
		if (n >= FIELDS_READ)
			out->overflow = true;
		if (wrong && !*why)
			*why = wrong;
	}
	if (n == 0)
		*why = "no From field";
	return n;
}

static int from_set(struct facts *out, const struct from_authors *a, int count, const char *why)
{
	int rc = facts_set_num(out, "from.count", count);

	if (rc == 0)
		rc = facts_set_bool(out, "from.valid", !why);
	if (rc == 0 && why)
		rc = facts_why(out, "from.valid", "%s", why);
	if (rc == 0)
		rc = facts_set_empty(out, "from.addresses");
	for (size_t i = 0; rc == 0 && i < a->address_count; i++)
		rc = facts_add(out, "from.addresses", a->address[i]);
	if (rc == 0)
		rc = facts_set_empty(out, "from.domains");
	for (size_t i = 0; rc == 0 && i < a->domain_count; i++)
		rc = facts_add(out, "from.domains", a->domain[i]);
	if (rc == 0)
		rc = facts_set_num(out, "from.domain_count", (int64_t)a->domain_count);
	if (rc == 0 && a->domain_count == 1 && !a->overflow)
		rc = facts_set(out, "from.domain", a->domain[0]);
	return rc;
}

static int from_run(struct txn *t, int self, struct facts *out)
{
	struct from_authors a = { .address = NULL };
	const char *why = NULL;
	int rc = from_of_message(t->message, &a, &why);

	if (rc >= 0)
		rc = from_set(out, &a, rc, why);
	from_authors_release(&a);
	return rc;
}

const struct filter filter_from = {
	.name = "from",
	.scope = SCOPE_TXN,
	.stage = STAGE_HEADER,
	.facts = from_facts,
	.run = from_run,
};
