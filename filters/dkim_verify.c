#include "filters/dkim_verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "filters/dkim_answer.h"
#include "filters/dkim_body.h"
#include "filters/dkim_engine.h"

enum { SIGNATURES_DEFAULT = 10, BODY_HASHES_DEFAULT = 4, FIELDS_MAX = 10000 };

struct field {
	const char *raw;
	size_t len;
	bool signature;
	size_t job;                             /* a signature that is verified: its place in sig, plus 1 */
};

struct signature {                              /* one that may pass */
	struct dkim_sig sig;
	struct dkim_key key;
	struct dns_lookup *lookup;              /* of the key: its own, or that of an earlier signature with the same key */
	bool lookup_owned;
	struct dkim_body *body;                 /* its hash, of the first with its c= and l= */
	size_t body_of;                         /* which signature's body hash is this one's too */
	bool body_ok, partial, beyond;          /* bh= is right; l= leaves text unsigned; l= is more than there is */
	size_t result;                          /* its place among the results */
};

struct dkim_verify {
	struct dns *dns;
	size_t max_signatures, max_body_hashes;
	struct field *field;
	size_t field_count, field_cap;
	size_t signature_fields, from_fields;
	struct dkim_result *result;
	size_t result_count;
	struct signature *sig;
	struct dkim_job *job;
	size_t sig_count;
	const struct dkim_engine *ops;
	void *engine;                           /* NULL: nothing to verify */
	int broken;                             /* what the engine said when it gave up, or 0 */
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
	return v;
}

void dkim_verify_free(struct dkim_verify *v)
{
	if (!v)
		return;
	if (v->engine)
		v->ops->free(v->engine);
	for (size_t i = 0; i < v->sig_count; i++) {
		if (v->sig[i].lookup_owned)
			dns_drop(v->sig[i].lookup);
		dkim_body_free(v->sig[i].body);
	}
	free(v->sig);
	free(v->job);
	free(v->result);
	free(v->field);
	free(v);
}

/* The header. */

static bool field_is(const char *raw, size_t len, const char *name)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(raw, name, n) != 0)
		return false;
	while (n < len && (raw[n] == ' ' || raw[n] == '\t'))    /* obsolete syntax, RFC 5322 4.5.3 */
		n++;
	return n < len && raw[n] == ':';
}

