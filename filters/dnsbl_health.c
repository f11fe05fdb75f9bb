#include "filters/dnsbl_health.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "policy/conf.h"

enum {
	TICK_MS = 1000,
	BENCHED_AGAIN_MS = 5 * 60 * 1000,
	SUSPECT_AGAIN_MS = 60 * 1000,
	AWAY_AGAIN_MS = 60 * 1000,
	INTERVAL_DEFAULT_S = 3600,
};

static struct dnsbl_health private_health;
static struct dnsbl_health *health = &private_health;

void dnsbl_health_use(struct dnsbl_health *h)
{
	health = h ? h : &private_health;
	if (h)
		atomic_store(&h->tested, 1);
}

enum dnsbl_state dnsbl_health_state(size_t zone)
{
	return zone < DNSBL_ZONES_MAX ? (enum dnsbl_state)atomic_load(&health->zone[zone].state) : DNSBL_UNTESTED;
}

bool dnsbl_health_pending(size_t zone)
{
	return zone < DNSBL_ZONES_MAX && dnsbl_health_state(zone) == DNSBL_UNTESTED && atomic_load(&health->tested);
}

bool dnsbl_health_benched(size_t zone)
{
	enum dnsbl_state s = dnsbl_health_state(zone);

	return s == DNSBL_UNTESTED ? dnsbl_health_pending(zone) : s != DNSBL_WELL;
}

void dnsbl_health_suspect(size_t zone)
{
	if (zone < DNSBL_ZONES_MAX)
		atomic_store(&health->zone[zone].suspect, 1);
}

const char *dnsbl_health_text(const struct dnsbl_conf *z, enum dnsbl_state s)
{
	switch (s) {
	case DNSBL_UNTESTED:
		return "not tested yet";
	case DNSBL_WELL:
		return "well";
	case DNSBL_LISTS_ALL:
		return z->use ? "lists everything (test_clean, too)" : "lists everything (127.0.0.1, too)";
	case DNSBL_LISTS_NONE:
		return z->use ? "lists nothing (not even test_listed)" : "lists nothing (not even 127.0.0.2)";
	case DNSBL_ERRORS:
		return "answers 127.255.255.x (error: refused or over its limit)";
	case DNSBL_STRANGE:
		return "answers outside 127.0.0.0/8";
	case DNSBL_AWAY:
		return "does not answer";
	}
	return "?";
}

/* ---- answers ---- */

static bool is_error(const uint8_t *a)
{
	return a[0] == 127 && a[1] == 255 && a[2] == 255;
}

bool dnsbl_code_ok(const struct dns_rr *rr)
{
	static const uint8_t never[] = { 127, 0, 0, 1 };

	return rr->len == 4 && rr->data[0] == 127 && !is_error(rr->data) && memcmp(rr->data, never, 4) != 0;
}

enum dnsbl_answer dnsbl_answer_kind(const struct dns_answer *a)
{
	bool listed = false, foreign = false;

	for (size_t i = 0; i < a->count; i++) {
		if (a->rr[i].len == 4 && is_error(a->rr[i].data))
			return DNSBL_ERROR;
		listed |= dnsbl_code_ok(&a->rr[i]);
		foreign |= a->rr[i].len != 4 || a->rr[i].data[0] != 127;
	}
	return foreign ? DNSBL_FOREIGN : listed ? DNSBL_LISTED : DNSBL_NOT_LISTED;
}

enum dnsbl_answer dnsbl_answer_of(const struct dnsbl_conf *z, const struct dns_answer *a)
{
	static const uint8_t no_address[] = { 127, 0, 1, 255 };         /* of DBL: "IP queries prohibited" */

	for (size_t i = 0; z->use && i < a->count; i++)
		if (a->rr[i].len == 4 && memcmp(a->rr[i].data, no_address, 4) == 0)
			return DNSBL_ERROR;
	return dnsbl_answer_kind(a);
}

/* ---- tests ---- */

struct test {
	struct dns_lookup *listed, *clean;
};

/* 127.0.0.<last>, or ::ffff:127.0.0.<last> for a zone that is asked about IPv6 only. */
static struct dns_lookup *point_start(const struct dnsbl_conf *z, struct dns *dns, uint8_t last)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	const uint8_t point[16] = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = last };
	struct dns_lookup *l = NULL;
	char name[DNS_NAME_MAX], domain[2 * DNS_NAME_MAX];

	if (z->use) {
		snprintf(domain, sizeof(domain), "%s.%s", last == 2 ? z->listed : z->clean, z->zone);
		if (strlen(domain) < DNS_NAME_MAX)
			dns_start(dns, domain, DNS_A, &l);
		return l;
	}
	memcpy(&v4.sin_addr, point + 12, 4);
	memcpy(&v6.sin6_addr, point, 16);
	if (dns_reverse(z->ipv4 || !z->ipv6 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, z->zone, name, sizeof(name)) == 0)
		dns_start(dns, name, DNS_A, &l);
	return l;
}

