#include "filters/arc_verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/dkim_answer.h"
#include "filters/dkim_body.h"
#include "filters/dkim_canon.h"
#include "filters/dkim_crypto.h"
#include "filters/dkim_header.h"
#include "filters/dkim_tag.h"
#include "filters/turn.h"

/* KEY_BITS_MAX: what RFC 8301 section 3.2 demands. A hundred signatures with 8,192 bits and a long exponent take 140 ms. */
enum { KEYS_MAX = 64, SETS_AT_ONCE = 8, KEY_BITS_MAX = 4096, OLDER_BYTES_MAX = 1 << 20, NO_KEY = -1 };

/* A message signature or seal: of a hundred of them no more is kept than is needed, while the message comes in. */
struct signature {
	char *domain, *selector;        /* d=, s=; one allocation; NULL: there is no such field */
	enum dkim_algorithm algorithm;
	bool header_relaxed, body_relaxed, limited;
	uint64_t limit;                 /* l= */
	size_t from_count;
	const char *why;                /* it cannot hold, whatever key and body are: why (a literal). NULL: it may */
	int key;                        /* its place among those asked for, or NO_KEY */
	unsigned char body_hash[DKIM_HASH_MAX];
	unsigned char hash[DKIM_HASH_BYTES];            /* of the header, once it is asked for */
	unsigned char *value;           /* b=, decoded */
	size_t value_len;
};

/* The question for one key; signatures with the same d= and s= share it. */
struct asked {
	const struct signature *first;  /* whose it is: its d= and s= */
	struct dns_lookup *lookup;
};

struct arc_verify {
	struct dns *dns;
	struct dkim_header *header;
	struct arc_sets sets;
	size_t from_fields;
	bool live;                      /* the chain may pass */
	struct signature *seal, *ams;   /* of instance i at i - 1; sets.count of them while the chain is well-formed */
	struct asked asked[KEYS_MAX];
	size_t asked_count;
	struct dkim_body *body[2];      /* simple, relaxed; NULL: no signature has that */
	unsigned char body_hash[2][DKIM_BODY_HASH];
	uint64_t body_bytes[2];
};

const char *arc_state_name(enum arc_state s)
{
	static const char *const names[] = { [ARC_NONE] = "none", [ARC_PASS] = "pass", [ARC_FAIL] = "fail", [ARC_TEMPERROR] = "temperror" };

	return names[s];
}

struct arc_verify *arc_verify_new(struct dns *dns)
{
	struct arc_verify *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->dns = dns;
	v->header = dkim_header_new();
	if (!v->header) {
		free(v);
		return NULL;
	}
	return v;
}

static void signatures_free(struct signature *s, size_t count)
{
	for (size_t i = 0; s && i < count; i++) {
		free(s[i].domain);
		free(s[i].value);
	}
	free(s);
}

void arc_verify_free(struct arc_verify *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->asked_count; i++)
		dns_drop(v->asked[i].lookup);
	dkim_body_free(v->body[0]);
	dkim_body_free(v->body[1]);
	dkim_header_free(v->header);
	signatures_free(v->seal, v->sets.count);
	signatures_free(v->ams, v->sets.count);
	free(v);
}

/* The header. */

int arc_verify_field(struct arc_verify *v, const char *raw, size_t len)
{
	int rc = dkim_header_add(v->header, raw, len);

	if (rc < 0)
		return rc;
	v->from_fields += dkim_field_is(dkim_header_at(v->header, dkim_header_count(v->header) - 1), "From");
	arc_sets_field(&v->sets, raw, len);
	return 0;
}

const struct arc_sets *arc_verify_sets(const struct arc_verify *v)
{
	return &v->sets;
}

static int names_keep(struct signature *s, const struct dkim_sig *sig)
{
	size_t domain = strlen(sig->domain) + 1, selector = strlen(sig->selector) + 1;

	s->domain = malloc(domain + selector);
	if (!s->domain)
		return -ENOMEM;
	s->selector = s->domain + domain;
	memcpy(s->domain, sig->domain, domain);
	memcpy(s->selector, sig->selector, selector);
	return 0;
}

