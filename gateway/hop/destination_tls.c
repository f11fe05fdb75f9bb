#include "hop/destination_tls.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/task.h"
#include "hop/destination_hop.h"
#include "hop/mx.h"
#include "hop/outbound.h"
#include "hop/outbound_tls.h"

enum { DNS_MS = 20000 };

/* The host of the domain that has the address; NULL: none has. */
static const struct mx_host *host_at(const struct mx *mx, const struct net_addr *a)
{
	for (size_t i = 0; i < mx->count; i++)
		for (size_t k = 0; k < mx->host[i].count; k++)
			if (net_same_ip(&mx->host[i].address[k], a))
				return &mx->host[i];
	return NULL;
}

/* may wait */
static int look_up(const struct destination *d, const char *domain, int64_t deadline_ms, struct mx **out)
{
	int64_t left = deadline_ms ? deadline_ms - clock_ms() : DNS_MS;
	struct mx_query q = {
		.domain = domain, .port = d->to.port, .timeout_ms = left < 0 ? 0 : left < DNS_MS ? (int)left : DNS_MS,
		.ipv4 = d->to.family == AF_INET, .ipv6 = d->to.family == AF_INET6,
	};

	return mx_find(outbound_dns(d->outbound), &q, out);
}

int destination_demand(const struct destination *d, const char *domain, int64_t deadline_ms, struct outbound_tls_demand **out, char *why)
{
	AUTO(mx) struct mx *mx = NULL;
	AUTO(outbound_tls_domain) struct outbound_tls_domain *of = NULL;
	struct outbound_dest dest = { .domain = "" };
	struct outbound_host host = { .port = d->to.port };
	const struct mx_host *h;
	int rc = domain[0] ? look_up(d, domain, deadline_ms, &mx) : 0;

	if (rc < 0)
		return rc;
	if (mx && mx->status == MX_TEMPFAIL) {
		snprintf(why, SMTP_WHY_MAX, "whose host it is, the DNS does not tell: %.150s", mx->why);
		return task_cancelled() ? -ECANCELED : -EAGAIN;
	}
	h = mx ? host_at(mx, &d->to) : NULL;
	if (h) {
		dest = (struct outbound_dest){ .domain = domain, .mx = true, .secure = mx->secure };
		host.name = h->name;
		host.canon = h->canon;
		host.secure = h->secure;
	}
	rc = outbound_tls_domain(outbound_tls(d->outbound), &dest, deadline_ms, &of);
	return rc < 0 ? rc : outbound_tls_host(of, &host, deadline_ms, out, why);
}
