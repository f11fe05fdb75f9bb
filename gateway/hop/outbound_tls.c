#include "hop/outbound_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/dns.h"
#include "base/https.h"
#include "base/log.h"
#include "base/net.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls_dane.h"
#include "filters/domain.h"
#include "hop/mta_sts.h"
#include "hop/mta_sts_cache.h"
#include "policy/conf.h"

enum { LOOKUP_MS = 20000, SMTP_PORT = 25 };

struct outbound_tls {
	const struct site *site;
	struct dns *dns;
	struct state *state;
	const char *ca_pem;             /* until it is loaded; NULL: no CA is known */
	char *system_pem;               /* that, where it is the system's */
	struct gate loading;
	bool loaded;
	struct ssl_ctx_st *verifying;   /* a certificate of a known CA; NULL: no CA is known */
	struct ssl_ctx_st *lenient;     /* any */
	struct ssl_ctx_st *dane;
	struct mta_sts_cache *sts;      /* NULL without CAs */
};

struct outbound_tls_domain {
	struct outbound_tls *o;
	char domain[DOMAIN_MAX];
	bool mx, secure;
	struct outbound_tls_policy want;        /* as configured; its strings are the site's */
	struct mta_sts_policy *sts;     /* in force, or NULL */
};

struct outbound_tls_demand {
	enum tls_mode mode;
	struct ssl_ctx_st *ctx;
	struct tls_dane *dane;
	enum tls_proof proof;
	char domain[DOMAIN_MAX], host[DOMAIN_MAX];      /* for the log */
	char name[DOMAIN_MAX];          /* asked for and verified; "": none */
	const char *by;                 /* who demands */
	bool testing, misplaced;        /* an MTA-STS policy that is tested; and it does not name the host */
};

/* ---- of a worker ---- */

static void say_no_ca(const char *why)
{
	log_warning("outbound-tls", "error", "no CA is known: no certificate can be verified, and MTA-STS plays no part", "why", why, NULL);
}

static void contexts_free(struct outbound_tls *o)
{
	mta_sts_cache_free(o->sts);
	tls_ctx_free(o->verifying);
	tls_ctx_free(o->lenient);
	tls_ctx_free(o->dane);
	o->sts = NULL;
	o->verifying = o->lenient = o->dane = NULL;
}

/*
 * The certificates are read where a path can still be opened, and made into a store when mail goes out for the first time: that takes a tenth of a second, which
 * many a worker never needs.
 */
int outbound_tls_new(const struct site *site, struct dns *dns, struct state *state, struct outbound_tls **out, struct buf *err)
{
	AUTO(outbound_tls) struct outbound_tls *o = calloc(1, sizeof(*o));
	AUTO(buf) struct buf why = BUF_INIT(1024);

	if (!o)
		return -ENOMEM;
	o->site = site;
	o->dns = dns;
	o->state = state;
	o->loading.limit = 1;
	o->ca_pem = site->outbound.tls.ca_pem;
	if (!o->ca_pem && tls_system_cas(&o->system_pem, &why) < 0)
		say_no_ca(buf_str(&why));
	else if (!o->ca_pem)
		o->ca_pem = o->system_pem;
	*out = o;
	o = NULL;
	return 0;
}

/* may wait */
static int load(struct outbound_tls *o)
{
	AUTO(buf) struct buf why = BUF_INIT(1024);
	int rc;

	if (o->ca_pem && tls_client_ctx_slowly(o->ca_pem, task_self() ? task_yield : NULL, &o->verifying, &why) < 0) {
		o->verifying = NULL;
		say_no_ca(buf_str(&why));
	}
	rc = o->verifying ? tls_client_ctx_lenient(o->verifying, &o->lenient, &why) : tls_client_ctx(false, NULL, &o->lenient, &why);
	if (rc == 0)
		rc = tls_dane_ctx(&o->dane, &why);
	if (rc == 0 && o->verifying) {
		o->sts = mta_sts_cache_new(o->dns, o->state, o->verifying, HTTPS_PORT);
		rc = o->sts ? 0 : -ENOMEM;
	}
	if (rc < 0) {
		contexts_free(o);
		return -ENOMEM;
	}
	if (o->sts)
		mta_sts_cache_never(o->sts, o->site->outbound.never, o->site->outbound.never_count);
	free(o->system_pem);
	o->system_pem = NULL;
	o->ca_pem = NULL;
	o->loaded = true;
	return 0;
}

