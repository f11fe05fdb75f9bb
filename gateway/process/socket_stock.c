#include "process/socket_stock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/task.h"
#include "process/channel.h"

enum { FILL_TIMEOUT_MS = 60 * 1000 };

/* fd or -errno. may wait */
static int ask(struct socket_stock *s, int family, int timeout_ms)
{
	int32_t want = family;

	return channel_ask_fd(s->parent, CHANNEL_SOCKET, &want, sizeof(want), timeout_ms);
}

static void fill(struct socket_stock *s, int i)
{
	while (s->of[i].count < SOCKET_STOCK) {
		int fd = ask(s, i == 0 ? AF_INET : AF_INET6, FILL_TIMEOUT_MS);

		if (fd < 0)
			break;
		if (s->of[i].count < SOCKET_STOCK)
			s->of[i].fd[s->of[i].count++] = fd;
		else
			close(fd);
	}
	s->of[i].filling = false;
}

static void fill_v4(void *arg)
{
	fill(arg, 0);
}

static void fill_v6(void *arg)
{
	fill(arg, 1);
}

static int take(struct socket_source *source, int family, int timeout_ms)
{
	struct socket_stock *s = (struct socket_stock *)source;
	int i = family == AF_INET6, fd = -1;

	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (s->of[i].count > 0)
		fd = s->of[i].fd[--s->of[i].count];
	if (s->of[i].count <= SOCKET_STOCK / 2 && !s->of[i].filling)
		s->of[i].filling = task_spawn("sockets", i == 0 ? fill_v4 : fill_v6, s, NULL) == 0;
	return fd >= 0 ? fd : ask(s, family, timeout_ms);
}

void socket_stock_init(struct socket_stock *s, struct channel *parent)
{
	*s = (struct socket_stock){ .source = { .take = take }, .parent = parent };
}

void socket_stock_release(struct socket_stock *s)
{
	for (int i = 0; i < 2; i++)
		while (s->of[i].count > 0)
			close(s->of[i].fd[--s->of[i].count]);
}
