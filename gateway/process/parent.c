#include "process/parent.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/regdomain.h"
#include "process/control.h"
#include "process/notify.h"
#include "process/parent_impl.h"
#include "process/sandbox.h"
#include "process/statedir.h"

/* The end */

static void stop(struct parent *p, bool at_once)
{
	if (p->phase == PHASE_STOPPING && !at_once)
		return;
	log_notice("stop", "what", at_once ? "at once" : "draining", NULL);
	if (p->phase != PHASE_STOPPING)
		notify_stopping();
	p->phase = PHASE_STOPPING;
	parent_lists_end(p);
	parent_workers_end(p, 0, at_once ? 0 : p->drain.stop_s);
	listen_close(&p->now.listen);
	listen_close(&p->next.listen);
}

static void fail(struct parent *p, const char *why)
{
	log_error("start", "error", why, NULL);
	p->failed = true;
	stop(p, true);
}

/* The workers have gone: the keepers write what they have, and go. */
static void keepers_end(struct parent *p)
{
	bool any = false;

	for (int i = STATE; i < WORKERS; i++) {
		struct child *c = &p->child[i];

		any |= c->pid > 0;
		if (c->pid > 0 && !c->draining) {
			c->draining = true;
			c->kill_ms = clock_ms() + KEEPERS_END_S * 1000;
			child_tell(c, CHANNEL_STOP, NULL, 0, -1);
		}
		c->restart_ms = 0;
	}
	p->done = !any;
}

/* Where we are, after whatever happened. */
static void advance(struct parent *p)
{
	bool late = clock_ms() >= p->phase_deadline_ms;

	switch (p->phase) {
	case PHASE_KEEPERS:
		if (p->child[STATE].ready && p->child[STORE].ready && p->child[HISTORY].ready && p->child[SPOOL].ready &&
		    parent_beside_ready(p, ROLE_KEYS, p->now.number) && parent_beside_ready(p, ROLE_DIRECTORY, p->now.number)) {
			p->phase = PHASE_WORKERS;
			p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
			if (parent_workers_start(p, &p->now) < 0)
				fail(p, "the workers cannot be started");
		} else if (late) {
			fail(p, "a keeper does not come up");
		}
		break;
	case PHASE_WORKERS:
		if (parent_workers_ready(p, p->now.number)) {
			p->phase = PHASE_RUNNING;
			parent_lists_begin(p);
			log_notice("ready", "file", p->opt->path, NULL);
			notify_ready();
		} else if (late) {
			fail(p, "a worker does not come up");
		}
		break;
	case PHASE_RUNNING:
		if (p->reload_again && (!p->reload_waits || parent_reload_room(p)))
			parent_reload(p);
		else if (p->upgrade.approved)
			parent_upgrade_go(p);
		break;
	case PHASE_HEIR:
		if (p->upgrade.approved)
			parent_upgrade_go(p);
		break;
	case PHASE_SUCCESSION:
		parent_succession_step(p);
		break;
	case PHASE_RELOADING:
		if (late)
			parent_reload_give_up(p);
		else if (parent_workers_ready(p, p->next.number) && parent_beside_ready(p, ROLE_KEYS, p->next.number) &&
			 parent_beside_ready(p, ROLE_DIRECTORY, p->next.number))
			parent_reload_done(p);
		break;
	case PHASE_STOPPING:
		if (parent_workers_alive(p) == 0)
			keepers_end(p);
		break;
	}
}

/* Events */

static void died(struct parent *p, struct child *c, int status)
{
	bool was_ready = c->ready, coming = p->next.number && c->generation == p->next.number;

	child_died(c, status, clock_ms());
	c->inherited = false;
	if (c->followed) {
		c->followed = c->draining = false;
		c->failures = 0;
		c->restart_ms = clock_ms();
		return;
	}
	if (c->role == ROLE_WORKER && c->slot >= 0)
		shared_slot_clear(p->shared, c->slot);
	if (parent_keys_lost(p, c) || parent_directory_lost(p, c))
		return;
	if (c->draining || (p->phase == PHASE_STOPPING && c->role == ROLE_WORKER)) {
		c->restart_ms = 0;      /* but keepers are there until the last session is over */
		if (c >= &p->child[KEEPERS])
			parent_place_release(p, c);
	} else if (coming) {
		c->restart_ms = 0;
		parent_reload_give_up(p);
	} else if ((p->phase == PHASE_KEEPERS || p->phase == PHASE_WORKERS) && !was_ready) {
		fail(p, "a process ended before it was ready (the lines above say why)");
	} else if (c->role == ROLE_WORKER && !p->now.site) {
		parent_place_release(p, c);     /* of a program that is no more: its place is for one of ours */
	} else if (c->role == ROLE_WORKER) {
		/* The slot stays its own until it is started again. */
		atomic_store(&p->shared->slot[c->slot].pid, -1);
	}
}

