#include "filters/dmarc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/dmarc_eval.h"
#include "filters/from.h"

enum {
	SIGNATURES_READ = 10,           /* as many as are verified at most */
	RUA_MAX = 16, RUA_OCTETS = 512, /* addresses for reports that are kept */
};

static const char *const outcome_words[] = {
	"none", "pass", "fail", "temperror", "permerror", NULL,
};
static const char *const policy_words[] = { "none", "quarantine", "reject", NULL };
static const char *const aligned_words[] = { "spf", "dkim", NULL };

static const struct fact_def dmarc_facts[] = {
	{ "dmarc", FACT_WORD, false, STAGE_DATA, outcome_words, "result of DMARC, RFC 9989" },
	{ "dmarc.policy", FACT_WORD, false, STAGE_DATA, policy_words,
	  "what the author domain asks for a failure: p, sp or np, one step milder with t=y" },
	{ "dmarc.record_domain", FACT_DOMAIN, false, STAGE_DATA, NULL, "where the policy stands" },
	{ "dmarc.org_domain", FACT_DOMAIN, false, STAGE_DATA, NULL,
	  "organizational domain of the author domain" },
	{ "dmarc.aligned", FACT_WORD, true, STAGE_DATA, aligned_words,
	  "what passed for an aligned domain" },
	{ "dmarc.testing", FACT_BOOL, false, STAGE_DATA, NULL, "the policy is being tested (t=y)" },
	{ "dmarc.published", FACT_TEXT, true, STAGE_DATA, NULL,
	  "the tags of the record that count, but for those with their default value" },
	{ "dmarc.rua", FACT_TEXT, true, STAGE_DATA, NULL, "where the record's owner wants reports" },
	{ 0 },
};

/* Hangs at the evidence from start to release. */
struct dmarc_state {
	struct dmarc_walks *walks;
};

static void state_free(struct dmarc_state *s)
{
	if (!s)
		return;
	dmarc_walks_free(s->walks);
	free(s);
}

static struct dmarc_state *state_get(struct txn *t, int self)
{
	void **at = &filter_evidence(t, self)->filter[self];
	struct dmarc_state *s = *at;

	if (s)
		return s;
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->walks = dmarc_walks_new(t->dns);
	if (!s->walks) {
		free(s);
		return NULL;
	}
	*at = s;
	return s;
}

int dmarc_signature_domain(const char *p, size_t len, char *out)
{
	size_t at = 0;

	while (at < len) {
		const char *end = memchr(p + at, ';', len - at), *equals, *from = p + at, *to;

		to = end ? end : p + len;
		at = (size_t)(to - p) + 1;
		equals = memchr(from, '=', (size_t)(to - from));
		if (!equals)
			continue;
		while (from < equals && memchr(" \t\r\n", *from, 4))
			from++;
		if (from == equals || *from != 'd' ||
		    (from + 1 < equals && !memchr(" \t\r\n", from[1], 4)))
			continue;
		for (from = equals + 1; from < to && memchr(" \t\r\n", *from, 4); from++)
			;
		while (to > from && memchr(" \t\r\n", to[-1], 4))
			to--;
		return domain_canonical(from, (size_t)(to - from), out);
	}
	return -EINVAL;
}

static void dmarc_start(struct txn *t, int self)
{
	struct from_authors a = { .address = NULL };
	struct dmarc_state *s = state_get(t, self);
	char author[DOMAIN_MAX], domain[DOMAIN_MAX];
	const struct header_field *h;
	const char *why, *sender = t->env.from_domain;

	if (!s)
		return;
	/* Nothing is kept but the lookups: run reads the fact from.domain. */
	if (from_of_message(t->message, &a, &why) == 1 && a.domain_count == 1 &&
	    domain_canonical(a.domain[0], strlen(a.domain[0]), author) == 0) {
		dmarc_walk_start(s->walks, author);
		dmarc_exists_start(s->walks, author);
		if (!sender || !*sender)
			sender = t->client ? t->client->helo : NULL;
		if (sender && domain_canonical(sender, strlen(sender), domain) == 0)
			dmarc_prefetch(s->walks, author, domain);
		for (size_t i = 0;
		     i < SIGNATURES_READ && (h = message_find(t->message, "DKIM-Signature", i));
		     i++) {
			if (dmarc_signature_domain(h->body, h->body_len, domain) == 0)
				dmarc_prefetch(s->walks, author, domain);
		}
	}
	from_authors_release(&a);
}

/* A fact of another filter, by name; NULL when it is unknown. may wait */
static const struct fact *fact_of(struct txn *t, const char *name)
{
	int id = fact_find(name, strlen(name));

	return id == FACT_NONE ? NULL : filters_fact(t, id);
}

static bool fact_is(struct txn *t, const char *name, const char *word)
{
	const struct fact *f = fact_of(t, name);

	if (!f)
		return false;
	if (f->state == FACT_TEMPERROR)
		return strcmp(word, "temperror") == 0;
	return f->count > 0 && strcmp(f->text[0], word) == 0;
}

