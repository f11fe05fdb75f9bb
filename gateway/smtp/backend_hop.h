/*
 * backend_hop - the servers behind us as a next hop
 */
#ifndef BACKEND_HOP_H
#define BACKEND_HOP_H

#include "smtp/next_hop.h"

struct backend_group;

/* g outlives it. NULL: no memory. */
struct next_hop *backend_hop_new(struct backend_group *g);

#endif
