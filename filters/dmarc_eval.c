#include "filters/dmarc_eval.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "filters/dmarc_libopendmarc.h"

/* One evaluation on its way. */
struct check {
	const struct dmarc_query *q;
	struct dmarc_walks *walks;
	struct dmarc_walk walk;         /* from the author domain */
	const struct dmarc_record *record;
	bool unsure;                    /* an alignment hangs on a lookup that failed */
	char unsure_why[160];
	struct dmarc_result *out;
};

static void __attribute__((format(printf, 2, 3)))
say(struct dmarc_result *out, const char *fmt, ...)
{
	size_t used = strlen(out->why);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->why + used, sizeof out->why - used, fmt, ap);
	va_end(ap);
}

static void unsure(struct check *c, const char *domain, const char *why)
{
	if (!c->unsure)
		snprintf(c->unsure_why, sizeof c->unsure_why, "_dmarc.%.80s: %.60s", domain, why);
	c->unsure = true;
}

/* 4.10.3: whether an identifier aligns with the author domain. may wait */
static bool aligns(struct check *c, const char *domain, bool strict)
{
	struct dmarc_walk walk;
	const char *author = c->q->author;

	if (strcmp(domain, author) == 0)
		return true;
	if (strict)
		return false;
	if (c->walk.temperror) {
		/* Organizational domains are tails: with another top-level domain they cannot be
		 * equal. */
		if (strcmp(domain_tail(domain, 1), domain_tail(author, 1)) == 0)
			unsure(c, c->walk.step[c->walk.count - 1].name,
			       c->walk.step[c->walk.count - 1].why);
		return false;
	}
	if (!domain_within(domain, c->walk.org))
		return false;
	dmarc_walk(c->walks, domain, &walk);
	if (walk.temperror) {
		unsure(c, walk.step[walk.count - 1].name, walk.step[walk.count - 1].why);
		return false;
	}
	return strcmp(walk.org, c->walk.org) == 0;
}

/* An identifier without a result yet: if it aligns, the message may still pass at another time (RFC
 * 9989 5.4). may wait */
static void aligns_temporary(struct check *c, const char *domain, bool strict, const char *what)
{
	if (!aligns(c, domain, strict))
		return;
	if (!c->unsure)
		snprintf(c->unsure_why, sizeof c->unsure_why, "%s of %.100s: temporary error", what,
		         domain);
	c->unsure = true;
}

/* may wait */
static void identifiers_compare(struct check *c)
{
	const struct dmarc_query *q = c->q;
	const struct dmarc_record *r = c->record;

	c->out->aligned_spf = q->spf_pass && aligns(c, q->spf_pass, r->strict_spf);
	for (size_t i = 0; i < q->dkim_pass_count && !c->out->aligned_dkim; i++)
		c->out->aligned_dkim = aligns(c, q->dkim_pass[i], r->strict_dkim);
	if (c->out->aligned_spf || c->out->aligned_dkim)
		return;
	if (q->spf_temp)
		aligns_temporary(c, q->spf_temp, r->strict_spf, "SPF");
	for (size_t i = 0; i < q->dkim_temp_count; i++)
		aligns_temporary(c, q->dkim_temp[i], r->strict_dkim, "DKIM key");
}

/* Which of p, sp and np, after t=. may wait */
static void policy_choose(struct check *c, bool own)
{
	const struct dmarc_record *r = c->record;
	enum dmarc_policy p = dmarc_record_policy(r, own, true);
	enum dmarc_policy other = dmarc_record_policy(r, own, false);

	if (p != other) {
		int exists = dmarc_exists(c->walks, c->q->author);

		c->out->policy_temperror = exists < 0;
		if (exists == 0)
			p = other;
	}
	c->out->policy = r->testing ? dmarc_policy_milder(p) : p;
	c->out->testing = r->testing;
}

