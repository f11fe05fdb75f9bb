#include "base/connection.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proxy_stream.h"
#include "base/stream.h"
#include "policy/conf.h"

enum {
	HEADER_MS = 10 * 1000,          /* a load balancer says it at once */
	ID_BYTES = 5,
	SAY_BURST = 100, SAY_EVERY_MS = 1000,   /* so many who are turned away are told of at once, and then so often one */
};

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

/* Whether there is to be a line more; *unsaid: how many have had none before it. */
static bool may_say(int *unsaid)
{
	static int64_t free_ms, skipped;        /* from when on none of the burst counts any more */
	int64_t now_ms = clock_ms();

	if (free_ms < now_ms)
		free_ms = now_ms;
	if (free_ms - now_ms > (SAY_BURST - 1) * SAY_EVERY_MS) {
		skipped++;
		return false;
	}
	free_ms += SAY_EVERY_MS;
	*unsaid = skipped < INT_MAX ? (int)skipped : INT_MAX;
	skipped = 0;
	return true;
}

void connection_turned_away(const char *listener, const struct net_addr *client, const char *why)
{
	char ip[NET_TEXT_MAX];
	struct log_line l;
	int more;

	if (!may_say(&more))
		return;
	log_start(&l, LOG_LEVEL_NOTICE, "turned-away");
	log_str(&l, "client", net_text(client, ip));
	log_str(&l, "reason", why);
	log_str(&l, "listener", listener);
	if (more > 0)
		log_num(&l, "more", more);
	log_emit(&l);
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
