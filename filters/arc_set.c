#include "filters/arc_set.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "filters/cfws.h"
#include "filters/dkim_tag.h"

enum { INSTANCE_DIGITS = 2, LIMIT_DIGITS = 18 };

static const char *const names[] = {
	[ARC_KIND_NONE] = "",
	[ARC_KIND_AAR] = "ARC-Authentication-Results",
	[ARC_KIND_AMS] = "ARC-Message-Signature",
	[ARC_KIND_AS] = "ARC-Seal",
};

const char *arc_kind_name(enum arc_kind k)
{
	return names[k];
}

enum arc_kind arc_kind_of(const char *raw, size_t len)
{
	if (len < 4 || strncasecmp(raw, "ARC-", 4) != 0)
		return ARC_KIND_NONE;
	for (int k = ARC_KIND_AAR; k <= ARC_KIND_AS; k++) {
		size_t n = strlen(names[k]);

		if (len <= n || strncasecmp(raw, names[k], n) != 0)
			continue;
		while (n < len && (raw[n] == ' ' || raw[n] == '\t'))    /* obsolete syntax, RFC 5322 4.5.3 */
			n++;
		if (n < len && raw[n] == ':')
			return k;
	}
	return ARC_KIND_NONE;
}

const char *arc_field_body(const struct arc_field *f, size_t *len)
{
	const char *colon = memchr(f->raw, ':', f->len);

	*len = f->len - (size_t)(colon - f->raw) - 1;
	return colon + 1;
}

/* Tag lists. */

/* i=, section 4.2.1. */
static const char *instance_read(const struct dkim_tags *t, unsigned *out)
{
	const struct dkim_tag *i = dkim_tags_find(t, "i");
	uint64_t n;

	if (!i)
		return "no i=";
	if (dkim_tag_number(i, INSTANCE_DIGITS, &n) < 0 || n < 1 || n > ARC_SETS_MAX)
		return "i= is not a number from 1 to 50";
	*out = (unsigned)n;
	return NULL;
}

static const char *cv_read(const struct dkim_tags *t, enum arc_cv *out)
{
	const struct dkim_tag *cv = dkim_tags_find(t, "cv");

	if (!cv)
		return "no cv=";
	*out = dkim_tag_is(cv, "none") ? ARC_CV_NONE : dkim_tag_is(cv, "pass") ? ARC_CV_PASS : dkim_tag_is(cv, "fail") ? ARC_CV_FAIL : ARC_CV_UNREAD;
	return *out == ARC_CV_UNREAD ? "cv= is none of none, pass and fail" : NULL;
}

/*
 * h= of an AMS. It may leave From out and hold empty names, unlike that of DKIM (the public suite has both as valid); a seal in it would be
 * broken by the next hop, and is forbidden (section 4.1.2).
 */
static const char *fields_read(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *h = dkim_tags_find(t, "h");
	const char *item;
	size_t pos = 0, len, count = 0;

	if (!h)
		return "no h=";
	while (dkim_tag_item(h, &pos, &item, &len)) {
		if (len > 0 && !dkim_sig_field_name(item, len))
			return "h= holds what is no field name";
		if (len == 8 && strncasecmp(item, "ARC-Seal", 8) == 0)
			return "h= names ARC-Seal";
		if (++count > DKIM_FIELDS_MAX)
			return "h= names too many fields";
		out->from_count += len == 4 && strncasecmp(item, "from", 4) == 0;
	}
	return NULL;
}

/* Without c= relaxed, both: the public suite has it so, and who writes none signs so; DKIM's simple would come to a signature that does not fit. */
static const char *canon_read(const struct dkim_tags *t, struct dkim_sig *out)
{
	out->header_relaxed = out->body_relaxed = true;
	return dkim_sig_canon(t, out);
}

static const char *rest_read(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *l = dkim_tags_find(t, "l"), *q = dkim_tags_find(t, "q");

	if (l && dkim_tag_number(l, LIMIT_DIGITS, &out->limit) < 0)
		return "l= is not a length";
	out->limited = l != NULL;
	if (q && !dkim_tag_has(q, "dns/txt"))
		return "q= does not name dns/txt";
	return dkim_sig_times(t, out);
}

/* All are read whatever the others say; the first error counts. */
static const char *first_of(const char *a, const char *b)
{
	return a ? a : b;
}

const char *arc_ams_parse(const char *p, size_t len, struct arc_sig *out)
{
	struct dkim_tags tags;
	const char *bad;

	memset(out, 0, sizeof(*out));
	bad = dkim_tags_parse(p, len, &tags);
	if (bad)
		return bad;
	bad = instance_read(&tags, &out->instance);
	bad = first_of(bad, dkim_sig_names(&tags, &out->sig));
	bad = first_of(bad, dkim_sig_algorithm(&tags, &out->sig));
	bad = first_of(bad, canon_read(&tags, &out->sig));
	bad = first_of(bad, fields_read(&tags, &out->sig));
	bad = first_of(bad, dkim_sig_value(&tags, &out->sig));
	bad = first_of(bad, dkim_sig_body_hash(&tags, &out->sig));
	return first_of(bad, rest_read(&tags, &out->sig));
}

/* Section 4.1.3: canonicalization is always relaxed, there is no body hash, and h= makes it invalid. */
const char *arc_seal_parse(const char *p, size_t len, struct arc_sig *out)
{
	struct dkim_tags tags;
	const char *bad;

	memset(out, 0, sizeof(*out));
	out->sig.header_relaxed = true;
	bad = dkim_tags_parse(p, len, &tags);
	if (bad)
		return bad;
	bad = instance_read(&tags, &out->instance);
	bad = first_of(bad, cv_read(&tags, &out->cv));
	bad = first_of(bad, dkim_tags_find(&tags, "h") ? "h= is not allowed here" : NULL);
	bad = first_of(bad, dkim_sig_names(&tags, &out->sig));
	bad = first_of(bad, dkim_sig_algorithm(&tags, &out->sig));
	bad = first_of(bad, dkim_sig_value(&tags, &out->sig));
	return first_of(bad, dkim_sig_times(&tags, &out->sig));
}

