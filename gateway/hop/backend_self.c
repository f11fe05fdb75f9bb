#include "hop/backend_self.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policy/conf.h"

/*
 * Whether a is an address of this machine: the kernel sends to its own addresses from these very addresses, to others never. A list of addresses would
 * take a netlink socket, which a worker may not make.
 */
static bool is_local(const struct net_addr *a)
{
	struct sockaddr_storage to, from;
	struct net_addr with = *a, own;
	socklen_t len, from_len = sizeof(from);
	bool found = false;
	int fd;

	if (net_is_loopback(a))
		return true;
	fd = socket(a->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	with.port = 9;                  /* nothing is sent */
	len = net_to_sockaddr(&with, &to);
	if (connect(fd, (struct sockaddr *)&to, len) == 0 && getsockname(fd, (struct sockaddr *)&from, &from_len) == 0) {
		net_from_sockaddr((struct sockaddr *)&from, &own);
		found = net_same_ip(&own, a);
	}
	close(fd);
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