/* The contexts are there. may wait */
static int ready(struct outbound_tls *o)
{
	int rc;

	if (o->loaded)
		return 0;
	rc = gate_enter(&o->loading, -1);
	if (rc < 0)
		return rc;
	if (!o->loaded)
		rc = load(o);
	gate_leave(&o->loading);
	return rc;
}

void outbound_tls_free(struct outbound_tls *o)
{
	if (!o)
		return;
	contexts_free(o);
	free(o->system_pem);
	free(o);
}

struct ssl_ctx_st *outbound_tls_any(struct outbound_tls *o)
{
	return ready(o) == 0 ? o->lenient : NULL;
}

/* ---- of a domain ---- */

/* The tls_policy that says most of the domain: its own, else the nearest above. */
static struct outbound_tls_policy wanted(const struct outbound_tls_conf *c, const char *domain)
{
	struct outbound_tls_policy w = { .mode = c->mode, .dane = c->dane, .mta_sts = c->mta_sts };
	size_t best = 0;

	for (size_t i = 0; i < c->policy_count; i++) {
		const struct outbound_tls_policy *p = &c->policy[i];
		size_t n = strlen(p->domain), k = strlen(domain);
		bool below = p->domain[0] == '.';

		if (below ? k <= n || strcmp(domain + k - n, p->domain) != 0 : strcmp(domain, p->domain) != 0)
			continue;
		n = below ? n : n + 1 + DOMAIN_MAX;
		if (n > best) {
			best = n;
			w = *p;
		}
	}
	return w;
}

int outbound_tls_domain(struct outbound_tls *o, const struct outbound_dest *dest, int64_t deadline_ms, struct outbound_tls_domain **out)
{
	AUTO(outbound_tls_domain) struct outbound_tls_domain *d = calloc(1, sizeof(*d));
	int rc = 0;

	if (!d)
		return -ENOMEM;
	d->o = o;
	snprintf(d->domain, sizeof(d->domain), "%s", dest->domain);
	d->mx = dest->mx;
	d->secure = dest->secure;
	d->want = wanted(&o->site->outbound.tls, d->domain);
	rc = ready(o);
	if (rc == 0 && d->mx && d->domain[0] && o->sts && d->want.mta_sts && d->want.mode != OUTBOUND_TLS_OFF)
		rc = mta_sts_find(o->sts, d->domain, deadline_ms, &d->sts);
	if (rc < 0)
		return rc;
	*out = d;
	d = NULL;
	return 0;
}

void outbound_tls_domain_free(struct outbound_tls_domain *d)
{
	if (!d)
		return;
	mta_sts_policy_free(d->sts);
	free(d);
}

/* ---- DANE ---- */

struct dane_search {
	const struct outbound_tls_domain *d;
	unsigned port;
	int64_t deadline_ms;
	struct tls_dane *dane;          /* found: usable records */
	bool unusable;                  /* found, but none is usable */
	char *why;
};

static struct dns_lookup *lookup(struct dane_search *s, const char *name, enum dns_type type)
{
	struct dns_lookup *l;
	int64_t left = s->deadline_ms ? s->deadline_ms - clock_ms() : LOOKUP_MS;

	return dns_start_within(s->d->o->dns, name, type, left < LOOKUP_MS ? (int)left : LOOKUP_MS, &l) < 0 ? NULL : l;
}

/* RFC 7672 section 2.1.3: no downgrade because a lookup fails. */
static int failed(struct dane_search *s, const char *name, const struct dns_answer *a)
{
	snprintf(s->why, SMTP_WHY_MAX, "the lookup of TLSA records failed: %.100s: %.60s", name, a->why);
	return task_self() && task_cancelled() ? -ECANCELED : -EAGAIN;
}

