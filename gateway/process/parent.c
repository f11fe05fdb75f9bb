#include "process/parent.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/regdomain.h"
#include "process/child.h"
#include "process/keeper.h"
#include "process/listen.h"
#include "process/notify.h"
#include "process/statedir.h"

enum {
	CHILDREN_MAX = 2 + SHARED_SLOTS,
	STATE = 0, STORE = 1, WORKERS = 2,      /* places in parent.child */
	STATUS_MS = 10 * 1000,
	KEEPERS_END_S = 30,
	KILL_AFTER_S = 10,              /* after its deadline a worker should be gone by itself */
	PATH_BYTES = 1024,
};

enum phase {
	PHASE_KEEPERS,                  /* first start: waiting for the keepers, then */
	PHASE_WORKERS,                  /* for the workers */
	PHASE_RUNNING,
	PHASE_RELOADING,                /* a new generation is coming up beside the present one */
	PHASE_STOPPING,
};

/* A configuration and what has been opened for it. */
struct generation {
	unsigned number;                /* 0: none */
	struct site *site;
	struct listen_set listen;
};

struct parent {
	const struct parent_options *opt;
	enum phase phase;
	struct generation now, next;
	unsigned last_number;
	struct confine confine;
	struct shared *shared;
	struct child child[CHILDREN_MAX];       /* role 0: the place is free */
	/* Of the first start: a reload does not change them. */
	char *state_dir, *user, *control_path;
	int signal_fd, command_fd, lock_fd;
	int64_t phase_deadline_ms, status_ms, watchdog_ms;
	bool reload_again, failed, done;
	pid_t pid;
};

/* The life of a child */

struct life {
	struct parent *p;
	struct child *c;
	const struct generation *g;
};

static int life_keeper(void *arg, int control_fd)
{
	struct life *l = arg;
	char dir[PATH_BYTES];
	struct keeper_env env = {
		.role = l->c->role,
		.dir = dir,
		.confine = l->p->confine,
		.parent = l->p->pid,
		.control_fd = control_fd,
		.command_fd = l->c->role == ROLE_STATE ? l->p->command_fd : -1,
		.shared = l->p->shared,
	};

	snprintf(dir, sizeof(dir), "%s/%s", l->p->state_dir,
		 l->c->role == ROLE_STATE ? "state" : "quarantine");
	return keeper_run(&env);
}

static int life_worker(void *arg, int control_fd)
{
	struct life *l = arg;
	int *fds = calloc(l->g->listen.count + 1, sizeof(*fds));
	char root[PATH_BYTES];
	struct worker_env env = {
		.site = l->g->site,
		.shared = l->p->shared,
		.slot = l->c->slot,
		.number = l->c->number,
		.generation = l->c->generation,
		.control_fd = control_fd,
		.listen_fd = fds,
		.protocols = l->p->opt->protocols,
		.confine = l->p->confine,
		.root = root,
		.parent = l->p->pid,
	};

	if (!fds)
		return 1;
	for (size_t i = 0; i < l->g->listen.count; i++)
		fds[i] = l->g->listen.socket[i].fd;
	snprintf(root, sizeof(root), "%s/empty", l->p->state_dir);
	return worker_run(&env);
}

static const struct generation *generation_of(const struct parent *p, const struct child *c)
{
	return p->next.number && c->generation == p->next.number ? &p->next : &p->now;
}

/* Wire a process that has just been started to all those that it talks to. */
static void wire(struct parent *p, struct child *c)
{
	if (c->role == ROLE_WORKER) {
		child_wire(c, &p->child[STATE]);
		child_wire(c, &p->child[STORE]);
		return;
	}
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER)
			child_wire(&p->child[i], c);
}

static int start(struct parent *p, struct child *c)
{
	struct life life = { p, c, generation_of(p, c) };
	int keep[256], count = 0, rc;
	char name[32];

	if (c->role == ROLE_STATE && p->command_fd >= 0)
		keep[count++] = p->command_fd;
	for (size_t i = 0; c->role == ROLE_WORKER && i < life.g->listen.count && count < 255; i++)
		keep[count++] = life.g->listen.socket[i].fd;
	rc = child_start(c, keep, count, c->role == ROLE_WORKER ? life_worker : life_keeper, &life);
	if (rc < 0) {
		log_error("start", "error", "cannot start a process", "process",
			  child_name(c, name), "why", strerror(-rc), NULL);
		c->restart_ms = clock_ms() + 1000;
		return rc;
	}
	wire(p, c);
	return 0;
}

