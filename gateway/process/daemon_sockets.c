#include "process/daemon_sockets.h"

#include <string.h>

#include "process/channel.h"

static int ask(struct daemon_source *source, const char *path, int timeout_ms)
{
	struct daemon_sockets *s = (struct daemon_sockets *)source;

	return channel_ask_fd(s->parent, CHANNEL_DAEMON, path, strlen(path), timeout_ms);
}

void daemon_sockets_init(struct daemon_sockets *s, struct channel *parent)
{
	*s = (struct daemon_sockets){ .source = { .connect = ask }, .parent = parent };
}
