#include "filters/filter.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/arc.h"
#include "filters/archive.h"
#include "filters/attachment.h"
#include "filters/boundary.h"
#include "filters/clamd.h"
#include "filters/conn.h"
#include "filters/content.h"
#include "filters/dkim.h"
#include "filters/dmarc.h"
#include "filters/dnsbl.h"
#include "filters/domainkeys.h"
#include "filters/envelope.h"
#include "filters/from.h"
#include "filters/helo.h"
#include "filters/known.h"
#include "filters/links.h"
#include "filters/login.h"
#include "filters/milter.h"
#include "filters/rspamd.h"
#include "filters/spamd.h"
#include "filters/spf.h"
#include "filters/text.h"
#include "filters/time.h"
#include "filters/unpack.h"
#include "filters/uribl.h"

const struct filter *const filters[] = {
	&filter_client,
	&filter_relayed,
	&filter_boundary,
	&filter_rdns,
	&filter_dnsbl,
	&filter_tls,
	&filter_login,
	&filter_helo,
	&filter_helo_dns,
	&filter_envelope,
	&filter_known,
	&filter_time,
	&filter_header,
	&filter_message,
	&filter_mime,
	&filter_text,
	&filter_archive,
	&filter_links,
	&filter_from,
	&filter_spf,
	&filter_spf_helo,
	&filter_dkim,
	&filter_domainkeys,
	&filter_arc,
	&filter_dmarc,
	&filter_clamd,
	&filter_rspamd,
	&filter_spamd,
	&filter_milter,
	&filter_uribl,
	NULL,
};

void fact_register_all(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	for (int i = 0; filters[i]; i++) {
		assert(i < FILTER_MAX);
		fact_register(filters[i]->facts, i);
	}
	fact_register(recipient_facts, -1);
}

