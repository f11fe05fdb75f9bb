#include "access/access_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/access_session.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/places.h"
#include "base/stream.h"
#include "base/task.h"

enum {
	DRAIN_IDLE_MS = 1000,           /* a session on which nothing moves for so long may be ended when we stop */
	FLUSH_MS = 60 * 1000,           /* for what was said before bytes flow */
};

/* --- its end --- */

void access_end(struct access_session *s, const char *end, const char *why)
{
	if (s->end)
		return;
	s->end = end;
	s->why = why ? strdup(why) : NULL;
}

const char *access_account(const struct access_session *s)
{
	return s->for_other ? NULL : s->user;
}

static void log_end(const struct access_session *s)
{
	bool refused = s->end && strcmp(s->end, "no backend") == 0;
	char ip[NET_TEXT_MAX];
	struct log_line l;

	/* The checks of a load balancer are not worth a line. */
	log_start(&l, !s->header.told ? LOG_LEVEL_DEBUG : refused ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, s->svc->protocol->name);
	log_str(&l, "sid", s->id);
	log_str(&l, "listener", s->conf->name);
	log_str(&l, "client", net_text(&s->addr, ip));
	log_num(&l, "port", s->addr.port);
	if (!net_same_ip(&s->peer, &s->addr))
		log_str(&l, "via", net_text(&s->peer, ip));
	log_str(&l, "tls", stream_tls_version(s->client));
	log_str(&l, "backend", s->backend.link.name);
	log_str(&l, "address", s->backend.link.name ? s->backend.link.address : NULL);
	log_str(&l, "backend_tls", s->backend.stream ? stream_tls_version(s->backend.stream) : NULL);
	log_str(&l, "user", s->user);
	log_num(&l, "in", (int64_t)s->pump.from_a);
	log_num(&l, "out", (int64_t)s->pump.from_b);
	log_num(&l, "ms", clock_ms() - s->begun_ms);
	log_str(&l, "end", s->end ? s->end : "closed");
	log_str(&l, "why", s->why);
	log_emit(&l);
}

static void session_free(struct access_session *s)
{
	struct access_service *svc = s->svc;

	tcp_link_release(&s->backend.link);
	stream_free(s->client);
	limit_seat_leave(svc->limits, &s->seat);
	places_leave(s->listener->places, svc->self);
	svc->sessions--;
	LIST_REMOVE(s, list);
	free(s->sni);
	free(s->user);
	free(s->why);
	free(s);
}

/* --- its life --- */

