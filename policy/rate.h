/*
 * rate - how much one sender, account or client of our own may send in a time, so that a stolen password cannot send a million messages
 *
 * Each section `rate` of gatepost.conf counts recipients or messages by the envelope sender, the authenticated user or the client's address. The
 * count is of a window that slides: what was counted in the present period (they begin at multiples of its length), and of the one before as much as the window
 * still covers. It is taken in the state that all workers, and all gateways with the same Redis, share, in one request. What is over the limit is not
 * counted: who keeps trying is served again as soon as the window has moved on.
 *
 * Only clients that are ours (struct client, relay) are counted, at RCPT, when a rule asks for the fact rate.over.
 */
#ifndef RATE_H
#define RATE_H

#include "filters/txn.h"

enum { RATES_MAX = 8, RATE_NAME_MAX = 32 };     /* two operations of the state for each, STATE_OPS_MAX in a request */

enum rate_by { RATE_BY_SENDER, RATE_BY_ACCOUNT, RATE_BY_CLIENT };
enum rate_count { RATE_RECIPIENTS, RATE_MESSAGES };

struct rate_conf {
	char name[RATE_NAME_MAX];
	enum rate_by by;
	enum rate_count count;
	int limit;
	int period_s;
};

/*
 * Count one recipient more of t, and set rate.over in out: the names of the rates that it is over, none when the state does not answer. The first time
 * that somebody goes over a rate the log says so. 0 or -ENOMEM. may wait
 */
int rate_count(struct txn *t, struct facts *out);
int rate_count_at(struct txn *t, int64_t now_s, struct facts *out);

/* What is in the window, of the counts of this period and of the one before. now_s is in the former. */
int64_t rate_estimate(int64_t before, int64_t present, int period_s, int64_t now_s);

#endif
