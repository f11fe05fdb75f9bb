#include "base/transparent.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int transparent_set(int fd, int family, bool on)
{
	int value = on, rc;

	if (family == AF_INET6)
		rc = setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &value, sizeof(value));
	else
		rc = setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &value, sizeof(value));
	return rc < 0 ? -errno : 0;
}

static int prepare(int fd, int family)
{
	int on = 1, mark = TRANSPARENT_OWN;
	int rc = transparent_set(fd, family, true);

	if (rc < 0)
		return rc;
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	/* Of IPv6 sockets, too: it is one flag. */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0)
		return -errno;
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ? -errno : 0;
}

int transparent_socket(int family)
{
	int fd, rc;

	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = prepare(fd, family);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}