static int value_keep(struct signature *s, const char *body, size_t len)
{
	unsigned char value[DKIM_KEY_BYTES_MAX];
	const struct dkim_tag *b;
	struct dkim_tags tags;
	ptrdiff_t n = -1;

	if (!dkim_tags_parse(body, len, &tags) && (b = dkim_tags_find(&tags, "b")))
		n = dkim_tag_base64(b->value, b->len, value, sizeof(value));
	if (n < 0) {
		s->why = "b= is longer than any signature";
		return 0;
	}
	s->value = malloc(n ? (size_t)n : 1);
	if (!s->value)
		return -ENOMEM;
	memcpy(s->value, value, (size_t)n);
	s->value_len = (size_t)n;
	return 0;
}

/* What of a signature can be read without the message: its names, its age, its octets. 0 or -ENOMEM. */
static int signature_read(struct signature *s, const struct arc_field *f, enum arc_kind kind)
{
	struct arc_sig arc;
	size_t len;
	const char *body = arc_field_body(f, &len);
	int rc;

	s->key = NO_KEY;
	s->why = kind == ARC_KIND_AMS ? arc_ams_parse(body, len, &arc) : arc_seal_parse(body, len, &arc);
	s->algorithm = arc.sig.algorithm;
	s->header_relaxed = arc.sig.header_relaxed;
	s->body_relaxed = arc.sig.body_relaxed;
	s->limited = arc.sig.limited;
	s->limit = arc.sig.limit;
	s->from_count = arc.sig.from_count;
	memcpy(s->body_hash, arc.sig.body_hash, sizeof(s->body_hash));
	rc = names_keep(s, &arc.sig);
	if (rc < 0 || s->why || dkim_sig_age(&arc.sig, clock_wall_s(), &s->why) != DKIM_SIG_GOOD)
		return rc;
	return value_keep(s, body, len);
}

static int key_ask(struct arc_verify *v, struct signature *s)
{
	char name[2 * DKIM_NAME_MAX + 16];
	struct asked *a;

	for (size_t k = 0; k < v->asked_count; k++) {
		const struct signature *first = v->asked[k].first;

		if (strcmp(first->domain, s->domain) != 0 || strcmp(first->selector, s->selector) != 0)
			continue;
		s->key = (int)k;
		return 0;
	}
	if (v->asked_count == KEYS_MAX) {
		s->why = "not looked at: too many keys";
		return 0;
	}
	a = &v->asked[v->asked_count];
	snprintf(name, sizeof(name), "%s._domainkey.%s", s->selector, s->domain);
	if (dns_start(v->dns, name, DNS_TXT, &a->lookup) < 0)
		return -ENOMEM;
	a->first = s;
	s->key = (int)v->asked_count++;
	return 0;
}

/* Of the signatures at s from i down, as many as are asked for at once; an older message signature that cannot hold ends it. */
static int some_ask(struct arc_verify *v, struct signature *s, size_t i)
{
	size_t end = i + 1 > SETS_AT_ONCE ? i + 1 - SETS_AT_ONCE : 0;
	int rc = 0;

	for (size_t k = i + 1; k-- > end && rc == 0 && !s[k].why;)
		rc = key_ask(v, &s[k]);
	return rc;
}

/*
 * Those that must hold first. A chain of which one cannot asks nothing. One longer than any honest one is asks for the keys of its older sets only when those of
 * the newer have been found good: whoever makes up a chain under names that do not answer has few questions of ours waiting.
 */
static int keys_ask(struct arc_verify *v)
{
	size_t n = v->sets.count;
	int rc = some_ask(v, v->seal, n - 1);

	if (rc == 0)
		rc = some_ask(v, v->ams, n - 1);
	return rc;
}

/* A body hash for each canonicalization that a signature has. */
static int bodies_make(struct arc_verify *v)
{
	for (size_t i = v->sets.count; i-- > 0 && !v->ams[i].why;) {
		bool relaxed = v->ams[i].body_relaxed;

		if (v->body[relaxed])
			continue;
		v->body[relaxed] = dkim_body_new(relaxed, false, 0);
		if (!v->body[relaxed])
			return -ENOMEM;
	}
	return 0;
}

