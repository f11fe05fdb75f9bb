#include "process/keeper.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "policy/conf.h"
#include "process/sandbox.h"
#include "process/shared.h"

enum {
	REQUESTS_A_ROUND = 16,          /* of one worker, before others get their turn */
	TICK_MS = 1000,
	FINISH_MS = 10 * 1000,          /* for workers that are slow to take their answers */
	FINISH_PAUSE_MS = 2,
};

/* An answer that the worker's socket did not take yet. */
struct held {
	struct channel_msg m;           /* its own copy of data and descriptor */
	struct held *next;
};

struct keeper_peer {
	struct keeper *keeper;
	int fd;                         /* -1: the worker is gone; freed at the end of the round */
	int32_t slot;
	bool ended;                     /* all that it has asked has been read; answers may still be owed */
	struct event *readable, *writable;
	struct held *first, *last;
	struct keeper_peer *next;
};

static void held_free(struct held *h)
{
	channel_msg_release(&h->m);
	free(h);
}

static void peer_close(struct keeper_peer *p)
{
	if (p->fd < 0)
		return;
	event_free(p->readable);
	event_free(p->writable);
	close(p->fd);
	p->fd = -1;
	while (p->first) {
		struct held *h = p->first;

		p->first = h->next;
		held_free(h);
	}
}

static void peers_sweep(struct keeper *k, bool all)
{
	struct keeper_peer **at = &k->peers;

	while (*at) {
		struct keeper_peer *p = *at;

		if (all)
			peer_close(p);
		if (p->fd >= 0) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		if (k->role->gone && k->data)
			k->role->gone(k, p);
		free(p);
	}
}

static int answer_hold(struct keeper_peer *p, const struct channel_msg *m)
{
	struct held *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->m = *m;
	h->m.fd = -1;
	h->m.data = malloc(m->len + 1);
	if (m->fd >= 0)
		h->m.fd = dup(m->fd);
	if (!h->m.data || (m->fd >= 0 && h->m.fd < 0)) {
		held_free(h);
		return -ENOMEM;
	}
	if (m->len)
		memcpy(h->m.data, m->data, m->len);
	if (p->last && p->first)
		p->last->next = h;
	else
		p->first = h;
	p->last = h;
	(void)event_del(p->readable);   /* no more requests until these are out */
	return event_add(p->writable, NULL);
}

void keeper_answer(struct keeper_peer *p, uint16_t type, uint32_t id, int status, const void *data,
		   size_t len, int fd)
{
	struct channel_msg m = { .type = type,
				 .reply = true,
				 .id = id,
				 .status = status,
				 .data = (char *)data,
				 .len = len,
				 .fd = fd };
	int rc;

	if (p->fd < 0)
		return;
	rc = p->first ? -EAGAIN : channel_send(p->fd, &m);
	if (rc == -EAGAIN)
		rc = answer_hold(p, &m);
	if (rc < 0)
		peer_close(p);          /* the worker sees -EPIPE and is not left waiting */
}

void keeper_refuse(struct keeper_peer *p)
{
	peer_close(p);
}

static void on_writable(int fd, short what, void *arg)
{
	struct keeper_peer *p = arg;

	while (p->first) {
		struct held *h = p->first;
		int rc = channel_send(fd, &h->m);

		if (rc == -EAGAIN)
			return;
		if (rc < 0) {
			peer_close(p);
			return;
		}
		p->first = h->next;
		held_free(h);
	}
	(void)event_del(p->writable);
	if (event_add(p->readable, NULL) < 0)
		peer_close(p);
}

/* What a worker may hand over: a file, or memory, which is one. A socket would be a way to the network, from where there is none. */
static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* One message, which the role gets. 0, -EAGAIN, or another -errno: there will be no more. */
static int peer_read(struct keeper_peer *p)
{
	struct channel_msg m = CHANNEL_MSG_INIT;
	int rc = channel_recv(p->fd, &m);

	if (rc == -EPROTO)
		log_error("channel", "error", "a worker sent what is no message: its channel is closed", NULL);
	if (rc == -ENOMEM) {
		if (!m.reply && m.id != 0)
			keeper_answer(p, m.type, m.id, -EAGAIN, NULL, 0, -1);
		return 0;
	}
	if (rc < 0)
		return rc;
	if (m.fd >= 0 && !is_file(m.fd)) {
		log_error("channel", "error", "a worker handed over what is no file: its channel is closed", NULL);
		channel_msg_release(&m);
		return -EPROTO;
	}
	if (!m.reply && m.id != 0)
		p->keeper->role->request(p->keeper, p, &m);
	else if (!m.reply && p->keeper->role->notice)
		p->keeper->role->notice(p->keeper, p, &m);
	channel_msg_release(&m);
	return 0;
}