int dkim_verify_field(struct dkim_verify *v, const char *raw, size_t len)
{
	struct field *f;

	if (v->field_count == FIELDS_MAX)
		return -EMSGSIZE;
	if (v->field_count == v->field_cap) {
		size_t cap = v->field_cap ? v->field_cap * 2 : 32;
		struct field *grown = realloc(v->field, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		v->field = grown;
		v->field_cap = cap;
	}
	if (len >= 2 && raw[len - 2] == '\r' && raw[len - 1] == '\n')
		len -= 2;
	f = &v->field[v->field_count++];
	*f = (struct field){ .raw = raw, .len = len, .signature = field_is(raw, len, "DKIM-Signature") };
	v->signature_fields += f->signature;
	v->from_fields += field_is(raw, len, "From");
	return 0;
}

static void say(struct dkim_result *r, enum dkim_word word, const char *why)
{
	r->word = word;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

static struct dkim_result *result_new(struct dkim_verify *v, const struct dkim_sig *sig)
{
	struct dkim_result *r = &v->result[v->result_count++];

	r->algorithm = sig->algorithm;
	memcpy(r->domain, sig->domain, sizeof(r->domain));
	memcpy(r->selector, sig->selector, sizeof(r->selector));
	memcpy(r->identity, sig->identity, sizeof(r->identity));
	memcpy(r->start, sig->start, sizeof(r->start));
	r->from_added = v->from_fields > sig->from_count;
	return r;
}

static bool same_body(const struct dkim_sig *a, const struct dkim_sig *b)
{
	return a->body_relaxed == b->body_relaxed && a->limited == b->limited && (!a->limited || a->limit == b->limit);
}

/* Whether a signature may be verified; if so it is the last of v->sig afterwards. */
static bool signature_take(struct dkim_verify *v, const struct field *f)
{
	struct signature *s = &v->sig[v->sig_count];
	const char *colon = memchr(f->raw, ':', f->len), *why = "";
	size_t at = (size_t)(colon - f->raw) + 1, hashes = 0;
	struct dkim_result *r;
	enum dkim_sig_state state;

	state = dkim_sig_parse(f->raw + at, f->len - at, clock_wall_s(), &s->sig, &why);
	r = result_new(v, &s->sig);
	if (state == DKIM_SIG_BAD)
		say(r, DKIM_RESULT_NEUTRAL, why);
	else if (state != DKIM_SIG_GOOD)
		say(r, DKIM_RESULT_FAIL, why);
	else if (v->from_fields == 0)
		say(r, DKIM_RESULT_PERMERROR, "the message has no From field");
	if (r->word != DKIM_RESULT_NONE)
		return false;
	s->body_of = v->sig_count;
	for (size_t i = 0; i < v->sig_count && s->body_of == v->sig_count; i++) {
		hashes += v->sig[i].body_of == i;
		if (same_body(&v->sig[i].sig, &s->sig))
			s->body_of = v->sig[i].body_of;
	}
	if (s->body_of == v->sig_count && hashes == v->max_body_hashes) {
		say(r, DKIM_RESULT_POLICY, "not looked at: too many different l=");
		memset(s, 0, sizeof(*s));
		return false;
	}
	s->result = (size_t)(r - v->result);
	v->sig_count++;
	return true;
}

static int signatures_read(struct dkim_verify *v)
{
	static const struct dkim_sig unread;
	size_t seen = 0, max = v->max_signatures < v->signature_fields ? v->max_signatures : v->signature_fields;
	size_t results = v->signature_fields < DKIM_RESULTS_MAX ? v->signature_fields : DKIM_RESULTS_MAX;

	if (max > DKIM_RESULTS_MAX)
		max = DKIM_RESULTS_MAX;
	if (results == 0)
		return 0;
	v->result = calloc(results, sizeof(*v->result));
	v->sig = calloc(max, sizeof(*v->sig));
	v->job = calloc(max, sizeof(*v->job));
	if (!v->result || !v->sig || !v->job)
		return -ENOMEM;
	for (size_t i = 0; i < v->field_count && v->result_count < results; i++) {
		if (!v->field[i].signature)
			continue;
		if (seen++ < max)
			v->field[i].job = signature_take(v, &v->field[i]) ? v->sig_count : 0;
		else
			say(result_new(v, &unread), DKIM_RESULT_POLICY, "not looked at: too many signatures");
	}
	return 0;
}

/* The question for signature i's key; one question for all that have the same key. */
static int lookup_start(struct dkim_verify *v, size_t i)
{
	struct signature *s = &v->sig[i];
	char name[2 * DKIM_NAME_MAX + 16];

	for (size_t k = 0; k < i; k++) {
		if (strcmp(v->sig[k].sig.domain, s->sig.domain) != 0 || strcmp(v->sig[k].sig.selector, s->sig.selector) != 0)
			continue;
		s->lookup = v->sig[k].lookup;
		return 0;
	}
	snprintf(name, sizeof(name), "%s._domainkey.%s", s->sig.selector, s->sig.domain);
	s->lookup_owned = dns_start(v->dns, name, DNS_TXT, &s->lookup) == 0;
	return s->lookup_owned ? 0 : -ENOMEM;
}

/* After this the engine is there and knows the header, or v->broken says why it does not. */
static void engine_begin(struct dkim_verify *v)
{
	v->engine = v->ops->start();
	if (!v->engine)
		v->broken = -ENOMEM;
	for (size_t i = 0; i < v->field_count && !v->broken; i++)
		v->broken = v->ops->field(v->engine, v->field[i].raw, v->field[i].len, v->field[i].job ? &v->sig[v->field[i].job - 1].sig : NULL);
	if (!v->broken)
		v->broken = v->ops->header_end(v->engine, v->sig_count);
}

/* One hash for all signatures with the same c= and l=. */
static int bodies_make(struct dkim_verify *v)
{
	for (size_t i = 0; i < v->sig_count; i++) {
		const struct dkim_sig *sig = &v->sig[i].sig;

		if (v->sig[i].body_of != i)
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
		rc = lookup_start(v, i);
	if (rc == 0)
		rc = bodies_make(v);
	if (rc == 0 && v->sig_count > 0)
		engine_begin(v);
	free(v->field);
	v->field = NULL;
	v->field_count = v->field_cap = 0;
	return rc < 0 ? rc : v->broken == -ENOMEM ? -ENOMEM : 0;
}

size_t dkim_verify_signatures(const struct dkim_verify *v)
{
	return v->signature_fields;
}

/* The body. */

int dkim_verify_body(struct dkim_verify *v, const char *p, size_t len)
{
	int rc = 0;

	for (size_t i = 0; i < v->sig_count && rc == 0 && !v->broken; i++)
		if (v->sig[i].body)
			rc = dkim_body_add(v->sig[i].body, p, len);
	return rc;
}

/* The end. */

/* Wait for the key of s and look at it. True: it may be used. may wait */
static bool key_get(struct signature *s, struct dkim_result *r)
{
	const struct dns_answer *a = dns_wait(s->lookup);
	char why[DKIM_ANSWER_WHY];

	r->secure = a->secure;
	s->key.bits = 0;
	switch (dkim_answer_key(a, &s->key, why)) {
	case DKIM_ANSWER_KEY: break;
	case DKIM_ANSWER_LATER: say(r, DKIM_RESULT_TEMPERROR, why); return false;
	case DKIM_ANSWER_NONE: say(r, DKIM_RESULT_PERMERROR, why); break;
	case DKIM_ANSWER_WEAK: say(r, DKIM_RESULT_FAIL, why); break;
	}
	r->key_bits = s->key.bits;
	if (r->word != DKIM_RESULT_NONE)
		return false;
	r->testing = s->key.testing;
	if ((s->key.type == DKIM_KEY_ED25519) != (s->sig.algorithm == DKIM_ALG_ED25519_SHA256)) {
		say(r, DKIM_RESULT_PERMERROR, "the key is not one for a=");
		return false;
	}
	if (s->key.exact_domain && s->sig.identity_below) {
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

			if (s->body_of != i)
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

int dkim_verify_finish(struct dkim_verify *v, const struct dkim_result **results, size_t *count)
{
	size_t usable = 0;
	int rc = 0;

	for (size_t i = 0; i < v->sig_count; i++) {
		if (key_get(&v->sig[i], &v->result[v->sig[i].result])) {
			v->job[i].key = &v->sig[i].key;
			usable++;
		}
	}
	if (usable > 0)
		rc = v->broken ? v->broken : bodies_compare(v);
	if (usable > 0 && rc == 0)
		rc = v->ops->finish(v->engine, v->job, v->sig_count);
	if (rc == -ENOMEM)
		return rc;
	for (size_t i = 0; i < v->sig_count; i++) {
		struct dkim_result *r = &v->result[v->sig[i].result];

		if (!v->job[i].key)
			continue;
		if (rc < 0)
			say(r, DKIM_RESULT_NEUTRAL, "the header cannot be verified");
		else
			judge(&v->sig[i], &v->job[i], r);
	}
	*results = v->result;
	*count = v->result_count;
	return 0;
}
