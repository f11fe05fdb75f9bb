/*
 * dns_unbound - the resolver of a worker: libunbound on the event loop of tasks
 *
 * Recursive from the root by default, or forwarding everything or some zones; caching; validating DNSSEC. One per process, made after
 * loop_init and freed after loop_run has returned, before loop_release.
 *
 * Traps of the library, and where they are handled:
 * 1. A bogus answer may come with rcode 0 and sec == 1: it is DNS_TEMPFAIL here, whatever its records say.
 * 2. A cached or local answer calls back before ub_resolve_event returns: dns_start only queues, and what asks is prepared for it.
 * 3. ub_resolve_event uses 200 KB of stack: it is called from an event of the loop, on the loop's own stack, never a task's.
 * 4. "test.", "invalid.", private reverse zones and the like are answered locally (NXDOMAIN): zones that are forwarded, or lie around or
 *    below such a zone, are opened; local data always counts.
 * 5. A context belongs to one process and thread, and so does its cache.
 * And two more: a stub zone is asked without recursion, which an internal recursive server refuses, so that zones are forwarded, for which the
 * library has no call but a file of configuration (a memfd here, read by its name in /proc: make the resolver before a chroot); and a
 * query that is cancelled goes on inside the library, so that cancelling would only hide it from our count: it is kept until
 * the library is through with it.
 *
 * Every lookup ends at its deadline at the latest. DNS_UNBOUND_IN_FLIGHT are asked at a time (those that nobody waits for any more
 * count, 10 KB each); others wait for their turn, with their deadline running.
 */
#ifndef DNS_UNBOUND_H
#define DNS_UNBOUND_H

#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/dns.h"

struct dns_conf;        /* policy/conf.h */
struct dns_unbound;

enum { DNS_UNBOUND_IN_FLIGHT = 8192 };

struct dns_unbound_stats {
	uint64_t asked, timeouts;       /* lookups, since the start */
	size_t in_flight, waiting;      /* now */
};

/* NULL, and "dns: what is wrong, what was expected" in err. The configuration is not kept. */
struct dns_unbound *dns_unbound_new(const struct dns_conf *conf, struct buf *err);

/* Lookups that nobody has dropped yet end with DNS_TEMPFAIL, and may be dropped later. */
void dns_unbound_free(struct dns_unbound *u);
AUTO_DEFINE(dns_unbound)

struct dns *dns_unbound_dns(struct dns_unbound *u);
void dns_unbound_stats(const struct dns_unbound *u, struct dns_unbound_stats *out);

#endif