static void on_request(int fd, short what, void *arg)
{
	struct keeper_peer *p = arg;

	int most = p->keeper->role->at_once ? p->keeper->role->at_once : REQUESTS_A_ROUND;

	for (int i = 0; i < most && p->fd >= 0 && !p->first; i++) {
		int rc = peer_read(p);

		if (rc == -EAGAIN)
			return;
		if (rc < 0) {
			peer_close(p);
			return;
		}
	}
}

/* A worker's channel comes from the parent. It takes the place of the one that the worker had: who keeps asking for others does not get more turns by that. */
static void peer_add(struct keeper *k, int fd, int32_t slot)
{
	struct keeper_peer *p = calloc(1, sizeof(*p));

	for (struct keeper_peer *former = k->peers; former && slot >= 0; former = former->next)
		if (former->slot == slot)
			peer_close(former);
	if (p) {
		p->keeper = k;
		p->fd = fd;
		p->slot = slot;
		p->readable = event_new(k->base, fd, EV_READ | EV_PERSIST, on_request, p);
		p->writable = event_new(k->base, fd, EV_WRITE | EV_PERSIST, on_writable, p);
		if (p->readable && p->writable && event_add(p->readable, NULL) == 0) {
			p->next = k->peers;
			k->peers = p;
			return;
		}
		if (p->readable)
			event_free(p->readable);
		if (p->writable)
			event_free(p->writable);
		free(p);
	}
	close(fd);
}

/* From the parent: wire this channel, or stop. That it is gone is a stop, too. */
static void on_control(int fd, short what, void *arg)
{
	struct keeper *k = arg;
	struct channel_msg m = CHANNEL_MSG_INIT;
	struct channel_wire w;
	int rc = channel_recv(fd, &m);

	if (rc == -EAGAIN)
		return;
	if ((rc < 0 && rc != -ENOMEM) || m.type == CHANNEL_STOP)
		k->stopping = true;
	if (rc == 0 && m.type == CHANNEL_SETTINGS && m.len == sizeof(k->settings))
		memcpy(&k->settings, m.data, sizeof(k->settings));
	if (rc == 0 && m.type == CHANNEL_WIRE && m.fd >= 0 && m.len == sizeof(w)) {
		memcpy(&w, m.data, sizeof(w));
		if (w.version == channel_version()) {
			peer_add(k, m.fd, w.slot);
			m.fd = -1;
		}
	}
	channel_msg_release(&m);
}

static void on_tick(int fd, short what, void *arg)
{
	struct keeper *k = arg;

	if (k->env->shared)
		atomic_store(&k->env->shared->load.memory[PLACES_WORKERS_MAX + (int)k->env->role], load_memory_read(k->statm_fd));
	if (k->role->tick)
		k->role->tick(k);
}

/* Only to come to the end of a round. */
static void on_wake(int fd, short what, void *arg)
{
}

static int keeper_start(struct keeper *k)
{
	const struct keeper_env *env = k->env;
	bool chroots = confine_chroots(&env->confine);
	struct channel_msg ready = { .type = CHANNEL_READY, .fd = -1 };
	int rc = k->role->prepare ? k->role->prepare(k) : 0;

	if (rc < 0) {
		log_error("keeper", "error", "cannot begin", "why", strerror(-rc), NULL);
		return rc;
	}
	rc = confine_child(&env->confine, env->dir, env->parent);
	if (rc == 0)
		rc = sandbox_enter(env->role, &env->confine);
	if (rc < 0) {
		log_error("keeper", "error", "cannot confine itself", "why", strerror(-rc), NULL);
		return rc;
	}
	rc = k->role->open(k, chroots ? "/" : env->dir);
	return rc < 0 ? rc : channel_send(env->control_fd, &ready);
}

