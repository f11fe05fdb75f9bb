#include "process/smtp_worker.h"

#include <errno.h>
#include <stdlib.h>

#include "base/tls.h"
#include "base/tls_mint.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "hop/outbound.h"
#include "process/site_tls.h"
#include "process/worker.h"
#include "rua/rua_run.h"
#include "smtp/recipient.h"
#include "smtp/smtp_server.h"
#include "spool/spool_run.h"

/* Listeners with the same backends have one group, which belongs to the first of them. */
static bool owns_group(const struct smtp_service *svc, size_t listener)
{
	if (svc->listener_group[listener] == svc->group)
		return false;
	for (size_t i = 0; i < listener; i++)
		if (svc->listener_group[i] == svc->listener_group[listener])
			return false;
	return true;
}

static void smtp_close(void *service)
{
	struct smtp_service *svc = service;

	rua_run_free(svc->rua);
	smtp_service_release(svc);
	recipient_check_free(svc->recipients);
	backend_domains_free(svc->domains);
	for (size_t i = 0; svc->listener_group && i < svc->site->listener_count; i++)
		if (owns_group(svc, i))
			backend_group_free(svc->listener_group[i]);
	free(svc->listener_group);
	backend_group_free(svc->group);
	outbound_free(svc->outbound);
	tls_mint_free(svc->mint);
	tls_ctx_free(svc->tls);
	tls_ctx_free(svc->tls_any);
	free(svc);
}

static void group_share(const struct worker *w, struct backend_group *g)
{
	for (size_t i = 0; i < backend_group_count(g); i++) {
		int at = shared_names_find(&w->env->shared->backend_names, backend_group_name(g, i));

		if (at >= 0)
			backend_group_share(g, i, &w->env->shared->backend[at], w->env->slot);
	}
}

static int group_new(const struct worker *w, const struct listener_conf *l, struct backend_group **out, struct buf *err)
{
	int rc = backend_group_new(w->site, l, w->dns, out, err);

	if (rc == 0)
		group_share(w, *out);
	return rc;
}

static bool same_backends(const struct site *site, const struct listener_conf *a, const struct listener_conf *b)
{
	for (size_t i = 0; i < site->backend_count; i++)
		if (listener_has_backend(site, a, &site->backend[i]) != listener_has_backend(site, b, &site->backend[i]))
			return false;
	return true;
}

/* The group of an earlier listener, or the one of all, with the same backends: they are asked how they are once, and said to be away once. */
static struct backend_group *group_of_same(const struct smtp_service *svc, size_t listener)
{
	const struct listener_conf *l = svc->site->listener;

	if (same_backends(svc->site, NULL, &l[listener]))
		return svc->group;
	for (size_t i = 0; i < listener; i++)
		if (l[i].protocol == LISTENER_SMTP && same_backends(svc->site, &l[i], &l[listener]))
			return svc->listener_group[i];
	return NULL;
}

/* The backends, and those of listeners that have their own. */
static int groups_new(struct smtp_service *svc, const struct worker *w, struct buf *err)
{
	int rc = group_new(w, NULL, &svc->group, err);

	svc->listener_group = calloc(w->site->listener_count + 1, sizeof(struct backend_group *));
	if (!svc->listener_group)
		return -ENOMEM;
	for (size_t i = 0; rc == 0 && i < w->site->listener_count; i++) {
		const struct listener_conf *l = &w->site->listener[i];

		svc->listener_group[i] = l->protocol == LISTENER_SMTP ? group_of_same(svc, i) : svc->group;
		if (!svc->listener_group[i])
			rc = group_new(w, l, &svc->listener_group[i], err);
	}
	return rc;
}

/* Those of sections domain; a group that a listener has is used for both. */
static int domains_new(struct smtp_service *svc, const struct worker *w, struct buf *err)
{
	size_t count = w->site->listener_count;
	int rc;

	svc->listener_group[count] = svc->group;        /* there is room for one more */
	rc = backend_domains_new(w->site, w->dns, svc->listener_group, count + 1, &svc->domains, err);
	for (size_t i = 0; rc == 0 && i < backend_domains_count(svc->domains); i++)
		group_share(w, backend_domains_at(svc->domains, i));
	return rc;
}