static void identifiers_say(struct check *c)
{
	const struct dmarc_query *q = c->q;

	say(c->out, "SPF passed for %s, DKIM for ", q->spf_pass ? q->spf_pass : "none");
	for (size_t i = 0; i < q->dkim_pass_count && i < 3; i++)
		say(c->out, "%s%s", i > 0 ? " and " : "", q->dkim_pass[i]);
	if (q->dkim_pass_count == 0)
		say(c->out, "none");
	else if (q->dkim_pass_count > 3)
		say(c->out, " and %zu more", q->dkim_pass_count - 3);
}

static void result_native(struct check *c)
{
	struct dmarc_result *out = c->out;

	if (out->aligned_spf || out->aligned_dkim) {
		out->outcome = DMARC_PASS;
		say(out, "aligned with %s: ", c->q->author);
	} else if (c->unsure) {
		out->outcome = DMARC_TEMPERROR;
		say(out, "%s; ", c->unsure_why);
	} else {
		out->outcome = DMARC_FAIL;
		say(out, "no aligned identifier: ");
	}
	identifiers_say(c);
}

/* A temperror of policy discovery. */
static void discovery_failed(struct dmarc_result *out, const struct dmarc_name *n)
{
	out->outcome = DMARC_TEMPERROR;
	say(out, "_dmarc.%s: %s", n->name, n->why);
}

/* No record, or none that counts: DMARC does not apply. */
static void nothing_applies(struct check *c, const struct dmarc_name *found)
{
	c->out->outcome = DMARC_NONE;
	if (found) {
		say(c->out, "the record at _dmarc.%s has neither a valid p nor a valid rua",
		    found->name);
		return;
	}
	say(c->out, "no record for %s", c->q->author);
	for (size_t i = 0; i < c->walk.count; i++) {
		if (c->walk.step[i].why[0])
			say(c->out, "; _dmarc.%s: %s", c->walk.step[i].name, c->walk.step[i].why);
	}
}

void dmarc_prefetch(struct dmarc_walks *w, const char *author, const char *domain)
{
	if (strcmp(domain, author) != 0 && domain_within(domain, domain_tail(author, 2)))
		dmarc_walk_start(w, domain);
}

/* Side by side, what may be needed and was not begun at the end of the header. */
static void lookups_start(struct dmarc_walks *w, const struct dmarc_query *q)
{
	dmarc_walk_start(w, q->author);
	dmarc_exists_start(w, q->author);
	if (q->spf_pass)
		dmarc_prefetch(w, q->author, q->spf_pass);
	for (size_t i = 0; i < q->dkim_pass_count; i++)
		dmarc_prefetch(w, q->author, q->dkim_pass[i]);
}

int dmarc_check(enum engine engine, const struct dmarc_query *q, struct dmarc_walks *w,
                struct dmarc_result *out)
{
	struct check c = { .q = q, .walks = w, .out = out };
	struct dmarc_name own;
	const struct dmarc_name *found;
	int rc = 0;

	memset(out, 0, sizeof *out);
	lookups_start(w, q);
	dmarc_walk(w, q->author, &c.walk);
	own = c.walk.step[0];
	if (!c.walk.temperror)
		strcpy(out->org_domain, c.walk.org);
	else if (!own.found) {
		/* Whether there is a policy, and which, is not known. */
		discovery_failed(out, &c.walk.step[c.walk.count - 1]);
		return 0;
	}
	found = own.found ? &own : c.walk.policy;
	if (!found || !dmarc_record_applies(&found->record)) {
		nothing_applies(&c, found);
		return 0;
	}
	c.record = &found->record;
	out->has_policy = true;
	out->published = found->record;
	out->text = found->text;
	out->text_len = found->text_len;
	strcpy(out->record_domain, found->name);
	policy_choose(&c, own.found);
	identifiers_compare(&c);
	if (engine == ENGINE_LIBRARY && (out->aligned_spf || out->aligned_dkim || !c.unsure))
		rc = dmarc_libopendmarc(q, c.record, found->name, out);
	else
		result_native(&c);
	return rc;
}

const char *dmarc_outcome_name(enum dmarc_outcome o)
{
	static const char *const names[] = { "none", "pass", "fail", "temperror", "permerror" };

	return names[o];
}
