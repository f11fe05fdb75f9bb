/*
 * daemon_sockets - the worker's end of CHANNEL_DAEMON: connections to unix sockets of daemons, which the parent makes
 *
 * A worker opens no path. The parent connects, to those paths only that the worker's configuration names, and hands the descriptor over.
 */
#ifndef DAEMON_SOCKETS_H
#define DAEMON_SOCKETS_H

#include "daemon/daemon_pool.h"

struct channel;

struct daemon_sockets {
	struct daemon_source source;    /* to be handed to the pool */
	struct channel *parent;
};

void daemon_sockets_init(struct daemon_sockets *s, struct channel *parent);

#endif