static int chain_read(struct arc_verify *v)
{
	size_t n = v->sets.count;
	int rc;

	v->seal = calloc(n, sizeof(*v->seal));
	v->ams = calloc(n, sizeof(*v->ams));
	if (!v->seal || !v->ams)
		return -ENOMEM;
	v->live = v->sets.why[0] == '\0';
	for (size_t i = 0; i < n; i++) {
		rc = v->sets.set[i].as.raw ? signature_read(&v->seal[i], &v->sets.set[i].as, ARC_KIND_AS) : 0;
		if (rc == 0 && v->sets.set[i].ams.raw)
			rc = signature_read(&v->ams[i], &v->sets.set[i].ams, ARC_KIND_AMS);
		if (rc < 0)
			return rc;
		v->live = v->live && !v->seal[i].why;
	}
	v->live = v->live && !v->ams[n - 1].why;
	if (!v->live)
		return 0;
	rc = keys_ask(v);
	return rc < 0 ? rc : bodies_make(v);
}

int arc_verify_header_end(struct arc_verify *v)
{
	arc_sets_end(&v->sets);
	return v->sets.count > 0 ? chain_read(v) : 0;
}

static const char *seal_name(const struct arc_verify *v, size_t instance, bool selector)
{
	const struct signature *s = v->seal && instance >= 1 && instance <= v->sets.count ? &v->seal[instance - 1] : NULL;
	const char *name = !s ? NULL : selector ? s->selector : s->domain;

	return name ? name : "";
}

const char *arc_verify_domain(const struct arc_verify *v, size_t instance)
{
	return seal_name(v, instance, false);
}

const char *arc_verify_selector(const struct arc_verify *v, size_t instance)
{
	return seal_name(v, instance, true);
}

bool arc_verify_binds(const struct arc_verify *v, size_t instance)
{
	const struct signature *sig = v->ams && instance >= 1 && instance <= v->sets.count ? &v->ams[instance - 1] : NULL;

	return sig && v->sets.set[instance - 1].ams.raw && !v->sets.set[instance - 1].ams_why && sig->from_count > 0 && !sig->limited;
}

/* The body. */

int arc_verify_body(struct arc_verify *v, const char *p, size_t len)
{
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++)
		if (v->body[i])
			rc = dkim_body_add(v->body[i], p, len);
	return rc;
}

/* The end. */

enum check { CHECK_GOOD, CHECK_BAD, CHECK_LATER };

struct judging {
	struct arc_verify *v;
	struct arc_result *out;
	struct turn turn;
	bool seals_hashed;
	size_t older_octets;            /* header that was read for older message signatures */
	int rc;                         /* -ENOMEM */
};

static void tell(struct arc_result *out, enum arc_state state, enum arc_kind kind, size_t instance, const char *why)
{
	out->state = state;
	snprintf(out->why, sizeof(out->why), "%s i=%zu: %s", arc_kind_name(kind), instance, why);
}

static void cover(struct judging *j, struct dkim_hash *h, const char *raw, size_t len, bool relaxed, int flags)
{
	dkim_canon_field(h, raw, len, relaxed, flags);
	turn_took(&j->turn, len * TURN_HEADER);
}

/* Seals, section 5.1.1: all sets up to their own, in order, relaxed; the seal itself without the value of its b=. may wait */
static int seals_hash(struct judging *j)
{
	__attribute__((cleanup(dkim_hash_cleanup))) struct dkim_hash all = { .ctx = NULL };
	struct arc_verify *v = j->v;
	int rc = dkim_hash_begin(&all);

	for (size_t i = 0; i < v->sets.count && rc == 0; i++) {
		const struct arc_set *set = &v->sets.set[i];
		__attribute__((cleanup(dkim_hash_cleanup))) struct dkim_hash own = { .ctx = NULL };

		cover(j, &all, set->aar.raw, set->aar.len, true, 0);
		cover(j, &all, set->ams.raw, set->ams.len, true, 0);
		rc = dkim_hash_copy(&own, &all);
		if (rc < 0)
			break;
		cover(j, &own, set->as.raw, set->as.len, true, DKIM_CANON_NO_B | DKIM_CANON_LAST);
		rc = dkim_hash_end(&own, v->seal[i].hash);
		cover(j, &all, set->as.raw, set->as.len, true, 0);
	}
	return rc;
}

