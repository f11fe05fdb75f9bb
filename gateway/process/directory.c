#include "process/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dns_unbound.h"
#include "base/file.h"
#include "base/log.h"
#include "base/task.h"
#include "directory/directory_line.h"
#include "directory/directory_service.h"
#include "policy/conf.h"
#include "process/directory_wire.h"
#include "process/keeper.h"
#include "process/shared.h"

enum { PENDING_MAX = 512 };             /* questions that wait; each worker has at most so many calls under way */

struct pending {
	struct process *process;
	struct keeper_peer *peer;       /* NULL: its worker is gone, or it is a command's */
	uint32_t id;
	char address[DIRECTORY_ADDRESS_MAX];
	unsigned number;                /* of a command; else 0 */
	struct pending *next, **self;
};

struct process {
	struct keeper *keeper;
	struct directory_service *service;
	struct dns_unbound *unbound;
	int copy_fd[DIRECTORY_COPIES];
	struct pending *pending;
	size_t pending_count;
	unsigned refreshed, asked;      /* what commands wanted that has been seen */
};

/* ---- before it is confined ---- */

/* The first line. NULL: said. */
static char *password_read(const struct directory_conf *c)
{
	char text[DIRECTORY_PASSWORD_MAX + 2] = "", *out = NULL;
	int fd = file_open(c->password_path);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	size_t len;

	len = strcspn(text, "\r\n");
	if (n > 0 && len > 0 && len <= DIRECTORY_PASSWORD_MAX)
		out = strndup(text, len);
	else
		log_error("directory", "error", "its password cannot be read: 1 to 512 octets on the first line were expected", "name", c->name, "file",
			  c->password_path, "why", fd < 0 ? strerror(-fd) : "", NULL);
	explicit_bzero(text, sizeof(text));
	if (fd >= 0)
		close(fd);
	return out;
}

/* The directory is its user's: as whom the files are opened, so that a link there leads root nowhere. The way to it may be one that only root may go. */
static int copy_open(const struct keeper *k, int dir, const char *name)
{
	const struct confine *c = &k->env->confine;
	struct stat st;
	int fd;

	if (c->drop)
		(void)setfsuid(c->uid);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (c->drop)
		(void)setfsuid(geteuid());
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void copies_open(struct process *p, const struct keeper *k)
{
	static const char *const names[DIRECTORY_COPIES] = { "addresses.a", "addresses.b" };

	int dir = open(k->env->copy_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; i < DIRECTORY_COPIES; i++)
		p->copy_fd[i] = dir >= 0 ? copy_open(k, dir, names[i]) : -1;
	if (dir >= 0)
		close(dir);
	if (p->copy_fd[0] >= 0 && p->copy_fd[1] >= 0)
		return;
	log_error("directory", "error", "what is known cannot be kept on disk: a start while the directory is away would know nobody", "directory", k->env->copy_dir, NULL);
	for (int i = 0; i < DIRECTORY_COPIES; i++) {
		if (p->copy_fd[i] >= 0)
			close(p->copy_fd[i]);
		p->copy_fd[i] = -1;
	}
}

static int service_make(struct process *p, const struct site *site)
{
	AUTO(buf) struct buf err = BUF_INIT(2000);
	char *password[DIRECTORIES_MAX] = { NULL };
	int rc = 0;

	for (size_t i = 0; i < site->directory_count && rc == 0; i++)
		if (site->directory[i].password_path) {
			password[i] = password_read(&site->directory[i]);
			rc = password[i] ? 0 : -EINVAL;
		}
	if (rc == 0)
		rc = directory_service_new(site->directory, site->directory_count, password, site->verify_negative_s, &p->service, &err);
	if (rc == 0) {
		p->unbound = dns_unbound_new(&site->dns, &err);
		rc = p->unbound ? 0 : -EINVAL;
	}
	for (size_t i = 0; i < DIRECTORIES_MAX; i++)
		if (password[i]) {
			explicit_bzero(password[i], strlen(password[i]));
			free(password[i]);
		}
	if (rc < 0 && err.len)
		log_error("directory", "error", buf_str(&err), NULL);
	return rc;
}

static int directory_prepare(struct keeper *k)
{
	const struct rlimit none = { 0, 0 };
	struct process *p = calloc(1, sizeof(*p));
	int rc;

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!p)
		return -ENOMEM;
	p->keeper = k;
	k->data = p;
	copies_open(p, k);
	rc = directory_library_init();
	return rc < 0 ? rc : service_make(p, k->env->site);
}

/* ---- what is to be seen ---- */

/* A process of an older configuration, whose workers are still there, leaves it to the present one. */
static struct directory_shared *seen(const struct process *p)
{
	struct directory_shared *s = p->keeper->env->shared ? &p->keeper->env->shared->directory : NULL;

	return s && atomic_load(&s->generation) <= p->keeper->env->generation ? s : NULL;
}

static void show(const struct process *p)
{
	struct directory_shared *s = seen(p);
	size_t count = directory_service_count(p->service);

	if (!s)
		return;
	atomic_store(&s->generation, p->keeper->env->generation);
	for (size_t i = 0; i < count; i++)
		directory_service_view(p->service, i, &s->view[i]);
	atomic_store(&s->count, (int)count);
}

