/*
 * netlink - what the kernel's routing and packet filter are set to, asked and never changed
 *
 * For commands that check a machine: each question waits for its answer.
 */
#ifndef NETLINK_H
#define NETLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/net.h"

/* The type of the route to an address for packets with a mark: RTN_UNICAST, RTN_LOCAL... (linux/rtnetlink.h). -errno: no route, or no answer. */
int netlink_route_type(const struct net_addr *to, uint32_t mark);

/* Whether a routing rule of the family looks at exactly that mark. 1, 0, -errno. */
int netlink_rule(int family, uint32_t mark);

/* Whether there is an nftables table "inet NAME". 1, 0; -EPERM: not for us to know; -errno. */
int netlink_nft_table(const char *name);

#endif
