/*
 * backend - the servers behind us as one group: whom to ask, whether he is well, and how many sessions he may have
 *
 * A worker has one struct backend_group, made from the site. Members are tried by priority, those of equal priority by turns. Each
 * member is probed (EHLO) at start and at intervals; one that fails is away: it is left out, probed with back-off from
 * 1 s to its probe interval, and comes back by a probe that succeeds. One that says 421 or times out is left out for a while.
 * Every change is one loud log line; so is a change of what it offers (after an upgrade, say).
 *
 * max_sessions holds over all workers: each has a slot of a counter in shared memory. Who finds no free session waits
 * at most max_sessions_wait_ms. Idle sessions are kept where the member says reuse, for reuse_idle_ms and reuse_max messages, and get an RSET
 * before the next use; a session that carries a client's identity is never kept.
 *
 *     struct backend_session *bs;
 *     int rc = backend_take(group, deadline_ms, &bs);         // may wait
 *     if (rc == 0) {
 *             smtp_client_mail(bs->client, ...);
 *             backend_give(bs, true);
 *     }
 */
#ifndef BACKEND_H
#define BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/health.h"
#include "base/places.h"
#include "base/tls_weak.h"
#include "hop/backend_self.h"
#include "hop/smtp_client.h"

struct backend;
struct backend_conf;
struct backend_group;
struct dns;
struct site;

enum { BACKEND_WORKERS_MAX = PLACES_WORKERS_MAX };

/*
 * Servers slow a session down, and end it, when it brings refused commands or RSETs and no mail (Postfix: 10 errors, 100 RSETs). Such a
 * session is not used again.
 */
enum { BACKEND_STRAIN_USE = 2, BACKEND_STRAIN_REFUSED = 10, BACKEND_STRAIN_MAX = 50 };

/* One member's counters, in memory that all workers share; zeroed at start. */
struct backend_shared {
	struct places inside;                           /* sessions that each worker holds, idle ones included */
	_Atomic int wanted[BACKEND_WORKERS_MAX];        /* how many wait in each: idle sessions are given up */
	_Atomic uint64_t offer;                         /* a hash of what it offered when a change was logged last */
	struct tls_weak tls_weak;                       /* what came of opportunistic TLS */
	health_place health[BACKEND_WORKERS_MAX];       /* how each worker has found it */
};

/* A worker has died: what it held is free. */
void backend_shared_forget(struct backend_shared *shared, int worker);

struct backend_session {
	struct smtp_client *client;
	struct backend *backend;
	int messages;                   /* transactions that it has carried */
	bool identity;                  /* the server knows for whom we speak: never reused for another */
	bool fresh;                     /* opened for this use */
	int strain;                     /* BACKEND_STRAIN_ of what it has said since its last message */
	/* private: */
	int64_t idle_since_ms;
	struct backend_session *next;
	struct smtp_client_conf conf;   /* of one that was opened for a client */
	char *helo;
};

/* 0, or -errno with err (no CA, ...). site, dns outlive the group. */
struct listener_conf;
/* Those of a listener; l NULL: of mail that comes through none (listener_has_backend). */
int backend_group_new(const struct site *site, const struct listener_conf *l, struct dns *dns, struct backend_group **out, struct buf *err);

/* Those of a section domain. And whether g has exactly those members. */
struct domain_owner;
int backend_group_owner(const struct site *site, const struct domain_owner *o, struct dns *dns, struct backend_group **out, struct buf *err);
bool backend_group_is(const struct backend_group *g, const struct domain_owner *o);

/* A message was not taken, though its recipients had been; and when that was last, of clock_ms() (0: never). */
void backend_group_refused(struct backend_group *g);
int64_t backend_group_refused_ms(const struct backend_group *g);

/* Whether who asks for a session now would have to wait for that of another: the best of those that answer have all theirs at work. Never waits. */
bool backend_group_full(struct backend_group *g);

size_t backend_group_count(const struct backend_group *g);
const char *backend_group_name(const struct backend_group *g, size_t i);

/* Counters of member i; before backend_group_start. Default: private ones. self: this worker's slot. */
void backend_group_share(struct backend_group *g, size_t i, struct backend_shared *shared, int self);

/* Whether mail for them may be spooled now: every member has spool = yes, and none answers. */
bool backend_group_spools(const struct backend_group *g);

