#include "base/connection.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proxy_stream.h"
#include "base/stream.h"
#include "policy/conf.h"

enum { HEADER_MS = 10 * 1000, ID_BYTES = 5 };           /* a load balancer says it at once */

void connection_id(char *out)
{
	/* Enough for a few, drawn by the process that uses them. */
	static unsigned char drawn[ID_BYTES * 50];
	static size_t left;
	static pid_t owner;
	static const char hex[] = "0123456789abcdef";

	if (left < ID_BYTES || owner != getpid()) {
		if (getrandom(drawn, sizeof(drawn), GRND_NONBLOCK) < (ssize_t)sizeof(drawn))
			memset(drawn, 0, sizeof(drawn));
		left = sizeof(drawn);
		owner = getpid();
	}
	for (int i = 0; i < ID_BYTES; i++) {
		unsigned char c = drawn[--left];

		*out++ = hex[c >> 4];
		*out++ = hex[c & 15];
	}
	*out = '\0';
}

void connection_turned_away(const char *listener, const struct net_addr *client, const char *why)
{
	char ip[NET_TEXT_MAX];

	log_notice("turned-away", "client", net_text(client, ip), "reason", why, "listener", listener, NULL);
}

int connection_proxied(struct stream *s, const char *listener, const struct net_addr *peer, struct proxy_header *out)
{
	int rc = proxy_stream_read(s, HEADER_MS, out);

	if (rc < 0 && rc != -EPIPE && rc != -ECANCELED)
		connection_turned_away(listener, peer, rc == -EBADMSG ? "it does not begin with a PROXY header" : "no PROXY header in time");
	return rc;
}

void connection_local(int fd, struct net_addr *out)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		ss.ss_family = AF_UNSPEC;
	net_from_sockaddr((struct sockaddr *)&ss, out);
}

int connection_meet(struct stream *s, const struct listener_conf *l, const struct net_addr *peer, struct net_addr *client, struct net_addr *local,
		    struct proxy_header *header)
{
	struct proxy_header told = { 0 };
	int rc;

	*client = *peer;
	connection_local(stream_fd(s), local);
	*header = (struct proxy_header){ .told = true, .destination = *local };
	if (site_in_networks(l->proxy_from, l->proxy_from_count, peer)) {
		rc = connection_proxied(s, l->name, peer, &told);
		if (rc < 0)
			return rc;
		if (told.told)
			*client = told.source;
		*header = told;
	}
	if (header->told)
		header->source = *client;
	return 0;
}
