/*
 * dnsbl_health - whether the site's DNSBL zones can be trusted at the moment, RFC 5782 section 5
 *
 * A zone must list 127.0.0.2 and must not list 127.0.0.1 (a zone for IPv6 clients only: ::FFFF:7F00:2 and ::FFFF:7F00:1), one of domains TEST and INVALID, or what it names
 * instead. One that lists
 * everything, lists nothing, or answers 127.255.255.x or anything outside 127.0.0.0/8 is benched: it counts nothing until it is well again.
 * Every change is a log line.
 *
 * The state is the site's, not a worker's: the process room maps a struct dnsbl_health with MAP_SHARED (zeroed) before it forks and
 * hands it to dnsbl_health_use in every worker; one worker runs dnsbl_health_run in a task. Without that (tests, commands) a private one
 * stands in, whose zones count untested.
 */
#ifndef DNSBL_HEALTH_H
#define DNSBL_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/dns.h"

struct dnsbl_conf;
struct site;

enum { DNSBL_ZONES_MAX = 64 };

enum dnsbl_state {
	DNSBL_UNTESTED,         /* not yet; counts only where nobody tests */
	DNSBL_WELL,
	DNSBL_LISTS_ALL,
	DNSBL_LISTS_NONE,
	DNSBL_ERRORS,           /* 127.255.255.x: refused, over limit, public resolver */
	DNSBL_STRANGE,          /* an answer outside 127.0.0.0/8: parked, or a resolver that lies */
	DNSBL_AWAY,             /* has not answered since the start */
};

struct dnsbl_health {
	atomic_int tested;                      /* somebody runs the tests */
	struct {
		atomic_int state;               /* enum dnsbl_state */
		atomic_int suspect;             /* a live answer was an error: test soon */
	} zone[DNSBL_ZONES_MAX];                /* in the order of site->dnsbl */
};

/* From now on h is it; NULL: the private one again. tested is set: there will be somebody who tests. */
void dnsbl_health_use(struct dnsbl_health *h);

enum dnsbl_state dnsbl_health_state(size_t zone);
bool dnsbl_health_benched(size_t zone);         /* it counts nothing now */
bool dnsbl_health_pending(size_t zone);         /* its first test has not ended */
void dnsbl_health_suspect(size_t zone);         /* a live lookup gave an error answer */
const char *dnsbl_health_text(const struct dnsbl_conf *z, enum dnsbl_state s);         /* "lists everything", ... */

/* Test these zones (which NULL: all that are to be tested), all side by side, and log what has changed. may wait */
void dnsbl_health_test(const struct site *site, struct dns *dns, const bool *which);

/*
 * Test at once, then every dnsbl_test_interval_s; benched zones every 5 minutes, suspects after a minute at the earliest. Returns when the task is
 * cancelled. may wait
 */
void dnsbl_health_run(const struct site *site, struct dns *dns);

/* What the addresses of one answer mean; for the filter too. */
enum dnsbl_answer { DNSBL_NOT_LISTED, DNSBL_LISTED, DNSBL_ERROR, DNSBL_FOREIGN };
enum dnsbl_answer dnsbl_answer_kind(const struct dns_answer *a);
/* The same of a list of domains, too: 127.0.1.255 is an error there. */
enum dnsbl_answer dnsbl_answer_of(const struct dnsbl_conf *z, const struct dns_answer *a);
bool dnsbl_code_ok(const struct dns_rr *rr);    /* one address that says "listed" */

#endif