static void reap(struct parent *p)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = parent_upgrade_reaped(p, pid, status) ? CHILDREN_MAX : 0; i < CHILDREN_MAX; i++)
			if (p->child[i].pid == pid) {
				died(p, &p->child[i], status);
				break;
			}
}

static void on_signal(struct parent *p)
{
	struct signalfd_siginfo si;

	while (read(p->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap(p);
		else if (si.ssi_signo == SIGHUP)
			parent_reload(p);
		else if (si.ssi_signo == SIGUSR2)
			parent_upgrade(p);
		else
			stop(p, p->phase == PHASE_STOPPING);
	}
}

/* All that a child ever says to the parent: that it is ready, that it needs a socket, a daemon, a successor, or channels to keepers. */
static void on_child(struct parent *p, struct child *c)
{
	struct channel_msg m = CHANNEL_MSG_INIT;
	int rc = channel_recv(c->fd, &m);

	if ((rc == 0 || rc == -ENOMEM) && m.type == CHANNEL_READY && !m.reply) {
		c->ready = true;
		if (c->role == ROLE_KEYS)
			parent_keys_of(p, c)->served = true;
	} else if (rc == 0 && m.type == CHANNEL_SOCKET && !m.reply)
		parent_socket(p, c, &m);
	else if (rc == 0 && m.type == CHANNEL_DAEMON && !m.reply)
		parent_daemon(p, c, &m);
	else if (rc == 0 && m.type == CHANNEL_REPLACE && !m.reply)
		parent_replace(p, c);
	else if (rc == 0 && m.type == CHANNEL_WIRE && !m.reply)
		parent_rewire(p, c, &m);
	channel_msg_release(&m);
	if (rc == 0 || rc == -EAGAIN || rc == -ENOMEM)
		return;
	close(c->fd);                   /* it is dying; SIGCHLD says so */
	c->fd = -1;
	if (rc == -EPROTO && c->pid > 0)
		kill(c->pid, SIGKILL);
}

/*
 * The resolver has its times from the wall clock: what it noted while that was ahead (a name that could not be looked up, a server that does not answer) it
 * would believe until that day comes, and mail would be put off as long. New workers have new resolvers.
 */
static void clock_look(struct parent *p)
{
	int64_t off_ms = clock_wall_ms() - clock_ms(), by_ms = off_ms - p->wall_off_ms;
	struct log_line l;

	p->wall_off_ms = off_ms;
	if (by_ms > -CLOCK_STEP_MS && by_ms < CLOCK_STEP_MS)
		return;
	log_start(&l, LOG_LEVEL_WARNING, "clock");
	log_str(&l, "what", "it has been set: new workers, as by a reload");
	log_num(&l, "by_s", by_ms / 1000);
	log_emit(&l);
	parent_reload(p);
}

static void timers(struct parent *p)
{
	int64_t now_ms = clock_ms();
	int every_ms = notify_watchdog_ms();

	for (int i = 0; i < CHILDREN_MAX; i++) {
		struct child *c = &p->child[i];

		if (c->kill_ms && now_ms >= c->kill_ms && c->pid > 0) {
			c->kill_ms = 0;
			kill(c->pid, SIGKILL);
		}
		if (c->restart_ms && now_ms >= c->restart_ms && c->pid <= 0) {
			c->restart_ms = 0;
			if (c->failures)        /* else it was told to end for a successor */
				atomic_fetch_add(&p->shared->restarts, 1);
			(void)parent_start(p, c);
		}
	}
	if (every_ms && now_ms >= p->watchdog_ms) {
		p->watchdog_ms = now_ms + every_ms;
		notify_watchdog();
	}
	if (p->upgrade.trial && now_ms >= p->upgrade.deadline_ms)
		parent_upgrade_late(p);
	if (p->lists_ms && now_ms >= p->lists_ms)
		parent_lists_look(p);
	if (p->phase == PHASE_RUNNING)
		clock_look(p);
	if (p->phase == PHASE_RUNNING && now_ms >= p->status_ms) {
		atomic_store(&p->shared->load.memory[PLACES_WORKERS_MAX + ROLE_PARENT], load_memory_read(p->statm_fd));
		p->status_ms = now_ms + STATUS_MS;
		notify_status("%d workers, %d sessions, %llu connections so far",
			      parent_workers_alive(p), shared_sessions(p->shared),
			      (unsigned long long)atomic_load(&p->shared->accepted));
	}
}

static int64_t sooner(int64_t a, int64_t b)
{
	return b && b < a ? b : a;
}

static int wait_ms(const struct parent *p)
{
	int64_t now_ms = clock_ms(), next_ms = now_ms + STATUS_MS;

	for (int i = 0; i < CHILDREN_MAX; i++) {
		next_ms = sooner(next_ms, p->child[i].kill_ms);
		next_ms = sooner(next_ms, p->child[i].restart_ms);
	}
	next_ms = sooner(next_ms, p->lists_ms);
	if (p->upgrade.trial)
		next_ms = sooner(next_ms, p->upgrade.deadline_ms);
	if (p->phase == PHASE_RUNNING)
		next_ms = sooner(sooner(next_ms, p->status_ms), now_ms + CLOCK_LOOK_MS);
	else if (p->phase != PHASE_STOPPING && p->phase != PHASE_HEIR)
		next_ms = sooner(next_ms, p->phase_deadline_ms);
	if (notify_watchdog_ms())
		next_ms = sooner(next_ms, p->watchdog_ms);
	return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

static void loop(struct parent *p)
{
	struct pollfd fds[2 + CHILDREN_MAX];
	struct child *who[2 + CHILDREN_MAX];

	while (!p->done) {
		nfds_t n = 1;

		/* Only those that there are: poll takes no more than there may be descriptors. */
		fds[0] = (struct pollfd){ .fd = p->signal_fd, .events = POLLIN };
		for (int i = 0; i < CHILDREN_MAX; i++)
			if (p->child[i].fd >= 0) {
				who[n] = &p->child[i];
				fds[n++] = (struct pollfd){ .fd = p->child[i].fd, .events = POLLIN };
			}
		if (p->upgrade.trial_fd >= 0) {
			who[n] = NULL;
			fds[n++] = (struct pollfd){ .fd = p->upgrade.trial_fd, .events = POLLIN };
		}
		if (poll(fds, n, wait_ms(p)) > 0) {
			/* Children first: a place may be filled anew while signals are handled. */
			for (nfds_t i = 1; i < n; i++)
				if (fds[i].revents && who[i])
					on_child(p, who[i]);
				else if (fds[i].revents)
					parent_upgrade_read(p);
			if (fds[0].revents)
				on_signal(p);
		}
		timers(p);
		parent_beside_look(p, ROLE_KEYS);
		parent_beside_look(p, ROLE_DIRECTORY);
		advance(p);
	}
}

/* The first start */

static int signals_take(struct parent *p)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return p->signal_fd < 0 ? -errno : 0;
}

/* Of jansson, which would read /dev/urandom when it is first used, and there is none for who is confined: it would go by the time. */
static void hash_seed(void)
{
	size_t seed = 0;

	while (seed == 0 && getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
		;
	json_object_seed(seed);
}

/* What libraries read from the file system they read now, once, for all children. */
static void libraries_load(void)
{
	tzset();
	hash_seed();
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	if (regdomain_init(NULL) < 0)
		log_warning("start", "warning", "no public suffix list", NULL);
}

static int prepare_site(struct parent *p, struct site *s, struct buf *err)
{
	AUTO(buf) struct buf warnings = BUF_INIT(8192);
	const struct confine *keeper = &p->confine[ROLE_STATE];
	int rc = confine_site(s, p->confine, err, &warnings);

	parent_log_lines(LOG_LEVEL_WARNING, "start", "warning", &warnings);
	if (rc < 0)
		return rc;
	p->state_dir = strdup(s->state_dir);
	p->user = s->user ? strdup(s->user) : NULL;
	p->keeper_user = s->keeper_user ? strdup(s->keeper_user) : NULL;
	p->key_user = s->key_user ? strdup(s->key_user) : NULL;
	p->directory_user = s->directory_user ? strdup(s->directory_user) : NULL;
	p->control_path = s->control_path ? strdup(s->control_path) : NULL;
	if (!p->state_dir)
		return -ENOMEM;
	p->lock_fd = statedir_open(p->state_dir, p->confine, -1, err);
	if (p->lock_fd < 0)
		return p->lock_fd;
	if (p->control_path) {
		p->command_fd = listen_unix(p->control_path);
		if (p->command_fd < 0) {
			buf_addf(err, "%s: control socket %s: %s\n", s->path, p->control_path,
				 strerror(-p->command_fd));
			return p->command_fd;
		}
		if (asprintf(&p->spool_path, "%s" CONTROL_SPOOL, p->control_path) < 0)
			p->spool_path = NULL;
		p->spool_fd = p->spool_path ? listen_unix(p->spool_path) : -ENOMEM;
		if (p->spool_fd < 0) {
			buf_addf(err, "%s: control socket %s" CONTROL_SPOOL ": %s\n", s->path, p->control_path, strerror(-p->spool_fd));
			return p->spool_fd;
		}
		/* Commands give up root before they ask; who may write the keepers' files may ask the keepers, too. */
		if (keeper->drop && (lchown(p->control_path, keeper->uid, keeper->gid) < 0 || lchown(p->spool_path, keeper->uid, keeper->gid) < 0))
			return -errno;
	}
	return 0;
}

static int prepare(struct parent *p, struct buf *err)
{
	AUTO(buf) struct buf warnings = BUF_INIT(64 * 1024);
	struct site *site;
	int rc;

	site = p->opt->load(p->opt->path, err, &warnings);
	parent_log_lines(LOG_LEVEL_WARNING, "start", "warning", &warnings);
	if (!site)
		return -EINVAL;
	p->shared_fd = shared_make();
	p->shared = p->shared_fd >= 0 ? shared_map(p->shared_fd) : NULL;
	rc = p->shared ? prepare_site(p, site, err) : -ENOMEM;
	if (rc < 0) {
		p->opt->free(site);
		return rc;
	}
	rc = generation_make(p, site, &p->now, err);
	if (rc < 0)
		return rc;
	parent_drain_set(p, p->now.site);
	p->settings = keeper_settings(p->now.site);
	p->have_settings = true;
	atomic_store(&p->shared->generation, p->now.number);
	rc = signals_take(p);
	if (rc == 0)
		rc = confine_parent();
	return rc == 0 ? sandbox_enter(ROLE_PARENT, &p->confine[ROLE_PARENT]) : rc;
}

static void release(struct parent *p)
{
	parent_upgrade_end(p);
	free(p->upgrade.program);
	parent_lists_end(p);
	generation_release(p, &p->now);
	generation_release(p, &p->next);
	if (p->control_path && p->command_fd >= 0)
		unlink(p->control_path);
	if (p->spool_path && p->spool_fd >= 0)
		unlink(p->spool_path);
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (p->child[i].fd >= 0)
			close(p->child[i].fd);
	if (p->command_fd >= 0)
		close(p->command_fd);
	if (p->spool_fd >= 0)
		close(p->spool_fd);
	if (p->signal_fd >= 0)
		close(p->signal_fd);
	if (p->lock_fd >= 0)
		close(p->lock_fd);
	if (p->statm_fd >= 0)
		close(p->statm_fd);
	shared_unmap(p->shared);
	if (p->shared_fd >= 0)
		close(p->shared_fd);
	regdomain_release();
	parent_daemons_release(p);
	free(p->state_dir);
	free(p->user);
	free(p->keeper_user);
	free(p->key_user);
	free(p->directory_user);
	free(p->control_path);
	free(p->spool_path);
}

static int run(struct parent *p)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	int rc = parent_succession(p, &err);
	bool heir = rc > 0;

	p->wall_off_ms = clock_wall_ms() - clock_ms();
	libraries_load();
	rc = rc < 0 ? rc : heir ? signals_take(p) : prepare(p, &err);
	if (rc < 0) {
		if (err.len)
			fputs(buf_str(&err), stderr);
		else
			fprintf(stderr, "%s: cannot be started: %s\n", p->opt->path, strerror(-rc));
		return 1;
	}
	p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
	if (heir)
		parent_succession_begin(p);
	for (int i = STATE; i < KEEPERS && !heir; i++) {
		static const enum channel_role roles[] = { [STATE] = ROLE_STATE, [STORE] = ROLE_STORE, [HISTORY] = ROLE_HISTORY, [SPOOL] = ROLE_SPOOL };

		p->child[i].role = roles[i];
		if (parent_start(p, &p->child[i]) < 0)
			fail(p, "a keeper cannot be started");
	}
	if (!heir && parent_keys_start(p, &p->now) < 0)
		fail(p, "the key process cannot be started");
	if (!heir && parent_directory_start(p, &p->now) < 0)
		fail(p, "the directory process cannot be started");
	loop(p);
	log_notice("stop", "what", "ended", NULL);
	return p->failed ? 1 : 0;
}

int parent_run(const struct parent_options *options)
{
	struct parent *p = calloc(1, sizeof(*p));
	struct parent_options opt = *options;
	int status;

	if (!p) {
		fputs("out of memory\n", stderr);
		return 1;
	}
	p->opt = &opt;
	parent_drain_set(p, NULL);
	p->signal_fd = p->command_fd = p->spool_fd = p->lock_fd = p->shared_fd = -1;
	p->pid = getpid();
	p->upgrade = (struct parent_upgrade){ .program = parent_upgrade_program(), .binary_fd = -1, .trial_fd = -1, .said = BUF_INIT(64 * 1024) };
	for (int i = 0; i < CHILDREN_MAX; i++)
		p->child[i] = (struct child){ .role = ROLE_PARENT, .fd = -1, .slot = -1 };
	p->statm_fd = load_memory_open();
	confine_raise_limits();
	status = run(p);
	release(p);
	free(p);
	return status;
}