/* The identifiers of a message, held while they are compared: facts move when others are set. */
struct identifiers {
	char author[DOMAIN_MAX], spf[DOMAIN_MAX];
	char *dkim[FACT_LIST_MAX], *temp[FACT_LIST_MAX];
	size_t dkim_count, temp_count;
};

static void identifiers_free(struct identifiers *ids)
{
	if (!ids)
		return;
	for (size_t i = 0; i < ids->dkim_count; i++)
		free(ids->dkim[i]);
	for (size_t i = 0; i < ids->temp_count; i++)
		free(ids->temp[i]);
	free(ids);
}

/* The domains of a list fact, canonical; those that are none align with nothing. may wait */
static int domains_copy(struct txn *t, const char *name, char **out, size_t *count)
{
	const struct fact *f = fact_of(t, name);
	char domain[DOMAIN_MAX];

	for (size_t i = 0; f && f->state == FACT_KNOWN && i < f->count && i < FACT_LIST_MAX; i++) {
		if (domain_canonical(f->text[i], strlen(f->text[i]), domain) < 0)
			continue;
		out[*count] = strdup(domain);
		if (!out[*count])
			return -ENOMEM;
		++*count;
	}
	return 0;
}

/* The domain that SPF's result is about: MAIL FROM's, or for the null sender HELO's (RFC
 * 9989 4.10.3, RFC 7208 2.4). may wait */
static int spf_domain(struct txn *t, char *out)
{
	const struct fact *f = fact_of(t, "spf.domain");
	const char *domain = t->env.from_domain;

	if (f && f->state == FACT_KNOWN && f->count > 0)
		domain = f->text[0];
	else if (!domain || !*domain)
		domain = t->client ? t->client->helo : NULL;
	return domain ? domain_canonical(domain, strlen(domain), out) : -EINVAL;
}

/* may wait */
static int dmarc_run_author(struct txn *t, struct dmarc_state *s, struct identifiers *ids,
                            struct dmarc_result *r)
{
	struct dmarc_query q = { .author = ids->author };
	bool passed, temporary;
	int rc;

	passed = fact_is(t, "spf", "pass");
	temporary = !passed && fact_is(t, "spf", "temperror");
	if ((passed || temporary) && spf_domain(t, ids->spf) < 0) {
		if (passed && fact_is(t, "spf.domain", "temperror"))
			return -ENOMEM;
		passed = temporary = false;
	}
	rc = domains_copy(t, "dkim.pass_domains", ids->dkim, &ids->dkim_count);
	if (rc == 0)
		rc = domains_copy(t, "dkim.temperror_domains", ids->temp, &ids->temp_count);
	/* Not a key that could not be looked up: there was no memory for what has passed. */
	if (rc == 0 && fact_is(t, "dkim.pass_domains", "temperror") && !fact_is(t, "dkim", "temperror"))
		rc = -ENOMEM;
	if (rc == 0 && ids->temp_count == 0 && fact_is(t, "dkim.temperror_domains", "temperror")) {
		/* Signatures could not be read at all: one of them may align. */
		ids->temp[0] = strdup(ids->author);
		ids->temp_count = ids->temp[0] != NULL;
		rc = ids->temp[0] ? 0 : -ENOMEM;
	}
	if (rc < 0)
		return rc;
	q.spf_pass = passed ? ids->spf : NULL;
	q.spf_temp = temporary ? ids->spf : NULL;
	q.dkim_pass = (const char *const *)ids->dkim;
	q.dkim_pass_count = ids->dkim_count;
	q.dkim_temp = (const char *const *)ids->temp;
	q.dkim_temp_count = ids->temp_count;
	return dmarc_check(t->site ? t->site->dmarc_engine : ENGINE_NATIVE, &q, s->walks, r);
}

/* "p=reject", "adkim=s"... What is there for certain is p; without a valid one the record counts as p=none
 * alone (RFC 9989 4.7, 4.10.1). */
static int published_set(struct facts *out, const struct dmarc_record *r)
{
	char fo[DMARC_FO_TEXT_MAX], text[24];
	const struct {
		bool there;
		const char *tag, *value;
	} tags[] = {
		{ true, "p", dmarc_policy_name(r->has_p ? r->p : DMARC_P_NONE) },
		{ r->has_p && r->has_sp, "sp", dmarc_policy_name(r->has_sp ? r->sp : DMARC_P_NONE) },
		{ r->has_p && r->has_np, "np", dmarc_policy_name(r->has_np ? r->np : DMARC_P_NONE) },
		{ r->strict_dkim, "adkim", "s" },
		{ r->strict_spf, "aspf", "s" },
		{ r->testing, "t", "y" },
		{ r->fo != DMARC_FO_ALL, "fo", dmarc_fo_text(r->fo, fo) },
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof tags / sizeof *tags && rc == 0; i++) {
		snprintf(text, sizeof text, "%s=%s", tags[i].tag, tags[i].value);
		rc = tags[i].there ? facts_add(out, "dmarc.published", text) : 0;
	}
	return rc;
}

