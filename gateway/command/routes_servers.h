/*
 * routes_servers - the addresses of the backends, host names as the system's resolver knows them now
 */
#ifndef ROUTES_SERVERS_H
#define ROUTES_SERVERS_H

#include "command/routes.h"

/* 0 and *out (to be freed) with *count; -errno with lines in err: a name has no address. May block. */
int routes_servers(const struct site *s, struct routes_server **out, size_t *count, struct buf *err);

#endif