/* The start of an AAR. */

struct cursor {
	const char *p, *end;
};

/* False: a comment does not end. */
static bool skip_cfws(struct cursor *c)
{
	const char *to = cfws_skip(c->p, c->end);

	if (to)
		c->p = to;
	return to != NULL;
}

static bool skip_char(struct cursor *c, char want)
{
	if (c->p == c->end || *c->p != want)
		return false;
	c->p++;
	return true;
}

const char *arc_aar_parse(const char *p, size_t len, unsigned *instance, const char **results, size_t *results_len)
{
	struct cursor c = { p, p + len };
	unsigned n = 0;
	int digits = 0;

	*instance = 0;
	if (!skip_cfws(&c) || !skip_char(&c, 'i') || !skip_cfws(&c) || !skip_char(&c, '=') || !skip_cfws(&c))
		return "it does not begin with i=";
	for (; c.p < c.end && *c.p >= '0' && *c.p <= '9' && digits <= INSTANCE_DIGITS; c.p++, digits++)
		n = n * 10 + (unsigned)(*c.p - '0');
	if (digits > INSTANCE_DIGITS || n < 1 || n > ARC_SETS_MAX)
		return "i= is not a number from 1 to 50";
	if (!skip_cfws(&c) || !skip_char(&c, ';'))
		return "there is no semicolon after i=";
	*instance = n;
	*results = c.p;
	*results_len = (size_t)(c.end - c.p);
	return NULL;
}

/* The sets. */

static void fault(struct arc_sets *s, enum arc_kind kind, unsigned instance, const char *why)
{
	if (s->why[0])
		return;
	if (instance)
		snprintf(s->why, sizeof(s->why), "%s i=%u: %s", names[kind], instance, why);
	else
		snprintf(s->why, sizeof(s->why), "%s: %s", names[kind], why);
}

/* Its place among the sets; NULL, with a fault, when there is one already. */
static struct arc_set *place(struct arc_sets *s, enum arc_kind kind, unsigned instance, const struct arc_field *f)
{
	struct arc_set *set = &s->set[instance - 1];
	struct arc_field *at = kind == ARC_KIND_AAR ? &set->aar : kind == ARC_KIND_AMS ? &set->ams : &set->as;

	if (s->count < instance)
		s->count = instance;
	if (at->raw) {
		fault(s, kind, instance, "there are two");
		return NULL;
	}
	*at = *f;
	return set;
}

bool arc_sets_field(struct arc_sets *s, const char *raw, size_t len)
{
	enum arc_kind kind = arc_kind_of(raw, len);
	struct arc_field f = { raw, len };
	const char *body, *why, *rest;
	struct arc_set *set = NULL;
	struct arc_sig sig = { .cv = ARC_CV_UNREAD };
	size_t n;

	if (kind == ARC_KIND_NONE)
		return false;
	if (s->fields++ >= ARC_FIELDS_MAX) {
		fault(s, kind, 0, "more fields than 50 sets have");
		return true;
	}
	if (len >= 2 && raw[len - 2] == '\r' && raw[len - 1] == '\n')
		f.len -= 2;
	body = arc_field_body(&f, &n);
	if (kind == ARC_KIND_AAR)
		why = arc_aar_parse(body, n, &sig.instance, &rest, &n);
	else
		why = (kind == ARC_KIND_AMS ? arc_ams_parse : arc_seal_parse)(body, n, &sig);
	if (sig.instance)
		set = place(s, kind, sig.instance, &f);
	if (set && kind == ARC_KIND_AMS)
		set->ams_why = why;
	else if (set && kind == ARC_KIND_AS)
		set->cv = sig.cv;
	if (why && (!sig.instance || kind != ARC_KIND_AMS))
		fault(s, kind, sig.instance, why);
	return true;
}

/* What is wrong with set i as one of count; NULL: nothing. kind: the field that it is about. */
static const char *set_check(const struct arc_set *set, size_t i, size_t count, enum arc_kind *kind)
{
	*kind = !set->as.raw ? ARC_KIND_AS : !set->ams.raw ? ARC_KIND_AMS : ARC_KIND_AAR;
	if (!set->as.raw || !set->ams.raw || !set->aar.raw)
		return "it is missing";
	*kind = ARC_KIND_AS;
	if (set->cv == ARC_CV_FAIL)
		return "cv=fail: the chain was broken before";
	if (set->cv != (i == 1 ? ARC_CV_NONE : ARC_CV_PASS))
		return i == 1 ? "cv= of the first set is not none" : "cv= is not pass";
	*kind = ARC_KIND_AMS;
	return i == count ? set->ams_why : NULL;
}

void arc_sets_end(struct arc_sets *s)
{
	s->cv = s->count > 0 ? s->set[s->count - 1].cv : ARC_CV_UNREAD;
	if (s->cv == ARC_CV_FAIL) {             /* whatever else there is: section 5.2, step 2 */
		s->why[0] = '\0';
		fault(s, ARC_KIND_AS, (unsigned)s->count, "cv=fail: the chain was broken before");
	}
	for (size_t i = s->count; i >= 1 && !s->why[0]; i--) {
		enum arc_kind kind;
		const char *why = set_check(&s->set[i - 1], i, s->count, &kind);

		if (why)
			fault(s, kind, (unsigned)i, why);
	}
}
