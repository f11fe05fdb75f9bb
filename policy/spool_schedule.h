/*
 * spool_schedule - which part of the spool is to be leased next, and when (spool.h says by what rules)
 *
 * In memory only, and some hundred bytes for each part: envelopes stay in their files. Time is that of clock_ms(), and comes with each
 * call. No I/O.
 */
#ifndef SPOOL_SCHEDULE_H
#define SPOOL_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/spool.h"

/* Of the configuration. Without pointers: it travels between processes as it is. */
struct spool_settings {
	int life_s;                     /* 5 d */
	int delay_notice_s;             /* 4 h; 0: never */
	int retry_min_ms, retry_max_ms; /* 1 min, 4 h */
	uint64_t max_bytes;             /* all entries */
	int max_messages;
	int deliveries;                 /* of one route at once */
};

enum { SPOOL_RECHECK_MS = 60 * 1000, SPOOL_HOLD_MS = 500 };

/* The pause behind attempt n (from 1): retry_min times 1, 5, 15, 30, 60, 120 ...; at most retry_max. */
int64_t spool_pause_ms(const struct spool_settings *set, unsigned n);

struct spool_schedule;

/* number: of the first lease, beyond all that an earlier schedule gave. */
struct spool_schedule *spool_schedule_new(const struct spool_settings *set, uint64_t number);
void spool_schedule_free(struct spool_schedule *s);
void spool_schedule_set(struct spool_schedule *s, const struct spool_settings *set);

/*
 * An entry as it is now: one that is not known is added, parts of which nobody waits any more go (a leased one at the end of its lease), new routes become new parts.
 * Nobody waits: it is forgotten. wall_ms: the other clock, at the same moment. 0 or -ENOMEM: put it again.
 */
int spool_schedule_put(struct spool_schedule *s, const struct spool_envelope *e, int64_t now_ms, int64_t wall_ms);
void spool_schedule_forget(struct spool_schedule *s, const char *id);   /* leases and all */
bool spool_schedule_knows(const struct spool_schedule *s, const char *id);

struct spool_grant {
	char id[STORE_ID_MAX];
	const char *route;              /* good until the next call */
	uint64_t number;                /* of the lease, never 0 */
	enum spool_duty duty;
	bool tell, last;
	int64_t until_ms;
};

/* What is due, if anything is. holder: whose lease it will be. */
bool spool_schedule_lease(struct spool_schedule *s, const void *holder, int64_t now_ms, struct spool_grant *out);
/* When spool_schedule_lease will have something, as far as is known now; INT64_MAX: not before something happens. */
int64_t spool_schedule_next_ms(const struct spool_schedule *s);

/* What came of a lease, seen from the route. */
enum spool_end {
	SPOOL_END_ALIVE,                /* the next hop had something to say; nobody was put off */
	SPOOL_END_LATER,                /* and put (some) recipients off */
	SPOOL_END_DOWN,                 /* it could not be talked to */
	SPOOL_END_UNTRIED,              /* nobody asked it */
	SPOOL_END_CLOSED,               /* it ended the session over this part: as down, but perhaps it is the message */
};

/* false: no such lease (any more). spool_schedule_put comes before it, if the envelope has changed. */
bool spool_schedule_end(struct spool_schedule *s, const char *id, uint64_t number, enum spool_end end, int64_t now_ms);
/* A holder is gone: all that it had comes back. How many. */
size_t spool_schedule_gone(struct spool_schedule *s, const void *holder, int64_t now_ms);
/* A lease of before the keeper's death goes on under its number. false: there is no such part, or somebody has it. */
bool spool_schedule_claim(struct spool_schedule *s, const char *id, const char *route, uint64_t number, const void *holder, int64_t until_ms);
bool spool_schedule_leased(const struct spool_schedule *s, const char *id);

/* Due at once: an entry; or those of a route (its text, or first word; NULL: all). How many parts. */
size_t spool_schedule_wake_id(struct spool_schedule *s, const char *id, int64_t now_ms);
size_t spool_schedule_wake(struct spool_schedule *s, const char *route, int64_t now_ms);

/* All recipients of an entry are to be given up: SPOOL_EXPIRE, at once. How many parts. */
size_t spool_schedule_give_up(struct spool_schedule *s, const char *id, int64_t now_ms);

/* What can be told of an entry: of each part. next_ms: the next attempt, 0: at once. */
struct spool_part_state {
	const char *route;
	int64_t next_ms;
	bool leased, route_down;
	unsigned route_failures;
};
size_t spool_schedule_parts(const struct spool_schedule *s, const char *id, struct spool_part_state *out, size_t max);

struct spool_totals {
	uint64_t messages, bytes, parts, leased, routes, routes_down;
};
struct spool_totals spool_schedule_totals(const struct spool_schedule *s);

#endif
