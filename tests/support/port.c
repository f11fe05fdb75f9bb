#include "tests/support/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOWEST = 10000, COUNT = 22000 };         /* those of ip_local_port_range begin at 32768 */

static int bound(int type, unsigned short port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd >= 0 && (type & 15) == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));    /* also where connections of before have not been forgotten */
	if (fd >= 0 && bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Programs that run side by side begin at different ones, and none gives one twice soon. */
static unsigned short next(void)
{
	static unsigned at;

	if (!at)
		at = (unsigned)getpid() * 2654435761u >> 8;
	return (unsigned short)(LOWEST + at++ % COUNT);
}

static bool is_free(unsigned short port)
{
	int tcp = bound(SOCK_STREAM, port), udp = bound(SOCK_DGRAM, port);
	bool ok = tcp >= 0 && udp >= 0 && listen(tcp, 1) == 0;

	if (tcp >= 0)
		close(tcp);
	if (udp >= 0)
		close(udp);
	return ok;
}

unsigned short port_free(void)
{
	for (int tries = 0; tries < COUNT; tries++) {
		unsigned short port = next();

		if (is_free(port))
			return port;
	}
	fprintf(stderr, "no port is free\n");
	abort();
}

int port_listen(unsigned short *port, int backlog)
{
	for (int tries = 0; tries < 100; tries++) {
		unsigned short at = *port ? *port : port_free();
		int fd = bound(SOCK_STREAM, at);

		if (fd >= 0 && listen(fd, backlog) == 0) {
			*port = at;
			return fd;
		}
		if (fd >= 0)
			close(fd);
		if (*port)
			break;
	}
	perror("no port to listen on");
	abort();
}
