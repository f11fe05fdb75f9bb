#include "filters/arc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/arc_claims.h"
#include "filters/arc_verify.h"
#include "filters/body_feed.h"


static const char *const words[] = { "none", "pass", "fail", "temperror", NULL };

static const struct fact_def facts[] = {
	{ "arc", FACT_WORD, false, STAGE_DATA, words, "whether the message's ARC chain holds (RFC 8617)" },
	{ "arc.sealer", FACT_DOMAIN, false, STAGE_DATA, NULL, "domain (d=) of the newest ARC-Seal, if the chain holds" },
	{ "arc.sealers", FACT_DOMAIN, true, STAGE_DATA, NULL, "domains of all its seals, the newest first, if the chain holds" },
	{ "arc.dmarc_sealers", FACT_DOMAIN, true, STAGE_DATA, NULL,
	  "those of the newest seal and on to the first that says dmarc=pass for the author's domain" },
	{ "arc.instance", FACT_NUMBER, false, STAGE_DATA, NULL, "the number of the newest set of the chain, 0 without one" },
	{ "arc.oldest_pass", FACT_NUMBER, false, STAGE_DATA, NULL, "since which set of a chain that holds the message is unchanged; 0: since the first" },
	{ "arc.spf", FACT_WORD, false, STAGE_DATA, arc_claims_spf, "what the newest sealer says of SPF, if the chain holds" },
	{ "arc.dkim", FACT_WORD, false, STAGE_DATA, arc_claims_dkim, "what the newest sealer says of DKIM, if the chain holds" },
	{ "arc.dmarc", FACT_WORD, false, STAGE_DATA, arc_claims_dmarc, "what the newest sealer says of DMARC for the author's domain, if the chain holds" },
	{ 0 },
};

struct arc_filter {
	struct arc_verify *verify;      /* NULL: there is no chain */
	struct arc_claims *claims;      /* of instance i at i - 1 */
	size_t count;
	size_t fed;                     /* bytes of the body that came by */
	int rc;                         /* why it is of no use, or 0 */
};

static struct arc_filter *state_of(struct txn *t, int self)
{
	return t->evidence.filter[self];
}

static bool has_chain(const struct message *m)
{
	for (size_t i = 0; i < message_field_count(m); i++)
		if (arc_kind_of(message_field(m, i)->raw, message_field(m, i)->raw_len) != ARC_KIND_NONE)
			return true;
	return false;
}

/* What the sets say, while the fields are there. */
static int claims_read(struct arc_filter *s)
{
	const struct arc_sets *sets = arc_verify_sets(s->verify);
	int rc = 0;

	s->claims = calloc(sets->count ? sets->count : 1, sizeof(*s->claims));
	if (!s->claims)
		return -ENOMEM;
	s->count = sets->count;
	for (size_t i = 0; i < s->count && rc == 0; i++) {
		const struct arc_field *f = &sets->set[i].aar;
		const char *body, *results = "";
		size_t len = 0, body_len;
		unsigned instance;

		if (f->raw) {
			body = arc_field_body(f, &body_len);
			arc_aar_parse(body, body_len, &instance, &results, &len);
		}
		rc = arc_claims_read(results, len, &s->claims[i]);
	}
	return rc;
}

static int header_read(struct arc_filter *s, struct txn *t)
{
	int rc = 0;

	if (!has_chain(t->message))
		return 0;
	s->verify = arc_verify_new(t->dns);
	if (!s->verify)
		return -ENOMEM;
	for (size_t i = 0; i < message_field_count(t->message) && rc == 0; i++) {
		const struct header_field *f = message_field(t->message, i);

		rc = arc_verify_field(s->verify, f->raw, f->raw_len);
	}
	if (rc == 0)
		rc = claims_read(s);
	return rc < 0 ? rc : arc_verify_header_end(s->verify);
}

static void start(struct txn *t, int self)
{
	struct arc_filter *s = calloc(1, sizeof(*s));

	if (!s)
		return;                 /* run tries again */
	s->rc = header_read(s, t);
	t->evidence.filter[self] = s;
}