/* Generations */

static void generation_release(struct parent *p, struct generation *g)
{
	if (g->site)
		p->opt->free(g->site);
	listen_close(&g->listen);
	*g = (struct generation){ .number = 0 };
}

static int certificate(struct parent *p, struct site *s, struct buf *err)
{
	struct buf cert = BUF_INIT(64 * 1024), key = BUF_INIT(64 * 1024);
	int rc;

	if (!s->tls_offer || s->tls_cert_pem)
		return 0;
	rc = statedir_certificate(p->state_dir, s->hostname, &cert, &key, err);
	if (rc == 0) {
		s->tls_cert_pem = buf_steal(&cert);
		s->tls_key_pem = buf_steal(&key);
		if (!s->tls_cert_pem || !s->tls_key_pem)
			rc = -ENOMEM;
	}
	buf_release(&cert);
	buf_release(&key);
	return rc;
}

static int share_backends(struct parent *p, struct site *s, struct buf *err)
{
	for (size_t i = 0; i < s->backend_count; i++)
		if (shared_backend_claim(p->shared, s->backend[i].name) < 0) {
			buf_addf(err, "%s:%d: more than %d backends\n", s->path, s->backend[i].line,
				 SHARED_BACKENDS);
			return -ENOSPC;
		}
	return 0;
}

/*
 * Everything that the workers of this configuration will need. 0, or -errno with lines in err, and
 * g is empty.
 */
static int generation_make(struct parent *p, struct site *site, struct generation *g,
			   struct buf *err)
{
	int rc;

	*g = (struct generation){ .number = ++p->last_number, .site = site };
	rc = certificate(p, site, err);
	if (rc == 0)
		rc = share_backends(p, site, err);
	if (rc == 0)
		rc = listen_open(site->path, site->listener, site->listener_count, &p->now.listen,
				 &g->listen, err);
	if (rc == 0)
		shared_dnsbl_begin(p->shared, g->number, site, p->now.number,
				   g == &p->now ? NULL : p->now.site);
	if (rc < 0)
		generation_release(p, g);
	return rc;
}

static int workers_wanted(const struct site *s)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int n = s->workers > 0 ? s->workers : cpus > 0 ? (int)cpus : 1;

	return n < SHARED_SLOTS / 2 ? n : SHARED_SLOTS / 2;
}

static struct child *place_free(struct parent *p)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role != ROLE_WORKER)
			return &p->child[i];
	return NULL;
}

static void place_release(struct parent *p, struct child *c)
{
	if (c->slot >= 0)
		shared_slot_clear(p->shared, c->slot);
	*c = (struct child){ .role = ROLE_PARENT, .fd = -1, .slot = -1 };
}

static int workers_start(struct parent *p, const struct generation *g)
{
	for (int n = 1; n <= workers_wanted(g->site); n++) {
		struct child *c = place_free(p);
		int slot = c ? shared_slot_claim(p->shared, g->number) : -1, rc;

		if (slot < 0)
			return -EAGAIN;
		*c = (struct child){ .role = ROLE_WORKER,
				     .number = n,
				     .slot = slot,
				     .generation = g->number,
				     .fd = -1 };
		rc = start(p, c);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/*
 * All running workers of a generation (0: any) get to end: within limit_s, or at once when that is
 * 0. Sessions are asked to come to an end drain_stop_s before that: after a reload they may go on
 * as they are until then.
 */
static void workers_end(struct parent *p, unsigned generation, int limit_s)
{
	int before_s = limit_s < p->opt->drain_stop_s ? limit_s : p->opt->drain_stop_s;
	struct channel_drain d = { .patience_s = limit_s - before_s, .limit_s = limit_s };

	for (int i = WORKERS; i < CHILDREN_MAX; i++) {
		struct child *c = &p->child[i];

		if (c->role != ROLE_WORKER || (generation && c->generation != generation))
			continue;
		c->draining = true;
		c->restart_ms = 0;
		if (c->pid <= 0) {
			place_release(p, c);
		} else if (limit_s == 0) {
			kill(c->pid, SIGKILL);
		} else {
			c->kill_ms = clock_ms() + ((int64_t)limit_s + KILL_AFTER_S) * 1000;
			child_tell(c, CHANNEL_DRAIN, &d, sizeof(d), -1);
		}
	}
}

static bool workers_ready(const struct parent *p, unsigned generation)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].generation == generation &&
		    !p->child[i].ready)
			return false;
	return true;
}

