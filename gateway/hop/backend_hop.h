/*
 * backend_hop - the servers behind us as a next hop
 */
#ifndef BACKEND_HOP_H
#define BACKEND_HOP_H

#include "hop/next_hop.h"

struct backend_group;
struct client;
struct net_addr;

/*
 * g outlives it. who: the client whose mail it is, told to servers that take it (backend_take_for); it outlives the next hop, too, and what it says at
 * each take counts. local: where it had connected to. NULL: mail of nobody, from the spool. The result NULL: no memory.
 */
struct next_hop *backend_hop_new(struct backend_group *g, const struct client *who, const struct net_addr *local);

/* h->refusal from what a server said at its greeting to the client whom a session was for. */
void backend_hop_refuse(struct next_hop *h, const char *words);

#endif