static int body(struct txn *t, int self, const char *p, size_t len)
{
	struct arc_filter *s = state_of(t, self);

	if (!s || s->rc < 0 || !s->verify)
		return 0;
	s->fed += len;
	s->rc = arc_verify_body(s->verify, p, len);
	return 0;
}

static int body_add(void *arg, const char *p, size_t len)
{
	return arc_verify_body(arg, p, len);
}

static void release(struct evidence *e, int self)
{
	struct arc_filter *s = e->filter[self];

	if (!s)
		return;
	arc_verify_free(s->verify);
	free(s->claims);
	free(s);
	e->filter[self] = NULL;
}

/* Asked for without having seen the body go by (started late, or without a session): the message has it all. may wait */
static int state_complete(struct txn *t, int self)
{
	size_t size = message_size(t->message), off = message_body_offset(t->message);
	struct arc_filter *s = state_of(t, self);

	if (s && s->rc == 0 && (!s->verify || s->fed == (size > off ? size - off : 0)))
		return 0;
	release(&t->evidence, self);
	start(t, self);
	s = state_of(t, self);
	if (!s)
		return -ENOMEM;
	return s->rc < 0 || !s->verify ? s->rc : body_feed(t->message, body_add, s->verify);
}

/* The one author domain of the message, in canonical form; "" if there is none, or more From fields than one. */
static void author_get(struct txn *t, char out[DOMAIN_MAX])
{
	const struct fact *count = filters_fact(t, fact_find("from.count", 10)), *domain;

	out[0] = '\0';
	if (!count || count->state != FACT_KNOWN || count->number != 1)
		return;
	domain = filters_fact(t, fact_find("from.domain", 11));
	if (domain && domain->state == FACT_KNOWN && domain->count > 0 && domain_canonical(domain->text[0], strlen(domain->text[0]), out) < 0)
		out[0] = '\0';
}

/*
 * The newest set, from the newest down, that says dmarc=pass for this author; 0: none does. What an older one says is about the message only if each hop on the
 * way could see from its signature that it still had that message.
 */
static size_t passed_at(const struct arc_filter *s, const struct arc_result *r, const char *author)
{
	if (!author[0] || !r->from_signed)
		return 0;
	for (size_t i = s->count; i > 0; i--) {
		if (i < s->count && !arc_verify_binds(s->verify, i))
			return 0;
		if (strcmp(s->claims[i - 1].dmarc, "pass") == 0 && strcmp(s->claims[i - 1].from, author) == 0)
			return i;
	}
	return 0;
}

/* The newest set's word: its pass counts for the author only. */
static const char *dmarc_of(const struct arc_filter *s, const struct arc_result *r, size_t passed)
{
	const char *word = s->claims[r->count - 1].dmarc;

	return strcmp(word, "pass") == 0 && passed != r->count ? "none" : word;
}

static int lists_empty(struct facts *out)
{
	return facts_set_empty(out, "arc.sealers") | facts_set_empty(out, "arc.dmarc_sealers");
}

static int words_none(struct facts *out)
{
	return facts_set(out, "arc.spf", "none") | facts_set(out, "arc.dkim", "none") | facts_set(out, "arc.dmarc", "none");
}

