/*
 * What a new program does first: it takes over what the one before it has left in this process
 *
 * At first all goes on as it was: the former workers accept, the former keepers keep. When the configuration has been read, each keeper is
 * told to end, answers all that it has been asked and is followed by one of ours, to which the former workers are wired; then our workers
 * come up, as at a reload, and the former ones drain. Former workers that speak another language (CHANNEL_VERSION) cannot meet our keepers:
 * they end first, with their own, and who connects meanwhile waits in the listening sockets.
 */
#include "process/parent_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "process/control.h"
#include "process/handover.h"
#include "process/notify.h"
#include "process/sandbox.h"
#include "process/statedir.h"

/* What has been left */

static int text_read(int fd, struct buf *out)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > HANDOVER_TEXT_MAX || !(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE))
		return -EBADMSG;
	if (buf_reserve(out, (size_t)st.st_size) < 0 || pread(fd, out->data, (size_t)st.st_size, 0) != st.st_size)
		return -EIO;
	out->len = (size_t)st.st_size;
	return 0;
}

/* Ours from now on, and nobody else's. */
static int take(int fd)
{
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	return fd;
}

static int take_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (take(fd) < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on)
		return fd;
	close(fd);
	return -1;
}

static int listeners_take(struct parent *p, const struct handover *h)
{
	char text[NET_TEXT_MAX];

	p->now.listen.socket = calloc(h->listener_count + 1, sizeof(*p->now.listen.socket));
	if (!p->now.listen.socket)
		return -ENOMEM;
	p->now.listen.count = h->listener_count;
	for (size_t i = 0; i < h->listener_count; i++) {
		p->now.listen.socket[i].address = h->listener[i].address;
		p->now.listen.socket[i].fd = take_listening(h->listener[i].fd);
		if (p->now.listen.socket[i].fd < 0)
			log_error("upgrade", "error", "what was handed over is no listening socket", "address",
				  net_text_port(&h->listener[i].address, text), NULL);
	}
	return 0;
}

/* The same memory, or one of our own where what lies in it would be another thing for us. */
static int shared_take(struct parent *p, int fd, bool *same)
{
	p->shared_fd = take(fd);
	p->shared = p->shared_fd >= 0 ? shared_map(p->shared_fd) : NULL;
	*same = p->shared;
	if (p->shared)
		return 0;
	log_notice("upgrade", "what", "the shared memory has another layout: what is counted begins anew", NULL);
	if (p->shared_fd >= 0)
		close(p->shared_fd);
	p->shared_fd = shared_make();
	p->shared = p->shared_fd >= 0 ? shared_map(p->shared_fd) : NULL;
	if (p->shared)
		rua_shared_wait(&p->shared->rua);
	return p->shared ? 0 : -ENOMEM;
}

/* Where a child of that kind stands; NULL: nowhere. */
static struct child *place_of(struct parent *p, enum channel_role role)
{
	for (int i = STATE; i < KEEPERS; i++)
		if (role != ROLE_PARENT && p->child[i].role == role)
			return p->child[i].pid > 0 ? NULL : &p->child[i];
	for (int i = KEYS; i < DIRECTORY && role == ROLE_KEYS; i++)
		if (p->child[i].role != ROLE_KEYS)
			return &p->child[i];
	for (int i = DIRECTORY; i < WORKERS && role == ROLE_DIRECTORY; i++)
		if (p->child[i].role != ROLE_DIRECTORY)
			return &p->child[i];
	for (int i = WORKERS; i < CHILDREN_MAX && role == ROLE_WORKER; i++)
		if (p->child[i].role != ROLE_WORKER)
			return &p->child[i];
	return NULL;
}

