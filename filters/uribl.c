#include "filters/uribl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/dnsbl_zone.h"
#include "filters/domain.h"
#include "filters/helo.h"
#include "policy/conf.h"
#include "policy/regdomain.h"

static const struct fact_def facts[] = {
	{ "uribl.score", FACT_NUMBER, false, STAGE_DATA, NULL, "the sum of the weights of all lists that have a domain of the message" },
	{ "uribl.zones", FACT_DOMAIN, true, STAGE_DATA, NULL, "the lists that have one" },
	{ "uribl.names", FACT_TEXT, true, STAGE_DATA, NULL, "what they have, where it stood, and their answers: bad.example link dbl.example=127.0.1.2" },
	{ "uribl.benched", FACT_DOMAIN, true, STAGE_DATA, NULL, "lists that count nothing now, as they failed their tests" },
	{ 0 },
};

struct name {
	char text[DOMAIN_MAX];          /* of an address its octets reversed */
	const char *domain;             /* in it: its registrable domain, or all of it; NULL: an address */
	unsigned use;                   /* enum dnsbl_use: where it stood first and elsewhere */
	const char *where;
};

struct lookup {
	size_t zone;
	const char *key;                /* in name, or a tail of it */
	const struct name *name;
	struct dns_lookup *l;
};

struct uribl {
	int64_t start_ms;
	struct name name[URIBL_NAMES_MAX];
	size_t names, lookups;
	struct lookup *lookup;
};

/* ---- what is looked up ---- */

/* One of our domains, or below it: www.example.com. */
static bool is_ours(const struct site *site, const char *domain)
{
	for (const char *p = domain; p; p = strchr(p, '.')) {
		p += *p == '.';
		if (site_accepts(site, p))
			return true;
	}
	return site->hostname && domain_within(domain, site->hostname);
}

static void add_name(struct uribl *u, const struct site *site, const char *domain, unsigned use, const char *where)
{
	char canonical[DOMAIN_MAX];
	struct name *n;

	if (domain_canonical(domain, strlen(domain), canonical) < 0 || !strchr(canonical, '.') || is_ours(site, canonical))
		return;
	for (size_t i = 0; i < u->names; i++) {
		if (u->name[i].domain && strcmp(u->name[i].text, canonical) == 0) {
			u->name[i].use |= use;
			return;
		}
	}
	if (u->names == URIBL_NAMES_MAX)
		return;
	n = &u->name[u->names++];
	*n = (struct name){ .use = use, .where = where };
	memcpy(n->text, canonical, sizeof(canonical));
	n->domain = regdomain_or_name(n->text);
}

static void add_address(struct uribl *u, const char *ip)
{
	struct net_addr a;
	struct name *n;

	if (u->names == URIBL_NAMES_MAX || net_parse(ip, &a) < 0 || a.family != AF_INET)
		return;
	n = &u->name[u->names++];
	*n = (struct name){ .use = DNSBL_USE_LINKS, .where = "link" };
	snprintf(n->text, sizeof(n->text), "%u.%u.%u.%u", a.ip[3], a.ip[2], a.ip[1], a.ip[0]);
}

/* Another host of a domain that links lead to already. The sender's do not count: what is asked of them is asked of other lists. */
static bool of_one_there(const struct uribl *u, const char *host)
{
	const char *domain = regdomain_or_name(host);

	for (size_t i = 0; i < u->names; i++)
		if (u->name[i].use & DNSBL_USE_LINKS && u->name[i].domain && strcmp(u->name[i].domain, domain) == 0)
			return true;
	return false;
}

/* A fact that could not be established gives no names: the other lists and names count. may wait */
static const struct fact *known(struct txn *t, const char *name)
{
	int id = fact_find(name, strlen(name));
	const struct fact *f = id == FACT_NONE ? NULL : filters_fact(t, id);

	return f && f->state == FACT_KNOWN ? f : NULL;
}

/* most: who writes many authors, or signs for many, leaves no room for the links else. */
static void add_fact(struct uribl *u, struct txn *t, const char *fact, size_t most, unsigned use, const char *where)
{
	const struct fact *f = known(t, fact);

	for (size_t i = 0; f && i < f->count && i < most; i++)
		add_name(u, t->site, f->text[i], use, where);
}

static void add_hosts(struct uribl *u, const struct site *site, const struct fact *f, bool others)
{
	for (size_t i = 0; f && i < f->count; i++)
		if (others || !of_one_there(u, f->text[i]))
			add_name(u, site, f->text[i], DNSBL_USE_LINKS, "link");
}