/* The place of a field in the header. */
static size_t place_of(const struct dkim_header *h, const char *raw)
{
	for (size_t i = 0; i < dkim_header_count(h); i++)
		if (dkim_header_at(h, i)->raw == raw)
			return i;
	return SIZE_MAX;
}

/* A message signature, as one of DKIM: the fields of h= from the bottom up, then its own. *octets: what was read for it is added. may wait */
static int ams_hash(struct judging *j, size_t i, size_t *octets)
{
	__attribute__((cleanup(dkim_hash_cleanup))) struct dkim_hash hash = { .ctx = NULL };
	struct arc_verify *v = j->v;
	const struct arc_field *f = &v->sets.set[i].ams;
	bool relaxed = v->ams[i].header_relaxed;
	const struct dkim_field *next;
	const struct dkim_tag *h;
	struct dkim_tags tags;
	const char *body, *item;
	size_t pos = 0, len;
	int rc = dkim_hash_begin(&hash);

	if (rc < 0)
		return rc;
	body = arc_field_body(f, &len);
	h = dkim_tags_parse(body, len, &tags) ? NULL : dkim_tags_find(&tags, "h");
	dkim_header_rewind(v->header, place_of(v->header, f->raw));
	while (h && dkim_tag_item(h, &pos, &item, &len)) {
		next = len > 0 ? dkim_header_up(v->header, item, len) : NULL;
		if (!next)
			continue;
		cover(j, &hash, next->raw, next->len, relaxed, 0);
		*octets += next->len;
	}
	cover(j, &hash, f->raw, f->len, relaxed, DKIM_CANON_NO_B | DKIM_CANON_LAST);
	*octets += f->len;
	return dkim_hash_end(&hash, v->ams[i].hash);
}

/*
 * The hash of the header that a signature is one of; with that of one seal those of all are there, as each has all below it. Made only where there is a key: nobody
 * who has none makes us hash. may wait
 */
static int hash_make(struct judging *j, enum arc_kind kind, size_t i)
{
	size_t unused = 0;

	if (kind == ARC_KIND_AMS)
		return ams_hash(j, i, i == j->v->sets.count - 1 ? &unused : &j->older_octets);
	if (j->seals_hashed)
		return 0;
	j->seals_hashed = true;
	return seals_hash(j);
}

/* b= against the hash of the header and the key. why: of others than GOOD. may wait */
static enum check value_check(struct judging *j, enum arc_kind kind, size_t i, char why[DKIM_ANSWER_WHY])
{
	const struct signature *s = kind == ARC_KIND_AMS ? &j->v->ams[i] : &j->v->seal[i];
	struct dkim_key key;
	int good;

	if (s->why || s->key == NO_KEY) {
		snprintf(why, DKIM_ANSWER_WHY, "%s", s->why ? s->why : "not looked at");
		return CHECK_BAD;
	}
	switch (dkim_answer_key(dns_wait(j->v->asked[s->key].lookup), s->algorithm, &key, why)) {
	case DKIM_ANSWER_KEY: break;
	case DKIM_ANSWER_LATER: return CHECK_LATER;
	default: return CHECK_BAD;
	}
	snprintf(why, DKIM_ANSWER_WHY, "the key is not one for a=");
	if (!dkim_answer_fits(&key, s->algorithm))
		return CHECK_BAD;
	snprintf(why, DKIM_ANSWER_WHY, "the key has more than %d bits", KEY_BITS_MAX);
	if (key.bits > KEY_BITS_MAX)
		return CHECK_BAD;
	good = hash_make(j, kind, i);
	if (good == 0)
		good = dkim_crypto_check(&key, s->hash, s->value, s->value_len);
	turn_took(&j->turn, dkim_crypto_cost(&key));
	if (good < 0)
		j->rc = good;
	snprintf(why, DKIM_ANSWER_WHY, "the signature does not fit the header");
	return good == 1 ? CHECK_GOOD : CHECK_BAD;
}

/* The body first: that costs nothing any more. l= may leave nothing unsigned: who has the chain could add to the message what he likes. may wait */
static enum check ams_check(struct judging *j, size_t i, char why[DKIM_ANSWER_WHY])
{
	const struct signature *s = &j->v->ams[i];

