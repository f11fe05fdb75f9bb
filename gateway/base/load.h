/*
 * load - how near a worker and its site are to their bounds, and which new connections are turned away because of it
 *
 * A worker knows of itself: its sessions, its descriptors, how late its loop comes (timers, and connections that wait to be accepted: lag), and who waits
 * for a place at a server behind; and of the site: the memory of all processes, each of which tells its own (struct load_shared, memory that they share).
 * Each is a percentage of its bound; the highest is the load.
 *
 * From a lower mark on (`from`) a growing share of strangers' new connections is turned away, all of them at the upper mark, three fifths of the way to 100.
 * There those begin whom the site wants most: its own, and networks from which mail has lately been taken (load_known). Lag alone never turns
 * these away. At LOAD_SHORT per cent of the memory no new message is begun. Sessions that there are go on as they are. So the last to suffer is who is
 * inside, and what is said is always "come again later".
 *
 * A turn costs no task and no memory. One line in the log when turning away begins, one when it is over.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/net.h"
#include "base/places.h"
#include "base/siphash.h"

enum {
	LOAD_PLACES = PLACES_WORKERS_MAX + 16,          /* of processes: workers by their slots, then the others by their roles */
	LOAD_KNOWN = 8192,                              /* networks remembered */
	LOAD_KNOWN_MIN = 7 * 24 * 60,                   /* so many minutes */
	LOAD_SHORT = 95,
};

enum load_kind { LOAD_STRANGER, LOAD_WANTED, LOAD_KINDS };
enum load_why { LOAD_MEMORY, LOAD_SESSIONS, LOAD_DESCRIPTORS, LOAD_LAG, LOAD_WAITING, LOAD_WHYS };

/* Of a site; zeroed at start, then load_shared_init. */
struct load_shared {
	struct siphash_key key;
	_Atomic uint64_t memory_max;                    /* the bound, as the latest workers have it */
	_Atomic uint64_t memory[LOAD_PLACES];           /* bytes of each process */
	_Atomic int percent[PLACES_WORKERS_MAX];        /* the load of each worker, and how many tasks it has */
	_Atomic int tasks[PLACES_WORKERS_MAX];
	_Atomic uint64_t turned_away[LOAD_KINDS], deferred;     /* connections; messages for want of memory. Since the start */
	_Atomic uint64_t known[LOAD_KNOWN];
};

void load_shared_init(struct load_shared *s);
/* The worker of this slot is dead. */
void load_shared_forget(struct load_shared *s, int slot);
uint64_t load_shared_memory(const struct load_shared *s);
int load_shared_percent(const struct load_shared *s);   /* of the worker with the highest */

/* Mail from this address has been taken just now; whether that was so lately for its network (/24, of IPv6 /64). */
void load_know(struct load_shared *s, const struct net_addr *a);
bool load_known(const struct load_shared *s, const struct net_addr *a);

/*
 * What this process has in memory for itself alone, as /proc tells (what it has not written to since it was forked may count twice; files do not count). A
 * descriptor from before the chroot, or -1; and the bytes, 0 if that cannot be known. Under AddressSanitizer always 0: it is the sanitizer's.
 */
int load_memory_open(void);
uint64_t load_memory_read(int fd);
/* Whether what is free in the heap is to go back to the system: so much is in memory, so much was after the last time, so long ago. */
bool load_trim_due(bool near, uint64_t bytes, uint64_t trimmed_bytes, int64_t since_ms);

/* 0: no bound, it is not looked at. */
struct load_bounds {
	uint64_t memory_bytes;          /* of the site */
	int sessions;
	int descriptors;
	int lag_ms;                     /* all strangers are turned away then */
	int from;                       /* the lower mark, per cent; 0 or 100: nobody is turned away */
};

struct load_figures {
	uint64_t memory_bytes;
	int sessions, descriptors, lag_ms;
	int waiting, places;            /* who waits for a place at a server behind, and its places; the worst one's */
};

/* The highest of the percentages, and whose it is. */
int load_percent(const struct load_bounds *b, const struct load_figures *f, enum load_why *why);
/* The share of new connections of a kind that is turned away, per cent. */
int load_share(int from, int percent, enum load_kind kind);

struct load;

/* Before the process is confined. NULL: no memory. look fills in sessions, waiting and places, and adds to memory_bytes what /proc does not show. */
struct load *load_new(struct load_shared *shared, int slot, const struct load_bounds *bounds, void (*look)(void *arg, struct load_figures *f), void *arg);
void load_free(struct load *l);
/* On the loop: figures from now on, five times a second. 0 or -ENOMEM. */
int load_start(struct load *l);

/* A connection has been accepted with this descriptor: whether it is to be turned away. */
bool load_turns_away(struct load *l, enum load_kind kind, int fd);
/* The queue of a listening socket has been found empty, or not in spite of all that was taken from it. */
void load_queue(struct load *l, bool empty);
/* Whether no message is to be begun; counts it as deferred. l NULL: never. */
bool load_memory_short(struct load *l);

const char *load_why_text(enum load_why why);

#endif
