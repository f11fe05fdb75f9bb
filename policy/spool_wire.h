/*
 * spool_wire - what workers and the spool's keeper say to each other, as JSON
 *
 *     CHANNEL_SPOOL_OPEN     -> a descriptor of a file without a name
 *     CHANNEL_SPOOL_KEEP     record (spool_record.h) and descriptor -> the id
 *     CHANNEL_SPOOL_LEASE    { "serial", "wait" } -> a lease and the descriptor of ID.eml, or -EAGAIN when nothing came in time
 *     CHANNEL_SPOOL_REPORT   outcomes; with a DSN: its record, and its descriptor -> 0
 *     CHANNEL_SPOOL_WAKE     { "route" } -> { "parts" }
 *     CHANNEL_SPOOL_HOLD     notice: the leases that the worker has, to a keeper that is new
 *     CHANNEL_SPOOL_FORGET   notice, { "serial" }: nobody waits for that lease any more; if it has been given, it is taken back
 *
 * Neither side trusts the other: what is not as it should be is -EBADMSG. Pure: no I/O.
 */
#ifndef SPOOL_WIRE_H
#define SPOOL_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "policy/spool.h"
#include "policy/spool_schedule.h"

enum { SPOOL_HELD_MAX = 10000 };

/* { key: n }, for free(); and back: 0 or -EBADMSG. */
char *spool_wire_number(const char *key, int64_t n);
int spool_wire_number_read(const char *text, size_t len, const char *key, int64_t max, int64_t *out);

char *spool_wire_ask(uint64_t serial, int wait_ms);
int spool_wire_ask_read(const char *text, size_t len, uint64_t *serial, int64_t *wait_ms);

/* now_ms: of the process, as the lease travels with the time that is left. NULL: no memory. */
char *spool_wire_lease(const struct spool_grant *g, const struct spool_envelope *e, int64_t now_ms);
/* A lease without its descriptor, for spool_lease_free. */
int spool_wire_lease_read(const char *text, size_t len, int64_t now_ms, struct spool_lease **out);
void spool_lease_free(struct spool_lease *l);
AUTO_DEFINE(spool_lease)

/* A report as the keeper reads it. */
struct spool_told {
	char id[STORE_ID_MAX];
	uint64_t number;
	bool route_down, met;
	enum spool_duty duty;           /* what the worker was to do: attempts are only counted of SPOOL_DELIVER */
	struct spool_outcome *outcome;  /* its texts are borrowed of json */
	size_t count;
	struct spool_envelope *dsn;     /* NULL: none */
	char **text;                    /* of the outcomes */
	size_t text_count;
};

char *spool_wire_report(const struct spool_lease *l, const struct spool_report *r);
int spool_wire_report_read(const char *text, size_t len, struct spool_told *out);      /* release it in any case */
void spool_told_release(struct spool_told *t);
static inline void spool_told_cleanup(struct spool_told *t)
{
	spool_told_release(t);
}

struct spool_held {
	char id[STORE_ID_MAX];
	char *route;
	uint64_t number;
	int64_t left_ms;
};

char *spool_wire_hold(const struct spool_lease *first, int64_t now_ms);
/* Each is told to fn. 0 or -EBADMSG. */
int spool_wire_hold_read(const char *text, size_t len, void (*fn)(void *arg, const struct spool_held *h), void *arg);

#endif
