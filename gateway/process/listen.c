#include "process/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/transparent.h"
#include "policy/conf.h"

enum { BACKLOG = 4096 };                /* cut by the kernel to net.core.somaxconn */

static bool same_address(const struct net_addr *a, const struct net_addr *b)
{
	return a->port == b->port && net_same_ip(a, b);
}

static int bind_one(const struct net_addr *a, bool transparent)
{
	struct sockaddr_storage ss;
	socklen_t len = net_to_sockaddr(a, &ss);
	int on = 1, e;
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));        /* what is accepted inherits it */
	if (ss.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	e = transparent ? -transparent_set(fd, a->family, true) : 0;
	if (e == 0 && bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	if (e == 0)
		e = errno;
	close(fd);
	return -e;
}

static int find(const struct listen_set *set, const struct net_addr *a)
{
	for (size_t i = 0; set && i < set->count; i++)
		if (set->socket[i].fd >= 0 && same_address(&set->socket[i].address, a))
			return (int)i;
	return -1;
}

/* One that goes on. The socket is shared with the old one, which must be able to go on as it is: nothing is taken from it before listen_settle. */
static int keep_one(int old_fd, const struct listener_conf *l)
{
	int fd = fcntl(old_fd, F_DUPFD_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	rc = l->transparent ? transparent_set(fd, l->address.family, true) : 0;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* The fd, or -errno with a line in err. Port 0 is a new port each time. */
static int open_one(const char *file, const struct listener_conf *l, const struct listen_set *old,
		    struct buf *err)
{
	int at = l->address.port == 0 ? -1 : find(old, &l->address);
	int fd = at >= 0 ? keep_one(old->socket[at].fd, l) : bind_one(&l->address, l->transparent);
	char text[NET_TEXT_MAX];

	if (fd == -EPERM && l->transparent)
		buf_addf(err, "%s:%d: listener %s: transparent = yes needs the capability CAP_NET_RAW: start as root, with it in the "
			 "CapabilityBoundingSet of the service\n", file, l->line, l->name);
	else if (fd < 0)
		buf_addf(err, "%s:%d: cannot listen on %s: %s\n", file, l->line,
			 net_text_port(&l->address, text), strerror(-fd));
	return fd;
}

int listen_open(const char *file, const struct listener_conf *listeners, size_t count,
		const struct listen_set *old, struct listen_set *out, struct buf *err)
{
	struct listen_set set = { .count = count,
				  .socket = calloc(count ? count : 1, sizeof(*set.socket)) };
	int rc = 0;

	if (!set.socket)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		set.socket[i].address = listeners[i].address;
		set.socket[i].fd = open_one(file, &listeners[i], old, err);
		if (set.socket[i].fd < 0)
			rc = set.socket[i].fd;
	}
	if (rc < 0) {
		listen_close(&set);
		return rc;
	}
	*out = set;
	return 0;
}

void listen_settle(const struct listen_set *set, const struct listener_conf *listeners)
{
	for (size_t i = 0; i < set->count; i++)
		(void)transparent_set(set->socket[i].fd, set->socket[i].address.family, listeners[i].transparent);
}

void listen_close(struct listen_set *set)
{
	for (size_t i = 0; set->socket && i < set->count; i++)
		if (set->socket[i].fd >= 0)
			close(set->socket[i].fd);
	free(set->socket);
	*set = (struct listen_set){ .count = 0 };
}

int listen_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	/*
	 * The state directory's lock says that nobody else serves it; anything but a socket is not
	 * ours to remove.
	 */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 16) == 0 ? 0 : -errno;
	umask(mask);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}
