#include "hop/backend_self.h"

#include <ifaddrs.h>
#include <string.h>

#include "policy/conf.h"

/* Whether a is an address of this machine. */
static bool is_local(const struct net_addr *a)
{
	struct ifaddrs *all = NULL, *i;
	bool found = net_is_loopback(a);

	if (found || getifaddrs(&all) != 0)
		return found;
	for (i = all; i && !found; i = i->ifa_next) {
		struct net_addr own;

		if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		net_from_sockaddr(i->ifa_addr, &own);
		found = net_same_ip(&own, a);
	}
	freeifaddrs(all);
	return found;
}

static bool is_any(const struct net_addr *a)
{
	static const unsigned char zero[16];

	return memcmp(a->ip, zero, a->family == AF_INET ? 4 : 16) == 0;
}

/* Mail for a backend that is ourselves would go round for ever. */
bool backend_is_ourselves(const struct site *site, const struct net_addr *a)
{
	for (size_t i = 0; i < site->listener_count; i++) {
		const struct net_addr *l = &site->listener[i].address;

		if (l->port != a->port || l->family != a->family)       /* sockets of one family each */
			continue;
		if (net_same_ip(l, a) || (is_any(l) && is_local(a)) || (is_any(a) && is_local(l)))
			return true;
	}
	return false;
}
