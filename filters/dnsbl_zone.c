#include "filters/dnsbl_zone.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/task.h"
#include "policy/conf.h"

enum { PENDING_STEP_MS = 10, TIMEOUT_DEFAULT_MS = 5000 };

int dnsbl_zone_timeout(const struct dnsbl_conf *z)
{
	return z->timeout_ms > 0 ? z->timeout_ms : TIMEOUT_DEFAULT_MS;
}

/* Before a zone has been tested for the first time its answer is worth nothing: wait for that, no longer than for an answer. may wait */
bool dnsbl_zone_trusted(size_t i, int64_t deadline_ms)
{
	while (dnsbl_health_pending(i) && task_self() && clock_ms() < deadline_ms)
		if (task_sleep(PENDING_STEP_MS) < 0)
			break;
	return !dnsbl_health_benched(i);
}

void dnsbl_why_add(struct buf *why, const char *zone, const char *what)
{
	buf_addf(why, "%s%s: %s", why->len > 0 ? ", " : "", zone, what);
}

/* The weight of one accepted code; *weight is written if it is one. Of bits the strongest that is set counts, of networks the first. */
static bool code_weight(const struct dnsbl_conf *z, const struct dns_rr *rr, int *weight)
{
	struct net_addr code = { .family = AF_INET };
	bool found = false;

	if (!dnsbl_code_ok(rr))
		return false;
	if (z->code_count == 0) {
		*weight = z->weight;
		return true;
	}
	memcpy(code.ip, rr->data, 4);
	for (size_t k = 0; k < z->code_count; k++) {
		if (!z->code[k].bit) {
			if (!net_in(&code, &z->code[k].codes))
				continue;
			if (!found || abs(z->code[k].weight) > abs(*weight))
				*weight = z->code[k].weight;
			return true;
		}
		/* 127.0.0.X, and SURBL says to heed the last octet alone. */
		if (!(rr->data[3] & z->code[k].bit) || (found && abs(z->code[k].weight) <= abs(*weight)))
			continue;
		*weight = z->code[k].weight;
		found = true;
	}
	return found;
}

int dnsbl_zone_weigh(const struct dnsbl_conf *z, size_t i, const struct dns_answer *a, int (*on_code)(void *arg, const struct dns_rr *rr), void *arg,
		     const struct dns_rr **best, int *weight, struct buf *why)
{
	enum dnsbl_answer kind = dnsbl_answer_of(z, a);
	int one = 0, rc = 0;

	*best = NULL;
	*weight = 0;
	if (kind == DNSBL_ERROR || kind == DNSBL_FOREIGN) {
		dnsbl_health_suspect(i);
		dnsbl_why_add(why, z->zone, dnsbl_health_text(z, kind == DNSBL_ERROR ? DNSBL_ERRORS : DNSBL_STRANGE));
		return 0;
	}
	if (a->status == DNS_TEMPFAIL)
		dnsbl_why_add(why, z->zone, a->why);
	for (size_t k = 0; k < a->count && rc == 0; k++) {
		if (!code_weight(z, &a->rr[k], &one))
			continue;
		rc = on_code(arg, &a->rr[k]);
		if (!*best || abs(one) > abs(*weight)) {
			*best = &a->rr[k];
			*weight = one;
		}
	}
	return rc;
}
