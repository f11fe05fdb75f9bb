/*
 * next_hop - where a delivery gets its sessions from
 *
 * A delivery has one next hop and at most one session with it at a time. Makers: backend_hop.h (the servers behind us, pooled). Each knows what a
 * session costs, whether it may be used again, and whom it speaks for; the delivery only says MAIL, RCPT and DATA in it.
 *
 *     int rc = next_hop_take(h, deadline_ms);                 // may wait
 *     if (rc == 0) {
 *             smtp_client_mail(h->client, ...);
 *             next_hop_give(h, true);
 *     }
 *     next_hop_free(h);
 */
#ifndef NEXT_HOP_H
#define NEXT_HOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"

struct next_hop;
struct smtp_client;

enum { NEXT_HOP_NAME_MAX = 256, NEXT_HOP_WHY_MAX = 512, NEXT_HOP_TLS_MAX = 32 };

struct next_hop_ops {
	/*
	 * A session ready for MAIL: client, name and strain are set. 0; -EHOSTUNREACH: nobody answers; -EBUSY: all sessions are taken, and were for a
	 * bounded wait; -ETIMEDOUT: the deadline; -EACCES: for good, refusal says how ("550 5.1.2 ..."); -ECANCELED, -ENOMEM. may wait
	 */
	int (*take)(struct next_hop *h, int64_t deadline_ms);
	/* The end of a use. clean: the transaction is complete (or none was begun), the session may be kept. Never waits. */
	void (*give)(struct next_hop *h, bool clean);
	void (*free)(struct next_hop *h);       /* there is no session */
};

struct next_hop {
	const struct next_hop_ops *ops;
	/* The session, between take and give; else NULL. */
	struct smtp_client *client;
	int strain;                             /* BACKEND_STRAIN_ of what it has said since its last message */
	bool world;                             /* a server of others: return paths that are not ours are rewritten for it (hop/return_path.h) */
	bool used;                              /* the session has served before: when the server ends it, its time was up, which says nothing of the server */
	bool own;                               /* nobody else can use the session: giving it back early helps nobody */
	char name[NEXT_HOP_NAME_MAX];           /* whom it was with last, for the log; "": nobody yet */
	char tls[NEXT_HOP_TLS_MAX];             /* of the session with it, "TLSv1.3 dane" (outbound_tls_words); "": nothing to say */
	const char *peer;                       /* what the client hears of it: "the mail server behind"; NULL is that, too */
	char refusal[NEXT_HOP_WHY_MAX];         /* of a take that failed: a reply for the client that tells more than the result; "": none */
};

static inline int next_hop_take(struct next_hop *h, int64_t deadline_ms)
{
	return h->ops->take(h, deadline_ms);
}

static inline void next_hop_give(struct next_hop *h, bool clean)
{
	if (h->client)
		h->ops->give(h, clean);
}

static inline void next_hop_free(struct next_hop *h)
{
	if (!h)
		return;
	next_hop_give(h, false);
	h->ops->free(h);
}
AUTO_DEFINE(next_hop)

#endif
