#include "policy/rua_message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/net.h"

enum { TRUSTED_SAID = 8 };              /* sealers that a comment names */

/* NULL, too, for one that this program has no filter for. */
static const struct fact *fact_of(const struct history_record *r, const char *name)
{
	int id = fact_find(name, strlen(name));

	return id == FACT_NONE ? NULL : facts_get(r->facts[0], id);
}

static const struct fact *known(const struct history_record *r, const char *name)
{
	const struct fact *f = fact_of(r, name);

	return f && f->state == FACT_KNOWN ? f : NULL;
}

static const char *word(const struct history_record *r, const char *name)
{
	const struct fact *f = known(r, name);

	return f && f->count > 0 ? f->text[0] : NULL;
}

static bool is_word(const char *text, const char *w)
{
	return text && strcmp(text, w) == 0;
}

static bool temporary(const struct history_record *r, const char *name)
{
	const struct fact *f = fact_of(r, name);

	return f && f->state == FACT_TEMPERROR;
}

/* What was done, as the log has it: whether it was for good. */
static bool done_read(const struct history_record *r, enum rua_done *out)
{
	static const struct {
		const char *verdict;
		enum rua_done done;
	} words[] = {
		{ "accept", RUA_DELIVERED },    { "spool", RUA_DELIVERED },     { "quarantine", RUA_HELD },
		{ "reject", RUA_REFUSED },      { "discard", RUA_REFUSED },     { "deleted", RUA_REFUSED },
		{ "backend-refused", RUA_REFUSED },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(r->verdict, words[i].verdict) == 0) {
			*out = words[i].done;
			return true;
		}
	return false;
}

/* Some got it from an earlier attempt, and it was counted then. */
static bool is_retry(const struct history_record *r)
{
	const char *p = r->notes;

	while (p && strncmp(p, HISTORY_RETRY, strlen(HISTORY_RETRY)) != 0) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	return p != NULL;
}

static enum dmarc_report_policy policy_of(const char *text)
{
	return text ? (enum dmarc_report_policy)dmarc_report_value(&dmarc_report_policy_words, text, strlen(text)) : 0;
}

/* The tags of dmarc.published (filters/dmarc.c): what is not there has its default value. */
static void published_read(const struct history_record *r, struct rua_published *out)
{
	const struct fact *f = known(r, "dmarc.published");

	*out = (struct rua_published){ .adkim = DMARC_REPORT_MODE_RELAXED, .aspf = DMARC_REPORT_MODE_RELAXED, .testing = DMARC_REPORT_TESTING_NO };
	for (size_t i = 0; f && i < f->count; i++) {
		const char *tag = f->text[i], *value = strchr(tag, '=');
		size_t len = value ? (size_t)(value++ - tag) : 0;

		if (len == 1 && *tag == 'p')
			out->p = policy_of(value);
		else if (len == 2 && memcmp(tag, "sp", 2) == 0)
			out->sp = policy_of(value);
		else if (len == 2 && memcmp(tag, "np", 2) == 0)
			out->np = policy_of(value);
		else if (len == 2 && memcmp(tag, "fo", 2) == 0)
			snprintf(out->fo, sizeof(out->fo), "%s", value);
		else if (value && strcmp(tag, "adkim=s") == 0)
			out->adkim = DMARC_REPORT_MODE_STRICT;
		else if (value && strcmp(tag, "aspf=s") == 0)
			out->aspf = DMARC_REPORT_MODE_STRICT;
		else if (value && strcmp(tag, "t=y") == 0)
			out->testing = DMARC_REPORT_TESTING_YES;
	}
	/* A record of the history from before that fact was there: what is known is the policy that applied. */
	if (!out->p)
		out->p = policy_of(word(r, "dmarc.policy"));
	if (!out->p)
		out->p = DMARC_REPORT_POLICY_NONE;
}

/* RFC 9989 section 4.7: with t=y one step milder is done. */
static enum dmarc_report_policy milder(enum dmarc_report_policy p)
{
	return p == DMARC_REPORT_POLICY_REJECT ? DMARC_REPORT_POLICY_QUARANTINE : DMARC_REPORT_POLICY_NONE;
}