int filters_setup(const struct site *site, struct buf *err)
{
	for (int i = 0; filters[i]; i++) {
		int rc = filters[i]->setup ? filters[i]->setup(site, err) : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The bits of what filter i uses. */
static uint32_t used_by(int i)
{
	uint32_t bits = 0;

	for (const char *const *u = filters[i]->uses; u && *u; u++)
		for (int k = 0; filters[k]; k++)
			if (strcmp(filters[k]->name, *u) == 0)
				bits |= 1u << k;
	return bits;
}

/* needed, what those filters use, what these use, and so on. */
static uint32_t with_used(uint32_t needed)
{
	static uint32_t used[FILTER_MAX];
	static bool known;
	uint32_t before;

	for (int i = 0; !known && filters[i]; i++)
		used[i] = used_by(i);
	known = true;
	do {
		before = needed;
		for (int i = 0; filters[i]; i++)
			if (needed & 1u << i)
				needed |= used[i];
	} while (needed != before);
	return needed;
}

/* A check for strangers, and this is none. */
static bool spared(const struct txn *t, int i)
{
	return filters[i]->ours && t->client && t->client->relay && !(t->client->fetches && filters[i]->fetched);
}

/* It cannot be asked yet: who the client is stands in the header. */
static bool held(const struct txn *t, int i)
{
	return filters[i]->client != CLIENT_ANY && t->client && t->client->boundary == BOUNDARY_PENDING;
}

/* Nobody knows who the client is: there is nothing to look at, and nothing is said of the relay in its place. */
static bool nobody(const struct txn *t, int i)
{
	return filters[i]->client == CLIENT_NEEDED && t->client && t->client->boundary == BOUNDARY_NONE;
}

void filters_start(struct txn *t, enum stage stage, uint32_t needed)
{
	needed = with_used(needed);
	t->wanted |= needed;
	for (int i = 0; filters[i]; i++) {
		struct evidence *e = filter_evidence(t, i);

		if (filters[i]->stage != stage || !(needed & 1u << i) || (e->started & 1u << i) || spared(t, i) || held(t, i) || nobody(t, i))
			continue;
		e->started |= 1u << i;
		if (filters[i]->start)
			filters[i]->start(t, i);
	}
}

int filters_body(struct txn *t, uint32_t needed, const char *p, size_t len)
{
	needed = with_used(needed);
	for (int i = 0; filters[i]; i++) {
		int rc = 0;

		if (filters[i]->body && !spared(t, i) && (filter_evidence(t, i)->started & needed & 1u << i))
			rc = filters[i]->body(t, i, p, len);
		if (rc < 0)
			return rc;
	}
	return 0;
}

bool filters_can_know(const struct txn *t, int id)
{
	int owner = fact_owner(id);

	return t->stage >= fact_def(id)->stage && (owner < 0 || !held(t, owner));
}

bool filters_at_hand(struct txn *t, int id)
{
	int owner = fact_owner(id);
	const struct filter *f;
	const struct evidence *e;

	if (owner < 0)
		return true;
	f = filters[owner];
	e = filter_evidence(t, owner);
	if ((e->ran & 1u << owner) || !filters_can_know(t, id) || spared(t, owner) || nobody(t, owner))
		return true;
	if (f->unpack)
		return false;
	if (f->ready)
		return (e->started & 1u << owner) && f->ready(t, owner);
	return !f->start && !f->uses;
}

void filters_temperror(const struct filter *f, struct facts *out, int rc)
{
	for (const struct fact_def *d = f->facts; d->name; d++)
		if (!facts_get_name(out, d->name))
			facts_temperror(out, d->name, rc == -ETIMEDOUT ? "timeout" : strerror(-rc));
}

/* This one and the others like it, as far as their stage has come. */
static void begin_all(struct txn *t)
{
	for (int i = 0; filters[i]; i++)
		if (filters[i]->begin && (t->wanted & 1u << i) && filters[i]->stage <= t->stage && !spared(t, i))
			filters[i]->begin(t, i);
}

static void run(struct txn *t, int i)
{
	struct evidence *e = filter_evidence(t, i);
	int rc;

	e->ran |= 1u << i;
	if (nobody(t, i))
		return;
	filters_start(t, filters[i]->stage, 1u << i);
	if (filters[i]->begin)
		begin_all(t);
	rc = spared(t, i) ? filters[i]->ours(t, &e->facts) : (filters[i]->unpack ? unpack_run : filters[i]->run)(t, i, &e->facts);
	if (rc < 0) {
		e->failed |= 1u << i;
		filters_temperror(filters[i], &e->facts, rc);
	}
}

void filters_run_cheap(struct txn *t)
{
	for (int i = 0; filters[i]; i++) {
		const struct filter *f = filters[i];

		if ((filter_evidence(t, i)->ran & 1u << i) || f->stage > t->stage || f->start || f->ready || f->unpack || f->uses || f->body || held(t, i))
			continue;
		if (f->stage < STAGE_HEADER || (t->message && message_header_done(t->message)))
			run(t, i);
	}
}

/* There may not even be memory to say so: what could not be looked up is never taken for what is not there. */
static const struct fact *fact_or_failed(const struct evidence *e, int owner, int id)
{
	static const struct fact failed = { .id = FACT_NONE, .state = FACT_TEMPERROR };
	const struct fact *f = facts_get(&e->facts, id);

	return f || !(e->failed & 1u << owner) ? f : &failed;
}

const struct fact *filters_fact(struct txn *t, int id)
{
	int owner = fact_owner(id);
	const struct fact *known;
	struct evidence *e;

	if (owner < 0)
		return NULL;
	e = filter_evidence(t, owner);
	known = fact_or_failed(e, owner, id);
	if (known || (e->ran & 1u << owner) || !filters_can_know(t, id))
		return known;
	run(t, owner);
	return fact_or_failed(e, owner, id);
}

void filters_release(struct evidence *e)
{
	for (int i = 0; filters[i]; i++)
		if (e->filter[i] && filters[i]->release)
			filters[i]->release(e, i);
	facts_release(&e->facts);
	memset(e, 0, sizeof(*e));
}
