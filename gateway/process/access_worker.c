#include "process/access_worker.h"

#include <errno.h>
#include <stdlib.h>

#include "access/access_backend.h"
#include "access/access_session.h"
#include "base/tls.h"
#include "imap/imap_server.h"
#include "pop3/pop3_server.h"
#include "process/site_tls.h"
#include "process/tcp_worker.h"
#include "process/worker.h"
#include "retrieval/retrieval.h"

static void access_close(void *service)
{
	struct access_service *svc = service;

	access_service_release(svc);
	retrieval_free(svc->retrieval);
	access_servers_free(svc->servers);
	tls_ctx_free(svc->tls);
	free(svc);
}

/* Where messages are judged as they are fetched. */
static int retrieval_open(struct access_service *svc, struct worker *w)
{
	const struct retrieval_conf conf = { .site = w->site, .dns = w->dns, .state = w->state, .store = w->store, .history = &w->history,
					       .daemons = daemon_pool_daemons(w->daemons) };

	for (size_t i = 0; i < w->site->listener_count && !svc->retrieval; i++) {
		const struct listener_conf *l = &w->site->listener[i];

		if (l->protocol == svc->protocol->protocol && l->scan && !(svc->retrieval = retrieval_new(&conf)))
			return -ENOMEM;
	}
	return 0;
}

static int access_open(struct worker *w, const struct access_protocol *protocol, void **service, struct buf *err)
{
	struct access_service *svc = calloc(1, sizeof(*svc));
	int rc;

	if (!svc)
		return -ENOMEM;
	*svc = (struct access_service){
		.protocol = protocol, .site = w->site, .dns = w->dns, .login = &w->login, .limits = &w->limits, .self = w->env->slot,
		.sockets = &w->sockets.source, .destinations = &w->env->shared->destinations,
		.backends = w->backends,
	};
	rc = site_tls_ctx(w->site, &w->keys.signer, &svc->tls, err);
	if (rc == 0)
		rc = access_servers_new(svc, &svc->servers, err);
	if (rc == 0)
		rc = retrieval_open(svc, w);
	if (rc == 0)
		rc = access_service_init(svc);
	if (rc < 0) {
		access_close(svc);
		return rc;
	}
	tcp_worker_share(w, protocol->protocol, svc->listener);
	*service = svc;
	return 0;
}

static int pop3_open(struct worker *w, void **service, struct buf *err)
{
	return access_open(w, &pop3_protocol, service, err);
}

static int imap_open(struct worker *w, void **service, struct buf *err)
{
	return access_open(w, &imap_protocol, service, err);
}

static void access_accept(void *service, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	access_server_accept(service, l, fd, peer);
}

static void pop3_busy(const struct listener_conf *l, int fd)
{
	access_say_busy(&pop3_protocol, l, fd);
}

static void imap_busy(const struct listener_conf *l, int fd)
{
	access_say_busy(&imap_protocol, l, fd);
}

static void access_retire(void *service)
{
	((struct access_service *)service)->retired = true;
}

static void access_drain(void *service)
{
	access_service_drain(service);
}

static int access_sessions(const void *service)
{
	return ((const struct access_service *)service)->sessions;
}

const struct worker_protocol pop3_worker = {
	.protocol = LISTENER_POP3,
	.open = pop3_open,
	.accept = access_accept,
	.busy = pop3_busy,
	.retire = access_retire,
	.drain = access_drain,
	.sessions = access_sessions,
	.close = access_close,
};

const struct worker_protocol imap_worker = {
	.protocol = LISTENER_IMAP,
	.open = imap_open,
	.accept = access_accept,
	.busy = imap_busy,
	.retire = access_retire,
	.drain = access_drain,
	.sessions = access_sessions,
	.close = access_close,
};
