#include "filters/dkim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/body_feed.h"
#include "filters/dkim_verify.h"
#include "policy/conf.h"

static const char *const words[] = { "none", "pass", "fail", "policy", "neutral", "temperror", "permerror", NULL };

static const struct fact_def facts[] = {
	{ "dkim", FACT_WORD, false, STAGE_DATA, words, "the best result of the message's DKIM signatures (RFC 8601)" },
	{ "dkim.pass_domains", FACT_DOMAIN, true, STAGE_DATA, NULL, "domains (d=) whose signature is valid" },
	{ "dkim.temperror_domains", FACT_DOMAIN, true, STAGE_DATA, NULL, "domains (d=) whose key could not be looked up" },
	{ "dkim.domains", FACT_DOMAIN, true, STAGE_DATA, NULL, "domains (d=) of all signatures, valid or not" },
	{ "dkim.selectors", FACT_TEXT, true, STAGE_DATA, NULL, "selectors (s=) of all signatures" },
	{ "dkim.algorithms", FACT_TEXT, true, STAGE_DATA, NULL, "algorithms (a=) of all signatures" },
	{ "dkim.signatures", FACT_NUMBER, false, STAGE_DATA, NULL, "how many DKIM-Signature fields there are" },
	{ "dkim.unsigned_text", FACT_BOOL, false, STAGE_DATA, NULL, "a valid signature leaves text at the end unsigned (l=)" },
	{ "dkim.from_added", FACT_BOOL, false, STAGE_DATA, NULL, "there are more From fields than a valid signature covers" },
	{ "dkim.testing", FACT_BOOL, false, STAGE_DATA, NULL, "a signature's key says that the domain is trying DKIM out (t=y)" },
	{ "dkim.results", FACT_TEXT, true, STAGE_DATA, NULL, "each signature's result, names and reason" },
	{ 0 },
};

struct dkim_state {
	struct dkim_verify *verify;
	size_t fed;                     /* bytes of the body that came by */
	int rc;                         /* why it is of no use, or 0 */
};

static struct dkim_state *state_of(struct txn *t, int self)
{
	return t->evidence.filter[self];
}

static int header_read(struct dkim_state *s, struct txn *t)
{
	struct dkim_limits lim = { .signatures = t->site ? (size_t)t->site->dkim_max_signatures : 0,
				   .engine = t->site ? site_dkim_engine(t->site) : NULL };
	int rc = 0;

	s->verify = dkim_verify_new(t->dns, &lim);
	if (!s->verify)
		return -ENOMEM;
	for (size_t i = 0; i < message_field_count(t->message) && rc == 0; i++) {
		const struct header_field *f = message_field(t->message, i);

		rc = dkim_verify_field(s->verify, f->raw, f->raw_len);
	}
	return rc < 0 ? rc : dkim_verify_header_end(s->verify);
}

static void start(struct txn *t, int self)
{
	struct dkim_state *s = calloc(1, sizeof(*s));

	if (!s)
		return;                 /* run tries again */
	s->rc = header_read(s, t);
	t->evidence.filter[self] = s;
}

static int body(struct txn *t, int self, const char *p, size_t len)
{
	struct dkim_state *s = state_of(t, self);

	if (!s || s->rc < 0)
		return 0;
	s->fed += len;
	s->rc = dkim_verify_body(s->verify, p, len);
	return 0;
}

static int body_add(void *arg, const char *p, size_t len)
{
	return dkim_verify_body(arg, p, len);
}

/* Add to a list what it does not have yet. */
static int add_once(struct facts *out, const char *name, const char *value)
{
	const struct fact *f = facts_get_name(out, name);

	for (size_t i = 0; f && i < f->count; i++)
		if (strcmp(f->text[i], value) == 0)
			return 0;
	return facts_add(out, name, value);
}

/* What one signature adds to the lists. */
static int result_add(struct facts *out, const struct dkim_result *r)
{
	AUTO(buf) struct buf b = BUF_INIT(1024);
	const char *algorithm = dkim_algorithm_name(r->algorithm);
	int rc = 0;

	buf_adds(&b, dkim_word_name(r->word));
	if (r->domain[0])
		buf_addf(&b, " d=%s", r->domain);
	if (r->selector[0])
		buf_addf(&b, " s=%s", r->selector);
	if (algorithm[0])
		buf_addf(&b, " a=%s", algorithm);
	if (r->start[0])
		buf_addf(&b, " b=%s", r->start);
	if (r->key_bits)
		buf_addf(&b, " k=%u", r->key_bits);
	if (r->why[0])
		buf_addf(&b, "; %s", r->why);
	if (b.failed)
		return -ENOMEM;
	if (r->domain[0])
		rc |= add_once(out, "dkim.domains", r->domain);
	if (r->domain[0] && r->word == DKIM_RESULT_TEMPERROR)
		rc |= add_once(out, "dkim.temperror_domains", r->domain);
	if (r->selector[0])
		rc |= add_once(out, "dkim.selectors", r->selector);
	if (algorithm[0])
		rc |= add_once(out, "dkim.algorithms", algorithm);
	rc |= facts_add(out, "dkim.results", buf_str(&b));
	return rc ? -ENOMEM : 0;
}

