#include "filters/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"

enum { NAMES_MAX = 10 };

/* ---- client.ip, client.early_talker ---- */

static const struct fact_def client_facts[] = {
	{ "client.ip", FACT_IP, false, STAGE_CONNECT, NULL, "the client's address" },
	{ "client.early_talker", FACT_BOOL, false, STAGE_CONNECT, NULL, "it spoke before the banner" },
	{ 0 },
};

static int client_run(struct txn *t, int self, struct facts *out)
{
	int rc = facts_set(out, "client.ip", t->client->ip);

	return rc < 0 ? rc : facts_set_bool(out, "client.early_talker", t->client->early_talker);
}

const struct filter filter_client = {
	.name = "client", .scope = SCOPE_CLIENT, .client = CLIENT_NEEDED, .stage = STAGE_CONNECT, .facts = client_facts, .run = client_run,
};

/* ---- client.rdns, client.fcrdns ---- */

static const char *const fcrdns_words[] = { "pass", "fail", "none", "temperror", NULL };

static const struct fact_def rdns_facts[] = {
	{ "client.rdns", FACT_DOMAIN, true, STAGE_CONNECT, NULL, "the name of the client's address (PTR); no value when there is none" },
	{ "client.fcrdns", FACT_WORD, false, STAGE_CONNECT, fcrdns_words, "whether that name has the client's address" },
	{ 0 },
};

struct rdns {
	struct dns *dns;
	struct dns_lookup *ptr;
	enum dns_type type;             /* of the forward lookups: A or AAAA */
	struct {
		char *name;
		struct dns_lookup *l;
	} v[NAMES_MAX];
	size_t count;
	int rc;                         /* a forward lookup could not be started */
};

/* The names have come: ask for their addresses, all at once. */
static void names_known(struct dns_lookup *l, void *arg)
{
	struct rdns *r = arg;
	const struct dns_answer *a = dns_wait(l);
	char text[DNS_NAME_MAX], name[DOMAIN_MAX];

	for (size_t i = 0; i < a->count && r->count < NAMES_MAX && r->rc == 0; i++) {
		if (dns_name(&a->rr[i], 0, text) < 0 || domain_canonical(text, strlen(text), name) < 0)
			continue;               /* what is no host name cannot be confirmed */
		r->v[r->count].name = strdup(name);
		r->rc = r->v[r->count].name ? dns_start(r->dns, name, r->type, &r->v[r->count].l) : -ENOMEM;
		r->count++;
	}
}

static int rdns_begin(struct txn *t, int self)
{
	struct sockaddr_storage sa;
	char name[DNS_NAME_MAX];
	struct rdns *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	t->client->evidence.filter[self] = r;
	r->dns = t->dns;
	r->type = t->client->addr.family == AF_INET6 ? DNS_AAAA : DNS_A;
	net_to_sockaddr(&t->client->addr, &sa);
	rc = dns_reverse((struct sockaddr *)&sa, NULL, name, sizeof(name));
	if (rc == 0)
		rc = dns_start(t->dns, name, DNS_PTR, &r->ptr);
	if (rc == 0)
		dns_notify(r->ptr, names_known, r);
	return rc;
}

static void rdns_start(struct txn *t, int self)
{
	rdns_begin(t, self);
}

static bool has_address(const struct dns_answer *a, const struct net_addr *addr)
{
	size_t len = addr->family == AF_INET6 ? 16 : 4;

	for (size_t i = 0; i < a->count; i++)
		if (a->rr[i].len == len && memcmp(a->rr[i].data, addr->ip, len) == 0)
			return true;
	return false;
}

static int temperror(struct facts *out, const char *why)
{
	int rc = facts_temperror(out, "client.fcrdns", why);

	return rc < 0 || facts_get_name(out, "client.rdns") ? rc : facts_temperror(out, "client.rdns", why);
}

