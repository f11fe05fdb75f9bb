/*
 * spool_bounce - what the sender hears of spooled mail, and what becomes of mail whose sender must not hear anything
 *
 * A notification (dsn.h) is a new entry of the spool, made in the same step as the report of what it is about. It goes only to a return path that
 * was credible when the message came, never to the null one, and itself has the null one: a bounce has no bounce. Mail from the world that
 * cannot be delivered, and whose return path is not credible, is quarantined: neither backscatter nor lost.
 */
#ifndef SPOOL_BOUNCE_H
#define SPOOL_BOUNCE_H

#include "spool/spool_deliver.h"

enum {
	SPOOL_BOUNCE_RCPTS = 200,       /* in one notification; the others are left for the next time */
	SPOOL_BOUNCE_FROM_MAX = 300,
};

struct dsn;
struct site;

struct spool_bounce {
	int fd;                         /* -1: none is needed */
	struct spool_envelope *envelope;
};

/*
 * For w, whose tries are all done. Where it cannot be made now, tries that are for good become SPOOL_LATER (nobody is given up in
 * silence), and no delay counts as told. may wait
 */
void spool_bounce_make(struct spool_work *w, struct spool_bounce *out);
void spool_bounce_release(struct spool_bounce *b);

/* dsn_make, signed (DKIM) where the domain of its author is signed for. may wait */
int spool_bounce_text(const struct smtp_service *svc, const struct dsn *d, struct buf *out, const char **params);

/*
 * The envelope of a notification to that return path. NULL: no memory, or no way there. And whom its reader may write to: the postmaster of his own domain, if that is
 * one of the site's, else NULL; out: SPOOL_BOUNCE_FROM_MAX.
 */
struct spool_envelope *spool_bounce_envelope(const struct smtp_service *svc, const char *to, const char *params, const char *txn);
const char *spool_bounce_from(const struct site *site, const char *to, char *out);

#endif