/* Whether a peer is still owed answers, or has asked for something that has not been read. */
static bool peer_finish(struct keeper_peer *p)
{
	if (p->fd >= 0 && p->first)
		on_writable(p->fd, EV_WRITE, p);
	while (p->fd >= 0 && !p->first && !p->ended) {
		int rc = peer_read(p);

		if (rc == -EAGAIN)
			break;
		p->ended = rc < 0;
	}
	return p->fd >= 0 && (p->first || !p->ended);
}

/*
 * Nobody can ask for more; what has been asked is done and answered. So a keeper that another one follows, over an upgrade, fails no
 * request: who finds this one deaf asks the other.
 */
static void keeper_finish(struct keeper *k)
{
	int64_t until_ms = clock_ms() + FINISH_MS;
	bool owing = true;

	for (struct keeper_peer *p = k->peers; p; p = p->next)
		if (p->fd >= 0)
			(void)shutdown(p->fd, SHUT_RD);
	while (owing && clock_ms() < until_ms) {
		owing = false;
		for (struct keeper_peer *p = k->peers; p; p = p->next)
			owing |= peer_finish(p);
		k->role->round(k);
		for (struct keeper_peer *p = k->peers; p; p = p->next)
			owing |= p->fd >= 0 && p->first;
		if (owing)
			(void)poll(NULL, 0, FINISH_PAUSE_MS);
	}
}

static void keeper_loop(struct keeper *k)
{
	struct timeval tick = { TICK_MS / 1000, TICK_MS % 1000 * 1000 };
	struct event *control =
		event_new(k->base, k->env->control_fd, EV_READ | EV_PERSIST, on_control, k);
	struct event *timer = event_new(k->base, -1, EV_PERSIST, on_tick, k);
	struct event *wake = event_new(k->base, -1, 0, on_wake, k);

	if (!control || !timer || !wake || event_add(control, NULL) < 0 || event_add(timer, &tick) < 0)
		k->rc = -ENOMEM;
	while (!k->stopping && k->rc == 0) {
		struct timeval tv = { k->round_in_ms / 1000, k->round_in_ms % 1000 * 1000 };

		if (k->round_in_ms > 0 && !event_pending(wake, EV_TIMEOUT, NULL))
			(void)event_add(wake, &tv);
		if (k->role->tasks)
			loop_turn();
		else if (event_base_loop(k->base, EVLOOP_ONCE | (k->round_in_ms ? 0 : EVLOOP_NONBLOCK)) < 0)
			k->rc = -EIO;
		k->round_in_ms = -1;
		k->role->round(k);
		peers_sweep(k, false);
	}
	if (control)
		event_free(control);
	if (timer)
		event_free(timer);
	if (wake)
		event_free(wake);
}

struct keeper_settings keeper_settings(const struct site *s)
{
	return (struct keeper_settings){ .history_keep_ms = (int64_t)s->history.keep_s * 1000, .history_max_bytes = s->history.max_bytes,
					  .quarantine = s->quarantine, .spool = s->spool };
}

int keeper_run(const struct keeper_env *env)
{
	static const struct keeper_role *const roles[ROLE_COUNT] = {
		[ROLE_STATE] = &keeper_state, [ROLE_STORE] = &keeper_store, [ROLE_HISTORY] = &keeper_history, [ROLE_SPOOL] = &keeper_spool,
		[ROLE_KEYS] = &keeper_keys, [ROLE_DIRECTORY] = &keeper_directory,
	};
	struct keeper k = { .round_in_ms = -1, .statm_fd = load_memory_open(), .env = env, .settings = env->settings, .role = roles[env->role] };

	prctl(PR_SET_NAME, k.role->name);
	if (!k.role->tasks)
		k.base = event_base_new();
	else if (loop_init() == 0)
		k.base = loop_base();
	k.rc = k.base ? keeper_start(&k) : -ENOMEM;
	if (k.rc == 0)
		keeper_loop(&k);
	if (k.rc == 0)
		keeper_finish(&k);
	if (k.data)
		k.role->close(&k);
	peers_sweep(&k, true);
	if (k.base && k.role->tasks)
		loop_release();
	else if (k.base)
		event_base_free(k.base);
	if (k.statm_fd >= 0)
		close(k.statm_fd);
	return k.rc == 0 ? 0 : 1;
}
