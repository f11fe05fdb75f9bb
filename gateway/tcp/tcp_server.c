#include "tcp/tcp_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/connection.h"
#include "base/log.h"
#include "base/places.h"
#include "base/proxy_header.h"
#include "base/pump.h"
#include "base/stream.h"
#include "base/task.h"
#include "hop/destination_hop.h"
#include "limit/limit.h"
#include "tcp/tcp_backend.h"

enum { DRAIN_IDLE_MS = 1000 };           /* a connection on which nothing moves for so long may be ended when we stop */

struct tcp_session {
	struct tcp_service *svc;
	const struct listener_conf *conf;
	struct tcp_listener *listener;
	char id[CONNECTION_ID_MAX];
	struct stream *stream;
	struct net_addr peer, client;   /* who has connected; who it is: told by a load balancer, or the same */
	struct net_addr local;          /* where it has connected to */
	struct proxy_header header;     /* what a backend is told */
	struct limit_seat seat;         /* one of the client's */
	struct tcp_link link;
	struct pump pump;
	bool pumping;
	int64_t begun_ms;
	struct task *task;
	struct tcp_session *prev, *next;
};

/* --- its end --- */

static void log_line(const struct tcp_session *s, enum log_level level, const char *end, const char *why)
{
	char ip[NET_TEXT_MAX];
	struct log_line l;

	log_start(&l, level, "tcp");
	log_str(&l, "sid", s->id);
	log_str(&l, "listener", s->conf->name);
	log_str(&l, "client", net_text(&s->client, ip));
	log_num(&l, "port", s->client.port);
	if (!net_same_ip(&s->peer, &s->client))
		log_str(&l, "via", net_text(&s->peer, ip));
	log_str(&l, "backend", s->link.name);
	log_str(&l, "address", s->link.name ? s->link.address : NULL);
	log_num(&l, "in", (int64_t)s->pump.from_a);
	log_num(&l, "out", (int64_t)s->pump.from_b);
	log_num(&l, "ms", clock_ms() - s->begun_ms);
	log_str(&l, "end", end);
	log_str(&l, "why", why);
	log_emit(&l);
}

static void session_free(struct tcp_session *s)
{
	struct tcp_service *svc = s->svc;

	tcp_link_release(&s->link);
	stream_free(s->stream);
	limit_seat_leave(svc->limits, &s->seat);
	places_leave(s->listener->places, svc->self);
	svc->sessions--;
	if (s->prev)
		s->prev->next = s->next;
	else
		svc->first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	free(s);
}

/* --- its life --- */

static bool admit(struct tcp_session *s)
{
	struct limit_client c;

	/* A load balancer that speaks for itself is nobody's client. */
	limit_client_init(&c, s->header.told ? s->svc->limits : NULL, &s->client, s->conf->name, s->id);
	if (!c.svc || limit_seat_take(c.svc, s->listener->what, &s->client, s->conf->max_per_client, &s->seat) == 0)
		return true;
	limit_seat_refused(&c, s->conf->max_per_client);
	return false;
}

/*
 * Inline: where the client wanted to go, from its own address. What a load balancer tells is its own address: to go there would be a loop.
 * -ENOENT: it wanted to come here. may wait
 */
static int connect_inline(struct tcp_session *s, char *why)
{
	struct destination d = {
		.site = s->svc->site, .sockets = s->svc->sockets, .shared = s->svc->destinations, .client = s->peer, .to = s->local,
	};
	int rc = destination_connect(&d, s->svc->site->outbound.connect_timeout_ms, &s->link.stream);

	if (rc == -ELOOP)
		return -ENOENT;
	s->link.name = "destination";
	net_text_port(&d.to, s->link.address);
	if (rc < 0)
		snprintf(why, HOST_WHY_MAX, "connect: %s", destination_error(rc));
	return rc;
}

static void serve(struct tcp_session *s)
{
	char why[HOST_WHY_MAX];
	enum pump_end end;
	int rc;

	if (connection_meet(s->stream, s->conf, &s->peer, &s->client, &s->local, &s->header) < 0 || !admit(s))
		return;
	rc = s->conf->transparent ? connect_inline(s, why) : -ENOENT;
	if (rc == -ENOENT)
		rc = tcp_backends_connect(s->svc->backends, &(struct tcp_want){ .among = s->listener->backends, .header = &s->header }, &s->link, why);
	if (rc < 0) {
		log_line(s, LOG_LEVEL_WARNING, rc == -ECANCELED ? "shutting down" : "no backend", rc == -ECANCELED ? NULL : why);
		return;
	}
	s->pump.a = s->stream;
	s->pump.b = s->link.stream;
	s->pump.idle_ms = s->conf->idle_timeout_ms;
	s->pumping = true;
	end = pump_run(&s->pump);
	s->pumping = false;
	/* The checks of a load balancer are not worth a line. */
	log_line(s, s->header.told ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, pump_end_text(end == PUMP_IDLE && s->svc->draining ? PUMP_CANCELED : end), NULL);
}

static void session_main(void *arg)
{
	struct tcp_session *s = arg;

	s->task = task_self();
	serve(s);
	session_free(s);
}

static struct tcp_session *session_new(struct tcp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	struct tcp_session *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return NULL;
	}
	s->svc = svc;
	s->conf = l;
	s->listener = &svc->listener[l - svc->site->listener];
	s->peer = s->client = *peer;
	s->begun_ms = clock_ms();
	s->seat = LIMIT_NO_SEAT;
	connection_id(s->id);
	s->stream = stream_new_ready(fd);
	svc->sessions++;
	s->next = svc->first;
	if (s->next)
		s->next->prev = s;
	svc->first = s;
	return s;
}

void tcp_server_accept(struct tcp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	struct tcp_listener *t = &svc->listener[l - svc->site->listener];
	struct tcp_session *s;

	if (!places_enter(t->places, svc->self, l->max_connections)) {
		connection_turned_away(l->name, peer, "connections");
		close(fd);
		return;
	}
	s = session_new(svc, l, fd, peer);
	if (!s) {
		places_leave(t->places, svc->self);
		return;
	}
	if (s->stream && task_spawn("tcp", session_main, s, &s->task) == 0)
		return;
	connection_turned_away(l->name, peer, s->stream ? "tasks" : "memory");
	session_free(s);
}

/* --- all of them --- */

int tcp_service_init(struct tcp_service *svc)
{
	return tcp_listeners_new(svc->site, LISTENER_TCP, &svc->listener);
}

void tcp_service_release(struct tcp_service *svc)
{
	tcp_listeners_free(svc->listener, svc->site);
	svc->listener = NULL;
}

void tcp_service_drain(struct tcp_service *svc)
{
	svc->draining = true;
	for (struct tcp_session *s = svc->first; s; s = s->next) {
		if (!s->pumping) {
			task_cancel(s->task);
			continue;
		}
		s->pump.idle_ms = DRAIN_IDLE_MS;
		task_wake(s->task, 0);          /* it looks at the clock again */
	}
}