static void child_take(struct parent *p, const struct handover_child *h, bool same_memory)
{
	struct child *c = place_of(p, h->role), other = { .role = h->role, .pid = h->pid, .fd = h->fd };

	(void)take(h->fd);
	if (!c) {                       /* of a kind that we do not have */
		child_tell(&other, CHANNEL_STOP, NULL, 0, -1);
		if (h->fd >= 0)
			close(h->fd);
		return;
	}
	*c = (struct child){ .role = h->role, .number = h->number, .slot = same_memory && h->slot < SHARED_SLOTS ? h->slot : -1,
			     .generation = h->generation, .version = h->channel, .pid = h->pid, .fd = h->fd, .ready = h->ready,
			     .draining = h->draining, .inherited = true, .started_ms = h->started_ms, .kill_ms = h->kill_ms,
			     .failures = h->failures };
}

/* The generation that accepts: later numbers have been given to what never came to be. */
static unsigned present(const struct handover *h)
{
	unsigned number = 0;

	for (size_t i = 0; i < h->child_count; i++)
		if (h->child[i].role == ROLE_WORKER && !h->child[i].draining && h->child[i].generation > number)
			number = h->child[i].generation;
	return number ? number : h->generation;
}

static int all_take(struct parent *p, const struct handover *h)
{
	static const enum channel_role roles[] = { [STATE] = ROLE_STATE, [STORE] = ROLE_STORE, [HISTORY] = ROLE_HISTORY, [SPOOL] = ROLE_SPOOL };
	bool same = false;
	int rc = shared_take(p, h->shared_fd, &same);

	if (rc == 0)
		rc = listeners_take(p, h);
	for (int i = STATE; i < KEEPERS; i++)
		p->child[i].role = roles[i];
	for (size_t i = 0; i < h->child_count; i++)
		child_take(p, &h->child[i], same);
	p->lock_fd = take(h->lock_fd);
	p->command_fd = take_listening(h->control_fd);
	p->spool_fd = take_listening(h->spool_fd);
	p->state_dir = strdup(h->state_dir);
	p->control_path = h->control ? strdup(h->control) : NULL;
	if (p->control_path && asprintf(&p->spool_path, "%s" CONTROL_SPOOL, p->control_path) < 0)
		p->spool_path = NULL;
	if (!p->state_dir || (h->control && !p->spool_path))
		rc = -ENOMEM;
	p->transparent = h->transparent;
	p->drain = (struct drain_times){ h->drain_stop_s, h->drain_reload_s };
	p->last_number = h->generation;
	p->now.number = present(h);
	p->phase = PHASE_HEIR;
	p->upgrade.heir = true;
	return rc;
}

int parent_succession(struct parent *p, struct buf *err)
{
	AUTO(buf) struct buf text = BUF_INIT(HANDOVER_TEXT_MAX);
	const char *number = getenv(HANDOVER_ENV);
	int fd = number ? atoi(number) : -1, rc;
	AUTO(handover) struct handover h;

	h = (struct handover){ .pid = 0 };
	if (!number)
		return 0;
	unsetenv(HANDOVER_ENV);
	rc = text_read(fd, &text);
	close(fd);
	if (rc == 0)
		rc = handover_read(text.data, text.len, &h, err);
	if (rc == 0 && h.pid != p->pid)
		rc = -ESRCH;
	if (rc == 0)
		rc = all_take(p, &h);
	if (rc == 0)
		rc = confine_parent();
	if (rc < 0) {
		buf_addf(err, "%s: %s\n", err->len ? "" : HANDOVER_ENV, strerror(-rc));
		return rc;
	}
	prctl(PR_SET_NAME, "gatepost");         /* and not the number of a descriptor */
	(void)raise(SIGCHLD);                   /* blocked as it was before us: who has died meanwhile is looked for at once */
	log_notice("upgrade", "what", "the new program takes over", "version", version_text(), "from", h.program, NULL);
	return 1;
}

/* Taking over */

static void text_set(char **at, const char *value)
{
	free(*at);
	*at = value ? strdup(value) : NULL;
}

