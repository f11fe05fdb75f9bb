/* advise_dmarc - the domain's DMARC policy, RFC 9989: found by the tree walk, and what two engines make of a forgery and of signed mail */
#include <stdio.h>
#include <string.h>

#include "command/advise.h"
#include "filters/dmarc_eval.h"

static const char NAME[] = "DMARC";

/* Why there is no policy. */
static void judge_none(struct advise *a, const struct dmarc_walk *w)
{
	for (size_t i = 0; i < w->count; i++)
		if (!w->step[i].found && !w->step[i].temperror && w->step[i].why && w->step[i].why[0]) {
			advise_say(a, ADVICE_BAD, NAME, "_dmarc.%s: %s: it counts nothing", w->step[i].name, w->step[i].why);
			return;
		}
	advise_say(a, ADVICE_BAD, NAME, "there is no record, so receivers do nothing about forgeries. Publish TXT at _dmarc.%s: "
		   "\"v=DMARC1; p=none; rua=mailto:postmaster@%s\", read the reports, then go on to quarantine and reject", a->domain, a->domain);
}

static void judge_policy(struct advise *a, const struct dmarc_name *step)
{
	const struct dmarc_record *r = &step->record;
	bool own = strcmp(step->name, a->domain) == 0;
	enum dmarc_policy p = dmarc_record_policy(r, own, true);

	if (!dmarc_record_applies(r))
		advise_say(a, ADVICE_BAD, NAME, "_dmarc.%s has neither a valid p= nor an address for reports: it counts nothing", step->name);
	else if (p == DMARC_P_NONE)
		advise_say(a, ADVICE_WARN, NAME, "_dmarc.%s asks receivers to do nothing about forgeries (p=none): when the reports show that your own mail "
			   "passes, go on to quarantine and reject", step->name);
	else
		advise_say(a, ADVICE_OK, NAME, "_dmarc.%s asks receivers to %s forgeries", step->name, dmarc_policy_name(p));
	if (own && r->has_sp && r->sp < p)
		advise_say(a, ADVICE_WARN, NAME, "for names below the domain it asks for less (sp=%s): a forger takes one of these", dmarc_policy_name(r->sp));
	if (own && r->has_np && r->np < p)
		advise_say(a, ADVICE_WARN, NAME, "for names that do not exist it asks for less (np=%s): a forger takes one of these", dmarc_policy_name(r->np));
	if (r->testing && p != DMARC_P_NONE)
		advise_say(a, ADVICE_WARN, NAME, "t=y asks receivers to do only the milder thing, %s", dmarc_policy_name(dmarc_policy_milder(p)));
	if (!r->rua)
		advise_say(a, ADVICE_WARN, NAME, "it names no address for reports: add rua=mailto:..., or nobody tells you what fails");
}

/* What is to be expected of signed mail (aligned) and of a forgery, by both engines. */
static void judge_engines(struct advise *a, bool aligned, const struct dmarc_result *own, const struct dmarc_result *library)
{
	if (own->outcome == DMARC_TEMPERROR || library->outcome == DMARC_TEMPERROR)
		return;
	if (aligned && own->outcome != DMARC_PASS)
		advise_say(a, ADVICE_BAD, NAME, "mail that is signed for %s does not pass: %s", a->domain, own->why);
	if (own->outcome != library->outcome)
		advise_say(a, ADVICE_WARN, NAME, "libopendmarc makes \"%s\" of %s, RFC 9989 \"%s\": receivers differ (%s)", dmarc_outcome_name(library->outcome),
			   aligned ? "signed mail" : "a forgery", dmarc_outcome_name(own->outcome), library->why);
	else if (own->has_policy && own->policy != library->policy)
		advise_say(a, ADVICE_WARN, NAME, "receivers with the older rules (libopendmarc) do %s where those of RFC 9989 do %s: they know no t= and np=",
			   dmarc_policy_name(library->policy), dmarc_policy_name(own->policy));
}

/* may wait */
static void engines(struct advise *a, struct dmarc_walks *w, bool aligned)
{
	const char *const passes[] = { a->domain };
	struct dmarc_query q = { .author = a->domain, .dkim_pass = passes, .dkim_pass_count = aligned };
	struct dmarc_result own = { 0 }, library = { 0 };

	if (dmarc_check(ENGINE_NATIVE, &q, w, &own) == 0 && dmarc_check(ENGINE_LIBRARY, &q, w, &library) == 0)
		judge_engines(a, aligned, &own, &library);
}

void advise_dmarc(struct advise *a)
{
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(a->dns);
	struct dmarc_walk walk;

	if (!w)
		return;
	dmarc_walk(w, a->domain, &walk);
	if (walk.temperror) {
		advise_say(a, ADVICE_WARN, NAME, "the DNS gives no answer for TXT of _dmarc.%s", walk.step[walk.count - 1].name);
		return;
	}
	if (!walk.policy) {
		judge_none(a, &walk);
		return;
	}
	judge_policy(a, walk.policy);
	engines(a, w, true);
	engines(a, w, false);
}
