/*
 * identity - who a client is, as servers behind are told (xclient.h, PROXY)
 */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "filters/txn.h"
#include "hop/xclient.h"

/*
 * What is known of c now, which outlives the result. Its name only if that has been asked for, and DNS confirms it both ways. local: where it has
 * connected to; NULL: not known.
 */
struct smtp_identity identity_of(const struct client *c, const struct net_addr *local);

#endif
