/*
 * daemon_pool - what stands behind filters/daemon.h: connections of this process to the daemons of the configuration
 *
 * Of each daemon as many as its max_connections; who comes when all are taken waits in a queue, of DAEMON_QUEUE_MAX at most. A connection that can be used
 * again is kept for idle_ms, watched: one that the daemon ends is closed at once. TCP is connected from here; for a unix socket there is a
 * source, since a worker has no paths: its parent connects (process/socket_stock.h). Without a source this process does it by itself.
 *
 * An address that cannot be connected to is left alone for DAEMON_REST_MS, twice as long after each further failure, up to DAEMON_REST_MAX_MS. One that
 * is connected to but fails to answer is left alone at once where another one is well, else after DAEMON_FAILURES in a row: it may have been the message.
 * Then one line at a time finds out whether it is back. The log says it once each way.
 *
 * What each worker has found lies in memory that all processes share, for gatepost status (struct daemon_shared).
 */
#ifndef DAEMON_POOL_H
#define DAEMON_POOL_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/places.h"
#include "filters/daemon.h"

struct dns;
struct site;

enum { DAEMON_QUEUE_MAX = 256, DAEMON_REST_MS = 1000, DAEMON_REST_MAX_MS = 60 * 1000, DAEMON_FAILURES = 3 };

/* Who connects to unix sockets: a descriptor, connected and non-blocking (the caller's), or -errno (-EAGAIN: its queue is full; -EBUSY: it has made
 * too many lately). May wait. */
struct daemon_source {
	int (*connect)(struct daemon_source *s, const char *path, int timeout_ms);
};

/* Of a daemon, by workers: which of its addresses (bits, in their order) have answered last, or have not; and its lines, those that are kept included. */
struct daemon_shared {
	_Atomic uint8_t up[PLACES_WORKERS_MAX], away[PLACES_WORKERS_MAX];
	_Atomic int lines[PLACES_WORKERS_MAX];
};

/* A worker has died. */
void daemon_shared_forget(struct daemon_shared *shared, int worker);

struct daemon_pool;

/* For all of site->daemon. dns: for host names, source: may be NULL. NULL: no memory. */
struct daemon_pool *daemon_pool_new(const struct site *site, struct dns *dns, struct daemon_source *source);
/* The i-th daemon of the site tells there how it is, as this worker. shared outlives the pool. */
void daemon_pool_share(struct daemon_pool *p, size_t i, struct daemon_shared *shared, int self);
/* No task has a line, or waits for one. */
void daemon_pool_free(struct daemon_pool *p);

struct daemons *daemon_pool_daemons(struct daemon_pool *p);     /* NULL for NULL */

#endif
