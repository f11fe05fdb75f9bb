/*
 * parent - the process that starts and keeps all others
 *
 * It reads the configuration, binds the listeners, maps the shared memory, starts the key process,
 * four keepers and the workers, wires their channels, and starts again, with back-off, what dies. It
 * never reads a byte from the network, and never has a private key (keys.h).
 *
 * List files of the policy are read again when they change, and handed to the running workers.
 *
 * SIGHUP   reload: the new configuration is read first; if it is wrong, or its workers do not come
 * up, the old one goes on. Else the new generation accepts before the old one stops: no connection
 * is lost. The old one drains for drain_reload (timeouts) at most.
 *
 * SIGUSR2  upgrade: the program that lies where ours was is tried, and executed in our place; it takes over sockets and children
 * (handover.h). SIGTERM  (SIGINT) drain: stop accepting, let sessions end for drain_stop, stop the keepers, end. A second one: at once.
 */
#ifndef PARENT_H
#define PARENT_H

#include "base/buf.h"
#include "process/worker.h"

enum {
	PARENT_DRAIN_STOP_S = 30,       /* where there is no configuration that says it */
	PARENT_DRAIN_RELOAD_S = 3600,
	PARENT_GENERATIONS_MAX = 4,     /* older ones are given drain_stop */
	PARENT_START_S = 60,            /* until a process must say that it serves */
};

struct parent_options {
	const char *path;               /* of the configuration file */
	/* As site_load and site_free of policy/conf.h. */
	struct site *(*load)(const char *path, struct buf *errors, struct buf *warnings);
	void (*free)(struct site *s);
	const struct worker_protocol *const *protocols;
	int drain_stop_s, drain_reload_s;       /* 0: those of the configuration */
};

/*
 * Runs until told to end: the exit status, 0 after a drain. Errors of the first start are on
 * stderr, one per line, and it is 1.
 */
int parent_run(const struct parent_options *opt);

#endif
