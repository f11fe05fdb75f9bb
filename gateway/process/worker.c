#include "process/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/box.h"
#include "base/clock.h"
#include "base/dns_unbound.h"
#include "base/health.h"
#include "base/load.h"
#include "base/log.h"
#include "filters/dnsbl_health.h"
#include "filters/filter.h"
#include "filters/message.h"
#include "policy/judge.h"
#include "policy/policy_files.h"
#include "process/sandbox.h"
#include "tcp/tcp_backend.h"

enum {
	ACCEPT_BATCH = 8,              /* connections taken before sessions get their turn */
	TURN_BATCH = 64,               /* and turned away, which costs little */
	TICK_MS = 1000,
	TICK_DRAINING_MS = 20,
};

static int tick_start(struct worker *w, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	return event_add(w->tick, &tv) < 0 ? -ENOMEM : 0;
}

static int sessions(const struct worker *w)
{
	int n = 0;

	for (int i = 0; w->env->protocols[i]; i++)
		if (w->env->protocols[i]->sessions)
			n += w->env->protocols[i]->sessions(w->service[i]);
	return n;
}

/* Accepting */

static int protocol_of(const struct worker *w, const struct listener_conf *l)
{
	for (int i = 0; w->env->protocols[i]; i++)
		if (w->env->protocols[i]->protocol == l->protocol)
			return i;
	return -1;
}

/*
 * No descriptor is left: the connection at the head of the queue would be reported for ever. The
 * spare one is given up for it, and the client is closed at once.
 */
static void accept_without_fd(struct worker *w, int listen_fd)
{
	int fd;

	if (w->spare_fd < 0)
		return;
	close(w->spare_fd);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	w->spare_fd = fcntl(w->env->control_fd, F_DUPFD_CLOEXEC, 0);
	log_warning("accept", "error", "no file descriptors left: a client was turned away", NULL);
}

/* Whose connection it is when not all can be taken. Behind a load balancer that is known when it has said so (smtp_arrival.c). */
static enum load_kind kind_of(const struct worker *w, const struct listener_conf *l, const struct net_addr *peer)
{
	const struct site *s = w->site;

	if (l->protocol != LISTENER_SMTP || l->direction != DIRECTION_INBOUND || site_in_networks(l->proxy_from, l->proxy_from_count, peer) ||
	    site_in_networks(s->relay_networks, s->relay_network_count, peer) ||
	    site_in_networks(s->trusted_relays, s->trusted_relay_count, peer) || site_in_networks(s->bypass, s->bypass_count, peer))
		return LOAD_WANTED;
	return load_known(&w->env->shared->load, peer) ? LOAD_WANTED : LOAD_STRANGER;
}

/* Whether it was taken: false, it was turned away. */
static bool accepted(struct worker *w, const struct listener_conf *l, int fd,
		     const struct sockaddr_storage *from)
{
	struct shared_slot *slot = &w->env->shared->slot[w->env->slot];
	int p = protocol_of(w, l);
	struct net_addr peer;
	bool taken = p >= 0;

	net_from_sockaddr((const struct sockaddr *)from, &peer);
	atomic_fetch_add(&slot->accepted, 1);
	atomic_fetch_add(&w->env->shared->accepted, 1);
	if (taken && load_turns_away(w->load, kind_of(w, l, &peer), fd)) {
		if (w->env->protocols[p]->busy)
			w->env->protocols[p]->busy(l, fd);
		taken = false;
	}
	if (taken)
		w->env->protocols[p]->accept(w->service[p], l, fd, &peer);
	else
		close(fd);
	if (taken)
		atomic_store(&slot->sessions, sessions(w));
	return taken;
}

/* One batch from one listener; others and sessions come before the next. Whether there may be more. */
static bool accept_batch(struct worker *w, size_t i)
{
	int listen_fd = w->env->listen_fd[i], taken = 0;

	for (int n = 0; n < TURN_BATCH && taken < ACCEPT_BATCH && !w->draining; n++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd = accept4(listen_fd, (struct sockaddr *)&from, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			taken += accepted(w, &w->site->listener[i], fd, &from);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE)
			accept_without_fd(w, listen_fd);
		else if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
			continue;       /* that client has gone; the next one, please */
		return false;
	}
	return true;
}