/* fn(arg) whenever a member that was away, or not known yet, answers. It must not wait. */
void backend_group_on_up(struct backend_group *g, void (*fn)(void *arg), void *arg);

/* Whether an address is that of a member: as configured, or the one it was last reached at. */
bool backend_group_has(const struct backend_group *g, const struct net_addr *a);

/* Spawn the probes. */
int backend_group_start(struct backend_group *g);

/* Idle sessions are closed and probes end; the group frees itself when the last session has been given back. */
void backend_group_free(struct backend_group *g);

/*
 * A session after EHLO, ready for MAIL. 0; -EHOSTUNREACH: no member answers; -EBUSY: all sessions are taken, and were for the bounded
 * wait; -ETIMEDOUT: the deadline; -ECANCELED. may wait
 */
int backend_take(struct backend_group *g, int64_t deadline_ms, struct backend_session **out);

/*
 * The same, for a client: a member with proxy = v1 or v2 gets a connection of its own that begins by saying who that is, one with xclient = yes is
 * told by XCLIENT if it offers that. Where the server has been told, session->identity is set. What it then answers is the client's affair: words
 * that refuse come back in refusal (SMTP_WHY_MAX bytes, "554 5.7.1 go away"; else ""), with -EACCES (5xx) or -EBUSY (4xx), and do not make the member
 * away. who NULL: as backend_take. may wait
 */
struct smtp_identity;
int backend_take_for(struct backend_group *g, const struct smtp_identity *who, int64_t deadline_ms, struct backend_session **out, char *refusal);
/* As that, but a session that nobody has used: for a client who is about to authenticate in it. It is never used by another. */
int backend_take_new(struct backend_group *g, const struct smtp_identity *who, int64_t deadline_ms, struct backend_session **out, char *refusal);

/* The end of a use. clean: the transaction is complete (or none was begun), the session may be kept. Never waits: a QUIT is said in a task of its own. */
void backend_give(struct backend_session *bs, bool clean);
static inline void backend_session_cleanup(struct backend_session **bs)
{
	if (*bs)
		backend_give(*bs, false);
}

/*
 * Inline, the client has chosen the server: the member that has this address, of several that with its port first, or NULL; how it is spoken to; what it
 * can do (false: not seen yet).
 */
struct backend *backend_at(struct backend_group *g, const struct net_addr *a);
const struct smtp_client_conf *backend_client_conf(const struct backend *b);
bool backend_caps(const struct backend *b, struct smtp_caps *out);

/*
 * The context of one that has pins, or is opportunistic and needs old protocols: whoever begins TLS with it uses that one. NULL: any will do. It does not
 * verify by CA and name.
 */
struct ssl_ctx_st *backend_tls_peculiar(const struct backend *b);
/* What came of TLS in a session with it that was opened elsewhere (backend_open tells it itself). */
void backend_tls_note(struct backend *b, const struct smtp_client *c);

/* A place among its max_sessions, for a session that is opened elsewhere. 0; -EBUSY: all are taken, and were for the bounded wait; -ECANCELED. enter may wait */
int backend_enter(struct backend *b, int64_t deadline_ms);
void backend_leave(struct backend *b);

/*
 * A session with this member for one client alone, spoken to as conf says (copied; what it points to but hostname outlives the session): it counts
 * among max_sessions, and is never used by another. Whether it can be opened says nothing of the member's health. 0; -EBUSY: all are taken, and were
 * for the bounded wait; else as smtp_client_open_told, with why and refusal (SMTP_WHY_MAX each). may wait
 */
int backend_open(struct backend *b, const struct smtp_client_conf *conf, const struct net_addr *to, int64_t deadline_ms,
		 struct backend_session **out, char *why, char *refusal);

const char *backend_name(const struct backend *b);
const char *backend_address(const struct backend *b);           /* last used, "192.0.2.1:25"; "" before */

/* What all members can do: those away as they were when last seen. false: no member has been seen yet (caps zeroed). */
bool backend_group_caps(const struct backend_group *g, struct smtp_caps *out);
/* Wait until every member has been probed once, or timeout. 0 or -ETIMEDOUT, -ECANCELED. may wait */
int backend_group_ready(struct backend_group *g, int timeout_ms);
int backend_group_sessions(const struct backend_group *g);      /* that this process holds, in use, idle or saying goodbye */
size_t backend_group_up(const struct backend_group *g);         /* members that are not away */

#endif