	if (!s->why && s->limited && s->limit != j->v->body_bytes[s->body_relaxed]) {
		snprintf(why, DKIM_ANSWER_WHY, "l= is not the length of the body");
		return CHECK_BAD;
	}
	if (!s->why && memcmp(j->v->body_hash[s->body_relaxed], s->body_hash, DKIM_BODY_HASH) != 0) {
		snprintf(why, DKIM_ANSWER_WHY, "the body is not what was signed");
		return CHECK_BAD;
	}
	if (!s->why && j->older_octets > OLDER_BYTES_MAX) {
		snprintf(why, DKIM_ANSWER_WHY, "not looked at: too much header");
		return CHECK_BAD;
	}
	return value_check(j, ARC_KIND_AMS, i, why);
}

/* Section 5.2, steps 4 and 6. What has failed for certain counts more than what could not be looked up. may wait */
static bool chain_holds(struct judging *j)
{
	size_t n = j->v->sets.count;
	char why[DKIM_ANSWER_WHY];
	enum check c = ams_check(j, n - 1, why);

	j->out->state = ARC_PASS;
	if (c != CHECK_GOOD)
		tell(j->out, c == CHECK_BAD ? ARC_FAIL : ARC_TEMPERROR, ARC_KIND_AMS, n, why);
	for (size_t i = n; i-- > 0 && j->out->state != ARC_FAIL && j->rc == 0;) {
		if (j->v->seal[i].key == NO_KEY) {
			if (j->out->state != ARC_PASS)
				break;
			j->rc = some_ask(j->v, j->v->seal, i);
			if (j->rc < 0)
				break;
		}
		c = value_check(j, ARC_KIND_AS, i, why);
		if (c == CHECK_BAD)
			tell(j->out, ARC_FAIL, ARC_KIND_AS, i + 1, why);
		else if (c == CHECK_LATER && j->out->state == ARC_PASS)
			tell(j->out, ARC_TEMPERROR, ARC_KIND_AS, i + 1, why);
	}
	return j->out->state == ARC_PASS;
}

/* Step 5: the oldest of the message signatures that hold without a gap. may wait */
static void oldest_find(struct judging *j)
{
	char why[DKIM_ANSWER_WHY];

	for (size_t i = j->v->sets.count - 1; i-- > 0;) {
		if (j->v->ams[i].key == NO_KEY && !j->v->ams[i].why)
			j->rc = some_ask(j->v, j->v->ams, i);
		if (j->rc < 0)
			return;
		if (ams_check(j, i, why) == CHECK_GOOD)
			continue;
		j->out->oldest_pass = (unsigned)i + 2;
		tell(j->out, ARC_PASS, ARC_KIND_AMS, i + 1, why);
		return;
	}
}

/* Why a chain that is not live has failed. */
static void dead_tell(const struct arc_verify *v, struct arc_result *out)
{
	size_t n = v->sets.count;

	out->state = ARC_FAIL;
	if (v->sets.why[0]) {
		snprintf(out->why, sizeof(out->why), "%s", v->sets.why);
		return;
	}
	if (v->ams[n - 1].why) {
		tell(out, ARC_FAIL, ARC_KIND_AMS, n, v->ams[n - 1].why);
		return;
	}
	for (size_t i = n; i-- > 0;)
		if (v->seal[i].why) {
			tell(out, ARC_FAIL, ARC_KIND_AS, i + 1, v->seal[i].why);
			return;
		}
}

int arc_verify_finish(struct arc_verify *v, struct arc_result *out)
{
	struct judging j = { .v = v, .out = out };
	int rc;

	memset(out, 0, sizeof(*out));
	out->count = v->sets.count;
	if (v->sets.fields == 0)
		return 0;
	if (!v->live) {
		dead_tell(v, out);
		return 0;
	}
	rc = dkim_header_ready(v->header);
	if (rc < 0)
		return rc;
	for (int i = 0; i < 2; i++)
		if (v->body[i] && dkim_body_end(v->body[i], v->body_hash[i], &v->body_bytes[i]) < 0)
			return -ENOMEM;
	out->from_signed = v->from_fields > 0 && v->ams[out->count - 1].from_count >= v->from_fields;
	if (chain_holds(&j))
		oldest_find(&j);
	return j.rc;
}