void access_say_busy(const struct access_protocol *protocol, const struct listener_conf *l, int fd)
{
	if (l->tls == LISTENER_TLS_IMPLICIT)
		return;
	if (send(fd, protocol->busy, strlen(protocol->busy), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		/* the connection is closed all the same */
	}
}

static void turn_away(const struct access_service *svc, const struct listener_conf *l, int fd, const struct net_addr *client, const char *why)
{
	connection_turned_away(l->name, client, why);
	access_say_busy(svc->protocol, l, fd);
}

/* Whether there is room for one more of this client, who comes not too often. may wait */
static bool admit(struct access_session *s)
{
	enum limit_answer answer;
	int delay_ms = 0;

	/* A load balancer that speaks for itself is nobody's client. */
	limit_client_init(&s->limit, s->header.told ? s->svc->limits : NULL, &s->addr, s->conf->name, s->id);
	answer = limit_count(&s->limit, USE_CONNECTIONS, 1, &delay_ms);
	if (answer == LIMIT_FREE && s->limit.svc && limit_seat_take(s->limit.svc, s->listener->what, &s->addr, s->conf->max_per_client, &s->seat) < 0) {
		limit_seat_refused(&s->limit, s->conf->max_per_client);
		answer = LIMIT_REFUSED;
	}
	if (answer == LIMIT_FREE)
		answer = limit_wait(&s->limit, USE_CONNECTIONS, delay_ms, s->client);
	if (answer == LIMIT_REFUSED)
		access_say_busy(s->svc->protocol, s->conf, stream_fd(s->client));
	return answer == LIMIT_FREE;
}

/* false: nobody has been served. may wait */
static bool serve(struct access_session *s)
{
	if (connection_meet(s->client, s->conf, &s->peer, &s->addr, &s->local, &s->header) < 0 || !admit(s))
		return false;
	s->login_until_ms = clock_ms() + s->conf->login_timeout_ms;
	if (s->conf->tls != LISTENER_TLS_IMPLICIT || access_client_starttls(s) == 0)
		s->svc->protocol->serve(s);
	return true;
}

void access_pump(struct access_session *s)
{
	bool client = stream_flush(s->client, FLUSH_MS) == 0;

	s->pumping = client && stream_flush(s->backend.stream, FLUSH_MS) == 0;
	if (!s->pumping)
		access_end(s, pump_end_text(task_cancelled() ? PUMP_CANCELED : client ? PUMP_RESET_B : PUMP_RESET_A), NULL);
}

static void pumped(void *arg, enum pump_end end)
{
	struct access_session *s = arg;

	access_end(s, pump_end_text(end == PUMP_IDLE && s->svc->draining ? PUMP_CANCELED : end), NULL);
	log_end(s);
	session_free(s);
}

/* From here on there is no task. false: no memory. */
static bool pump_begin(struct access_session *s)
{
	s->pump.a = s->client;
	s->pump.b = s->backend.stream;
	s->pump.idle_ms = s->svc->draining ? DRAIN_IDLE_MS : s->conf->idle_timeout_ms;
	s->task = NULL;
	return pump_start(&s->pump, pumped, s) == 0;
}

static void session_main(void *arg)
{
	struct access_session *s = arg;

	s->task = task_self();
	if (serve(s)) {
		if (s->pumping && pump_begin(s))
			return;
		if (s->pumping)
			access_end(s, pump_end_text(PUMP_FAILED), NULL);
		log_end(s);
	}
	session_free(s);
}

static struct access_session *session_new(struct access_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	struct access_session *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return NULL;
	}
	s->svc = svc;
	s->conf = l;
	s->listener = &svc->listener[l - svc->site->listener];
	s->peer = s->addr = *peer;
	s->begun_ms = clock_ms();
	s->seat = LIMIT_NO_SEAT;
	connection_id(s->id);
	s->client = stream_new_ready(fd);
	svc->sessions++;
	LIST_INSERT_HEAD(&svc->all, s, list);
	return s;
}

void access_server_accept(struct access_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	struct tcp_listener *t = &svc->listener[l - svc->site->listener];
	struct access_session *s;

	if (!places_enter(t->places, svc->self, l->max_connections)) {
		turn_away(svc, l, fd, peer, "connections");
		close(fd);
		return;
	}
	s = session_new(svc, l, fd, peer);
	if (!s) {
		places_leave(t->places, svc->self);
		return;
	}
	if (s->client && task_spawn(svc->protocol->name, session_main, s, &s->task) == 0)
		return;
	connection_turned_away(l->name, peer, s->client ? "tasks" : "memory");
	session_free(s);
}

/* --- all of them --- */

int access_service_init(struct access_service *svc)
{
	LIST_INIT(&svc->all);
	return tcp_listeners_new(svc->site, svc->protocol->protocol, &svc->listener);
}

void access_service_release(struct access_service *svc)
{
	struct access_session *s;

	/* Tasks have been unwound; these have none. */
	while ((s = LIST_FIRST(&svc->all)))
		pump_stop(&s->pump);
	tcp_listeners_free(svc->listener, svc->site);
	svc->listener = NULL;
}

void access_service_drain(struct access_service *svc)
{
	struct access_session *s;

	svc->draining = true;
	for (s = LIST_FIRST(&svc->all); s; s = LIST_NEXT(s, list)) {
		if (s->drain)
			s->drain(s, s->drain_arg);
		else if (s->task && !s->midway)
			task_cancel(s->task);
		else if (!s->task)
			pump_hurry(&s->pump, DRAIN_IDLE_MS);
	}
}
