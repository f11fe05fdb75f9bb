#include "filters/helo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/domain.h"
#include "policy/conf.h"

_Static_assert(sizeof(((struct helo *)0)->domain) == DOMAIN_MAX, "a domain fits");

/* ---- reading ---- */

/* RFC 5321 4.1.3: "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
static void literal_parse(const char *text, struct helo *out)
{
	size_t n = strlen(text);
	char inside[NET_TEXT_MAX];
	const char *addr = inside;
	bool tagged;

	out->kind = HELO_LITERAL;
	if (text[n - 1] != ']' || n - 2 >= sizeof(inside)) {
		out->why = "not an address literal";
		return;
	}
	memcpy(inside, text + 1, n - 2);
	inside[n - 2] = '\0';
	tagged = strncasecmp(inside, "IPv6:", 5) == 0;
	if (tagged)
		addr += 5;
	if (net_parse(addr, &out->addr) < 0)
		out->why = "not an address in brackets";
	else if (tagged != (strchr(addr, ':') != NULL))
		out->why = tagged ? "an IPv4 address named IPv6" : "IPv6: is missing before the address";
	else
		out->ok = true;
}

/* RFC 5321 4.1.2: a label begins and ends with a letter or digit. */
static bool hyphens_ok(const char *domain)
{
	for (const char *p = domain; *p; p++)
		if (*p == '-' && (p == domain || p[-1] == '.' || p[1] == '.' || p[1] == '\0'))
			return false;
	return true;
}

static void domain_parse(const char *text, struct helo *out)
{
	if (domain_canonical(text, strlen(text), out->domain) < 0) {
		out->domain[0] = '\0';
		out->kind = strchr(text, '.') ? HELO_DOMAIN : HELO_BARE;
		out->why = "not a domain name";
		return;
	}
	out->kind = strchr(out->domain, '.') ? HELO_DOMAIN : HELO_BARE;
	if (!hyphens_ok(out->domain))
		out->why = "a label begins or ends with a hyphen";
	else
		out->ok = true;
}

void helo_parse(const char *text, struct helo *out)
{
	memset(out, 0, sizeof(*out));
	out->why = "";
	if (text[0] == '[') {
		literal_parse(text, out);
	} else if (net_parse(text, &out->addr) == 0) {
		out->kind = HELO_LITERAL;
		out->why = "an address without brackets";
	} else {
		domain_parse(text, out);
	}
}

/* ---- what needs no lookup ---- */

static const char *const syntax_words[] = { "ok", "bad", NULL };
static const char *const kind_words[] = { "domain", "literal", "bare", NULL };

static const struct fact_def helo_facts[] = {
	{ "helo", FACT_TEXT, false, STAGE_MAIL, NULL, "the name that the client gave in EHLO or HELO" },
	{ "helo.syntax", FACT_WORD, false, STAGE_MAIL, syntax_words, "whether it is a domain or an address literal" },
	{ "helo.kind", FACT_WORD, false, STAGE_MAIL, kind_words, "which of these; bare: one word without a dot" },
	{ "helo.bare", FACT_BOOL, false, STAGE_MAIL, NULL, "one word without a dot" },
	{ "helo.literal_mismatch", FACT_BOOL, false, STAGE_MAIL, NULL, "an address that is not the client's" },
	{ "helo.ours", FACT_BOOL, false, STAGE_MAIL, NULL, "our own name, or one of our domains" },
	{ 0 },
};

static bool is_ours(const struct site *site, const char *domain)
{
	char ours[DOMAIN_MAX];

	if (!site || !domain[0])
		return false;
	if (site->hostname && domain_canonical(site->hostname, strlen(site->hostname), ours) == 0 && strcmp(ours, domain) == 0)
		return true;
	return site_accepts(site, domain);
}

static int helo_run(struct txn *t, int self, struct facts *out)
{
	struct helo h;
	int rc;

	if (!t->client->helo)
		return 0;
	helo_parse(t->client->helo, &h);
	rc = facts_set(out, "helo", t->client->helo);
	if (rc == 0)
		rc = h.ok ? facts_set(out, "helo.syntax", "ok") : facts_set_why(out, "helo.syntax", "bad", "%s", h.why);
	if (rc == 0)
		rc = facts_set(out, "helo.kind", kind_words[h.kind]);
	if (rc == 0)
		rc = facts_set_bool(out, "helo.bare", h.kind == HELO_BARE);
	if (rc == 0)
		rc = facts_set_bool(out, "helo.literal_mismatch", h.kind == HELO_LITERAL && h.addr.family && !net_same_ip(&h.addr, &t->client->addr));
	return rc < 0 ? rc : facts_set_bool(out, "helo.ours", is_ours(t->site, h.domain));
}