static int workers_alive(const struct parent *p)
{
	int n = 0;

	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		n += p->child[i].role == ROLE_WORKER && p->child[i].pid > 0;
	return n;
}

/* Reload */

static void log_lines(enum log_level level, const char *event, const char *key,
		      const struct buf *text)
{
	const char *p = buf_str(text);

	while (*p) {
		size_t len = strcspn(p, "\n");
		struct log_line l;

		log_start(&l, level, event);
		log_bytes(&l, key, p, len);
		log_emit(&l);
		p += len + (p[len] == '\n');
	}
}

static void reload_refused(struct parent *p, const struct buf *errors)
{
	log_lines(LOG_LEVEL_ERROR, "reload", "error", errors);
	log_error("reload", "what", "refused: the configuration of before goes on", NULL);
	atomic_fetch_add(&p->shared->reloads_refused, 1);
	p->phase = PHASE_RUNNING;
	notify_ready();
}

/* What is bound to the running processes cannot be changed under them. */
static void fixed(const char *what, char *now, char **want)
{
	if (strcmp(now ? now : "", *want ? *want : "") != 0)
		log_warning("reload", "what", "this changes at a restart only", "option", what,
			    "remains", now ? now : "", NULL);
}

static void reload(struct parent *p)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024), warnings = BUF_INIT(64 * 1024);
	struct site *site;

	if (p->phase != PHASE_RUNNING) {
		p->reload_again = p->phase != PHASE_STOPPING;
		return;
	}
	notify_reloading();
	log_notice("reload", "what", "begins", "file", p->opt->path, NULL);
	site = p->opt->load(p->opt->path, &errors, &warnings);
	log_lines(LOG_LEVEL_WARNING, "reload", "warning", &warnings);
	if (!site) {
		reload_refused(p, &errors);
		return;
	}
	fixed("user", p->user, &site->user);
	fixed("state_dir", p->state_dir, &site->state_dir);
	fixed("control", p->control_path, &site->control_path);
	if (generation_make(p, site, &p->next, &errors) < 0) {
		reload_refused(p, &errors);
		return;
	}
	p->phase = PHASE_RELOADING;
	p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
	if (workers_start(p, &p->next) < 0)
		p->phase_deadline_ms = 0; /* too many still draining: given up in this round */
}

static void reload_give_up(struct parent *p)
{
	AUTO(buf) struct buf why = BUF_INIT(200);

	buf_adds(&why, "the new workers did not come up (the lines above say why)");
	workers_end(p, p->next.number, 0);      /* their places are freed as they are reaped */
	generation_release(p, &p->next);
	reload_refused(p, &why);
}

static void reload_done(struct parent *p)
{
	unsigned old = p->now.number;
	const char *names[SHARED_BACKENDS];
	size_t count = 0;

	generation_release(p, &p->now);
	p->now = p->next;
	p->next = (struct generation){ .number = 0 };
	atomic_store(&p->shared->generation, p->now.number);
	/* Every former generation is told how long it has; the oldest of many, less. */
	for (unsigned g = 1; g <= old; g++) {
		bool many = old - g + 1 >= PARENT_GENERATIONS_MAX;

		if (g == old || many)
			workers_end(p, g, many ? p->opt->drain_stop_s : p->opt->drain_reload_s);
	}
	for (size_t i = 0; i < p->now.site->backend_count && count < SHARED_BACKENDS; i++)
		names[count++] = p->now.site->backend[i].name;
	/* While old workers live their counters do, too. */
	if (workers_alive(p) == workers_wanted(p->now.site))
		shared_backend_keep(p->shared, names, count);
	p->phase = PHASE_RUNNING;
	log_notice("reload", "what", "done", NULL);
	notify_ready();
}

/* The end */

