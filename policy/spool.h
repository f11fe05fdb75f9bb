/*
 * spool - messages that were acknowledged and are still to be delivered
 *
 *     spool/ID.eml        the message as it is to be sent: final header (our Received, signatures, everything) and body, CRLF, without
 *                         dot-stuffing. Whoever sends it adds nothing but the dots.
 *     spool/ID.json       envelope and what became of each recipient (spool_record.h has the format). An entry exists if this file does.
 *     spool/broken/       what was found and could not be used; never deleted by Gatepost
 *
 * These files are the truth; there is no database. The keeper (spool_keeper.h, process gp-spool) has a schedule in memory, made from the
 * directory at its start (spool_schedule.h). Ids are those of the quarantine (store_id.h): in order of arrival.
 *
 * An entry is kept (acknowledged) after: ID.eml fsynced and linked, then ID.json the same way, then the directory fsynced. An update writes
 * ID.json anew under another name, fsyncs, renames, fsyncs the directory. When nobody is left to deliver to, ID.json is unlinked, the
 * directory fsynced, then ID.eml unlinked. So a crash at any point may deliver twice and loses nothing.
 *
 * Routes. Where a recipient's mail goes is text that the schedule compares and does not understand: "mx example.net", "mx [192.0.2.1]",
 * "upstream", "backend", "backend NAME". Recipients of one entry that have the same route are one part: leased, tried and put off together; parts of one
 * entry with several routes are delivered side by side.
 *
 * A message with very many routes becomes several entries (spool_split.h).
 *
 * What is leased when:
 *   - parts of a route in the order of arrival, at most `deliveries` (gatepost.conf, spool) of one route at once. Routes that begin with
 *     "backend" have one at a time, so that what waited there arrives in order.
 *   - Of minor entries at most SPOOL_MINOR_MAX parts of all at once, whatever their routes: strangers name the hosts that these go to, as many as they like, and
 *     each may take its time.
 *   - A part whose recipients were put off by the next hop (4xx to this message) waits alone: 1, 5, 15, 30 min, 1 h, 2 h ... up to
 *     retry_max. The others of the route go on.
 *   - A report with route_down (no connection, no greeting, 421: nothing of this message's) puts the whole route off by the same steps. When
 *     that time is over one part is tried alone; when its report says anything else than route_down all others of the route are due.
 *     A part that ends sessions by itself (421, or the line breaks, while others are not the cause: spool_report's met) lets the others go first
 *     from the second time on.
 *   - Whatever the route's state, at delay_notice (4 h) a part is leased to tell the sender (SPOOL_TELL), once; at the end of
 *     its life (5 d) to be given up (SPOOL_EXPIRE). Where the route is not put off, both come as SPOOL_DELIVER with `tell` or `last` set.
 *
 * A lease ends by its report; by the death of its worker (the channel closes); after SPOOL_LEASE_MS. Then the part is due again. When the keeper
 * dies, workers tell the new one what they hold; a report whose lease is not known is taken nevertheless: who has a message has it.
 *
 * All calls of struct spool are made by tasks of a worker. They wait for a keeper that is being started again.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "policy/store_id.h"

enum {
	SPOOL_RECIPIENTS_MAX = 2000,    /* of one entry: who has more makes several */
	SPOOL_ADDRESS_MAX = 1024,       /* bytes of an address, a route; */
	SPOOL_PARAMS_MAX = 2048,        /* of parameters; */
	SPOOL_REPLY_MAX = 1024,         /* of a reply: longer ones are cut */
	SPOOL_RECORD_MAX = 12 * 1024 * 1024,    /* ID.json */
	SPOOL_LEASE_MS = 60 * 60 * 1000,
	SPOOL_MINOR_MAX = 10,
	SPOOL_KEEP_TIMEOUT_MS = 120 * 1000,
};

enum spool_direction { SPOOL_INBOUND, SPOOL_SUBMISSION, SPOOL_OUTBOUND };       /* of the listener that it came by */

enum spool_state { SPOOL_WAITING, SPOOL_DELIVERED, SPOOL_FAILED };

struct spool_recipient {
	char *address;                  /* as given, without <> */
	char *params;                   /* to pass on, as in struct recipient (txn.h): NOTIFY=, ORCPT=; "" none */
	char *route;
	enum spool_state state;         /* once it is not WAITING it never changes again */
	unsigned attempts;
	int64_t tried_s;                /* the last attempt; 0: none */
	char *reply;                    /* what was said then, by the next hop or by us; "" nothing yet */
	char *remote;                   /* by whom: "mx1.example.net [192.0.2.1]:25"; "" nobody */
	bool delay_told;                /* the sender has been told of the delay, or will not be */
	bool due;                       /* not kept: of a leased envelope, whether the lease is for this one */
};

struct spool_envelope {
	char *sender;                   /* without <>; "" the null sender */
	char *params;                   /* to pass on, as in struct envelope: BODY=, SMTPUTF8, RET=, ENVID=; "" none */
	enum spool_direction direction;
	char *listener, *user, *client, *helo;  /* name, AUTH identity, IP address; NULL: none (a DSN of our own) */
	char *txn;                      /* id of the transaction in the log; NULL */
	bool credible;                  /* the return path: a DSN may be sent to it */
	bool minor;                     /* of our own making, for strangers: never so much of it at once that mail of people waits for it */
	int64_t created_s;              /* 0 when it is given to spool_keep: now */
	struct spool_recipient *rcpt;
	size_t rcpt_count, rcpt_room;   /* room: spool_envelope_add's */
	/* set by the keeper */
	char id[STORE_ID_MAX];
	uint64_t bytes;                 /* of ID.eml */
};