/* may wait */
static int confirm(struct txn *t, struct rdns *r, struct facts *out)
{
	const char *failed = NULL;
	int rc;

	for (size_t i = 0; i < r->count; i++) {
		const struct dns_answer *a = dns_wait(r->v[i].l);

		if (has_address(a, &t->client->addr)) {
			rc = facts_add(out, "client.rdns", r->v[i].name);
			return rc < 0 ? rc : facts_set_why(out, "client.fcrdns", "pass", "%s has %s", r->v[i].name, t->client->ip);
		}
		if (a->status == DNS_TEMPFAIL)
			failed = a->why;
	}
	rc = facts_add(out, "client.rdns", r->v[0].name);
	if (rc < 0)
		return rc;
	if (failed)
		return temperror(out, failed);
	return facts_set_why(out, "client.fcrdns", "fail", "%s does not have %s", r->v[0].name, t->client->ip);
}

static int none(struct facts *out, const char *why)
{
	int rc = facts_set_empty(out, "client.rdns");

	return rc < 0 ? rc : facts_set_why(out, "client.fcrdns", "none", "%s", why);
}

static int rdns_run(struct txn *t, int self, struct facts *out)
{
	struct rdns *r = t->client->evidence.filter[self];
	const struct dns_answer *a;
	int rc = r ? 0 : rdns_begin(t, self);

	r = t->client->evidence.filter[self];
	if (rc < 0 || !r || !r->ptr)
		return rc < 0 ? rc : -ENOMEM;
	a = dns_wait(r->ptr);
	if (r->rc < 0)
		return r->rc;
	if (a->status == DNS_TEMPFAIL)
		return temperror(out, a->why);
	if (a->status != DNS_OK)
		return none(out, a->why);
	return r->count > 0 ? confirm(t, r, out) : none(out, "no usable name");
}

static int rdns_ours(struct txn *t, struct facts *out)
{
	int rc = facts_set_empty(out, "client.rdns");

	return rc < 0 ? rc : facts_set_why(out, "client.fcrdns", "pass", "one of ours: does not apply");
}

static bool rdns_ready(struct txn *t, int self)
{
	const struct rdns *r = t->client->evidence.filter[self];

	if (!r || !r->ptr || !r->ptr->future.done)
		return false;
	for (size_t i = 0; i < r->count; i++)
		if (r->v[i].l && !r->v[i].l->future.done)
			return false;
	return true;
}

static void rdns_release(struct evidence *e, int self)
{
	struct rdns *r = e->filter[self];

	dns_drop(r->ptr);
	for (size_t i = 0; i < r->count; i++) {
		free(r->v[i].name);
		dns_drop(r->v[i].l);
	}
	free(r);
	e->filter[self] = NULL;
}

const struct filter filter_rdns = {
	.name = "rdns", .scope = SCOPE_CLIENT, .client = CLIENT_NEEDED, .stage = STAGE_CONNECT, .facts = rdns_facts,
	.start = rdns_start, .run = rdns_run, .ours = rdns_ours, .ready = rdns_ready, .release = rdns_release,
};

/* ---- tls, tls.version ---- */

static const struct fact_def tls_facts[] = {
	{ "tls", FACT_BOOL, false, STAGE_MAIL, NULL, "the client's connection is encrypted" },
	{ "tls.version", FACT_TEXT, false, STAGE_MAIL, NULL, "TLSv1.2 or TLSv1.3" },
	{ 0 },
};

static int tls_run(struct txn *t, int self, struct facts *out)
{
	const char *version = t->client->tls_version;
	int rc = facts_set_bool(out, "tls", version != NULL);

	return rc < 0 || !version || !version[0] ? rc : facts_set(out, "tls.version", version);
}

const struct filter filter_tls = {
	.name = "tls", .scope = SCOPE_TXN, .client = CLIENT_NEEDED, .stage = STAGE_MAIL, .facts = tls_facts, .run = tls_run,
};
