/*
 * backend_self - whether an address is one of our own
 */
#ifndef BACKEND_SELF_H
#define BACKEND_SELF_H

#include <stdbool.h>

#include "base/net.h"

struct site;

/* Whether a is an address that one of our listeners has: mail for it would go round for ever. */
bool backend_is_ourselves(const struct site *site, const struct net_addr *a);

#endif
