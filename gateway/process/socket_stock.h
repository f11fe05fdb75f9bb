/*
 * socket_stock - the worker's end of CHANNEL_SOCKET: transparent sockets from the parent, a few kept in stock
 *
 * A parent that is busy (it reads a large list, it tests a configuration) stalls nobody while the stock lasts. The stock of a family is filled when the
 * first socket of it is taken, and again when it is half empty.
 */
#ifndef SOCKET_STOCK_H
#define SOCKET_STOCK_H

#include "base/transparent.h"

struct channel;

enum { SOCKET_STOCK = 8 };

struct socket_stock {
	struct socket_source source;    /* to be handed to those who need sockets */
	struct channel *parent;
	struct {
		int fd[SOCKET_STOCK], count;
		bool filling;
	} of[2];                        /* IPv4, IPv6 */
};

void socket_stock_init(struct socket_stock *s, struct channel *parent);
void socket_stock_release(struct socket_stock *s);      /* no task uses it any more */

#endif