/* What the record asks for this message before t= is applied; asked: after it. Whether sp or np was meant shows in what came of it. */
static enum dmarc_report_policy unsoftened(const struct rua_message *m, enum dmarc_report_policy asked)
{
	const struct rua_published *p = &m->published;
	enum dmarc_report_policy sub = p->sp ? p->sp : p->p;

	if (p->testing != DMARC_REPORT_TESTING_YES)
		return asked;
	if (strcmp(m->domain, m->header_from) == 0)
		return p->p;
	if (milder(sub) == asked)
		return sub;
	return p->np && milder(p->np) == asked ? p->np : asked;
}

/* RFC 8617 section 7.2.2: who sealed, by number of the set; arc.sealers has the newest first. */
static void arc_say(const struct history_record *r, char *out, size_t room)
{
	const struct fact *f = known(r, "arc.sealers");
	size_t n = (size_t)snprintf(out, room, "arc=pass");

	for (size_t i = 0; f && i < f->count && i < TRUSTED_SAID && n < room; i++)
		n += (size_t)snprintf(out + n, room - n, " as[%zu].d=%s", (size_t)f->count - i, f->text[i]);
}

/* Only where it failed: why something else was done than asked for. */
static void reason_read(const struct history_record *r, struct rua_message *m)
{
	static const enum dmarc_report_policy did[] = { [RUA_REFUSED] = DMARC_REPORT_POLICY_REJECT, [RUA_HELD] = DMARC_REPORT_POLICY_QUARANTINE,
							[RUA_DELIVERED] = DMARC_REPORT_POLICY_NONE };
	static const char *const said[] = { [RUA_REFUSED] = "refused by other rules here", [RUA_HELD] = "held by rules here",
					    [RUA_DELIVERED] = "accepted by rules here" };
	enum dmarc_report_policy asked = policy_of(word(r, "dmarc.policy")), whole = asked ? unsoftened(m, asked) : 0;

	if (!asked || temporary(r, "dmarc")) {
		m->reason = DMARC_REPORT_OVERRIDE_OTHER;
		snprintf(m->comment, sizeof(m->comment), "temporary error of a lookup");
	} else if (did[m->done] == whole) {
		m->reason = 0;
	} else if (did[m->done] == asked) {
		m->reason = DMARC_REPORT_OVERRIDE_POLICY_TEST_MODE;
	} else {
		m->reason = DMARC_REPORT_OVERRIDE_LOCAL_POLICY;
		if (did[m->done] < asked && is_word(word(r, "arc"), "pass"))
			arc_say(r, m->comment, sizeof(m->comment));
		else
			snprintf(m->comment, sizeof(m->comment), "%s", said[m->done]);
	}
}

static void disposition_read(const struct history_record *r, bool passed, struct rua_message *m)
{
	static const enum dmarc_report_disposition of[] = { [RUA_REFUSED] = DMARC_REPORT_DISPOSITION_REJECT, [RUA_HELD] = DMARC_REPORT_DISPOSITION_QUARANTINE,
							    [RUA_DELIVERED] = DMARC_REPORT_DISPOSITION_NONE };
	enum dmarc_report_policy asked = policy_of(word(r, "dmarc.policy"));

	m->reason = 0;
	m->comment[0] = '\0';
	if (passed) {
		m->disposition = asked > DMARC_REPORT_POLICY_NONE ? DMARC_REPORT_DISPOSITION_PASS : DMARC_REPORT_DISPOSITION_NONE;
		return;
	}
	m->disposition = of[m->done];
	reason_read(r, m);
}

static void alignment_read(const struct history_record *r, struct rua_message *m)
{
	const struct fact *f = known(r, "dmarc.aligned");

	m->dkim = m->spf = DMARC_REPORT_ALIGNED_FAIL;
	for (size_t i = 0; f && i < f->count; i++) {
		if (strcmp(f->text[i], "dkim") == 0)
			m->dkim = DMARC_REPORT_ALIGNED_PASS;
		else if (strcmp(f->text[i], "spf") == 0)
			m->spf = DMARC_REPORT_ALIGNED_PASS;
	}
}

/* The token key=... of one text of dkim.results, before its semicolon. Whether it is there, and fits. */
static bool token(const char *text, const char *key, char *out, size_t room)
{
	size_t end = strcspn(text, ";"), klen = strlen(key);

	for (size_t i = strcspn(text, " ;"); i < end; i += strcspn(text + i, " ;")) {
		size_t n = strcspn(text + ++i, " ;");

		if (n <= klen || strncmp(text + i, key, klen) != 0)
			continue;
		if (n - klen >= room)
			return false;
		memcpy(out, text + i + klen, n - klen);
		out[n - klen] = '\0';
		return true;
	}
	return false;
}

