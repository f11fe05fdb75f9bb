/*
 * routes_test - whether the servers' answers to their clients come back through this machine
 */
#ifndef ROUTES_TEST_H
#define ROUTES_TEST_H

#include "command/routes.h"

/* Each server is connected to from our own address and from the client's (NULL: one of documentation); said on stdout. The exit status. */
int routes_test(const struct site *s, const struct routes_server *server, size_t count, const char *client);

#endif