static void on_accept(int fd, short what, void *arg)
{
	struct worker *w = arg;
	struct epoll_event ready[16];
	int n = epoll_wait(w->accept_epoll, ready, 16, 0);
	bool more = false;

	for (int i = 0; i < n && !w->draining; i++)
		more |= accept_batch(w, ready[i].data.u32);
	load_queue(w->load, !more);
}

/*
 * The listening sockets are in an epoll set of their own, since libevent has no way to say
 * EPOLLEXCLUSIVE: without that every idle worker would be woken for every connection.
 */
static int accept_start(struct worker *w)
{
	w->spare_fd = fcntl(w->env->control_fd, F_DUPFD_CLOEXEC, 0);
	w->accept_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->accept_epoll < 0)
		return -errno;
	for (size_t i = 0; i < w->site->listener_count; i++) {
		struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE,
					  .data.u32 = (uint32_t)i };

		if (epoll_ctl(w->accept_epoll, EPOLL_CTL_ADD, w->env->listen_fd[i], &ev) < 0)
			return -errno;
	}
	w->accept_event =
		event_new(loop_base(), w->accept_epoll, EV_READ | EV_PERSIST, on_accept, w);
	return w->accept_event && event_add(w->accept_event, NULL) == 0 ? 0 : -ENOMEM;
}

static void accept_stop(struct worker *w)
{
	if (w->accept_event) {
		event_free(w->accept_event);
		w->accept_event = NULL;
		for (size_t i = 0; i < w->site->listener_count; i++)
			close(w->env->listen_fd[i]);
	}
	if (w->accept_epoll >= 0)
		close(w->accept_epoll);
	w->accept_epoll = -1;
}

/* Draining */

static void hurry(struct worker *w)
{
	if (w->hurried)
		return;
	w->hurried = true;
	for (int i = 0; w->env->protocols[i]; i++)
		if (w->env->protocols[i]->drain)
			w->env->protocols[i]->drain(w->service[i]);
}

/* May come again, with nearer times. */
static void drain(struct worker *w, const struct channel_drain *d)
{
	int64_t now_ms = clock_ms();

	w->hurry_ms = now_ms + (int64_t)d->patience_s * 1000;
	w->drain_deadline_ms = now_ms + (int64_t)d->limit_s * 1000;
	if (!w->draining) {
		w->draining = true;
		accept_stop(w);
		for (int i = 0; w->env->protocols[i]; i++)
			if (w->env->protocols[i]->retire)
				w->env->protocols[i]->retire(w->service[i]);
		/* how servers are is the business of those who come after it */
		for (int i = 0; i < SHARED_PLACES; i++)
			health_retire(&w->env->shared->backend[i].health[w->env->slot]);
		(void)tick_start(w, TICK_DRAINING_MS);
	}
	if (d->patience_s <= 0)
		hurry(w);
}

/* A channel that has been lost while its keeper lives is not there again by itself. */
static void ask_for_keepers(struct worker *w)
{
	const struct { enum channel_role role; const struct channel *channel; } all[] = {
		{ ROLE_STATE, &w->state_channel }, { ROLE_STORE, &w->store_channel }, { ROLE_HISTORY, &w->history_channel }, { ROLE_SPOOL, &w->spool_channel },
	};
	uint32_t missing = w->keys.needed && !channel_attached(&w->keys.channel) ? 1u << ROLE_KEYS : 0;

	if (w->directory.needed && !channel_attached(&w->directory.channel))
		missing |= 1u << ROLE_DIRECTORY;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!channel_attached(all[i].channel))
			missing |= 1u << all[i].role;
	if (missing)
		(void)channel_notify(&w->parent, CHANNEL_WIRE, &missing, sizeof(missing), -1);
}

