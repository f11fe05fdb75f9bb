/* smtp_arrival - the moment before the greeting: who the client is, and whether there is room for it */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/load.h"
#include "base/places.h"
#include "base/proxy_header.h"
#include "smtp/smtp_session.h"

/* A busy gateway says so in one write and closes (RFC 5321 3.8). */
static const char busy[] = "421 4.3.2 too many connections, try again later\r\n";
static const char busy_at_once[] = "421 4.7.0 too many connections at once from your network, close some or try again later\r\n";
static const char busy_lately[] = "421 4.7.0 too many connections from your network in a short time, try again in some minutes\r\n";

static void last_words(const struct listener_conf *l, int fd, const char *words)
{
	if (l->tls == LISTENER_TLS_IMPLICIT)    /* it waits for TLS: an end it understands */
		return;
	if (send(fd, words, strlen(words), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		/* the connection is closed all the same */
	}
}

void smtp_server_busy(const struct listener_conf *l, int fd)
{
	last_words(l, fd, busy);
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

	if (!svc->load || s->check || s->client.relay || s->trusted || load_known(svc->load_shared, &s->client.addr) ||
	    !load_turns_away(svc->load, LOAD_STRANGER, fd))
		return false;
	smtp_server_busy(s->listener, fd);
	return true;
}

bool smtp_session_proxied(const struct listener_conf *l, const struct net_addr *peer)
{
	return site_in_networks(l->proxy_from, l->proxy_from_count, peer);
}

bool smtp_room_enter(struct smtp_service *svc)
{
	const struct limit_service *l = svc->limits;

	if (!l || !l->sessions)
		return svc->sessions < svc->site->limits.sessions;
	return places_enter(l->sessions, l->self, svc->site->limits.sessions);
}

void smtp_room_leave(struct smtp_service *svc)
{
	if (svc->limits && svc->limits->sessions)
		places_leave(svc->limits->sessions, svc->limits->self);
}

bool smtp_admit(struct smtp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *client, const char *sid, struct smtp_admission *out)
{
	int max = svc->site->limits.sessions_per_client;

	out->seat = LIMIT_NO_SEAT;
	out->delay_ms = 0;
	limit_client_init(&out->limit, svc->limits, client, l->name, sid);
	if (limit_count(&out->limit, USE_CONNECTIONS, 1, &out->delay_ms) == LIMIT_REFUSED) {
		last_words(l, fd, busy_lately);
		return false;
	}
	if (out->limit.svc && limit_seat_take(svc->limits, LIMIT_SESSIONS, client, max, &out->seat) < 0) {
		limit_seat_refused(&out->limit, max);
		last_words(l, fd, busy_at_once);
		return false;
	}
	return true;
}

/* It comes more often than it should, and waits a little. may wait */
static bool slow_down(struct smtp_session *s)
{
	struct smtp_admission *a = &s->admission;
	enum limit_answer answer = limit_wait(&a->limit, USE_CONNECTIONS, a->delay_ms, s->stream);

	if (answer == LIMIT_REFUSED)
		last_words(s->listener, stream_fd(s->stream), busy_lately);
	return answer == LIMIT_FREE;
}

bool smtp_session_arrive(struct smtp_session *s)
{
	struct proxy_header told;

	connection_local(stream_fd(s->stream), &s->local);
	if (s->admitted)
		return slow_down(s);
	if (connection_proxied(s->stream, s->listener->name, &s->peer, &told) < 0)
		return false;
	if (!told.told) {
		/* Whether it looks how we are or speaks for somebody whom it cannot name: it is nobody who may relay or bring mail of others, and not counted. */
		s->check = true;
		s->client.relay = s->trusted = false;
		return true;
	}
	smtp_session_know(s, &told.source);
	s->local = told.destination;
	if (turned_away(s))
		return false;
	s->admitted = smtp_admit(s->svc, s->listener, stream_fd(s->stream), &s->client.addr, s->id, &s->admission);
	return s->admitted && slow_down(s);
}
