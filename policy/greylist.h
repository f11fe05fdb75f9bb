/*
 * greylist - defer the first attempt of a sender that nobody knows, let the others through
 *
 * The key is (network, sender, recipient): /24 and /64; with an SPF pass the sender's domain stands
 * for the network, and so does a DKIM domain that was seen passing from this network, so that a big
 * sender's pool of hosts is one client. A triplet passes when it comes again after delay_s and
 * before window_s; it lives life_s after its last use. After auto_passes passes the whole (network
 * or domain) key is let through at once for life_s.
 */
#ifndef GREYLIST_H
#define GREYLIST_H

#include <stdbool.h>

#include "base/net.h"
#include "policy/state.h"

struct greylist_conf {
	int delay_s, window_s, life_s;          /* 300, 2 days, 36 days */
	int auto_passes;                        /* 5; 0: never */
	int v4_bits, v6_bits;                   /* 24, 64 */
};

struct greylist_query {
	const struct net_addr *client;
	const char *from;                       /* "" for the null sender */
	const char *rcpt;
	const char *spf_domain;                 /* the domain that SPF passed for, or NULL */
};

enum greylist_answer { GREYLIST_PASS, GREYLIST_WAIT };

/*
 * retry_s: seconds until it would pass, for WAIT. why (160 bytes): in words. -errno when the state
 * is away. may wait
 */
int greylist_check(struct state *s, const struct greylist_conf *c, const struct greylist_query *q,
		   enum greylist_answer *answer, int *retry_s, char *why);

/*
 * A message from this client passed DKIM for domain: it counts at the network's next RCPT. may wait
 */
int greylist_dkim_seen(struct state *s, const struct greylist_conf *c,
		       const struct net_addr *client, const char *domain);

#endif