static int pass_fill(const struct arc_filter *s, const struct arc_result *r, size_t passed, struct facts *out)
{
	const struct arc_claims *newest = &s->claims[r->count - 1];
	const char *domain = arc_verify_domain(s->verify, r->count);
	int rc;

	rc = facts_set_why(out, "arc", "pass", "i=%zu d=%s s=%s%s%s", r->count, domain, arc_verify_selector(s->verify, r->count),
			   r->why[0] ? "; " : "", r->why);
	rc |= facts_set(out, "arc.sealer", domain);
	rc |= lists_empty(out);
	for (size_t i = r->count; i > 0; i--) {
		rc |= facts_add(out, "arc.sealers", arc_verify_domain(s->verify, i));
		if (passed && i >= passed)
			rc |= facts_add(out, "arc.dmarc_sealers", arc_verify_domain(s->verify, i));
	}
	rc |= facts_set_num(out, "arc.oldest_pass", r->oldest_pass);
	rc |= facts_set(out, "arc.spf", newest->spf);
	rc |= facts_set(out, "arc.dkim", newest->dkim);
	rc |= facts_set_why(out, "arc.dmarc", dmarc_of(s, r, passed), "%s%s", newest->from[0] ? "header.from=" : "", newest->from);
	return rc;
}

/* It may pass when it is asked again: what it would say then is open, what it does not say is not. */
static int temperror_fill(const struct arc_filter *s, const struct arc_result *r, size_t passed, struct facts *out)
{
	int rc = facts_temperror(out, "arc", r->why) | facts_temperror(out, "arc.sealer", r->why) | facts_temperror(out, "arc.sealers", r->why);

	rc |= passed ? facts_temperror(out, "arc.dmarc_sealers", r->why) : facts_set_empty(out, "arc.dmarc_sealers");
	rc |= facts_temperror(out, "arc.oldest_pass", r->why);
	rc |= facts_temperror(out, "arc.spf", r->why) | facts_temperror(out, "arc.dkim", r->why);
	return rc | (strcmp(dmarc_of(s, r, passed), "none") == 0 ? facts_set(out, "arc.dmarc", "none") : facts_temperror(out, "arc.dmarc", r->why));
}

static int facts_fill(struct txn *t, const struct arc_filter *s, const struct arc_result *r, struct facts *out)
{
	char author[DOMAIN_MAX];
	size_t passed = 0;
	int rc;

	if (r->state == ARC_PASS || r->state == ARC_TEMPERROR) {
		author_get(t, author);
		passed = passed_at(s, r, author);
	}
	rc = facts_set_num(out, "arc.instance", (int64_t)r->count);
	if (r->state == ARC_PASS)
		rc |= pass_fill(s, r, passed, out);
	else if (r->state == ARC_TEMPERROR)
		rc |= temperror_fill(s, r, passed, out);
	else
		rc |= facts_set_why(out, "arc", arc_state_name(r->state), "%s", r->why) | lists_empty(out) | words_none(out);
	return rc ? -ENOMEM : 0;
}

static int none_fill(struct facts *out, const char *why)
{
	return facts_set_num(out, "arc.instance", 0) | facts_set_why(out, "arc", "none", "%s", why) | lists_empty(out) | words_none(out) ? -ENOMEM : 0;
}

static int run(struct txn *t, int self, struct facts *out)
{
	struct arc_result r;
	int rc;

	if (!t->message)
		return 0;
	rc = state_complete(t, self);
	if (rc < 0)
		return rc;
	if (!state_of(t, self)->verify)
		return none_fill(out, "");
	rc = arc_verify_finish(state_of(t, self)->verify, &r);
	if (rc == 0)
		rc = facts_fill(t, state_of(t, self), &r, out);
	release(&t->evidence, self);            /* all is said: while the message is handed on nothing is held */
	return rc;
}

/* Without a chain there is nothing to wait for. */
static bool ready(struct txn *t, int self)
{
	const struct arc_filter *s = state_of(t, self);

	return s && s->rc == 0 && !s->verify;
}

/* What a server of ours hands on has come from nobody else. */
static int ours(struct txn *t, struct facts *out)
{
	return t->message ? none_fill(out, "one of ours: does not apply") : 0;
}

static const char *const uses[] = { "from", NULL };

const struct filter filter_arc = {
	.name = "arc",
	.scope = SCOPE_TXN,
	.stage = STAGE_HEADER,
	.facts = facts,
	.start = start,
	.body = body,
	.run = run,
	.ready = ready,
	.ours = ours,
	.fetched = true,
	.release = release,
	.uses = uses,
};
