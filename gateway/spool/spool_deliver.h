/*
 * spool_deliver - one leased part of the spool, said to its next hop
 *
 * All recipients go in one transaction; those that the server does not take in it (452 behind others, LIMITS RCPTMAX), in further ones. Each has its own
 * outcome: 5xx is for good, 4xx is for later. Where there is no session to be had, or the server closes before it has said anything of the
 * message, the route is down, and not the message's fault. One that was perhaps taken (no answer to the end of data) is
 * delivered again: at least once.
 *
 * Of a domain whose servers are several owners (sections domain with learn = yes) one that refuses a recipient as unknown is not the last word: the others are
 * asked, since the mailbox has moved meanwhile. What was kept for an owner that the configuration does not know any more goes where it would go now.
 */
#ifndef SPOOL_DELIVER_H
#define SPOOL_DELIVER_H

#include "filters/txn.h"
#include "hop/next_hop.h"
#include "policy/spool.h"

struct message;
struct smtp_service;

enum spool_try_state { TRY_PENDING, TRY_HELD, TRY_DONE, TRY_WAITING };

/* What becomes of one recipient that is due. */
struct spool_try {
	size_t rcpt;                    /* in the envelope */
	enum spool_try_state state;
	enum spool_outcome_kind kind;
	char *reply, *remote;           /* heap; NULL: none */
	bool relayed;                   /* the sender asked for a notification of success, and this server sends none */
	bool unknown;                   /* refused at RCPT: there is no such one */
	bool expired;                   /* given up as its time is over */
	bool tell;                      /* the sender is to hear, or has heard, that it is late */
	bool logged;
};

struct spool_work {
	struct smtp_service *svc;
	struct spool_lease *lease;
	struct message *message;        /* NULL: could not be read */
	struct client client;           /* whose mail it is; address family 0: ours */
	struct spool_try *try;
	size_t count;
	bool route_down, met;           /* as in struct spool_report */
	char tls[NEXT_HOP_TLS_MAX];     /* of the last session, next_hop.tls */
};

/* 0 or -errno: nothing can be done with it. The lease stays the caller's. may wait */
int spool_work_init(struct spool_work *w, struct smtp_service *svc, struct spool_lease *lease);
void spool_work_release(struct spool_work *w);

/* Try all that is due: afterwards every try is TRY_DONE. may wait */
void spool_deliver(struct spool_work *w);

/* Set what became of one; texts are copied and may be NULL. */
void spool_try_settle(struct spool_try *t, enum spool_outcome_kind kind, const char *reply, const char *remote);

#endif