static void on_tick(int fd, short what, void *arg)
{
	struct worker *w = arg;
	struct shared_slot *slot = &w->env->shared->slot[w->env->slot];
	int n = sessions(w);

	ask_for_keepers(w);

	atomic_store(&slot->sessions, n);
	atomic_store(&slot->log_dropped, log_dropped());
	if (!w->draining)
		return;
	if (clock_ms() >= w->hurry_ms)
		hurry(w);
	if (n > 0 && clock_ms() >= w->drain_deadline_ms) {
		struct log_line l;

		log_start(&l, LOG_LEVEL_WARNING, "drain");
		log_str(&l, "what", "the time is over: sessions are cut");
		log_num(&l, "sessions", n);
		log_emit(&l);
		n = 0;
	}
	if (n == 0)
		loop_stop();
}

/* The parent */

static void wired(struct worker *w, const struct channel_msg *m)
{
	struct channel_wire wire;
	int fd;

	if (m->fd < 0 || m->len != sizeof(wire))
		return;
	memcpy(&wire, m->data, sizeof(wire));
	if (wire.version != channel_version())
		return;
	fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);          /* the message's own is closed with it */
	if (fd < 0)
		return;
	if (wire.role == ROLE_STATE)
		(void)channel_attach(&w->state_channel, fd);
	else if (wire.role == ROLE_STORE)
		(void)channel_attach(&w->store_channel, fd);
	else if (wire.role == ROLE_HISTORY)
		(void)channel_attach(&w->history_channel, fd);
	else if (wire.role == ROLE_KEYS)
		(void)channel_attach(&w->keys.channel, fd);
	else if (wire.role == ROLE_DIRECTORY)
		(void)channel_attach(&w->directory.channel, fd);
	else if (wire.role != ROLE_SPOOL)
		close(fd);
	else if (channel_attach(&w->spool_channel, fd) == 0)
		spool_greet(&w->spool);
}

/* Between two lookups: nothing holds on to the inside of a list while it waits. */
static void list_changed(struct worker *w, const struct channel_msg *m)
{
	int rc = -EPROTO;

	if (m->fd >= 0 && w->site->policy)
		rc = policy_files_replace(w->site->policy, m->data, m->fd);
	if (rc < 0)
		log_error("list", "error", "a new list cannot be mapped: the one of before goes on", "file", m->data, "why",
			  strerror(-rc), NULL);
}

static void on_parent(struct channel *c, const struct channel_msg *m, void *arg)
{
	struct worker *w = arg;
	struct channel_drain d;

	if (!m) {
		w->status = 1;          /* the parent is gone; so are we */
		loop_stop();
	} else if (m->type == CHANNEL_WIRE) {
		wired(w, m);
	} else if (m->type == CHANNEL_DRAIN && m->len == sizeof(d)) {
		memcpy(&d, m->data, sizeof(d));
		drain(w, &d);
	} else if (m->type == CHANNEL_LIST) {
		list_changed(w, m);
	}
}

/* The load */

/* The server for which most wait, for each place that it has. */
static void look_at_backends(const struct worker *w, struct load_figures *f)
{
	struct shared *shared = w->env->shared;

	for (size_t i = 0; i < w->site->backend_count; i++) {
		const struct backend_conf *b = &w->site->backend[i];
		int at = b->max_sessions > 0 ? shared_names_find(&shared->backend_names, b->name) : -1, waiting = 0;

		for (int k = 0; at >= 0 && k < BACKEND_WORKERS_MAX; k++)
			waiting += atomic_load(&shared->backend[at].wanted[k]);
		if (at >= 0 && (!f->places || (int64_t)waiting * f->places > (int64_t)f->waiting * b->max_sessions)) {
			f->waiting = waiting;
			f->places = b->max_sessions;
		}
	}
}

static void load_look(void *arg, struct load_figures *f)
{
	const struct worker *w = arg;

	f->sessions = places_held(&w->env->shared->smtp_sessions);    /* of limits.sessions, which is over all workers */
	f->memory_bytes = message_spare_bytes();
	look_at_backends(w, f);
}

