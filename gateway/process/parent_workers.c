#include "process/parent_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "process/directory.h"
#include "process/keeper.h"

struct life {
	struct parent *p;
	struct child *c;
	const struct generation *g;
};

/* The control socket that this keeper serves, or -1. */
static int command_fd(const struct parent *p, const struct child *c)
{
	return c->role == ROLE_STATE ? p->command_fd : c->role == ROLE_SPOOL ? p->spool_fd : -1;
}

static int life_keeper(void *arg, int control_fd)
{
	static const char *const dirs[ROLE_COUNT] = { [ROLE_STATE] = "state", [ROLE_STORE] = "quarantine", [ROLE_HISTORY] = "history",
						[ROLE_SPOOL] = "spool", [ROLE_KEYS] = "empty", [ROLE_DIRECTORY] = "empty" };
	struct life *l = arg;
	char dir[PATH_BYTES], copy_dir[PATH_BYTES];
	struct keeper_env env = {
		.role = l->c->role,
		.dir = dir,
		.confine = l->p->confine[l->c->role],
		.parent = l->p->pid,
		.control_fd = control_fd,
		.command_fd = command_fd(l->p, l->c),
		.shared = l->p->shared,
		.settings = l->p->settings,
	};

	if (l->c->role == ROLE_KEYS) {
		env.keys = &parent_keys_of(l->p, l->c)->list;
		env.again = parent_keys_of(l->p, l->c)->served;
	}
	if (l->c->role == ROLE_DIRECTORY) {
		env.site = l->g->site;
		env.generation = l->c->generation;
		env.copy_dir = copy_dir;
		snprintf(copy_dir, sizeof(copy_dir), "%s/" DIRECTORY_COPY_DIR, l->p->state_dir);
	}
	snprintf(dir, sizeof(dir), "%s/%s", l->p->state_dir, dirs[l->c->role]);
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
		.confine = l->p->confine[l->c->role],
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

/* Whether this worker asks that process: any keeper, and the key and directory processes of its own generation. */
static bool asks(struct parent *p, const struct child *worker, const struct child *c)
{
	if (worker->role == ROLE_WORKER && c->role == ROLE_DIRECTORY)
		return parent_directory_asked(p, worker, c);
	return worker->role == ROLE_WORKER && c->role != ROLE_PARENT && (c->role != ROLE_KEYS || c->generation == worker->generation);
}

/* Wire a process that has just been started to all those that it talks to. */
static void wire(struct parent *p, struct child *c)
{
	if (c->role == ROLE_WORKER) {
		for (int i = STATE; i < WORKERS; i++)
			if (asks(p, c, &p->child[i]) && !p->child[i].draining)     /* else its successor will be */
				child_wire(c, &p->child[i]);
		return;
	}
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (asks(p, &p->child[i], c))
			child_wire(&p->child[i], c);
}

void parent_rewire(struct parent *p, struct child *c, const struct channel_msg *m)
{
	int64_t now_ms = clock_ms();
	uint32_t missing;

	if (c->role != ROLE_WORKER || m->len != sizeof(missing) || now_ms - c->wired_ms < REWIRE_MS)
		return;
	memcpy(&missing, m->data, sizeof(missing));
	c->wired_ms = now_ms;
	/* Whoever is new has been wired at its start, and that may have crossed this question: once more would cut what has been asked since. */
	for (int i = STATE; i < WORKERS && now_ms - c->started_ms >= REWIRE_MS; i++)
		if (asks(p, c, &p->child[i]) && missing & 1u << p->child[i].role && p->child[i].ready && !p->child[i].draining &&
		    now_ms - p->child[i].started_ms >= REWIRE_MS)
			child_wire(c, &p->child[i]);
}

int parent_start(struct parent *p, struct child *c)
{
	struct life life = { p, c, generation_of(p, c) };
	int keep[256], count = 0, rc;
	char name[32];

	if (c->role == ROLE_WORKER || c->role == ROLE_DIRECTORY ? !life.g->site : !p->have_settings) {
		c->restart_ms = clock_ms() + 1000;      /* an heir without a configuration */
		return -EAGAIN;
	}
	if (command_fd(p, c) >= 0)
		keep[count++] = command_fd(p, c);
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

int parent_workers_wanted(const struct site *s)
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

static int slot_free(const struct parent *p)
{
	bool taken[SHARED_SLOTS] = { false };

	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].slot >= 0)
			taken[p->child[i].slot] = true;
	for (int i = 0; i < SHARED_SLOTS; i++)
		if (!taken[i])
			return i;
	return -1;
}