/* The first result that speaks for the message gives the reason. */
static const struct dkim_result *speaker(const struct dkim_result *r, size_t count, enum dkim_word best)
{
	for (size_t i = 0; i < count; i++)
		if (r[i].word == best)
			return &r[i];
	return NULL;
}

static int word_set(struct facts *out, const struct dkim_result *r, size_t count)
{
	enum dkim_word best = dkim_word_best(r, count);
	const struct dkim_result *by = speaker(r, count, best);
	int rc = 0;

	if (best == DKIM_RESULT_TEMPERROR)
		return facts_temperror(out, "dkim", by->why) | facts_temperror(out, "dkim.pass_domains", by->why);
	if (!by)
		rc |= facts_set(out, "dkim", "none");
	else if (by->why[0])
		rc |= facts_set_why(out, "dkim", dkim_word_name(best), "d=%s s=%s: %s", by->domain, by->selector, by->why);
	else
		rc |= facts_set_why(out, "dkim", dkim_word_name(best), "d=%s s=%s", by->domain, by->selector);
	rc |= facts_set_empty(out, "dkim.pass_domains");
	for (size_t i = 0; i < count; i++)
		if (r[i].word == DKIM_RESULT_PASS)
			rc |= add_once(out, "dkim.pass_domains", r[i].domain);
	return rc;
}

static int facts_fill(struct facts *out, const struct dkim_result *r, size_t count, size_t signatures)
{
	static const char *const lists[] = { "dkim.domains", "dkim.temperror_domains", "dkim.selectors", "dkim.algorithms", "dkim.results" };
	bool partial = false, added = false, testing = false;
	int rc = 0;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		rc |= facts_set_empty(out, lists[i]);
	for (size_t i = 0; i < count; i++) {
		bool pass = r[i].word == DKIM_RESULT_PASS;

		rc |= result_add(out, &r[i]);
		partial = partial || (pass && r[i].partial);
		added = added || (pass && r[i].from_added);
		testing = testing || r[i].testing;
	}
	rc |= word_set(out, r, count);
	rc |= facts_set_num(out, "dkim.signatures", (int64_t)signatures);
	rc |= facts_set_bool(out, "dkim.unsigned_text", partial);
	rc |= facts_set_bool(out, "dkim.from_added", added);
	rc |= facts_set_bool(out, "dkim.testing", testing);
	return rc ? -ENOMEM : 0;
}

static void release(struct evidence *e, int self)
{
	struct dkim_state *s = e->filter[self];

	if (!s)
		return;
	dkim_verify_free(s->verify);
	free(s);
	e->filter[self] = NULL;
}

/* Asked for without having seen the body go by (started late, or without a session): the message has it all. may wait */
static int state_complete(struct txn *t, int self)
{
	size_t size = message_size(t->message), off = message_body_offset(t->message);
	struct dkim_state *s = state_of(t, self);

	if (s && s->rc == 0 && s->fed == (size > off ? size - off : 0))
		return 0;
	release(&t->evidence, self);
	start(t, self);
	s = state_of(t, self);
	if (!s)
		return -ENOMEM;
	return s->rc < 0 ? s->rc : body_feed(t->message, body_add, s->verify);
}

static int run(struct txn *t, int self, struct facts *out)
{
	const struct dkim_result *results;
	struct dkim_verify *v;
	size_t count;
	int rc;

	if (!t->message)
		return 0;
	rc = state_complete(t, self);
	if (rc < 0)
		return rc;
	v = state_of(t, self)->verify;
	rc = dkim_verify_finish(v, &results, &count);
	if (rc == 0)
		rc = facts_fill(out, results, count, dkim_verify_signatures(v));
	release(&t->evidence, self);            /* all is said: while the message is handed on nothing is held */
	return rc;
}

/* What a server of ours hands on is signed, if at all, by us. */
static int ours(struct txn *t, struct facts *out)
{
	int rc = t->message ? facts_fill(out, NULL, 0, 0) : 0;

	return rc < 0 || !t->message ? rc : facts_why(out, "dkim", "one of ours: does not apply");
}

const struct filter filter_dkim = {
	.name = "dkim",
	.scope = SCOPE_TXN,
	.stage = STAGE_HEADER,
	.facts = facts,
	.start = start,
	.body = body,
	.run = run,
	.ours = ours,
	.fetched = true,
	.release = release,
};
