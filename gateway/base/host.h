/*
 * host - the addresses of a server that is named in the configuration
 */
#ifndef HOST_H
#define HOST_H

#include <stddef.h>

#include "base/net.h"

struct dns;

enum { HOST_ADDRESSES_MAX = 8, HOST_WHY_MAX = 200 };

/*
 * host is a literal address or a name; its addresses with that port, IPv4 first, at most HOST_ADDRESSES_MAX to out. How many; 0: why says
 * the reason (HOST_WHY_MAX bytes). may wait, timeout_ms at most
 */
size_t host_addresses(struct dns *dns, const char *host, unsigned short port, int timeout_ms, struct net_addr *out, char *why);

#endif
