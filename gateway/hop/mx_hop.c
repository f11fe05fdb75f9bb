#include "hop/mx_hop.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/task.h"
#include "hop/backend.h"
#include "hop/mx.h"
#include "hop/outbound.h"
#include "hop/outbound_tls.h"
#include "policy/conf.h"
#include "smtp/route.h"

enum {
	DNS_MS = 30 * 1000,             /* of one search, all lookups */
	SUBMISSIONS_PORT = 465,         /* RFC 8314 3.3 */
	FAULT_MS = 5000,                /* a silence that lasted so long is the host's fault, whatever the caller's deadline */
};

struct mx_hop {
	struct next_hop hop;
	struct outbound *outbound;
	char domain[ROUTE_DOMAIN_MAX];          /* "": by outbound.via */
	char destination[ROUTE_TEXT_MAX];
	bool insist;
	struct outbound_place *place;           /* while there is a session */
	struct outbound_session *session;
};

/* --- where to --- */

static bool ours(void *arg, const struct net_addr *a)
{
	const struct mx_hop *m = arg;

	return backend_is_ourselves(outbound_site(m->outbound), a);
}

static bool usable(void *arg, const struct net_addr *a)
{
	const struct mx_hop *m = arg;
	const struct outbound_conf *cf = &outbound_site(m->outbound)->outbound;

	return !site_in_networks(cf->never, cf->never_count, a);
}

static uint32_t chance(void *arg)
{
	uint32_t n = 0;

	ERR_clear_error();
	if (RAND_bytes((unsigned char *)&n, sizeof(n)) != 1)
		ERR_clear_error();              /* no chance: in the order of the answer */
	return n;
}

/* The address that sessions to that family come from; NULL: any. false: that family is not used. */
static bool source(const struct outbound_conf *cf, int family, const struct net_addr **from)
{
	*from = NULL;
	for (size_t i = 0; i < cf->source_count; i++)
		if (cf->source[i].family == family)
			*from = &cf->source[i];
	return *from || cf->source_count == 0;
}

/* may wait */
static int find(struct mx_hop *m, int64_t deadline_ms, struct mx **out)
{
	const struct site *site = outbound_site(m->outbound);
	const struct outbound_conf *cf = &site->outbound;
	const struct net_addr *from;
	int64_t left = deadline_ms ? deadline_ms - clock_ms() : DNS_MS;
	struct mx_query q = {
		.domain = m->domain, .port = (unsigned short)cf->port, .hostname = site->hostname,
		.timeout_ms = left < 0 ? 0 : left < DNS_MS ? (int)left : DNS_MS,
		.ipv4 = source(cf, AF_INET, &from), .ipv6 = source(cf, AF_INET6, &from),
		.ours = ours, .usable = usable, .random = chance, .arg = m,
	};
	struct mx_server via[MX_HOSTS_MAX];
	size_t n = 0;

	if (m->domain[0])
		return mx_find(outbound_dns(m->outbound), &q, out);
	for (; n < cf->via_count && n < MX_HOSTS_MAX; n++)
		via[n] = (struct mx_server){ cf->via[n].host, cf->via[n].port };
	q.domain = "outbound.via";
	q.hostname = NULL;
	q.usable = NULL;                        /* the site has named it */
	return mx_servers(outbound_dns(m->outbound), &q, via, n, out);
}

/* No host: what the recipient hears. */
static int nowhere(struct mx_hop *m, const struct mx *mx)
{
	const char *reply = mx_reply(mx->status);

	/* The site's own servers that cannot be found are for the site to mend: the mail waits. */
	if (!m->domain[0])
		reply = "451 4.3.5 the server that takes outbound mail cannot be found, try again later";
	snprintf(m->hop.refusal, sizeof(m->hop.refusal), "%s", reply);
	snprintf(m->hop.name, sizeof(m->hop.name), "%s", m->domain[0] ? m->domain : "upstream");
	return task_cancelled() ? -ECANCELED : reply[0] == '5' ? -EACCES : -EHOSTUNREACH;
}

/* --- a session --- */

