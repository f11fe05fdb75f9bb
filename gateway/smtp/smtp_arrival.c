/* smtp_arrival - the moment before the greeting: who the client is, and whether there is room for it */
#include <errno.h>
#include <sys/socket.h>

#include "base/client_table.h"
#include "base/load.h"
#include "base/proxy_header.h"
#include "smtp/smtp_session.h"

/* A busy gateway says so in one write and closes (RFC 5321 3.8). */
static const char busy[] = "421 4.3.2 too many connections, try again later\r\n";

void smtp_server_busy(const struct listener_conf *l, int fd)
{
	if (l->tls == LISTENER_TLS_IMPLICIT)    /* it waits for TLS: an end it understands */
		return;
	if (send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		/* the connection is closed all the same */
	}
}

void smtp_say_busy(const struct listener_conf *l, int fd, const struct net_addr *client, const char *why)
{
	connection_turned_away(l->name, client, why);
	smtp_server_busy(l, fd);
}

/* Behind a load balancer it is known only now who it is; then as any other connection. */
static bool turned_away(struct smtp_session *s)
{
	struct smtp_service *svc = s->svc;
	int fd = stream_fd(s->stream);

	if (!svc->load || s->check || s->client.relay || load_known(svc->load_shared, &s->client.addr) ||
	    !load_turns_away(svc->load, LOAD_STRANGER, fd))
		return false;
	smtp_server_busy(s->listener, fd);
	return true;
}

bool smtp_session_proxied(const struct listener_conf *l, const struct net_addr *peer)
{
	return site_in_networks(l->proxy_from, l->proxy_from_count, peer);
}

bool smtp_admit(struct smtp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *client)
{
	int rc = client_table_admit(svc->clients, client, svc->site->limits.sessions_per_client);

	if (rc < 0)
		smtp_say_busy(l, fd, client, rc == -EBUSY ? "sessions of this client" : "memory");
	return rc == 0;
}

bool smtp_session_arrive(struct smtp_session *s)
{
	struct proxy_header told;

	connection_local(stream_fd(s->stream), &s->local);
	if (s->counted)
		return true;
	if (connection_proxied(s->stream, s->listener->name, &s->peer, &told) < 0)
		return false;
	if (told.told) {
		smtp_session_know(s, &told.source);
		s->local = told.destination;
	} else {
		/* Whether it looks how we are or speaks for somebody whom it cannot name: it is nobody who may relay. */
		s->check = true;
		s->client.relay = false;
	}
	if (turned_away(s))
		return false;
	s->counted = smtp_admit(s->svc, s->listener, stream_fd(s->stream), &s->client.addr);
	return s->counted;
}