/* Records below one name. 1: there are some; 0: there are none. may wait */
static int records_at(struct dane_search *s, const char *base)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *a;
	char name[DOMAIN_MAX + 16];
	int rc;

	snprintf(name, sizeof(name), "_%u._tcp.%s", s->port, base);
	l = lookup(s, name, DNS_TLSA);
	if (!l)
		return -ENOMEM;
	a = dns_wait(l);
	if (a->status == DNS_TEMPFAIL)
		return failed(s, name, a);
	if (a->status != DNS_OK || !a->secure)
		return 0;
	rc = tls_dane_new(a, base, &s->dane);
	if (rc < 0)
		return rc;
	s->unusable = rc == 0;
	/* Section 3.2.2: a DANE-TA server may have the certificate of the mail domain. */
	if (s->dane && tls_dane_name(s->dane, s->d->domain) < 0)
		return -ENOMEM;
	return 1;
}

/* Whether the host's own CNAME is validated, although what it leads to is not. may wait */
static int alias_secure(struct dane_search *s, const char *name)
{
	AUTO(dns_lookup) struct dns_lookup *l = lookup(s, name, DNS_CNAME);
	const struct dns_answer *a;

	if (!l)
		return -ENOMEM;
	a = dns_wait(l);
	if (a->status == DNS_TEMPFAIL)
		return failed(s, name, a);
	return a->status == DNS_OK && a->secure;
}

/* Section 2.2.2: below the name that CNAMEs led to, then below the name itself; where the way leaves what is signed, below the name alone. may wait */
static int dane_find(struct dane_search *s, const struct outbound_host *host)
{
	const char *canon = host->canon && *host->canon && strcasecmp(host->canon, host->name) != 0 ? host->canon : NULL;
	int rc;

	if (!s->d->want.dane || (s->d->mx && !s->d->secure))
		return 0;
	if (!host->secure) {
		rc = canon ? alias_secure(s, host->name) : 0;
		if (rc <= 0)
			return rc;
		canon = NULL;
	}
	rc = canon ? records_at(s, canon) : 0;
	return rc == 0 ? records_at(s, host->name) : rc;
}

/* ---- of a host ---- */

/* A certificate of a known CA for the name, or nothing. */
static int demand_verified(const struct outbound_tls_domain *d, struct outbound_tls_demand *m, const char *by, enum tls_proof proof, char *why)
{
	if (!d->o->verifying || !m->name[0]) {
		snprintf(why, SMTP_WHY_MAX, "%s demands a verified certificate, and %s", by, m->name[0] ? "no CA is known" : "an address has none");
		return -EACCES;
	}
	m->mode = TLS_REQUIRED;
	m->ctx = d->o->verifying;
	m->proof = proof;
	m->by = by;
	return 0;
}

static int demand_by_conf(const struct outbound_tls_domain *d, struct outbound_tls_demand *m, char *why)
{
	switch (d->want.mode) {
	case OUTBOUND_TLS_VERIFIED:
		if (d->want.name)
			snprintf(m->name, sizeof(m->name), "%s", d->want.name);
		return demand_verified(d, m, "the configuration", TLS_PROOF_PKIX, why);
	case OUTBOUND_TLS_REQUIRED:
		m->mode = TLS_REQUIRED;
		m->by = "the configuration";
		return 0;
	default:
		return 0;
	}
}

static int demand_by_sts(const struct outbound_tls_domain *d, struct outbound_tls_demand *m, char *why)
{
	bool named = mta_sts_allows(d->sts, m->host);

	if (d->sts->mode == MTA_STS_TESTING) {
		m->testing = true;
		m->misplaced = !named;
		return 0;
	}
	if (d->sts->mode == MTA_STS_NONE)
		return 0;
	if (!named) {
		snprintf(why, SMTP_WHY_MAX, "the MTA-STS policy of %.90s does not name the host %.60s", d->domain, m->host);
		return -EACCES;
	}
	return demand_verified(d, m, "the MTA-STS policy", TLS_PROOF_MTA_STS, why);
}

/* may wait */
static int demand_fill(struct outbound_tls_domain *d, const struct outbound_host *host, int64_t deadline_ms, struct outbound_tls_demand *m, char *why)
{
	struct dane_search s = { .d = d, .port = host->port ? host->port : SMTP_PORT, .deadline_ms = deadline_ms, .why = why };
	int rc;

	m->mode = d->want.mode == OUTBOUND_TLS_OFF ? TLS_OFF : TLS_OPPORTUNISTIC;
	m->ctx = d->o->lenient;
	m->proof = TLS_PROOF_PKIX;
	if (m->mode == TLS_OFF)
		return 0;
	rc = host->name ? dane_find(&s, host) : 0;
	m->dane = s.dane;
	if (rc < 0)
		return rc;
	if (m->dane) {
		m->mode = TLS_REQUIRED;
		m->ctx = d->o->dane;
		m->proof = TLS_PROOF_DANE;
		m->by = "DANE";
		return 0;
	}
	if (s.unusable) {               /* section 2.2: then TLS, whoever it is */
		m->mode = TLS_REQUIRED;
		m->by = "DANE";
	}
	rc = demand_by_conf(d, m, why);
	return rc == 0 && d->sts && host->name ? demand_by_sts(d, m, why) : rc;
}

