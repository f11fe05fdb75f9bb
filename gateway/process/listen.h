/*
 * listen - the listening sockets of a site, bound by the parent, inherited by the workers
 *
 * A socket is kept over reloads as long as some listener has its address, so that no connection is
 * lost. Workers of all generations share it: SO_REUSEPORT would reset what is queued when a worker
 * goes. One of a transparent listener takes connections to other hosts' addresses (base/transparent.h):
 * getsockname of what it accepts is where the client wanted to go.
 */
#ifndef LISTEN_H
#define LISTEN_H

#include <stddef.h>

#include "base/buf.h"
#include "base/net.h"

struct listener_conf;

struct listen_set {
	size_t count;
	struct {
		struct net_addr address;
		int fd;
	} *socket;      /* in the order of the site's listeners */
};

/*
 * The sockets for these listeners: those that `old` (may be NULL) has duplicated, the others bound,
 * so that either set can be closed and the other goes on. 0, or -errno and "file:line: ..." in err.
 */
int listen_open(const char *file, const struct listener_conf *listeners, size_t count,
		const struct listen_set *old, struct listen_set *out, struct buf *err);
void listen_close(struct listen_set *set);

/*
 * These listeners are in force, whether after a reload that came to its end or one that did not: what sockets that they share with others may do
 * is what they say. Until then such a socket may be transparent although one of the two does not want it.
 */
void listen_settle(const struct listen_set *set, const struct listener_conf *listeners);

/*
 * A UNIX stream socket at path, mode 0600, listening; a dead one in the way is removed. fd or
 * -errno.
 */
int listen_unix(const char *path);

#endif