static int rua_set(struct facts *out, const struct dmarc_result *r)
{
	struct dmarc_uri uri[RUA_MAX];
	size_t n = r->published.rua && r->text ? dmarc_record_rua(r->text, r->text_len, uri, RUA_MAX) : 0;
	char text[RUA_OCTETS + 1];
	int rc = facts_set_empty(out, "dmarc.rua");

	for (size_t i = 0; i < n && rc == 0; i++) {
		if (uri[i].len > RUA_OCTETS)
			continue;       /* a piece of it would be another address */
		memcpy(text, uri[i].p, uri[i].len);
		text[uri[i].len] = '\0';
		rc = facts_add(out, "dmarc.rua", text);
	}
	return rc;
}

static int result_set(const struct txn *t, struct facts *out, const struct dmarc_result *r)
{
	int rc;

	/* A temperror is one: policy weighs it as a fact that could not be established, with a
	 * value of its own besides. */
	if (r->outcome == DMARC_FAIL && t->client && t->client->boundary == BOUNDARY_NONE)
		rc = 0;                 /* SPF may have passed at the boundary: nobody knows, and it is no failure */
	else if (r->outcome == DMARC_TEMPERROR)
		rc = facts_temperror(out, "dmarc", r->why);
	else
		rc = facts_set_why(out, "dmarc", dmarc_outcome_name(r->outcome), "%s", r->why);
	if (rc == 0 && r->org_domain[0])
		rc = facts_set(out, "dmarc.org_domain", r->org_domain);
	if (rc == 0 && r->outcome != DMARC_TEMPERROR)
		rc = facts_set_empty(out, "dmarc.aligned");
	if (rc == 0 && r->aligned_spf)
		rc = facts_add(out, "dmarc.aligned", "spf");
	if (rc == 0 && r->aligned_dkim)
		rc = facts_add(out, "dmarc.aligned", "dkim");
	if (rc == 0 && !r->has_policy && r->outcome == DMARC_TEMPERROR)
		rc = facts_temperror(out, "dmarc.policy", r->why);
	if (rc < 0 || !r->has_policy)
		return rc;
	rc = facts_set(out, "dmarc.record_domain", r->record_domain);
	if (rc == 0)
		rc = facts_set_bool(out, "dmarc.testing", r->testing);
	if (rc == 0)
		rc = published_set(out, &r->published);
	if (rc == 0)
		rc = rua_set(out, r);
	if (rc < 0)
		return rc;
	if (r->policy_temperror)
		return facts_temperror(out, "dmarc.policy",
		                       "whether the author domain exists could not be asked");
	return facts_set(out, "dmarc.policy", dmarc_policy_name(r->policy));
}

/* No single author domain: DMARC does not apply (RFC 9989 5.3.1), other facts say why. may wait */
static int author_get(struct txn *t, char *author, struct facts *out)
{
	const struct fact *count = fact_of(t, "from.count"), *domain = fact_of(t, "from.domain");
	int rc;

	if (count && count->number > 1)
		rc = facts_set_why(out, "dmarc", "none", "%lld From fields",
		                   (long long)count->number);
	else if (!domain || domain->state != FACT_KNOWN)
		rc = facts_set_why(out, "dmarc", "none", "no single author domain");
	else if (domain_canonical(domain->text[0], strlen(domain->text[0]), author) < 0)
		rc = facts_set_why(out, "dmarc", "permerror",
		                   "the author domain is no domain name");
	else
		return 1;
	return rc < 0 ? rc : facts_set_empty(out, "dmarc.aligned");
}

static int dmarc_run(struct txn *t, int self, struct facts *out)
{
	struct dmarc_state *s = state_get(t, self);
	struct identifiers *ids = calloc(1, sizeof *ids);
	struct dmarc_result r;
	int rc = s && ids ? 0 : -ENOMEM;

	if (rc == 0)
		rc = author_get(t, ids->author, out);
	if (rc == 1) {
		rc = dmarc_run_author(t, s, ids, &r);
		if (rc == 0)
			rc = result_set(t, out, &r);
	}
	identifiers_free(ids);
	return rc;
}

static int dmarc_ours(struct txn *t, struct facts *out)
{
	int rc = facts_set_why(out, "dmarc", "none", "one of ours: does not apply");

	return rc < 0 ? rc : facts_set_empty(out, "dmarc.aligned");
}

static void dmarc_release(struct evidence *e, int self)
{
	state_free(e->filter[self]);
	e->filter[self] = NULL;
}

static const char *const dmarc_uses[] = { "from", "spf", "dkim", NULL };

const struct filter filter_dmarc = {
	.name = "dmarc",
	.scope = SCOPE_TXN,
	.stage = STAGE_HEADER,
	.facts = dmarc_facts,
	.start = dmarc_start,
	.run = dmarc_run,
	.ours = dmarc_ours,
	.release = dmarc_release,
	.uses = dmarc_uses,
};
