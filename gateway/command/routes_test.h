/*
 * routes_test - whether the servers' answers to their clients come back through this machine
 */
#ifndef ROUTES_TEST_H
#define ROUTES_TEST_H

#include "command/routes.h"

/* Each server is connected to from our own address and from the client's (NULL: one of documentation); said on stdout. The exit status. */
int routes_test(const struct site *s, const struct routes_server *server, size_t count, const char *client);

/*
 * The same for one server, without a word: 0: its answer came back; -ETIMEDOUT: it did not; -EPERM: not as this user; or another -errno. Blocks for 2
 * seconds at most.
 */
struct net_addr;
int routes_try(const struct net_addr *to, const struct net_addr *client);

#endif