/* As at a first start, but for what is bound to the place: the directory, its lock, the control sockets. */
static int users_take(struct parent *p, const struct site *s, struct buf *err)
{
	AUTO(buf) struct buf warnings = BUF_INIT(8192);
	const struct confine *keeper = &p->confine[ROLE_STATE];
	int rc = confine_site(s, p->confine, err, &warnings);

	parent_log_lines(LOG_LEVEL_WARNING, "upgrade", "warning", &warnings);
	parent_fixed("state_dir", p->state_dir, s->state_dir);
	parent_fixed("control", p->control_path, s->control_path);
	text_set(&p->user, s->user);
	text_set(&p->keeper_user, s->keeper_user);
	text_set(&p->key_user, s->key_user);
	text_set(&p->directory_user, s->directory_user);
	if (rc == 0)
		rc = statedir_open(p->state_dir, p->confine, p->lock_fd, err);
	if (rc >= 0 && p->control_path && keeper->drop &&
	    (lchown(p->control_path, keeper->uid, keeper->gid) < 0 || lchown(p->spool_path, keeper->uid, keeper->gid) < 0))
		log_warning("upgrade", "warning", "the control sockets cannot be handed over", "why", strerror(errno), NULL);
	/* The list of the former program goes on: one more with each upgrade would slow every call of every child. */
	if (rc >= 0 && prctl(PR_GET_SECCOMP) == 0)
		rc = sandbox_enter(ROLE_PARENT, &p->confine[ROLE_PARENT]);
	return rc < 0 ? rc : 0;
}

/* Whether a worker lives that cannot be wired to our keepers. */
static bool foreigners(const struct parent *p)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].pid > 0 && p->child[i].version != channel_version())
			return true;
	return false;
}

void parent_succession_begin(struct parent *p)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024), warnings = BUF_INIT(64 * 1024);
	struct site *site = p->opt->load(p->opt->path, &errors, &warnings);

	p->reload_again = false;
	parent_log_lines(LOG_LEVEL_WARNING, "upgrade", "warning", &warnings);
	if (!site) {
		parent_reload_refused(p, &errors);
		return;
	}
	if (users_take(p, site, &errors) < 0) {
		p->opt->free(site);
		parent_reload_refused(p, &errors);
		return;
	}
	if (generation_make(p, site, &p->next, &errors) < 0) {
		parent_reload_refused(p, &errors);
		return;
	}
	p->settings = keeper_settings(site);
	p->have_settings = true;
	p->phase = PHASE_SUCCESSION;
	p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
	if (foreigners(p)) {
		log_warning("upgrade", "warning", "workers of the former program speak another language than ours: their sessions get the time of drain_stop, "
			    "and who connects meanwhile waits for that", NULL);
		parent_workers_end(p, 0, p->drain.stop_s);
	}
}

/* A keeper of the former program ends when it has done all that it was asked. */
static void keeper_follow(struct child *c)
{
	if (!c->inherited || c->followed)
		return;
	if (c->pid <= 0) {
		c->inherited = false;
		c->restart_ms = clock_ms();
		return;
	}
	c->followed = c->draining = true;
	c->kill_ms = clock_ms() + KEEPERS_END_S * 1000;
	child_tell(c, CHANNEL_STOP, NULL, 0, -1);
}

void parent_succession_step(struct parent *p)
{
	bool ready = true;

	if (foreigners(p)) {
		p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
		return;
	}
	for (int i = STATE; i < KEEPERS; i++) {
		if (p->child[i].pid <= 0 && !p->child[i].restart_ms)
			p->child[i].restart_ms = clock_ms();    /* there was none */
		keeper_follow(&p->child[i]);
		ready &= p->child[i].ready && !p->child[i].inherited;
	}
	if (ready) {
		p->phase = PHASE_RELOADING;
		p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
		if (parent_keys_start(p, &p->next) < 0 || parent_directory_start(p, &p->next) < 0 || parent_workers_start(p, &p->next) < 0)
			p->phase_deadline_ms = 0;       /* given up in this round */
	} else if (clock_ms() >= p->phase_deadline_ms) {
		log_error("upgrade", "error", "A KEEPER OF THE NEW PROGRAM DOES NOT COME UP (the lines above say why); the former workers wait for it", NULL);
		p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
	}
}