/* How a host is spoken to. The session keeps it. */
static void configure(struct mx_hop *m, const struct mx_host *host, struct outbound_session *s)
{
	const struct site *site = outbound_site(m->outbound);

	s->conf = (struct smtp_client_conf){
		.hostname = site->hostname,
		.connect_timeout_ms = site->outbound.connect_timeout_ms,
		.timeouts = &site->timeouts,
	};
}

/* A host that is slow leaves time for the next. */
static int64_t share(int64_t deadline_ms)
{
	int64_t now = clock_ms();

	return !deadline_ms || deadline_ms <= now ? deadline_ms : now + (deadline_ms - now) / 2;
}

/* What TLS with the host has to be. 0 and *out; less: not used. may wait */
static int demand(struct outbound_tls_domain *domain, const struct mx_host *host, int64_t deadline_ms, struct outbound_tls_demand **out, char *why)
{
	struct net_addr literal;
	struct outbound_host h = {
		.name = net_parse(host->name, &literal) == 0 ? NULL : host->name, .canon = host->canon, .secure = host->secure, .port = host->address[0].port,
	};

	return outbound_tls_host(domain, &h, deadline_ms, out, why);
}

/* The provider wants to know who we are. may wait */
static int log_in(const struct mx_hop *m, struct outbound_session *s, int64_t deadline_ms, char *why)
{
	const struct outbound_conf *cf = &outbound_site(m->outbound)->outbound;
	int rc = m->domain[0] || !cf->username ? 0 : smtp_client_login(s->client, cf->username, cf->password, deadline_ms);

	if (rc < 0)
		memcpy(why, s->client->why, SMTP_WHY_MAX);
	return rc == -EACCES || rc == -EOPNOTSUPP ? -EPERM : rc;
}

/* What recipients hear. */
static const char *code_of(int rc)
{
	return rc == -EPERM ? "4.7.8" : rc == -EACCES ? "4.7.5" : rc == -EAGAIN ? "4.4.3" : "4.4.1";
}

/* may wait */
static int try_address(struct mx_hop *m, struct outbound_tls_domain *domain, const struct mx_host *host, const struct net_addr *to,
		       int64_t deadline_ms, char *why)
{
	const struct outbound_conf *cf = &outbound_site(m->outbound)->outbound;
	struct outbound_session *s = calloc(1, sizeof(*s));
	const struct net_addr *from;
	char address[NET_TEXT_MAX];
	bool demanded;
	int64_t begun = clock_ms();
	int rc;

	if (!s)
		return -ENOMEM;
	source(cf, to->family, &from);
	configure(m, host, s);
	rc = demand(domain, host, deadline_ms, &s->tls, why);
	if (rc < 0) {
		outbound_session_free(s);
		return rc;
	}
	outbound_tls_apply(s->tls, &s->conf);
	s->conf.implicit = !m->domain[0] && to->port == SUBMISSIONS_PORT && s->conf.tls != TLS_OFF;
	rc = smtp_client_open(&s->conf, to, from, share(deadline_ms), &s->client, why);
	outbound_tls_opened(s->tls, rc, s->client, why);
	demanded = outbound_tls_demanded(s->tls);
	if (rc == 0)
		rc = log_in(m, s, deadline_ms, why);
	if (rc == 0) {
		outbound_unbench(m->outbound, to);
		snprintf(s->name, sizeof(s->name), "%.180s[%s]", host->name, net_text(to, address));
		m->session = s;
		return 0;
	}
	outbound_session_free(s);
	if (rc == -EPROTO && demanded)
		return -EACCES;                 /* the host is well: others may ask for less */
	/* Words of its own are perhaps meant for us, and not for long; silence is. */
	if (rc != -ECANCELED && rc != -ENOMEM && (rc != -ETIMEDOUT || clock_ms() - begun >= FAULT_MS))
		outbound_bench(m->outbound, to, host->name, rc == -EBUSY ? cf->bench_ms / 4 : cf->bench_ms, code_of(rc), why);
	return rc;
}