/* One host of each registrable domain, addresses, the other hosts: many names of one domain, which cost nobody anything, take no other's place. may wait */
static void add_links(struct uribl *u, struct txn *t)
{
	const struct fact *domains = known(t, "link.domains"), *addresses = known(t, "link.addresses");

	add_hosts(u, t->site, domains, false);
	for (size_t i = 0; addresses && i < addresses->count; i++)
		add_address(u, addresses->text[i]);
	add_hosts(u, t->site, domains, true);
}

/* may wait */
static void collect(struct uribl *u, struct txn *t, unsigned use)
{
	struct helo h;

	if (use & DNSBL_USE_FROM) {
		add_fact(u, t, "from.domains", URIBL_OF_ONE_MAX, DNSBL_USE_FROM, "from");
		if (t->env.from_domain)
			add_name(u, t->site, t->env.from_domain, DNSBL_USE_FROM, "envelope");
	}
	if (use & DNSBL_USE_DKIM)
		add_fact(u, t, "dkim.pass_domains", URIBL_OF_ONE_MAX, DNSBL_USE_DKIM, "dkim");
	if (use & DNSBL_USE_HELO && t->client->helo) {
		helo_parse(t->client->helo, &h);
		if (h.kind == HELO_DOMAIN)
			add_name(u, t->site, h.domain, DNSBL_USE_HELO, "helo");
	}
	if (use & DNSBL_USE_RDNS)
		add_fact(u, t, "client.rdns", URIBL_OF_ONE_MAX, DNSBL_USE_RDNS, "rdns");
	if (use & DNSBL_USE_LINKS)
		add_links(u, t);
}

/* ---- the questions ---- */

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The name, or one above it, is in the list's skip, which is sorted. */
static bool skipped(const struct dnsbl_conf *z, const char *name)
{
	for (const char *p = name; p && z->skip_count; p = strchr(p, '.')) {
		p += *p == '.';
		if (bsearch(&p, z->skip, z->skip_count, sizeof(*z->skip), compare))
			return true;
	}
	return false;
}

/* What this list is asked for a name; NULL: nothing. */
static const char *key_of(const struct dnsbl_conf *z, const struct name *n)
{
	if (!(z->use & n->use))
		return NULL;
	if (!n->domain)
		return z->addresses ? n->text : NULL;
	if (skipped(z, n->text))
		return NULL;
	return z->registrable ? regdomain_of(n->text) : n->text;
}

static bool asked_already(const struct uribl *u, size_t zone, const char *key)
{
	for (size_t i = 0; i < u->lookups; i++)
		if (u->lookup[i].zone == zone && strcmp(u->lookup[i].key, key) == 0)
			return true;
	return false;
}

static int ask(struct uribl *u, struct txn *t, size_t zone, const struct name *n)
{
	const struct dnsbl_conf *z = &t->site->dnsbl[zone];
	const char *key = key_of(z, n);
	char question[2 * DOMAIN_MAX];
	struct lookup *l;
	int rc;

	if (!key || asked_already(u, zone, key))
		return 0;
	snprintf(question, sizeof(question), "%s.%s", key, z->zone);
	if (strlen(question) >= DOMAIN_MAX)
		return 0;               /* too long to be asked: nobody lists it */
	l = &u->lookup[u->lookups];
	*l = (struct lookup){ .zone = zone, .key = key, .name = n };
	rc = dns_start_within(t->dns, question, DNS_A, dnsbl_zone_timeout(z), &l->l);
	u->lookups += rc == 0;
	return rc;
}

static int ask_all(struct uribl *u, struct txn *t)
{
	int rc = 0;

	u->lookups = 0;
	for (size_t i = 0; i < t->site->dnsbl_count && rc == 0; i++) {
		if (!t->site->dnsbl[i].use || (dnsbl_health_benched(i) && !dnsbl_health_pending(i)))
			continue;
		for (size_t k = 0; k < u->names && rc == 0; k++)
			rc = ask(u, t, i, &u->name[k]);
	}
	return rc;
}

/* ---- the answers ---- */

struct naming {
	struct facts *out;
	const struct lookup *l;
	const char *zone;
};

static int name_add(void *arg, const struct dns_rr *rr)
{
	const struct naming *n = arg;
	char text[2 * DOMAIN_MAX + 64];

	snprintf(text, sizeof(text), "%s %s %s=%u.%u.%u.%u", n->l->key, n->l->name->where, n->zone, rr->data[0], rr->data[1], rr->data[2], rr->data[3]);
	return facts_add(n->out, "uribl.names", text);
}

