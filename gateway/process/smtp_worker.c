#include "process/smtp_worker.h"

#include <errno.h>
#include <stdlib.h>

#include "base/tls.h"
#include "process/worker.h"
#include "smtp/backend.h"
#include "smtp/recipient.h"
#include "smtp/smtp_server.h"

static void smtp_close(void *service)
{
	struct smtp_service *svc = service;

	smtp_service_release(svc);
	recipient_check_free(svc->recipients);
	if (svc->group)
		backend_group_free(svc->group);
	tls_ctx_free(svc->tls);
	free(svc);
}

static void share(struct smtp_service *svc, const struct worker *w)
{
	for (size_t i = 0; i < w->site->backend_count; i++) {
		int at = shared_backend_find(w->env->shared, w->site->backend[i].name);

		if (at >= 0)
			backend_group_share(svc->group, i, &w->env->shared->backend[at],
					    w->env->slot);
	}
}

static int smtp_open(struct worker *w, void **service, struct buf *err)
{
	struct smtp_service *svc = calloc(1, sizeof(*svc));
	int rc;

	if (!svc)
		return -ENOMEM;
	*svc = (struct smtp_service){
		.site = w->site, .dns = w->dns, .state = w->state, .store = w->store, .history = &w->history,
		.ledger = { .until_s = &w->env->shared->ledger_until_s },
	};
	rc = backend_group_new(w->site, w->dns, &svc->group, err);
	if (rc == 0) {
		share(svc, w);
		rc = recipient_check_new(w->site, w->state, svc->group, &svc->recipients, err);
	}
	if (rc == 0 && w->site->tls_offer)
		rc = tls_server_ctx(w->site->tls_cert_pem, w->site->tls_key_pem, &svc->tls, err);
	if (rc == 0)
		rc = smtp_service_init(svc);
	if (rc < 0) {
		smtp_close(svc);
		return rc;
	}
	*service = svc;
	return 0;
}

static int smtp_start(void *service)
{
	return backend_group_start(((struct smtp_service *)service)->group);
}

static void smtp_accept(void *service, const struct listener_conf *l, int fd,
			const struct net_addr *peer)
{
	smtp_server_accept(service, l, fd, peer);
}

static void smtp_drain(void *service)
{
	smtp_service_drain(service);
}

static int smtp_sessions(const void *service)
{
	return ((const struct smtp_service *)service)->sessions;
}

const struct worker_protocol smtp_worker = {
	.protocol = LISTENER_SMTP,
	.open = smtp_open,
	.start = smtp_start,
	.accept = smtp_accept,
	.drain = smtp_drain,
	.sessions = smtp_sessions,
	.close = smtp_close,
};