/* ---- answering ---- */

static int directory_open(struct keeper *k, const char *dir)
{
	struct process *p = k->data;
	struct directory_shared *s = seen(p);

	if (s) {
		p->refreshed = atomic_load(&s->refresh_wanted);
		p->asked = atomic_load(&s->asked);
	}
	directory_service_start(p->service, dns_unbound_dns(p->unbound), clock_wall_ms(), p->copy_fd);
	directory_service_tick(p->service);
	show(p);
	return 0;
}

static void pending_free(struct pending *w)
{
	*w->self = w->next;
	if (w->next)
		w->next->self = w->self;
	w->process->pending_count--;
	free(w);
}

static struct pending *pending_new(struct process *p, const char *address)
{
	struct pending *w = p->pending_count < PENDING_MAX ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return NULL;
	w->process = p;
	memcpy(w->address, address, strlen(address) + 1);
	w->next = p->pending;
	w->self = &p->pending;
	if (w->next)
		w->next->self = &w->next;
	p->pending = w;
	p->pending_count++;
	return w;
}

static void told(const struct process *p, unsigned number, const struct directory_verdict *v)
{
	struct directory_shared *s = seen(p);

	if (!s)
		return;
	s->told.answer = (int)v->answer;
	memcpy(s->told.directory, v->directory, sizeof(s->told.directory));
	snprintf(s->told.by, sizeof(s->told.by), "%s", v->by);
	atomic_store(&s->answered, number);
}

static void ask_task(void *arg)
{
	struct pending *w = arg;
	struct directory_verdict v;

	directory_service_ask(w->process->service, w->address, &v);
	if (w->peer)
		keeper_answer(w->peer, CHANNEL_DIRECTORY_ASK, w->id, (int)v.answer, NULL, 0, -1);
	else if (w->number)
		told(w->process, w->number, &v);
	pending_free(w);
}

static void directory_request(struct keeper *k, struct keeper_peer *peer, struct channel_msg *m)
{
	struct process *p = k->data;
	char address[DIRECTORY_ADDRESS_MAX];
	struct directory_verdict v;
	struct pending *w;

	if (m->type != CHANNEL_DIRECTORY_ASK || m->fd >= 0 || !directory_wire_read(m->data, m->len, address)) {
		log_error("directory", "error", "a worker asked for what none of ours does: its channel is closed", NULL);
		keeper_refuse(peer);
		return;
	}
	if (directory_service_quick(p->service, address, &v)) {
		keeper_answer(peer, m->type, m->id, (int)v.answer, NULL, 0, -1);
		return;
	}
	w = pending_new(p, address);
	if (w) {
		w->peer = peer;
		w->id = m->id;
	}
	if (!w || task_spawn("question", ask_task, w, NULL) < 0) {
		if (w)
			pending_free(w);
		keeper_answer(peer, m->type, m->id, DIRECTORY_LATER, NULL, 0, -1);
	}
}

static void directory_gone(struct keeper *k, struct keeper_peer *peer)
{
	struct process *p = k->data;

	for (struct pending *w = p->pending; w; w = w->next)
		if (w->peer == peer)
			w->peer = NULL;
}

/* What commands want. */
static void commands_look(struct process *p)
{
	struct directory_shared *s = seen(p);
	unsigned wanted = s ? atomic_load(&s->refresh_wanted) : 0, asked = s ? atomic_load(&s->asked) : 0;
	char question[DIRECTORY_ADDRESS_MAX], address[DIRECTORY_ADDRESS_MAX];
	struct pending *w;

	if (s && wanted != p->refreshed) {
		p->refreshed = wanted;
		directory_service_refresh(p->service);
	}
	if (!s || asked == p->asked)
		return;
	p->asked = asked;
	memcpy(question, s->question, sizeof(question));
	question[sizeof(question) - 1] = '\0';
	if (!directory_wire_read(question, strlen(question), address))
		return;
	w = pending_new(p, address);
	if (w) {
		w->number = asked;
		if (task_spawn("question", ask_task, w, NULL) < 0)
			pending_free(w);
	}
}

static void directory_tick(struct keeper *k)
{
	struct process *p = k->data;

	directory_service_tick(p->service);
	commands_look(p);
}

static void directory_round(struct keeper *k)
{
	show(k->data);
}

static void directory_close(struct keeper *k)
{
	struct process *p = k->data;

	loop_unwind();
	directory_service_free(p->service);
	if (p->unbound)
		dns_unbound_free(p->unbound);
	for (int i = 0; i < DIRECTORY_COPIES; i++)
		if (p->copy_fd[i] >= 0)
			close(p->copy_fd[i]);
	free(p);
	k->data = NULL;
}

const struct keeper_role keeper_directory = {
	.name = "gp-directory",
	.tasks = true,
	.prepare = directory_prepare,
	.open = directory_open,
	.request = directory_request,
	.gone = directory_gone,
	.round = directory_round,
	.tick = directory_tick,
	.close = directory_close,
};
