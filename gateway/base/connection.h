/*
 * connection - what connections have in common, whatever is spoken: an id for the log, and how they are turned away
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "base/net.h"

struct proxy_header;
struct stream;

enum { CONNECTION_ID_MAX = 16 };

/* An id that no other connection of these days has. out has CONNECTION_ID_MAX bytes. */
void connection_id(char *out);

/* The line that says so; the caller closes it. */
void connection_turned_away(const char *listener, const struct net_addr *client, const char *why);

/*
 * Of a connection from a load balancer: the PROXY header that it must begin with. 0; or -errno, and it has been logged as turned away (but one that
 * ends without a word is a port being looked at). may wait
 */
int connection_proxied(struct stream *s, const char *listener, const struct net_addr *peer, struct proxy_header *out);

/* The address of our end; family 0: it has none. */
void connection_local(int fd, struct net_addr *out);

#endif
