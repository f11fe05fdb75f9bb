#include "filters/dkim_verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/dkim_answer.h"
#include "filters/dkim_body.h"
#include "filters/dkim_header.h"

enum { SIGNATURES_DEFAULT = 10, BODY_HASHES_DEFAULT = 4 };

struct signature {                              /* one that is looked at */
	size_t place;                           /* of its field */
	struct dkim_sig sig;
	enum dkim_word word;                    /* NONE: it may pass */
	const char *why;                        /* it may not: a literal */
	struct dns_lookup *lookup;              /* of the key: its own, or that of an earlier signature with the same key */
	bool lookup_owned;
	struct dkim_body *body;                 /* its hash, of the first with its c= and l= */
	size_t body_of;                         /* which signature's body hash is this one's too */
	bool body_ok, partial, beyond;          /* bh= is right; l= leaves text unsigned; l= is more than there is */
	size_t job;                             /* its place among the jobs */
};

struct dkim_verify {
	struct dns *dns;
	size_t max_signatures, max_body_hashes;
	const struct dkim_engine *ops;
	struct dkim_header *header;
	size_t library_octets;                  /* how long libopendkim would take for one signature: dkim_engine.h */
	size_t signature_fields, from_fields;
	struct signature *sig;
	size_t sig_count;
	/* At the end: */
	struct dkim_result *result;
	struct dkim_key *key;                   /* of signature i at i */
	struct dkim_job *job;
	size_t job_count;
};

const char *dkim_word_name(enum dkim_word w)
{
	static const char *const names[] = {
		[DKIM_RESULT_NONE] = "none",
		[DKIM_RESULT_NEUTRAL] = "neutral",
		[DKIM_RESULT_PERMERROR] = "permerror",
		[DKIM_RESULT_POLICY] = "policy",
		[DKIM_RESULT_FAIL] = "fail",
		[DKIM_RESULT_TEMPERROR] = "temperror",
		[DKIM_RESULT_PASS] = "pass",
	};

	return names[w];
}

enum dkim_word dkim_word_best(const struct dkim_result *results, size_t count)
{
	enum dkim_word best = DKIM_RESULT_NONE;

	for (size_t i = 0; i < count; i++)
		if (results[i].word > best)
			best = results[i].word;
	return best;
}

struct dkim_verify *dkim_verify_new(struct dns *dns, const struct dkim_limits *lim)
{
	struct dkim_verify *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->dns = dns;
	v->max_signatures = lim && lim->signatures ? lim->signatures : SIGNATURES_DEFAULT;
	v->max_body_hashes = lim && lim->body_hashes ? lim->body_hashes : BODY_HASHES_DEFAULT;
	v->ops = lim && lim->engine ? lim->engine : &dkim_engine_native;
	v->header = dkim_header_new();
	if (!v->header) {
		free(v);
		return NULL;
	}
	return v;
}

void dkim_verify_free(struct dkim_verify *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->sig_count; i++) {
		if (v->sig[i].lookup_owned)
			dns_drop(v->sig[i].lookup);
		dkim_body_free(v->sig[i].body);
	}
	dkim_header_free(v->header);
	free(v->sig);
	free(v->job);
	free(v->key);
	free(v->result);
	free(v);
}

/* The header. */

static bool is_signature(const struct dkim_field *f)
{
	return dkim_field_is(f, "DKIM-Signature");
}

int dkim_verify_field(struct dkim_verify *v, const char *raw, size_t len)
{
	int rc = dkim_header_add(v->header, raw, len);
	const struct dkim_field *f;

	if (rc < 0)
		return rc;
	f = dkim_header_at(v->header, dkim_header_count(v->header) - 1);
	v->library_octets += f->len + DKIM_LIBRARY_FIELD;
	v->signature_fields += is_signature(f);
	v->from_fields += dkim_field_is(f, "From");
	return 0;
}

static bool same_body(const struct dkim_sig *a, const struct dkim_sig *b)
{
	return a->body_relaxed == b->body_relaxed && a->limited == b->limited && (!a->limited || a->limit == b->limit);
}