static void stop(struct parent *p, bool at_once)
{
	if (p->phase == PHASE_STOPPING && !at_once)
		return;
	log_notice("stop", "what", at_once ? "at once" : "draining", NULL);
	if (p->phase != PHASE_STOPPING)
		notify_stopping();
	p->phase = PHASE_STOPPING;
	workers_end(p, 0, at_once ? 0 : p->opt->drain_stop_s);
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

	for (int i = STATE; i <= STORE; i++) {
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
		if (p->child[STATE].ready && p->child[STORE].ready) {
			p->phase = PHASE_WORKERS;
			p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
			if (workers_start(p, &p->now) < 0)
				fail(p, "the workers cannot be started");
		} else if (late) {
			fail(p, "a keeper does not come up");
		}
		break;
	case PHASE_WORKERS:
		if (workers_ready(p, p->now.number)) {
			p->phase = PHASE_RUNNING;
			log_notice("ready", "file", p->opt->path, NULL);
			notify_ready();
		} else if (late) {
			fail(p, "a worker does not come up");
		}
		break;
	case PHASE_RUNNING:
		if (p->reload_again) {
			p->reload_again = false;
			reload(p);
		}
		break;
	case PHASE_RELOADING:
		if (late)
			reload_give_up(p);
		else if (workers_ready(p, p->next.number))
			reload_done(p);
		break;
	case PHASE_STOPPING:
		if (workers_alive(p) == 0)
			keepers_end(p);
		break;
	}
}

/* Events */

static void died(struct parent *p, struct child *c, int status)
{
	bool was_ready = c->ready, coming = p->next.number && c->generation == p->next.number;

	child_died(c, status, clock_ms());
	if (c->role == ROLE_WORKER && c->slot >= 0)
		shared_slot_clear(p->shared, c->slot);
	if (c->draining || (p->phase == PHASE_STOPPING && c->role == ROLE_WORKER)) {
		c->restart_ms = 0;      /* but keepers are there until the last session is over */
		if (c->role == ROLE_WORKER)
			place_release(p, c);
	} else if (coming) {
		c->restart_ms = 0;
		reload_give_up(p);
	} else if ((p->phase == PHASE_KEEPERS || p->phase == PHASE_WORKERS) && !was_ready) {
		fail(p, "a process ended before it was ready (the lines above say why)");
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
		for (int i = 0; i < CHILDREN_MAX; i++)
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
			reload(p);
		else
			stop(p, p->phase == PHASE_STOPPING);
	}
}