/* Before confinement. What messages may hold in memory is a quarter of what a worker may have. */
static int load_prepare(struct worker *w)
{
	const struct site *s = w->site;
	const struct load_bounds bounds = {
		.memory_bytes = s->limits.memory_total, .sessions = s->limits.sessions, .lag_ms = s->limits.shed_lag_ms, .from = s->limits.shed_from,
	};

	message_memory_bound(s->limits.memory_total / (s->workers > 0 ? (uint64_t)s->workers : 1) / 4);
	w->load = load_new(&w->env->shared->load, w->env->slot, &bounds, load_look, w);
	return w->load ? 0 : -ENOMEM;
}

/* Beginning and end */

static int failed(const char *what, int rc, const struct buf *err)
{
	log_error("worker", "error", what, "why", err && err->len ? buf_str(err) : strerror(-rc),
		  NULL);
	return rc;
}

/* The servers of protocols that are passed on. What they hold counts over all workers. */
static int backends_new(struct worker *w)
{
	w->backends = tcp_backends_new(w->site, w->dns);
	for (size_t i = 0; w->backends && i < w->site->backend_count; i++) {
		int at = shared_names_find(&w->env->shared->backend_names, w->site->backend[i].name);
		struct backend_shared *s = at >= 0 ? &w->env->shared->backend[at] : NULL;

		if (s)
			tcp_backends_share(w->backends, i, &s->inside, &s->tls_weak, &s->health[w->env->slot], w->env->slot);
	}
	return w->backends ? 0 : -ENOMEM;
}

/* All that needs the file system. */
static int worker_prepare(struct worker *w)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	int rc = loop_init();

	if (rc < 0)
		return failed("no event loop", rc, NULL);
	w->unbound = dns_unbound_new(&w->site->dns, &err);
	if (!w->unbound)
		return failed("no resolver", -EINVAL, &err);
	w->dns = dns_unbound_dns(w->unbound);
	if (w->site->redis.address.family) {
		w->redis = state_redis_new(&w->site->redis, NULL);
		if (!w->redis)
			return failed("no state", -ENOMEM, NULL);
		w->state = state_redis_state(w->redis);
	}
	w->daemons = daemon_pool_new(w->site, w->dns, &w->daemon_sockets.source);
	if (!w->daemons)
		return failed("no memory", -ENOMEM, NULL);
	for (size_t i = 0; i < w->site->daemon_count; i++) {
		int at = shared_names_find(&w->env->shared->daemon_names, w->site->daemon[i]->name);

		if (at >= 0)
			daemon_pool_share(w->daemons, i, &w->env->shared->daemon[at], w->env->slot);
	}
	rc = load_prepare(w);
	if (rc < 0)
		return failed("no memory", rc, NULL);
	dnsbl_health_use(shared_dnsbl(w->env->shared, w->env->generation));
	rc = backends_new(w);
	if (rc < 0)
		return failed("no backends", rc, NULL);
	rc = filters_setup(w->site, &err);
	if (rc < 0)
		return failed("a filter cannot be set up", rc, &err);
	w->limits = (struct limit_service){ .site = w->site, .use = &w->env->shared->use, .presence = &w->env->shared->presence,
					    .sessions = &w->env->shared->smtp_sessions, .self = w->env->slot };
	login_service_init(&w->login, w->site, w->state, &w->env->shared->login);
	for (int i = 0; w->env->protocols[i]; i++) {
		rc = w->env->protocols[i]->open
			     ? w->env->protocols[i]->open(w, &w->service[i], &err)
			     : 0;
		if (rc < 0)
			return failed("a protocol cannot be set up", rc, &err);
	}
	return 0;
}

/* The first worker tests the zones for all. */
static void test_zones(void *arg)
{
	struct worker *w = arg;

	dnsbl_health_run(w->site, w->dns);
}

/* What looks at content is gone, and who is confined makes no processes: a new worker has one. */
static void box_lost(void *arg)
{
	struct worker *w = arg;

	if (w->draining || channel_notify(&w->parent, CHANNEL_REPLACE, NULL, 0, -1) < 0)
		return;
	log_error("worker", "error", "what unpacks messages has died: a new worker is asked for", NULL);
}