static int helo_ours(struct txn *t, struct facts *out)
{
	int rc = t->client->helo ? facts_set(out, "helo", t->client->helo) : 0;

	if (rc == 0)
		rc = facts_set_why(out, "helo.syntax", "ok", "one of ours: does not apply");
	if (rc == 0)
		rc = facts_set(out, "helo.kind", "domain");
	if (rc == 0)
		rc = facts_set_bool(out, "helo.bare", false);
	if (rc == 0)
		rc = facts_set_bool(out, "helo.literal_mismatch", false);
	return rc < 0 ? rc : facts_set_bool(out, "helo.ours", false);
}

const struct filter filter_helo = {
	.name = "helo", .scope = SCOPE_TXN, .client = CLIENT_NEEDED, .stage = STAGE_MAIL, .facts = helo_facts, .run = helo_run, .ours = helo_ours,
};

/* ---- helo.resolves ---- */

static const char *const resolves_words[] = { "yes", "no", "none", "temperror", NULL };

static const struct fact_def resolves_facts[] = {
	{ "helo.resolves", FACT_WORD, false, STAGE_MAIL, resolves_words, "whether that name has the client's address; none: it has no address" },
	{ 0 },
};

struct resolves {
	struct dns *dns;
	struct helo helo;
	struct dns_lookup *own, *other; /* addresses of the client's family; of the other, if there are none of its own */
	enum dns_type other_type;
	int rc;
};

/* A name with addresses of the other family only is not the client's, but it is a name with addresses. */
static void own_known(struct dns_lookup *l, void *arg)
{
	struct resolves *r = arg;

	if (dns_wait(l)->status == DNS_NODATA)
		r->rc = dns_start(r->dns, r->helo.domain, r->other_type, &r->other);
}

static int resolves_begin(struct txn *t, int self)
{
	struct resolves *r = calloc(1, sizeof(*r));
	bool v6 = t->client->addr.family == AF_INET6;
	int rc = 0;

	if (!r)
		return -ENOMEM;
	t->evidence.filter[self] = r;
	r->dns = t->dns;
	r->other_type = v6 ? DNS_A : DNS_AAAA;
	helo_parse(t->client->helo ? t->client->helo : "", &r->helo);
	if (r->helo.kind != HELO_LITERAL && r->helo.domain[0])
		rc = dns_start(t->dns, r->helo.domain, v6 ? DNS_AAAA : DNS_A, &r->own);
	if (r->own)
		dns_notify(r->own, own_known, r);
	r->rc = rc < 0 ? rc : r->rc;
	return r->rc;
}

static void resolves_start(struct txn *t, int self)
{
	resolves_begin(t, self);
}

static int set(struct facts *out, const char *word, const char *why)
{
	return facts_set_why(out, "helo.resolves", word, "%s", why);
}

static int resolves_run(struct txn *t, int self, struct facts *out)
{
	struct resolves *r = t->evidence.filter[self];
	const struct dns_answer *a;
	size_t len = t->client->addr.family == AF_INET6 ? 16 : 4;
	int rc = r ? r->rc : resolves_begin(t, self);

	r = t->evidence.filter[self];
	if (rc < 0)
		return rc;
	if (r->helo.kind == HELO_LITERAL)
		return r->helo.addr.family == 0                          ? set(out, "none", r->helo.why)
		       : net_same_ip(&r->helo.addr, &t->client->addr) ? set(out, "yes", "the client's address")
								       : set(out, "no", "another address");
	if (!r->own)
		return set(out, "none", r->helo.why);
	a = dns_wait(r->own);
	if (a->status == DNS_TEMPFAIL)
		return facts_temperror(out, "helo.resolves", a->why);
	for (size_t i = 0; i < a->count; i++)
		if (a->rr[i].len == len && memcmp(a->rr[i].data, t->client->addr.ip, len) == 0)
			return set(out, "yes", "it has the client's address");
	if (a->status == DNS_OK)
		return set(out, "no", "it has other addresses");
	if (r->rc < 0)
		return r->rc;
	a = r->other ? dns_wait(r->other) : a;
	if (a->status == DNS_TEMPFAIL)
		return facts_temperror(out, "helo.resolves", a->why);
	return a->status == DNS_OK ? set(out, "no", "it has addresses of the other family") : set(out, "none", a->why);
}

static int resolves_ours(struct txn *t, struct facts *out)
{
	return set(out, "yes", "one of ours: does not apply");
}

static bool resolves_ready(struct txn *t, int self)
{
	const struct resolves *r = t->evidence.filter[self];

	return r && (!r->own || r->own->future.done) && (!r->other || r->other->future.done);
}

static void resolves_release(struct evidence *e, int self)
{
	struct resolves *r = e->filter[self];

	dns_drop(r->own);
	dns_drop(r->other);
	free(r);
	e->filter[self] = NULL;
}

const struct filter filter_helo_dns = {
	.name = "helo.dns", .scope = SCOPE_TXN, .client = CLIENT_NEEDED, .stage = STAGE_MAIL, .facts = resolves_facts,
	.start = resolves_start, .run = resolves_run, .ours = resolves_ours, .ready = resolves_ready, .release = resolves_release,
};