/* What list i says of all names. may wait */
static int zone_count(struct uribl *u, struct txn *t, size_t i, struct facts *out, int64_t *score, struct buf *why)
{
	const struct dnsbl_conf *z = &t->site->dnsbl[i];
	const struct lookup *strongest = NULL;
	int best_weight = 0, rc = 0;
	char said[DOMAIN_MAX + 64];

	for (size_t k = 0; k < u->lookups && rc == 0; k++) {
		struct lookup *l = &u->lookup[k];
		struct naming n = { .out = out, .l = l, .zone = z->zone };
		const struct dns_rr *best;
		int weight;

		if (l->zone != i)
			continue;
		rc = dnsbl_zone_weigh(z, i, dns_wait(l->l), name_add, &n, &best, &weight, why);
		if (best && (!strongest || abs(weight) > abs(best_weight))) {
			strongest = l;
			best_weight = weight;
		}
	}
	if (!strongest || rc < 0)
		return rc;
	*score += best_weight;
	snprintf(said, sizeof(said), "%s (%s) counts %+d", strongest->key, strongest->name->where, best_weight);
	dnsbl_why_add(why, z->zone, said);
	return facts_add(out, "uribl.zones", z->zone);
}

static int count_all(struct uribl *u, struct txn *t, struct facts *out)
{
	AUTO(buf) struct buf why = BUF_INIT(DNSBL_WHY_MAX), benched = BUF_INIT(DNSBL_WHY_MAX);
	int64_t score = 0;
	int rc = 0;

	for (size_t i = 0; i < t->site->dnsbl_count && rc == 0; i++) {
		const struct dnsbl_conf *z = &t->site->dnsbl[i];

		if (!z->use)
			continue;
		if (dnsbl_zone_trusted(i, u->start_ms + dnsbl_zone_timeout(z))) {
			rc = zone_count(u, t, i, out, &score, &why);
		} else {
			dnsbl_why_add(&benched, z->zone, dnsbl_health_text(z, dnsbl_health_state(i)));
			rc = facts_add(out, "uribl.benched", z->zone);
		}
	}
	if (rc == 0)
		rc = facts_set_num(out, "uribl.score", score);
	if (rc == 0 && why.len > 0)
		rc = facts_why(out, "uribl.score", "%s", buf_str(&why));
	if (rc == 0 && benched.len > 0)
		rc = facts_why(out, "uribl.benched", "%s", buf_str(&benched));
	return rc;
}

/* The score comes last: without it nobody takes half a look for "not listed". */
static int nothing(struct facts *out)
{
	int rc = facts_set_empty(out, "uribl.zones");

	if (rc == 0)
		rc = facts_set_empty(out, "uribl.names");
	return rc < 0 ? rc : facts_set_empty(out, "uribl.benched");
}

static int ours(struct txn *t, struct facts *out)
{
	int rc = nothing(out);

	if (rc == 0)
		rc = facts_set_num(out, "uribl.score", 0);
	return rc < 0 ? rc : facts_why(out, "uribl.score", "one of ours: does not apply");
}

static int run(struct txn *t, int self, struct facts *out)
{
	unsigned use = 0;
	size_t lists = 0;
	struct uribl *u;
	int rc = nothing(out);

	for (size_t i = 0; i < t->site->dnsbl_count; i++) {
		use |= t->site->dnsbl[i].use;
		lists += t->site->dnsbl[i].use != 0;
	}
	if (rc < 0 || !use)
		return rc < 0 ? rc : facts_set_num(out, "uribl.score", 0);
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	t->evidence.filter[self] = u;
	collect(u, t, use);
	u->lookup = calloc(lists * u->names + 1, sizeof(*u->lookup));
	if (!u->lookup)
		return -ENOMEM;
	u->start_ms = clock_ms();
	rc = ask_all(u, t);
	return rc < 0 ? rc : count_all(u, t, out);
}

static void release(struct evidence *e, int self)
{
	struct uribl *u = e->filter[self];

	for (size_t i = 0; i < u->lookups; i++)
		dns_drop(u->lookup[i].l);
	free(u->lookup);
	free(u);
	e->filter[self] = NULL;
}

static const char *const uses[] = { "links", "from", "dkim", "rdns", NULL };

const struct filter filter_uribl = {
	.name = "uribl", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = facts, .uses = uses, .run = run, .ours = ours, .release = release,
};