static int worker_start(struct worker *w)
{
	const struct worker_env *env = w->env;
	int rc = confine_child(&env->confine, env->root, env->parent);

	if (rc < 0)
		return failed("cannot confine itself", rc, NULL);
	rc = shared_withhold(env->shared);      /* from who reads hostile bytes: it counts what clients may, for the whole site */
	if (rc < 0)
		return failed("cannot confine itself", rc, NULL);
	box_on_loss(box_lost, w);
	(void)box_start();              /* what unpacks messages: made now, while there is no mail in memory */
	rc = sandbox_enter(ROLE_WORKER, &env->confine);
	if (rc < 0)
		return failed("cannot enter the sandbox", rc, NULL);
	w->tick = event_new(loop_base(), -1, EV_PERSIST, on_tick, w);
	rc = w->tick ? tick_start(w, TICK_MS) : -ENOMEM;
	if (rc == 0)
		rc = channel_attach(&w->parent, env->control_fd);
	if (rc == 0)
		rc = history_channel_start(&w->history);
	if (rc == 0 && w->redis)
		rc = state_redis_start(w->redis);
	for (int i = 0; rc == 0 && env->protocols[i]; i++)
		if (env->protocols[i]->start)
			rc = env->protocols[i]->start(w->service[i]);
	if (rc == 0 && env->number == 1 && w->site->dnsbl_count > 0)
		rc = task_spawn("zones", test_zones, w, NULL);
	if (rc == 0)
		rc = load_start(w->load);
	if (rc == 0)
		rc = accept_start(w);
	if (rc == 0)
		rc = channel_notify(&w->parent, CHANNEL_READY, NULL, 0, -1);
	return rc < 0 ? failed("cannot start", rc, NULL) : 0;
}

static void worker_end(struct worker *w)
{
	accept_stop(w);
	for (int i = 0; w->env->protocols[i]; i++)
		if (w->env->protocols[i]->close && w->service[i])
			w->env->protocols[i]->close(w->service[i]);
	load_free(w->load);
	tcp_backends_free(w->backends);
	daemon_pool_free(w->daemons);
	state_redis_free(w->redis);
	history_channel_release(&w->history);
	channel_release(&w->history_channel);
	channel_release(&w->state_channel);
	channel_release(&w->store_channel);
	channel_release(&w->spool_channel);
	key_client_release(&w->keys);
	directory_client_release(&w->directory);
	channel_release(&w->parent);
	socket_stock_release(&w->sockets);
	if (w->tick)
		event_free(w->tick);
	if (w->spare_fd >= 0)
		close(w->spare_fd);
	if (w->unbound)
		dns_unbound_free(w->unbound);
}

int worker_run(const struct worker_env *env)
{
	struct worker *w = calloc(1, sizeof(*w)); /* its channels are too much for a frame */
	char title[16];
	int rc;

	if (!w)
		return 1;
	w->env = env;
	w->site = env->site;
	w->accept_epoll = w->spare_fd = -1;
	snprintf(title, sizeof(title), "gp-worker %d", env->number);
	prctl(PR_SET_NAME, title);
	channel_init(&w->parent, on_parent, w);
	socket_stock_init(&w->sockets, &w->parent);
	daemon_sockets_init(&w->daemon_sockets, &w->parent);
	channel_init(&w->state_channel, NULL, NULL);
	channel_init(&w->store_channel, NULL, NULL);
	channel_init(&w->spool_channel, NULL, NULL);
	key_client_init(&w->keys, w->site);
	directory_client_init(&w->directory, w->site);
	channel_init(&w->history_channel, NULL, NULL);
	history_channel_init(&w->history, &w->history_channel, w->site->history.record, &env->shared->history_dropped);
	state_channel_init(&w->state_client, &w->state_channel);
	store_channel_init(&w->store_client, &w->store_channel);
	spool_init(&w->spool, &w->spool_channel);
	w->state = &w->state_client.state;
	w->store = &w->store_client.store;
	atomic_store(&env->shared->slot[env->slot].pid, (int)getpid());
	rc = worker_prepare(w);
	if (rc == 0)
		rc = worker_start(w);
	if (rc == 0) {
		loop_run();
		rc = w->status;
	}
	loop_unwind();          /* sessions that are cut at the deadline, probes */
	worker_end(w);
	loop_release();
	free(w);
	return rc == 0 ? 0 : 1;
}
