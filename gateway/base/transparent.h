/*
 * transparent - sockets that bear other hosts' addresses (IP_TRANSPARENT), and the marks that keep their packets apart
 *
 * Inline, connections to a server's own address end here, and go on from the client's own address. Packets that are meant for such sockets
 * are marked TRANSPARENT_MARK by the packet filter, and the routing table TRANSPARENT_TABLE, which is asked for that mark, says that every
 * address is local. What we send ourselves bears TRANSPARENT_OWN, so that nothing of it is taken in again. `gatepost routes` prints
 * the rules.
 *
 * To make such a socket takes CAP_NET_RAW or CAP_NET_ADMIN: the parent does; to bind and connect it takes nothing.
 */
#ifndef TRANSPARENT_H
#define TRANSPARENT_H

#include <stdbool.h>

enum {
	TRANSPARENT_MARK = 0x2525,
	TRANSPARENT_OWN = 0x2526,
	TRANSPARENT_TABLE = 2525,
};

/* May bind to any address, and take connections to any. Before bind, or to change a listening socket. 0 or -errno (-EPERM: the capability). */
int transparent_set(int fd, int family, bool on);

/*
 * A TCP socket, unbound, to connect from any address with a port of the kernel's choice: the port is chosen when the destination is known, so that
 * one client can have 28,000 connections to each of them. fd or -errno.
 */
int transparent_socket(int family);

/* Where such sockets come from in a process that may not make them. take: fd (the caller's) or -errno; may wait. */
struct socket_source {
	int (*take)(struct socket_source *s, int family, int timeout_ms);
};

#endif
