/*
 * connection - what connections have in common, whatever is spoken: an id for the log, and how they are turned away
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "base/net.h"

struct listener_conf;
struct proxy_header;
struct stream;

enum { CONNECTION_ID_MAX = 16 };

/* An id that no other connection of these days has. out has CONNECTION_ID_MAX bytes. */
void connection_id(char *out);

/*
 * The line that says so; the caller closes it. A flood of connections makes no flood of lines: after a hundred there is one a second, with more=, how many had
 * none before it.
 */
void connection_turned_away(const char *listener, const struct net_addr *client, const char *why);

/*
 * Of a connection from a load balancer: the PROXY header that it must begin with. 0; or -errno, and it has been logged as turned away (but one that
 * ends without a word is a port being looked at). may wait
 */
int connection_proxied(struct stream *s, const char *listener, const struct net_addr *peer, struct proxy_header *out);

/*
 * Who the ends of a connection are that peer has made to listener l: the client, as a load balancer tells it, or peer; where it has connected to; and what a
 * server behind is told of both (told = false: a load balancer speaks for itself). 0; -errno: as connection_proxied, and that is its end. may wait
 */
int connection_meet(struct stream *s, const struct listener_conf *l, const struct net_addr *peer, struct net_addr *client, struct net_addr *local,
		    struct proxy_header *header);

/* The address of our end; family 0: it has none. */
void connection_local(int fd, struct net_addr *out);

#endif
