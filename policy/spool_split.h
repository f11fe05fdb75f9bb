/*
 * spool_split - a message to very many next hops as several entries
 *
 * Each part of an entry is leased and reported by itself, and each time the whole record is read and written: with a thousand routes in one entry that
 * would be a million recipients. So an entry has a bounded number of routes; what is more goes into further ones, which share the message's file.
 * Recipients of one route stay together. Pure: no I/O.
 */
#ifndef SPOOL_SPLIT_H
#define SPOOL_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "policy/spool.h"

enum { SPOOL_ENTRY_ROUTES = 50 };

/* How many routes an entry of a message of so many bytes may have: a large one, which is counted in each, is split into fewer. */
size_t spool_split_routes(uint64_t bytes);

/* Beyond routes different ones, *rest gets the recipients (the caller's; else NULL); those of e are in the order of routes then. 0 or -ENOMEM: e is as it was. */
int spool_split(struct spool_envelope *e, size_t routes, struct spool_envelope **rest);

#endif