static int smtp_open(struct worker *w, void **service, struct buf *err)
{
	struct smtp_service *svc = calloc(1, sizeof(*svc));
	int rc;

	if (!svc)
		return -ENOMEM;
	*svc = (struct smtp_service){
		.site = w->site, .dns = w->dns, .state = w->state, .store = w->store, .daemons = daemon_pool_daemons(w->daemons), .history = &w->history, .spool = &w->spool,
		.login = &w->login, .limits = &w->limits, .load = w->load, .load_shared = &w->env->shared->load,
		.sockets = &w->sockets.source, .destinations = &w->env->shared->destinations,
		.ledger = { .until_s = &w->env->shared->ledger_until_s },
	};
	rc = groups_new(svc, w, err);
	if (rc == 0)
		rc = domains_new(svc, w, err);
	if (rc == 0)
		rc = outbound_new(w->site, w->dns, w->state, &svc->outbound, err);
	if (rc == 0)
		rc = recipient_check_new(w->site, w->state, svc->group, &svc->recipients, err);
	if (rc == 0 && w->directory.needed)
		recipient_check_directory(svc->recipients, &w->directory.asker);
	if (rc == 0)
		recipient_check_domains(svc->recipients, svc->domains);
	if (rc == 0)
		rc = tls_client_ctx(false, NULL, &svc->tls_any, err);
	if (rc == 0 && w->site->tls_ca_cert_pem)
		rc = tls_mint_new(w->site->tls_ca_cert_pem, &w->keys.minter, &svc->mint, err);
	if (rc == 0)
		rc = site_tls_ctx(w->site, &w->keys.signer, &svc->tls, err);
	if (rc == 0 && w->site->rua.send) {
		struct shared *s = w->env->shared;

		svc->rua = rua_run_new(&(struct rua_place){ .svc = svc, .history = w->history.channel, .shared = &s->rua, .slot = w->env->slot,
							    .spool_messages = &s->spool_messages, .spool_bytes = &s->spool_bytes });
		rc = svc->rua ? 0 : -ENOMEM;
	}
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
	struct smtp_service *svc = service;
	int rc = spool_run_start(svc);

	if (rc == 0)
		rc = rua_run_start(svc->rua);
	if (rc == 0)
		rc = backend_group_start(svc->group);
	for (size_t i = 0; rc == 0 && i < svc->site->listener_count; i++)
		if (owns_group(svc, i))
			rc = backend_group_start(svc->listener_group[i]);
	for (size_t i = 0; rc == 0 && i < backend_domains_count(svc->domains); i++)
		rc = backend_group_start(backend_domains_at(svc->domains, i));
	return rc;
}

static void smtp_accept(void *service, const struct listener_conf *l, int fd,
			const struct net_addr *peer)
{
	smtp_server_accept(service, l, fd, peer);
}

static void smtp_busy(const struct listener_conf *l, int fd)
{
	smtp_server_busy(l, fd);
}

static void smtp_retire(void *service)
{
	struct smtp_service *svc = service;

	spool_run_stop(svc);
	rua_run_stop(svc->rua);
}

static void smtp_drain(void *service)
{
	smtp_service_drain(service);
}

static int smtp_sessions(const void *service)
{
	const struct smtp_service *svc = service;

	return svc->sessions + svc->spool_busy + rua_run_busy(svc->rua);
}

const struct worker_protocol smtp_worker = {
	.protocol = LISTENER_SMTP,
	.open = smtp_open,
	.start = smtp_start,
	.accept = smtp_accept,
	.busy = smtp_busy,
	.retire = smtp_retire,
	.drain = smtp_drain,
	.sessions = smtp_sessions,
	.close = smtp_close,
};