/* The signature whose hash of the body is that of i, too: itself if there is none, or v->sig_count if it would be one too many. */
static size_t body_find(const struct dkim_verify *v, size_t i)
{
	size_t hashes = 0;

	for (size_t k = 0; k < i; k++) {
		if (v->sig[k].word != DKIM_RESULT_NONE)
			continue;
		if (same_body(&v->sig[k].sig, &v->sig[i].sig))
			return v->sig[k].body_of;
		hashes += v->sig[k].body_of == k;
	}
	return hashes == v->max_body_hashes ? v->sig_count : i;
}

static void dismiss(struct signature *s, enum dkim_word word, const char *why)
{
	s->word = word;
	s->why = why;
}

/* Whether the signature in v->sig[i] may pass. */
static void signature_read(struct dkim_verify *v, size_t i)
{
	struct signature *s = &v->sig[i];
	const char *why = "", *body;
	enum dkim_sig_state state;
	size_t len;

	body = dkim_field_body(dkim_header_at(v->header, s->place), &len);
	state = dkim_sig_parse(body, len, clock_wall_s(), &s->sig, &why);
	if (state == DKIM_SIG_BAD)
		dismiss(s, DKIM_RESULT_NEUTRAL, why);
	else if (state != DKIM_SIG_GOOD)
		dismiss(s, DKIM_RESULT_FAIL, why);
	else if (v->from_fields == 0)
		dismiss(s, DKIM_RESULT_PERMERROR, "the message has no From field");
	if (s->word != DKIM_RESULT_NONE)
		return;
	s->body_of = body_find(v, i);
	if (s->body_of == v->sig_count)
		dismiss(s, DKIM_RESULT_POLICY, "not looked at: too many different l=");
}

static int signatures_read(struct dkim_verify *v)
{
	size_t max = v->max_signatures < v->signature_fields ? v->max_signatures : v->signature_fields, n = 0;

	if (max > DKIM_RESULTS_MAX)
		max = DKIM_RESULTS_MAX;
	if (max == 0)
		return 0;
	v->sig = calloc(max, sizeof(*v->sig));
	if (!v->sig)
		return -ENOMEM;
	v->sig_count = max;
	for (size_t i = 0; n < max; i++) {
		if (!is_signature(dkim_header_at(v->header, i)))
			continue;
		v->sig[n].place = i;
		signature_read(v, n++);
	}
	return 0;
}

/* The question for signature i's key; one question for all that have the same key. */
static int lookup_start(struct dkim_verify *v, size_t i)
{
	struct signature *s = &v->sig[i];
	char name[2 * DKIM_NAME_MAX + 16];

	for (size_t k = 0; k < i; k++) {
		if (!v->sig[k].lookup || strcmp(v->sig[k].sig.domain, s->sig.domain) != 0 || strcmp(v->sig[k].sig.selector, s->sig.selector) != 0)
			continue;
		s->lookup = v->sig[k].lookup;
		return 0;
	}
	snprintf(name, sizeof(name), "%s._domainkey.%s", s->sig.selector, s->sig.domain);
	s->lookup_owned = dns_start(v->dns, name, DNS_TXT, &s->lookup) == 0;
	return s->lookup_owned ? 0 : -ENOMEM;
}

/* One hash for all signatures with the same c= and l=. */
static int bodies_make(struct dkim_verify *v)
{
	for (size_t i = 0; i < v->sig_count; i++) {
		const struct dkim_sig *sig = &v->sig[i].sig;

		if (v->sig[i].word != DKIM_RESULT_NONE || v->sig[i].body_of != i)
			continue;
		v->sig[i].body = dkim_body_new(sig->body_relaxed, sig->limited, sig->limit);
		if (!v->sig[i].body)
			return -ENOMEM;
	}
	return 0;
}

int dkim_verify_header_end(struct dkim_verify *v)
{
	int rc = signatures_read(v);

	for (size_t i = 0; i < v->sig_count && rc == 0; i++)
		if (v->sig[i].word == DKIM_RESULT_NONE)
			rc = lookup_start(v, i);
	return rc < 0 ? rc : bodies_make(v);
}