static enum dnsbl_state judge(const struct dnsbl_conf *z, const struct dns_answer *listed, const struct dns_answer *clean)
{
	enum dnsbl_answer l = dnsbl_answer_of(z, listed), c = dnsbl_answer_of(z, clean);

	if (l == DNSBL_ERROR || c == DNSBL_ERROR)
		return DNSBL_ERRORS;
	if (l == DNSBL_FOREIGN || c == DNSBL_FOREIGN)
		return DNSBL_STRANGE;
	if (c == DNSBL_LISTED)
		return DNSBL_LISTS_ALL;
	if (listed->status == DNS_TEMPFAIL || clean->status == DNS_TEMPFAIL)
		return DNSBL_AWAY;
	return l == DNSBL_LISTED ? DNSBL_WELL : DNSBL_LISTS_NONE;
}

/* A zone that was well and does not answer one test stays: lookups that time out count nothing anyway. */
static void state_set(const struct dnsbl_conf *z, size_t i, enum dnsbl_state s, const char *why)
{
	enum dnsbl_state before = dnsbl_health_state(i);

	if (s == before || (s == DNSBL_AWAY && before != DNSBL_UNTESTED))
		return;
	atomic_store(&health->zone[i].state, s);
	if (s != DNSBL_WELL)
		log_warning("dnsbl", "zone", z->zone, "state", "benched", "why", dnsbl_health_text(z, s), why[0] ? "detail" : NULL, why, NULL);
	else if (before == DNSBL_UNTESTED)
		log_info("dnsbl", "zone", z->zone, "state", "well", NULL);
	else
		log_notice("dnsbl", "zone", z->zone, "state", "well", "was", dnsbl_health_text(z, before), NULL);
}

void dnsbl_health_test(const struct site *site, struct dns *dns, const bool *which)
{
	size_t n = site->dnsbl_count < DNSBL_ZONES_MAX ? site->dnsbl_count : DNSBL_ZONES_MAX;
	struct test tests[DNSBL_ZONES_MAX] = { 0 };

	for (size_t i = 0; i < n; i++) {
		if (!site->dnsbl[i].test) {
			atomic_store(&health->zone[i].state, DNSBL_WELL);       /* the site vouches for it */
		} else if (!which || which[i]) {
			atomic_store(&health->zone[i].suspect, 0);
			tests[i].listed = point_start(&site->dnsbl[i], dns, 2);
			tests[i].clean = point_start(&site->dnsbl[i], dns, 1);
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (tests[i].listed && tests[i].clean) {
			const struct dns_answer *listed = dns_wait(tests[i].listed), *clean = dns_wait(tests[i].clean);

			if (!task_self() || !task_cancelled())
				state_set(&site->dnsbl[i], i, judge(&site->dnsbl[i], listed, clean), listed->status == DNS_TEMPFAIL ? listed->why : "");
		}
		dns_drop(tests[i].listed);
		dns_drop(tests[i].clean);
	}
}

/* When zone i, tested just now, is to be tested again. */
static int64_t again_ms(const struct site *site, size_t i)
{
	int64_t interval_ms = 1000LL * (site->dnsbl_test_interval_s > 0 ? site->dnsbl_test_interval_s : INTERVAL_DEFAULT_S);
	int64_t sooner_ms = interval_ms;

	if (dnsbl_health_state(i) == DNSBL_AWAY || dnsbl_health_state(i) == DNSBL_UNTESTED)
		sooner_ms = AWAY_AGAIN_MS;
	else if (dnsbl_health_benched(i))
		sooner_ms = BENCHED_AGAIN_MS;
	return sooner_ms < interval_ms ? sooner_ms : interval_ms;
}

void dnsbl_health_run(const struct site *site, struct dns *dns)
{
	size_t n = site->dnsbl_count < DNSBL_ZONES_MAX ? site->dnsbl_count : DNSBL_ZONES_MAX;
	int64_t last_ms[DNSBL_ZONES_MAX], next_ms[DNSBL_ZONES_MAX] = { 0 };     /* 0: at once */
	bool which[DNSBL_ZONES_MAX];

	do {
		int64_t now = clock_ms();
		bool any = false;

		for (size_t i = 0; i < n; i++) {
			bool suspect = atomic_load(&health->zone[i].suspect) && next_ms[i] > 0 && now >= last_ms[i] + SUSPECT_AGAIN_MS;

			which[i] = now >= next_ms[i] || suspect;
			any |= which[i];
		}
		if (any)
			dnsbl_health_test(site, dns, which);
		now = clock_ms();
		for (size_t i = 0; i < n; i++) {
			if (which[i]) {
				last_ms[i] = now;
				next_ms[i] = now + again_ms(site, i);
			}
		}
	} while (task_sleep(TICK_MS) == 0);
}