void parent_place_release(struct parent *p, struct child *c)
{
	if (c->slot >= 0)
		shared_slot_clear(p->shared, c->slot);
	if (c->role == ROLE_KEYS)
		key_list_release(&parent_keys_of(p, c)->list);
	*c = (struct child){ .role = ROLE_PARENT, .fd = -1, .slot = -1 };
}

static int worker_start(struct parent *p, unsigned generation, int number)
{
	struct child *c = place_free(p);
	int slot = c ? slot_free(p) : -1;

	if (slot < 0)
		return -EAGAIN;
	shared_slot_take(p->shared, slot, generation);
	*c = (struct child){ .role = ROLE_WORKER, .number = number, .slot = slot, .generation = generation, .fd = -1 };
	return parent_start(p, c);
}

int parent_workers_start(struct parent *p, const struct generation *g)
{
	int rc = 0;

	for (int n = 1; rc == 0 && n <= parent_workers_wanted(g->site); n++)
		rc = worker_start(p, g->number, n);
	return rc;
}

void parent_drain_set(struct parent *p, const struct site *s)
{
	const struct parent_options *o = p->opt;

	p->drain.stop_s = o->drain_stop_s > 0 ? o->drain_stop_s : s && s->drain.stop_s > 0 ? s->drain.stop_s : PARENT_DRAIN_STOP_S;
	p->drain.reload_s = o->drain_reload_s > 0 ? o->drain_reload_s : s && s->drain.reload_s > 0 ? s->drain.reload_s : PARENT_DRAIN_RELOAD_S;
}

static void worker_end(struct parent *p, struct child *c, int limit_s)
{
	int before_s = limit_s < p->drain.stop_s ? limit_s : p->drain.stop_s;
	struct channel_drain d = { .patience_s = limit_s - before_s, .limit_s = limit_s };

	c->draining = true;
	c->restart_ms = 0;
	if (c->pid <= 0) {
		parent_place_release(p, c);
	} else if (limit_s == 0) {
		kill(c->pid, SIGKILL);
	} else {
		c->kill_ms = clock_ms() + ((int64_t)limit_s + KILL_AFTER_S) * 1000;
		child_tell(c, CHANNEL_DRAIN, &d, sizeof(d), -1);
	}
}

void parent_workers_end(struct parent *p, unsigned generation, int limit_s)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++) {
		struct child *c = &p->child[i];

		if (c->role == ROLE_WORKER && (!generation || c->generation == generation))
			worker_end(p, c, limit_s);
	}
}

void parent_replace(struct parent *p, struct child *c)
{
	if (p->phase != PHASE_RUNNING || c->role != ROLE_WORKER || c->draining || c->generation != p->now.number ||
	    clock_ms() - c->started_ms < REPLACE_AFTER_MS)
		return;
	if (worker_start(p, c->generation, c->number) == 0)
		worker_end(p, c, p->drain.reload_s);
}

bool parent_workers_ready(const struct parent *p, unsigned generation)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].generation == generation &&
		    !p->child[i].ready)
			return false;
	return true;
}

int parent_workers_alive(const struct parent *p)
{
	int n = 0;

	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		n += p->child[i].role == ROLE_WORKER && p->child[i].pid > 0;
	return n;
}
