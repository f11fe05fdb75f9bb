/*
 * limit - what a session may ask of us: how it is counted, slowed down and refused, whatever the protocol
 *
 * The counts are in memory that all workers share: policy/client_use.h for what comes in a period, base/presence.h for what is there at once. A session
 * has a struct limit_client; each step that uses one of the limits is counted before it is made:
 *
 *     int delay_ms = 0;
 *     if (limit_count(&s->limit, USE_RECIPIENTS, 1, &delay_ms) == LIMIT_REFUSED)
 *             say 450; return
 *     switch (limit_wait(&s->limit, USE_RECIPIENTS, delay_ms, s->stream)) ...
 *
 * Whoever is not counted (relay_networks, exempt, servers behind us), and all where nothing is shared, pass at once. In observe mode all pass; the log says what
 * would have been. There is one line a minute at most for a network and a kind:
 *
 *     event=limit what=connections client=192.0.2.7 count=301 limit=600 action=slow delay_ms=8 listener=smtp sid=5f3c... more=12
 *
 * more: how many steps since the last such line had none. Without client= it is a limit of the whole site.
 */
#ifndef LIMIT_H
#define LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/net.h"
#include "policy/client_use.h"

struct places;
struct presence;
struct site;
struct stream;

/* What the sessions of a worker share. */
struct limit_service {
	const struct site *site;
	struct use_table *use;         /* NULL: nothing is counted */
	struct presence *presence;      /* NULL: nobody is counted as being there */
	struct places *sessions;        /* of SMTP; NULL: not counted */
	int self;                       /* this worker's slot */
};

struct limit_client {
	const struct limit_service *svc;        /* NULL: is not counted */
	struct net_addr addr;
	const char *listener, *sid;     /* for the log; NULL: nothing to say */
	struct use_client who;
	int used[USE_KINDS];           /* by this session */
	unsigned rest;                  /* bytes, too few to be counted */
};

enum limit_answer { LIMIT_FREE, LIMIT_REFUSED, LIMIT_CANCELLED };

/* A client comes. svc NULL: it is not counted. */
void limit_client_init(struct limit_client *c, const struct limit_service *svc, const struct net_addr *client, const char *listener, const char *sid);

/*
 * n more of that kind, or, with 0, the question whether there is room for one. REFUSED: it is logged, and not counted. *delay_ms is raised to what the
 * step has to wait. Never waits.
 */
enum limit_answer limit_count(struct limit_client *c, enum use_kind kind, int n, int *delay_ms);

/*
 * The wait, for the sake of that kind. REFUSED: too many of this network wait already. CANCELLED: the task is, or the client has gone (s NULL: that is not
 * looked for). may wait
 */
enum limit_answer limit_wait(struct limit_client *c, enum use_kind kind, int delay_ms, const struct stream *s);

/*
 * In one session, too, the limit of its errors, max, does not come out of the blue: who has made so many gets slower before he is sent away, from slow_from
 * per cent of them on. By a second at most, less than for what the network does: a message for a list of which some have left is answered at this pace.
 */
int limit_errors_delay_ms(const struct limit_client *c, int errors, int max);

/* It has happened: counted, whatever the limit. */
void limit_note(struct limit_client *c, enum use_kind kind, int n);
void limit_note_bytes(struct limit_client *c, size_t n);

/* The user has logged in: what was counted of the session is taken back, and nothing more is counted. */
void limit_forget(struct limit_client *c);

/* --- what is there at once --- */

struct limit_seat {
	int cell[USE_NETWORKS];        /* -1: none */
};

static const struct limit_seat LIMIT_NO_SEAT = { { -1, -1, -1 } };

/* SMTP sessions; sessions that are slowed down; connections to the listener with that place in shared memory: LIMIT_LISTENER + place. */
enum limit_what { LIMIT_SESSIONS, LIMIT_SLOWED, LIMIT_LISTENER };

/* One more, if this client has not max already (0: no limit), 4 and 16 times as many of the networks around. 0 or -EBUSY. */
int limit_seat_take(const struct limit_service *svc, unsigned what, const struct net_addr *client, int max, struct limit_seat *out);
void limit_seat_leave(const struct limit_service *svc, struct limit_seat *seat);
/* The line that somebody has been refused one. */
void limit_seat_refused(const struct limit_client *c, int max);

#endif