static void report(const struct outbound_tls_demand *d, enum log_level level, const char *what, const char *why)
{
	struct log_line l;

	log_start(&l, level, "outbound-tls");
	log_str(&l, "domain", d->domain[0] ? d->domain : NULL);
	log_str(&l, "host", d->host[0] ? d->host : NULL);
	log_str(&l, "what", what);
	log_str(&l, "by", d->by);
	log_str(&l, "why", why && *why ? why : NULL);
	log_emit(&l);
}

int outbound_tls_host(struct outbound_tls_domain *d, const struct outbound_host *host, int64_t deadline_ms, struct outbound_tls_demand **out, char *why)
{
	AUTO(outbound_tls_demand) struct outbound_tls_demand *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return -ENOMEM;
	snprintf(m->domain, sizeof(m->domain), "%s", d->domain);
	snprintf(m->host, sizeof(m->host), "%s", host->name ? host->name : "");
	if (!d->mx)                     /* the site has named the host itself */
		d->want = wanted(&d->o->site->outbound.tls, m->host);
	memcpy(m->name, m->host, sizeof(m->name));
	rc = demand_fill(d, host, deadline_ms, m, why);
	if (rc == -EAGAIN || rc == -EACCES)
		report(m, LOG_LEVEL_WARNING, "the host is not used", why);
	if (rc < 0)
		return rc;
	*out = m;
	m = NULL;
	return 0;
}

void outbound_tls_demand_free(struct outbound_tls_demand *d)
{
	if (!d)
		return;
	tls_dane_free(d->dane);
	free(d);
}

void outbound_tls_apply(const struct outbound_tls_demand *d, struct smtp_client_conf *conf)
{
	conf->tls = d->mode;
	conf->tls_ctx = d->ctx;
	conf->tls_name = d->name[0] ? d->name : NULL;
	conf->tls_any = false;          /* inline it was, until it was known what the domain wants */
	conf->tls_dane = d->dane;
	conf->tls_proof = d->proof;
}

bool outbound_tls_demanded(const struct outbound_tls_demand *d)
{
	return d->mode == TLS_REQUIRED;
}

void outbound_tls_opened(const struct outbound_tls_demand *d, int rc, const struct smtp_client *c, const char *why)
{
	if (rc < 0) {
		if (outbound_tls_demanded(d) && rc == -EPROTO)
			report(d, LOG_LEVEL_WARNING, "the session is not as it has to be: not used", why);
		return;
	}
	if (c->tls_failed[0])
		report(d, LOG_LEVEL_NOTICE, "TLS failed: in plain text", c->tls_failed);
	if (d->testing && (d->misplaced || c->proof == TLS_PROOF_NONE))
		report(d, LOG_LEVEL_WARNING, "an MTA-STS policy in testing mode: enforced, it would not allow this session",
		       d->misplaced ? "the policy does not name the host" : stream_is_tls(c->stream) ? "the certificate is not right" : "no TLS");
}

/* Of one host its TLSA records are the same, whichever domain leads there. */
bool outbound_tls_same(const struct outbound_tls_demand *a, const struct outbound_tls_demand *b)
{
	return a->mode == b->mode && a->ctx == b->ctx && !a->dane == !b->dane && strcasecmp(a->host, b->host) == 0 && strcasecmp(a->name, b->name) == 0;
}

const char *outbound_tls_words(const struct smtp_client *c, char out[32])
{
	static const char *const proofs[] = { "none", "pkix", "mta-sts", "dane", "pin" };

	if (!c->stream || !stream_is_tls(c->stream))
		snprintf(out, 32, "off");
	else
		snprintf(out, 32, "%s %s", stream_tls_version(c->stream), proofs[c->proof]);
	return out;
}