size_t dkim_verify_signatures(const struct dkim_verify *v)
{
	return v->signature_fields;
}

/* The body. */

int dkim_verify_body(struct dkim_verify *v, const char *p, size_t len)
{
	int rc = 0;

	for (size_t i = 0; i < v->sig_count && rc == 0; i++)
		if (v->sig[i].body)
			rc = dkim_body_add(v->sig[i].body, p, len);
	return rc;
}

/* The end. */

static void say(struct dkim_result *r, enum dkim_word word, const char *why)
{
	r->word = word;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

/* What a signature says itself. */
static void result_begin(const struct dkim_verify *v, const struct signature *s, struct dkim_result *r)
{
	const struct dkim_sig *sig = &s->sig;

	r->algorithm = sig->algorithm;
	memcpy(r->domain, sig->domain, sizeof(r->domain));
	memcpy(r->selector, sig->selector, sizeof(r->selector));
	memcpy(r->identity, sig->identity, sizeof(r->identity));
	memcpy(r->start, sig->start, sizeof(r->start));
	r->from_added = v->from_fields > sig->from_count;
	if (s->word != DKIM_RESULT_NONE)
		say(r, s->word, s->why);
}

/* Wait for the key of s and look at it. True: it may be used. may wait */
static bool key_get(const struct signature *s, struct dkim_key *key, struct dkim_result *r)
{
	const struct dns_answer *a = dns_wait(s->lookup);
	char why[DKIM_ANSWER_WHY];

	r->secure = a->secure;
	key->bits = 0;
	switch (dkim_answer_key(a, s->sig.algorithm, key, why)) {
	case DKIM_ANSWER_KEY: break;
	case DKIM_ANSWER_LATER: say(r, DKIM_RESULT_TEMPERROR, why); return false;
	case DKIM_ANSWER_NONE: say(r, DKIM_RESULT_PERMERROR, why); break;
	case DKIM_ANSWER_WEAK: say(r, DKIM_RESULT_FAIL, why); break;
	}
	r->key_bits = key->bits;
	if (r->word != DKIM_RESULT_NONE)
		return false;
	r->testing = key->testing;
	if (!dkim_answer_fits(key, s->sig.algorithm)) {
		say(r, DKIM_RESULT_PERMERROR, "the key is not one for a=");
		return false;
	}
	if (key->exact_domain && s->sig.identity_below) {
		say(r, DKIM_RESULT_PERMERROR, "the key is not for subdomains (t=s), and i= is one");
		return false;
	}
	return true;
}

static int bodies_compare(struct dkim_verify *v)
{
	unsigned char hash[DKIM_BODY_HASH];
	uint64_t canonical;

	for (size_t i = 0; i < v->sig_count; i++) {
		if (!v->sig[i].body)
			continue;
		if (dkim_body_end(v->sig[i].body, hash, &canonical) < 0)
			return -ENOMEM;
		for (size_t k = i; k < v->sig_count; k++) {
			struct signature *s = &v->sig[k];

			if (s->word != DKIM_RESULT_NONE || s->body_of != i)
				continue;
			s->beyond = s->sig.limited && s->sig.limit > canonical;
			s->partial = s->sig.limited && s->sig.limit < canonical;
			s->body_ok = !s->beyond && memcmp(hash, s->sig.body_hash, sizeof(hash)) == 0;
		}
	}
	return 0;
}

static void judge(const struct signature *s, const struct dkim_job *job, struct dkim_result *r)
{
	if (s->beyond) {
		say(r, DKIM_RESULT_FAIL, "l= is more than there is");
		return;
	}
	if (!job->header_ok) {
		say(r, DKIM_RESULT_FAIL, job->why ? job->why : "the signature could not be verified");
		return;
	}
	if (!s->body_ok) {
		say(r, DKIM_RESULT_FAIL, "the body is not what was signed");
		return;
	}
	r->partial = s->partial;
	say(r, DKIM_RESULT_PASS, "");
	if (r->partial || r->from_added)
		snprintf(r->why, sizeof(r->why), "%s%s%s", r->partial ? "l= leaves text unsigned" : "",
			 r->partial && r->from_added ? ", " : "", r->from_added ? "a From field is not signed" : "");
}

static size_t result_count(const struct dkim_verify *v)
{
	return v->signature_fields < DKIM_RESULTS_MAX ? v->signature_fields : DKIM_RESULTS_MAX;
}

/* What is said without the message, and the keys. How many jobs have one. may wait */
static size_t keys_get(struct dkim_verify *v)
{
	size_t usable = 0;

	for (size_t i = 0; i < v->sig_count; i++) {
		struct signature *s = &v->sig[i];

		result_begin(v, s, &v->result[i]);
		if (s->word != DKIM_RESULT_NONE)
			continue;
		s->job = v->job_count++;
		v->job[s->job] = (struct dkim_job){ .place = s->place, .sig = &s->sig };
		if (!key_get(s, &v->key[i], &v->result[i]))
			continue;
		v->job[s->job].key = &v->key[i];
		usable++;
	}
	for (size_t i = v->sig_count; i < result_count(v); i++) {
		v->result[i].from_added = v->from_fields > 0;
		say(&v->result[i], DKIM_RESULT_POLICY, "not looked at: too many signatures");
	}
	return usable;
}

/*
 * What libopendkim does not see (a blank before the colon; what stands behind a NUL), or takes for a blank: so changed, by whoever has passed it on, a header
 * would still fit its signature.
 */
static bool is_odd(const struct dkim_field *f)
{
	if (f->name_len > 0 && f->raw[f->name_len] != ':')
		return true;
	for (size_t i = 0; i < f->len; i++) {
		if (f->raw[i] == '\r' && f->len - i > 2 && f->raw[i + 1] == '\n' && (f->raw[i + 2] == ' ' || f->raw[i + 2] == '\t'))
			i += 2;
		else if (f->raw[i] == '\0' || (f->raw[i] >= '\n' && f->raw[i] <= '\r'))
			return true;
	}
	return false;
}

/* Whose engine: a header that is large or odd is for our own. */
static const struct dkim_engine *engine_of(const struct dkim_verify *v)
{
	if (v->library_octets > DKIM_LIBRARY_OCTETS / v->sig_count)
		return &dkim_engine_native;
	for (size_t i = 0; v->ops != &dkim_engine_native && i < dkim_header_count(v->header); i++)
		if (is_odd(dkim_header_at(v->header, i)))
			return &dkim_engine_native;
	return v->ops;
}

/* Header and body against the signatures that have keys. 0 or -errno. may wait */
static int message_check(struct dkim_verify *v)
{
	int rc = bodies_compare(v);

	if (rc == 0)
		rc = dkim_header_ready(v->header);
	return rc < 0 ? rc : engine_of(v)->verify(v->header, v->job, v->job_count);
}

int dkim_verify_finish(struct dkim_verify *v, const struct dkim_result **results, size_t *count)
{
	int rc = 0;

	*results = NULL;
	*count = 0;
	if (v->sig_count == 0)
		return 0;
	v->result = calloc(result_count(v), sizeof(*v->result));
	v->key = calloc(v->sig_count, sizeof(*v->key));
	v->job = calloc(v->sig_count, sizeof(*v->job));
	if (!v->result || !v->key || !v->job)
		return -ENOMEM;
	if (keys_get(v) > 0)
		rc = message_check(v);
	if (rc == -ENOMEM)
		return rc;
	for (size_t i = 0; i < v->sig_count; i++) {
		const struct signature *s = &v->sig[i];

		if (s->word != DKIM_RESULT_NONE || !v->job[s->job].key)
			continue;
		if (rc < 0)
			say(&v->result[i], DKIM_RESULT_NEUTRAL, "the header cannot be verified");
		else
			judge(s, &v->job[s->job], &v->result[i]);
	}
	*results = v->result;
	*count = result_count(v);
	return 0;
}