/* On the heap, empty: texts are copied with strdup into it. NULL: no memory. */
struct spool_envelope *spool_envelope_new(void);
void spool_envelope_free(struct spool_envelope *e);
AUTO_DEFINE(spool_envelope)

/*
 * One recipient more. NULL: no memory, or SPOOL_RECIPIENTS_MAX. The texts are copied. Good until the next one is added.
 */
struct spool_recipient *spool_envelope_add(struct spool_envelope *e, const char *address, const char *params, const char *route);

/*
 * The value of a parameter ("NOTIFY", "RET", "ENVID", "ORCPT", "BODY"; case ignored) in text as above: its first byte and *len; NULL: it is not
 * there. A word without value ("SMTPUTF8") has *len 0.
 */
const char *spool_param(const char *params, const char *name, size_t *len);

/* --- the workers' side: spool_channel.c --- */

struct channel;
struct message;
struct spool_lease;

struct spool {
	struct channel *channel;
	struct spool_lease *held;       /* all leases of this worker */
	uint64_t serial;                /* of requests */
	unsigned peer;                  /* which keeper was told of them last */
};

void spool_init(struct spool *s, struct channel *channel);

/* The channel has a keeper, perhaps a new one: it hears at once what is held here, even of a worker that asks for nothing more (busy, or draining). */
void spool_greet(struct spool *s);

/* A descriptor of an empty file without a name, in the spool's file system, or -errno. may wait */
int spool_open(struct spool *s);

/*
 * The same with header and the body of m in it: what a session has at its end. (m's own header is left out.) may wait
 */
int spool_draft(struct spool *s, const struct buf *header, struct message *m);

/*
 * Keep what fd holds (it stays the caller's). 0 and the id: it is on stable storage. -ENOSPC: the spool (its bounds, or the disk)
 * is full: 452 4.3.1. Other -errno: 451; -EPIPE, -ETIMEDOUT, -ECANCELED: perhaps it is kept. may wait
 */
int spool_keep(struct spool *s, int fd, const struct spool_envelope *e, char id[STORE_ID_MAX]);

/* What to do with a leased part. */
enum spool_duty {
	SPOOL_DELIVER,                  /* try */
	SPOOL_TELL,                     /* do not try: tell the sender of the delay (or decide not to), report SPOOL_LATER with delay_told */
	SPOOL_EXPIRE,                   /* do not try: its life is over: report SPOOL_FOR_GOOD, with a DSN */
};

struct spool_lease {
	struct spool_envelope *envelope;        /* whole; rcpt[i].due: those that are meant */
	char *route;                    /* theirs */
	int fd;                         /* ID.eml, for reading from 0 (pread); the lease's */
	enum spool_duty duty;
	bool tell;                      /* SPOOL_DELIVER: whoever is put off once more is to be told of the delay */
	bool last;                      /* SPOOL_DELIVER: whoever is put off once more is to be given up: report SPOOL_FOR_GOOD with a DSN */
	int64_t until_ms;               /* clock_ms(): by then the report must have been made */
	uint64_t number;
	struct spool_lease *next;
};

/*
 * Wait up to wait_ms for something to do. 0 and *out; -EAGAIN: nothing; -ECANCELED; or another -errno (a pause before the next
 * call is the caller's). Each call that waits may be answered with one lease; several tasks may wait. may wait
 */
int spool_lease(struct spool *s, int wait_ms, struct spool_lease **out);

enum spool_outcome_kind {
	SPOOL_TAKEN,                    /* delivered: the next hop said 2xx (also: there is nothing more to do about this one) */
	SPOOL_FOR_GOOD,                 /* 5xx, or given up */
	SPOOL_LATER,                    /* 4xx, or no next hop, or it broke off: to be tried again */
	SPOOL_UNTRIED,                  /* nothing was attempted (a session limit, a worker that ends): as if it had not been leased */
};

struct spool_outcome {
	size_t rcpt;                    /* index in the envelope */
	enum spool_outcome_kind kind;
	const char *reply, *remote;     /* NULL: leave what was there */
	const char *route;              /* a new one from now on (the configuration has changed); NULL: the same */
	bool delay_told;                /* set it */
};

struct spool_report {
	const struct spool_outcome *outcome;
	size_t count;
	bool route_down;                /* the LATER ones are the next hop's fault, not the message's; */
	bool met;                       /* but there was a session, and it ended in this message's dialogue: 421, or a line that broke */
	/*
	 * A DSN, kept as a new entry, durable before anything of this report is. It is taken even when the spool's bounds are reached. If nobody's
	 * state is changed by the report any more (it came twice), it is not kept. -1: none
	 */
	int dsn_fd;
	const struct spool_envelope *dsn;
};

/*
 * The end of a lease, which is freed in any case (fd closed). Due recipients without an outcome are UNTRIED. It asks again when the keeper dies
 * meanwhile. 0: on stable storage. -ENOSPC: there is no room for the DSN: what was delivered is recorded, the others are
 * tried again. Other -errno: perhaps recorded; the part comes back. r NULL: all are UNTRIED. may wait
 */
int spool_report(struct spool *s, struct spool_lease *l, const struct spool_report *r);

/*
 * Try at once: what waits for this route (ETRN, a next hop that is known to be back): the whole text ("mx example.net") or its first
 * word ("backend"); NULL: everything. How many parts, or -errno. may wait
 */
int spool_wake(struct spool *s, const char *route);

#endif