/* Each host in turn. may wait */
static int try_all(struct mx_hop *m, struct outbound_tls_domain *domain, const struct mx *mx, int64_t deadline_ms)
{
	char why[SMTP_WHY_MAX] = "it has no address";
	const char *last = mx->host[0].name, *code = "4.4.1";
	int tries = 0, rc = -EHOSTUNREACH;

	for (size_t i = 0; i < mx->count; i++) {
		for (size_t k = 0; k < mx->host[i].count && tries < MX_HOP_TRIES; k++) {
			const char *benched = m->insist ? NULL : outbound_benched(m->outbound, &mx->host[i].address[k], &code);

			last = mx->host[i].name;
			if (benched) {
				snprintf(why, sizeof(why), "%s", benched);
				continue;
			}
			if (deadline_ms && clock_ms() >= deadline_ms)
				break;
			tries++;
			rc = try_address(m, domain, &mx->host[i], &mx->host[i].address[k], deadline_ms, why);
			if (rc == 0 || rc == -ECANCELED || rc == -ENOMEM)
				return rc;
			code = code_of(rc);
			if (rc == -EAGAIN)
				break;          /* what the DNS does not tell of the host, it does not of its other addresses */
		}
	}
	snprintf(m->hop.name, sizeof(m->hop.name), "%.200s", last);
	snprintf(m->hop.refusal, sizeof(m->hop.refusal), "451 %s no mail server of %.200s takes mail now (%.80s: %.150s), try again later", code,
		 m->domain[0] ? m->domain : "the site's provider", last, why);
	return -EHOSTUNREACH;
}

/* may wait */
static int tls_domain(struct mx_hop *m, const struct mx *mx, int64_t deadline_ms, struct outbound_tls_domain **out)
{
	struct outbound_dest dest = { .domain = m->domain, .mx = true, .secure = mx->secure };

	if (!m->domain[0] || mx->literal)
		dest = (struct outbound_dest){ .domain = "" };
	return outbound_tls_domain(outbound_tls(m->outbound), &dest, deadline_ms, out);
}

/* The place is taken. may wait */
static int open_session(struct mx_hop *m, int64_t deadline_ms)
{
	AUTO(mx) struct mx *mx = NULL;
	AUTO(outbound_tls_domain) struct outbound_tls_domain *domain = NULL;
	int rc;

	m->session = outbound_idle(m->place, deadline_ms);
	if (m->session)
		return 0;
	rc = find(m, deadline_ms, &mx);
	if (rc < 0)
		return rc;
	if (mx->status != MX_FOUND)
		return nowhere(m, mx);
	rc = tls_domain(m, mx, deadline_ms, &domain);
	return rc < 0 ? rc : try_all(m, domain, mx, deadline_ms);
}

static int take(struct next_hop *h, int64_t deadline_ms)
{
	struct mx_hop *m = (struct mx_hop *)h;
	int rc = outbound_enter(m->outbound, m->destination, deadline_ms, &m->place);

	if (rc < 0)
		return rc;
	rc = open_session(m, deadline_ms);
	if (rc < 0) {
		outbound_leave(m->place, NULL, false);
		m->place = NULL;
		return rc;
	}
	h->client = m->session->client;
	h->strain = 0;
	snprintf(h->name, sizeof(h->name), "%s", m->session->name);
	outbound_tls_words(h->client, h->tls);
	return 0;
}

static void give(struct next_hop *h, bool clean)
{
	struct mx_hop *m = (struct mx_hop *)h;

	outbound_leave(m->place, m->session, clean && h->strain < BACKEND_STRAIN_MAX);
	m->place = NULL;
	m->session = NULL;
	h->client = NULL;
}

static void release(struct next_hop *h)
{
	free(h);
}

static const struct next_hop_ops ops = { take, give, release };

struct next_hop *mx_hop_new(struct outbound *o, const char *domain, bool insist)
{
	struct mx_hop *m = calloc(1, sizeof(*m));
	struct route route = { .kind = domain ? ROUTE_MX : ROUTE_UPSTREAM };

	if (!m)
		return NULL;
	m->hop.ops = &ops;
	m->hop.world = true;
	m->hop.peer = domain ? "the mail server of the recipient's domain" : "the next mail server";
	m->outbound = o;
	m->insist = insist;
	snprintf(m->domain, sizeof(m->domain), "%s", domain ? domain : "");
	memcpy(route.domain, m->domain, sizeof(route.domain));
	route_text(&route, m->destination);
	return &m->hop;
}
