#include "filters/dnsbl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "filters/dnsbl_zone.h"
#include "policy/conf.h"

static const struct fact_def facts[] = {
	{ "dnsbl.score", FACT_NUMBER, false, STAGE_CONNECT, NULL, "the sum of the weights of all zones that list the client" },
	{ "dnsbl.zones", FACT_DOMAIN, true, STAGE_CONNECT, NULL, "the zones that list it" },
	{ "dnsbl.codes", FACT_TEXT, true, STAGE_CONNECT, NULL, "what they answered: zen.example=127.0.0.2" },
	{ "dnsbl.benched", FACT_DOMAIN, true, STAGE_CONNECT, NULL, "zones that count nothing now, as they failed their tests" },
	{ 0 },
};

struct dnsbl {
	int64_t start_ms;
	size_t count;
	struct dns_lookup *l[];         /* by zone; NULL: not asked */
};

static int zone_ask(struct txn *t, const struct dnsbl_conf *z, struct dns_lookup **out)
{
	struct sockaddr_storage sa;
	char name[DNS_NAME_MAX];

	net_to_sockaddr(&t->client->addr, &sa);
	if (dns_reverse((struct sockaddr *)&sa, z->zone, name, sizeof(name)) < 0)
		return 0;                       /* a zone too long to be asked: lists nobody */
	return dns_start_within(t->dns, name, DNS_A, dnsbl_zone_timeout(z), out);
}

static int begin(struct txn *t, int self)
{
	const struct site *site = t->site;
	struct dnsbl *d = calloc(1, sizeof(*d) + site->dnsbl_count * sizeof(struct dns_lookup *));
	bool v6 = t->client->addr.family == AF_INET6;
	int rc = 0;

	if (!d)
		return -ENOMEM;
	d->count = site->dnsbl_count;
	d->start_ms = clock_ms();
	for (size_t i = 0; i < d->count && rc == 0; i++) {
		const struct dnsbl_conf *z = &site->dnsbl[i];

		/* One whose first test is under way is asked: by the time of run it may be well. */
		if (!z->use && (v6 ? z->ipv6 : z->ipv4) && (!dnsbl_health_benched(i) || dnsbl_health_pending(i)))
			rc = zone_ask(t, z, &d->l[i]);
	}
	t->client->evidence.filter[self] = d;
	return rc;
}

static void start(struct txn *t, int self)
{
	begin(t, self);
}

struct coding {
	struct facts *out;
	const char *zone;
};

static int code_add(void *arg, const struct dns_rr *rr)
{
	const struct coding *c = arg;
	char text[DNS_NAME_MAX + 20];

	snprintf(text, sizeof(text), "%s=%u.%u.%u.%u", c->zone, rr->data[0], rr->data[1], rr->data[2], rr->data[3]);
	return facts_add(c->out, "dnsbl.codes", text);
}

/* What zone i said: adds to score and lists. */
static int zone_count(const struct dnsbl_conf *z, size_t i, const struct dns_answer *a, struct facts *out, int64_t *score, struct buf *why)
{
	struct coding c = { .out = out, .zone = z->zone };
	const struct dns_rr *best;
	int weight, rc = dnsbl_zone_weigh(z, i, a, code_add, &c, &best, &weight, why);
	char said[48];

	if (!best || rc < 0)
		return rc;
	*score += weight;
	snprintf(said, sizeof(said), "%u.%u.%u.%u counts %+d", best->data[0], best->data[1], best->data[2], best->data[3], weight);
	dnsbl_why_add(why, z->zone, said);
	return facts_add(out, "dnsbl.zones", z->zone);
}

static int count_all(struct txn *t, struct dnsbl *d, struct facts *out)
{
	AUTO(buf) struct buf why = BUF_INIT(DNSBL_WHY_MAX), benched = BUF_INIT(DNSBL_WHY_MAX);
	int64_t score = 0;
	int rc = 0;

	for (size_t i = 0; i < d->count && rc == 0; i++) {
		const struct dnsbl_conf *z = &t->site->dnsbl[i];

		if (z->use)
			continue;
		if (!dnsbl_zone_trusted(i, d->start_ms + dnsbl_zone_timeout(z))) {
			dnsbl_why_add(&benched, z->zone, dnsbl_health_text(z, dnsbl_health_state(i)));
			rc = facts_add(out, "dnsbl.benched", z->zone);
		} else if (d->l[i]) {
			rc = zone_count(z, i, dns_wait(d->l[i]), out, &score, &why);
		}
	}
	if (rc == 0)
		rc = facts_set_num(out, "dnsbl.score", score);
	if (rc == 0 && why.len > 0)
		rc = facts_why(out, "dnsbl.score", "%s", buf_str(&why));
	if (rc == 0 && benched.len > 0)
		rc = facts_why(out, "dnsbl.benched", "%s", buf_str(&benched));
	return rc;
}

/* The score comes last: without it nobody takes half a look for "not listed". */
static int nothing(struct facts *out)
{
	int rc = facts_set_empty(out, "dnsbl.zones");

	if (rc == 0)
		rc = facts_set_empty(out, "dnsbl.codes");
	return rc < 0 ? rc : facts_set_empty(out, "dnsbl.benched");
}

static int ours(struct txn *t, struct facts *out)
{
	int rc = nothing(out);

	if (rc == 0)
		rc = facts_set_num(out, "dnsbl.score", 0);
	return rc < 0 ? rc : facts_why(out, "dnsbl.score", "one of ours: does not apply");
}

static int run(struct txn *t, int self, struct facts *out)
{
	struct dnsbl *d = t->client->evidence.filter[self];
	int rc = d ? 0 : begin(t, self);

	d = t->client->evidence.filter[self];
	if (rc == 0)
		rc = nothing(out);
	return rc < 0 ? rc : count_all(t, d, out);
}

static bool ready(struct txn *t, int self)
{
	const struct dnsbl *d = t->client->evidence.filter[self];

	for (size_t i = 0; d && i < d->count; i++)
		if ((!t->site->dnsbl[i].use && dnsbl_health_pending(i)) || (d->l[i] && !d->l[i]->future.done))
			return false;
	return d != NULL;
}

static void release(struct evidence *e, int self)
{
	struct dnsbl *d = e->filter[self];

	for (size_t i = 0; i < d->count; i++)
		dns_drop(d->l[i]);
	free(d);
	e->filter[self] = NULL;
}

static int setup(const struct site *site, struct buf *err)
{
	if (site->dnsbl_count <= DNSBL_ZONES_MAX)
		return 0;
	buf_addf(err, "dnsbl: %zu zones, expected at most %d", site->dnsbl_count, DNSBL_ZONES_MAX);
	return -EINVAL;
}

const struct filter filter_dnsbl = {
	.name = "dnsbl",
	.scope = SCOPE_CLIENT,
	.client = CLIENT_NEEDED,
	.stage = STAGE_CONNECT,
	.facts = facts,
	.setup = setup,
	.start = start,
	.ready = ready,
	.run = run,
	.ours = ours,
	.release = release,
};