/* All that a child ever says to the parent is that it is ready. */
static void on_child(struct parent *p, struct child *c)
{
	struct channel_msg m = CHANNEL_MSG_INIT;
	int rc = channel_recv(c->fd, &m);

	if (rc == 0 && m.type == CHANNEL_READY && !m.reply)
		c->ready = true;
	channel_msg_release(&m);
	if (rc == 0 || rc == -EAGAIN)
		return;
	close(c->fd);                   /* it is dying; SIGCHLD says so */
	c->fd = -1;
	if (rc == -EPROTO && c->pid > 0)
		kill(c->pid, SIGKILL);
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
			atomic_fetch_add(&p->shared->restarts, 1);
			(void)start(p, c);
		}
	}
	if (every_ms && now_ms >= p->watchdog_ms) {
		p->watchdog_ms = now_ms + every_ms;
		notify_watchdog();
	}
	if (p->phase == PHASE_RUNNING && now_ms >= p->status_ms) {
		p->status_ms = now_ms + STATUS_MS;
		notify_status("%d workers, %d sessions, %llu connections so far", workers_alive(p),
			      shared_sessions(p->shared),
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
	if (p->phase != PHASE_STOPPING)
		next_ms = sooner(next_ms,
				 p->phase == PHASE_RUNNING ? p->status_ms : p->phase_deadline_ms);
	if (notify_watchdog_ms())
		next_ms = sooner(next_ms, p->watchdog_ms);
	return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

static void loop(struct parent *p)
{
	while (!p->done) {
		struct pollfd fds[1 + CHILDREN_MAX] = { { .fd = p->signal_fd, .events = POLLIN } };

		for (int i = 0; i < CHILDREN_MAX; i++)
			fds[1 + i] = (struct pollfd){ .fd = p->child[i].fd, .events = POLLIN };
		if (poll(fds, 1 + CHILDREN_MAX, wait_ms(p)) > 0) {
			/* Children first: a place may be filled anew while signals are handled. */
			for (int i = 0; i < CHILDREN_MAX; i++)
				if (fds[1 + i].revents && p->child[i].fd == fds[1 + i].fd)
					on_child(p, &p->child[i]);
			if (fds[0].revents)
				on_signal(p);
		}
		timers(p);
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
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return p->signal_fd < 0 ? -errno : 0;
}

/* What libraries read from the file system they read now, once, for all children. */
static void libraries_load(void)
{
	tzset();
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	if (regdomain_init(NULL) < 0)
		log_warning("start", "warning", "no public suffix list", NULL);
}

static int prepare_site(struct parent *p, struct site *s, struct buf *err)
{
	int rc = confine_user(s->user, &p->confine);

	if (rc < 0) {
		buf_addf(err, "%s: user %s: there is no such user\n", s->path, s->user);
		return rc;
	}
	p->state_dir = strdup(s->state_dir);
	p->user = s->user ? strdup(s->user) : NULL;
	p->control_path = s->control_path ? strdup(s->control_path) : NULL;
	if (!p->state_dir)
		return -ENOMEM;
	p->lock_fd = statedir_open(p->state_dir, &p->confine, err);
	if (p->lock_fd < 0)
		return p->lock_fd;
	if (p->control_path) {
		p->command_fd = listen_unix(p->control_path);
		if (p->command_fd < 0) {
			buf_addf(err, "%s: control socket %s: %s\n", s->path, p->control_path,
				 strerror(-p->command_fd));
			return p->command_fd;
		}
	}
	return 0;
}

static int prepare(struct parent *p, struct buf *err)
{
	AUTO(buf) struct buf warnings = BUF_INIT(64 * 1024);
	struct site *site;
	int rc;

	libraries_load();
	site = p->opt->load(p->opt->path, err, &warnings);
	log_lines(LOG_LEVEL_WARNING, "start", "warning", &warnings);
	if (!site)
		return -EINVAL;
	p->shared = shared_map();
	rc = p->shared ? prepare_site(p, site, err) : -ENOMEM;
	if (rc < 0) {
		p->opt->free(site);
		return rc;
	}
	rc = generation_make(p, site, &p->now, err);
	if (rc < 0)
		return rc;
	atomic_store(&p->shared->generation, p->now.number);
	return signals_take(p);
}

static void release(struct parent *p)
{
	generation_release(p, &p->now);
	generation_release(p, &p->next);
	if (p->control_path && p->command_fd >= 0)
		unlink(p->control_path);
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (p->child[i].fd >= 0)
			close(p->child[i].fd);
	if (p->command_fd >= 0)
		close(p->command_fd);
	if (p->signal_fd >= 0)
		close(p->signal_fd);
	if (p->lock_fd >= 0)
		close(p->lock_fd);
	shared_unmap(p->shared);
	regdomain_release();
	free(p->state_dir);
	free(p->user);
	free(p->control_path);
}

static int run(struct parent *p)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	int rc = prepare(p, &err);

	if (rc < 0) {
		fprintf(stderr, "%s%s", buf_str(&err), err.len ? "" : strerror(-rc));
		return 1;
	}
	p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
	for (int i = STATE; i <= STORE; i++) {
		p->child[i].role = i == STATE ? ROLE_STATE : ROLE_STORE;
		if (start(p, &p->child[i]) < 0)
			fail(p, "a keeper cannot be started");
	}
	loop(p);
	log_notice("stop", "what", "ended", NULL);
	return p->failed ? 1 : 0;
}

int parent_run(const struct parent_options *options)
{
	struct parent *p = calloc(1, sizeof(*p));
	struct parent_options opt = *options;
	int status;

	if (!p)
		return 1;
	if (opt.drain_stop_s <= 0)
		opt.drain_stop_s = PARENT_DRAIN_STOP_S;
	if (opt.drain_reload_s <= 0)
		opt.drain_reload_s = PARENT_DRAIN_RELOAD_S;
	p->opt = &opt;
	p->signal_fd = p->command_fd = p->lock_fd = -1;
	p->pid = getpid();
	for (int i = 0; i < CHILDREN_MAX; i++)
		p->child[i] = (struct child){ .role = ROLE_PARENT, .fd = -1, .slot = -1 };
	confine_raise_limits();
	status = run(p);
	release(p);
	free(p);
	return status;
}