static int turn_of(const struct history_record *r, const struct rua_message *m, const struct rua_signature *s)
{
	const char *org = word(r, "dmarc.org_domain");

	if (s->result != DMARC_REPORT_DKIM_PASS)
		return 3;
	if (strcmp(s->domain, m->header_from) == 0)
		return 0;
	return org && domain_within(s->domain, org) ? 1 : 2;
}

/* The order decides which are told of many; that messages with the same signatures meet in one row needs one, too. */
static int by_turn(const void *a, const void *b)
{
	const struct rua_signature *x = a, *y = b;
	int rc = x->turn - y->turn;

	if (rc == 0)
		rc = strcmp(x->domain, y->domain);
	if (rc == 0)
		rc = strcmp(x->selector, y->selector);
	return rc ? rc : (int)x->result - (int)y->result;
}

static void signatures_read(const struct history_record *r, struct rua_message *m)
{
	const struct fact *f = known(r, "dkim.results");

	m->signature_count = 0;
	for (size_t i = 0; f && i < f->count; i++) {
		struct rua_signature s = { .result = (enum dmarc_report_dkim_result)dmarc_report_value(&dmarc_report_dkim_words, f->text[i], strcspn(f->text[i], " ;")) };

		/* A signature so broken that it does not say whose it is has no place in the schema. */
		if (!s.result || !token(f->text[i], "d=", s.domain, sizeof(s.domain)) || !token(f->text[i], "s=", s.selector, sizeof(s.selector)))
			continue;
		s.turn = turn_of(r, m, &s);
		if (m->signature_count < RUA_SIGNATURES_MAX) {
			m->signature[m->signature_count++] = s;
		} else if (by_turn(&s, &m->signature[RUA_SIGNATURES_MAX - 1]) < 0) {
			m->signature[RUA_SIGNATURES_MAX - 1] = s;
		} else {
			continue;
		}
		qsort(m->signature, m->signature_count, sizeof(s), by_turn);
	}
}

static void spf_read(const struct history_record *r, struct rua_message *m)
{
	const struct fact *f = fact_of(r, "spf");
	const char *result = temporary(r, "spf") ? "temperror" : word(r, "spf"), *domain = word(r, "spf.domain");

	m->spf_result = 0;
	m->spf_domain[0] = '\0';
	if (!f || !result)
		return;
	/* RFC 7208 section 2.4: for the null sender it is the greeting's. */
	if (!domain)
		domain = m->envelope_from[0] ? m->envelope_from : r->helo;
	if (!domain || domain_canonical(domain, strlen(domain), m->spf_domain) < 0)
		return;
	m->spf_result = (enum dmarc_report_spf_result)dmarc_report_value(&dmarc_report_spf_words, result, strlen(result));
}

/* An envelope whose domain is none (an address literal) has none here. */
static void envelope_read(const struct history_record *r, struct rua_message *m)
{
	const char *at = r->from ? strrchr(r->from, '@') : NULL;

	if (!at || domain_canonical(at + 1, strlen(at + 1), m->envelope_from) < 0)
		m->envelope_from[0] = '\0';
}

bool rua_message_read(const struct history_record *r, struct rua_message *out)
{
	const char *dmarc = word(r, "dmarc"), *author = word(r, "from.domain");
	bool passed = is_word(dmarc, "pass");
	struct net_addr a;

	out->domain = word(r, "dmarc.record_domain");
	if (!out->domain || !author || domain_canonical(author, strlen(author), out->header_from) < 0)
		return false;
	if (!(passed || is_word(dmarc, "fail") || temporary(r, "dmarc")))
		return false;
	if (!done_read(r, &out->done) || is_retry(r) || net_parse(r->client, &a) < 0)
		return false;
	out->client = r->client;
	out->rua = known(r, "dmarc.rua");
	published_read(r, &out->published);
	alignment_read(r, out);
	disposition_read(r, passed, out);
	envelope_read(r, out);
	signatures_read(r, out);
	spf_read(r, out);
	return true;
}
