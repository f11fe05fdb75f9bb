/*
 * shares - a counting gate of which no network of clients has all places
 *
 * For what takes its time because of those who ask for it: a server that lets whoever guesses at addresses wait for seconds (a tarpit) would otherwise
 * keep everybody waiting as soon as somebody guesses at as many addresses at once as there are places. A network (an IPv4 address, an IPv6 /64) has two
 * thirds of them at most; who is beyond that waits for others of his own network, then everybody for his turn.
 */
#ifndef SHARES_H
#define SHARES_H

#include "base/net.h"
#include "base/task.h"

struct share {
	char network[NET_TEXT_MAX];
	struct gate gate;
	int users;              /* inside, or waiting for it */
	struct share *next;
};

struct shares {
	struct gate all;
	struct share *first;    /* networks that are inside or wait: no more than there are sessions */
};

void shares_init(struct shares *s, int places);

/* who NULL: nobody's, it takes its turn among all. 0 and *out, which may be NULL; -ETIMEDOUT, -ECANCELED, -ENOMEM. may wait */
int shares_enter(struct shares *s, const struct net_addr *who, int timeout_ms, struct share **out);
void shares_leave(struct shares *s, struct share *h);

#endif
