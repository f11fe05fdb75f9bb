/*
 * shared - the memory that all processes of a site share: counters, per worker slot, and what is
 * known per site
 *
 * A sealed memfd, mapped by the parent before it starts anybody and kept over reloads and upgrades: another program takes it over if its
 * SHARED_LAYOUT is the same, and makes one of its own if not. Everything is atomic; nobody
 * waits for anybody. A worker has a slot while it lives (old and new generations at once); when it
 * has died, the parent clears its slot, so that what it held (backend sessions) is free again.
 */
#ifndef SHARED_H
#define SHARED_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/load.h"
#include "base/presence.h"
#include "daemon/daemon_pool.h"
#include "filters/dnsbl_health.h"
#include "hop/backend.h"
#include "hop/destination_hop.h"
#include "policy/client_use.h"
#include "policy/login_shared.h"
#include "process/directory_wire.h"
#include "rua/rua_run.h"

enum {
	SHARED_SLOTS = BACKEND_WORKERS_MAX, /* workers alive at once, all generations */
	SHARED_PLACES = 64,     /* backends, and listeners, and daemons beside us */
	SHARED_NAME_MAX = 64,
	SHARED_GENERATIONS = 8, /* that may have zones of their own at the same time */
};

struct shared_slot {
	_Atomic int pid;                        /* 0: free */
	_Atomic unsigned generation;
	_Atomic int sessions;                   /* open now */
	_Atomic uint64_t accepted;              /* connections, since it started */
	_Atomic uint64_t log_dropped;
};

/* Who has which place: the same over reloads as long as it keeps its name. */
struct shared_names {
	char name[SHARED_PLACES][SHARED_NAME_MAX];
};

struct shared {
	uint64_t layout;                        /* SHARED_LAYOUT of the program that made it; stays first */
	int64_t started_s;
	_Atomic uint64_t accepted;              /* over all workers that have ever been */
	_Atomic unsigned generation;            /* the present one */
	_Atomic int reloads_refused, upgrades_refused;
	_Atomic int64_t upgraded_ms;            /* when the program that runs took over, wall clock; 0: it was started */
	_Atomic int restarts;                   /* children that died and were started again */
	_Atomic int64_t history_records;        /* kept now, about */
	_Atomic uint64_t history_dropped;       /* that could not be kept */
	_Atomic uint64_t spool_messages, spool_bytes;   /* in the spool, */
	_Atomic uint64_t spool_leased, spool_routes, spool_routes_down;         /* being delivered; where to, and what is put off as a whole */
	_Atomic int64_t ledger_until_s;         /* policy/ledger.h */
	struct rua_shared rua;                  /* aggregate reports */
	struct destination_shared destinations;
	struct login_shared login;              /* what need not be asked of the state */
	struct load_shared load;
	struct use_table use;                  /* what clients have asked of us lately, */
	struct presence presence;               /* and what they have at once */
	struct places smtp_sessions;
	struct shared_slot slot[SHARED_SLOTS];
	struct shared_names backend_names, listener_names, daemon_names;
	struct backend_shared backend[SHARED_PLACES];
	struct daemon_shared daemon[SHARED_PLACES];
	struct places listener[SHARED_PLACES];  /* connections of those that have max_connections */
	struct dnsbl_health dnsbl[SHARED_GENERATIONS];
	struct directory_shared directory;
};

/*
 * What lies where. The version is counted up when a member comes to mean something else, or changes its place, without a change of the whole
 * size: programs with the same number share one memory over an upgrade.
 */
enum { SHARED_VERSION = 1 };
#define SHARED_LAYOUT ((uint64_t)SHARED_VERSION << 32 | (uint64_t)sizeof(struct shared))

/* A new one: its descriptor, which cannot change its size any more; or -errno. */
int shared_make(void);
/* fd stays the caller's. NULL: no memory, or another program's layout. */
struct shared *shared_map(int fd);
void shared_unmap(struct shared *s);
/* Processes that this one makes from now on do not have it. 0 or -errno. */
int shared_withhold(struct shared *s);

/* Parent only, before workers start: the place of that name, its counters zeroed when it is new. -1: all are taken. */
int shared_backend_claim(struct shared *s, const char *name);
int shared_listener_claim(struct shared *s, const char *name);
int shared_daemon_claim(struct shared *s, const char *name);
/* Forget those that are not in the list, so that their places can be taken. Parent only. */
void shared_names_keep(struct shared_names *n, const char *const *names, size_t count);
/* The place, by workers. -1: not claimed. */
int shared_names_find(const struct shared_names *n, const char *name);

/* Parent only: a worker of this generation gets the slot. Which are free the parent knows by its children, not by what any of them may have written here. */
void shared_slot_take(struct shared *s, int slot, unsigned generation);
/* The worker of this slot is dead: everything it held is free. */
void shared_slot_clear(struct shared *s, int slot);

int shared_sessions(const struct shared *s);    /* over all slots */

/*
 * The health of the zones of this generation's configuration, in its order. begin: parent only;
 * zones that the former configuration has under the same name keep their state.
 */
struct dnsbl_health *shared_dnsbl(struct shared *s, unsigned generation);
void shared_dnsbl_begin(struct shared *s, unsigned generation, const struct site *site,
			unsigned former, const struct site *former_site);

#endif
