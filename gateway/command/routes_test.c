#include "command/routes_test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/transparent.h"
#include "policy/conf.h"

enum { CONNECT_MS = 2000 };

/* Connect; *local: the address that it went from. 0 or -errno. */
static int try_from(const struct net_addr *to, const struct net_addr *from, struct net_addr *local)
{
	int fd = from ? transparent_socket(to->family) : socket(to->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0, error = 0;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (fd < 0)
		return from ? fd : -errno;
	if (from && bind(fd, (struct sockaddr *)&ss, net_to_sockaddr(from, &ss)) < 0)
		rc = -errno;
	if (rc == 0 && connect(fd, (struct sockaddr *)&ss, net_to_sockaddr(to, &ss)) < 0 && errno != EINPROGRESS)
		rc = -errno;
	if (rc == 0 && poll(&p, 1, CONNECT_MS) <= 0)
		rc = -ETIMEDOUT;
	len = sizeof(error);
	if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0)
		rc = -error;
	len = sizeof(ss);
	if (local && getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		net_from_sockaddr((struct sockaddr *)&ss, local);
	close(fd);
	return rc;
}

int routes_try(const struct net_addr *to, const struct net_addr *client)
{
	return try_from(to, client, NULL);
}

static int test_one(const char *name, const struct net_addr *to, const struct net_addr *client)
{
	char server[NET_TEXT_MAX], from[NET_TEXT_MAX], via[NET_TEXT_MAX];
	struct net_addr own = { 0 };
	int rc = try_from(to, NULL, &own);

	net_text_port(to, server);
	net_text(client, from);
	if (rc < 0) {
		printf("%s %s: does not answer this machine either: %s\n", name, server, strerror(-rc));
		return 1;
	}
	rc = try_from(to, client, NULL);
	if (rc == 0) {
		printf("%s %s: answers to %s come back through this machine\n", name, server, from);
		return 0;
	}
	if (rc == -EPERM) {
		printf("%s %s: no socket can bear another address: start as root, with the capability CAP_NET_RAW\n", name, server);
		return 1;
	}
	if (rc != -ETIMEDOUT) {
		printf("%s %s: from %s: %s\n", name, server, from, strerror(-rc));
		return 1;
	}
	printf("%s %s: ITS ANSWERS TO %s DO NOT COME BACK. On the server:\n    ip %s route replace default via %s\n"
	       "On this machine the interception must be in place: gatepost routes | sh\n",
	       name, server, from, to->family == AF_INET6 ? "-6" : "-4", net_text(&own, via));
	return 1;
}

int routes_test(const struct site *s, const struct routes_server *server, size_t count, const char *client)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		struct net_addr from;

		if (!routes_any_of(s, server[i].addr.family))
			continue;
		if (net_parse(client ? client : server[i].addr.family == AF_INET6 ? "2001:db8::1" : "192.0.2.1", &from) < 0) {
			fprintf(stderr, "gatepost routes: %s is no address\n", client);
			return 1;
		}
		if (from.family == server[i].addr.family)
			status |= test_one(s->backend[server[i].backend].name, &server[i].addr, &from);
	}
	return status;
}
