#include "process/tcp_worker.h"

#include <errno.h>
#include <stdlib.h>

#include "process/worker.h"
#include "tcp/tcp_server.h"

static void tcp_close(void *service)
{
	tcp_service_release(service);
	free(service);
}

void tcp_worker_share(const struct worker *w, enum listener_protocol protocol, struct tcp_listener *listener)
{
	struct shared *shared = w->env->shared;

	for (size_t i = 0; i < w->site->listener_count; i++) {
		const struct listener_conf *l = &w->site->listener[i];
		int at;

		if (l->protocol != protocol)
			continue;
		/* The parent has claimed a place for each of them. */
		at = shared_names_find(&shared->listener_names, l->name);
		listener[i].places = &shared->listener[at < 0 ? 0 : at];
		listener[i].what = LIMIT_LISTENER + (unsigned)(at < 0 ? 0 : at);
	}
}

static int tcp_open(struct worker *w, void **service, struct buf *err)
{
	struct tcp_service *svc = calloc(1, sizeof(*svc));
	int rc;

	if (!svc)
		return -ENOMEM;
	*svc = (struct tcp_service){ .site = w->site, .dns = w->dns, .self = w->env->slot, .limits = &w->limits,
		.sockets = &w->sockets.source, .destinations = &w->env->shared->destinations, .backends = w->backends };
	rc = tcp_service_init(svc);
	if (rc < 0) {
		tcp_close(svc);
		return rc;
	}
	tcp_worker_share(w, LISTENER_TCP, svc->listener);
	*service = svc;
	return 0;
}

static void tcp_accept(void *service, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	tcp_server_accept(service, l, fd, peer);
}

static void tcp_drain(void *service)
{
	tcp_service_drain(service);
}

static int tcp_sessions(const void *service)
{
	return ((const struct tcp_service *)service)->sessions;
}

const struct worker_protocol tcp_worker = {
	.protocol = LISTENER_TCP,
	.open = tcp_open,
	.accept = tcp_accept,
	.drain = tcp_drain,
	.sessions = tcp_sessions,
	.close = tcp_close,
};
