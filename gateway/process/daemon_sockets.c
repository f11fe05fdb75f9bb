#include "process/daemon_sockets.h"

#include <errno.h>
#include <string.h>

#include "process/channel.h"

static int ask(struct daemon_source *source, const char *path, int timeout_ms)
{
	struct daemon_sockets *s = (struct daemon_sockets *)source;
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	int fd, rc = channel_call(s->parent, CHANNEL_DAEMON, path, strlen(path), -1, timeout_ms, &reply);

	if (rc < 0)
		return rc;
	if (reply.status < 0)
		return reply.status;
	fd = reply.fd;
	reply.fd = -1;
	return fd >= 0 ? fd : -EPROTO;
}

void daemon_sockets_init(struct daemon_sockets *s, struct channel *parent)
{
	*s = (struct daemon_sockets){ .source = { .connect = ask }, .parent = parent };
}
