/*
 * An upgrade: the program that lies where ours was is executed in our process
 *
 * It is opened once, so that what is tried is what is executed. First it runs beside us, as `gatepost upgrade --trial`: it reads the
 * configuration and what we would hand over, and says which versions it speaks. If it does not, everything goes on as it was. Then
 * descriptors and children are written down (handover.h), and execve: the same process, with the same children and sockets. Nothing is given
 * up before that, so a call that fails costs nothing either.
 */
#include "process/parent_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/version.h"
#include "process/handover.h"
#include "process/notify.h"

enum { SAID_LINES = 20 };

/*
 * As we were called, if that is a path: a symbolic link may lead to another program by and by. Else what the kernel says, which tells of a
 * file that has been replaced since.
 */
char *parent_upgrade_program(void)
{
	static const char gone[] = " (deleted)";
	const char *called = program_invocation_name;
	char path[PATH_BYTES], *cwd, *out = NULL;
	struct stat a, b;
	ssize_t n;

	if (called && strchr(called, '/') && stat(called, &a) == 0 && stat("/proc/self/exe", &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
		if (called[0] == '/')
			return strdup(called);
		cwd = getcwd(NULL, 0);
		if (!cwd || asprintf(&out, "%s/%s", cwd, called) < 0)
			out = NULL;
		free(cwd);
		return out;
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n <= 0)
		return NULL;
	path[n] = 0;
	if ((size_t)n > sizeof(gone) - 1 && strcmp(path + n - (sizeof(gone) - 1), gone) == 0)
		path[n - (ssize_t)(sizeof(gone) - 1)] = 0;
	return strdup(path);
}

/* What we would leave */

static void listeners_write(const struct parent *p, struct handover *h)
{
	for (size_t i = 0; i < p->now.listen.count; i++)
		if (p->now.listen.socket[i].fd >= 0 && h->listener_count < HANDOVER_LISTENERS_MAX)
			h->listener[h->listener_count++] =
				(struct handover_listener){ p->now.listen.socket[i].address, p->now.listen.socket[i].fd };
}

/* Those that live: others are started by the new program. */
static void children_write(const struct parent *p, struct handover *h)
{
	for (int i = 0; i < CHILDREN_MAX; i++) {
		const struct child *c = &p->child[i];

		if (c->role == ROLE_PARENT || c->pid <= 0)
			continue;
		h->child[h->child_count++] = (struct handover_child){
			.role = c->role, .number = c->number, .slot = c->slot, .generation = c->generation, .channel = c->version, .pid = c->pid,
			.fd = c->fd, .ready = c->ready, .draining = c->draining, .started_ms = c->started_ms, .kill_ms = c->kill_ms,
			.failures = c->failures };
	}
}

/* The numbers of descriptors that are handed over come to fds, HANDOVER_LISTENERS_MAX + CHILDREN_MAX + 4 of them at most. */
static int handover_make(const struct parent *p, struct buf *text, int *fds, size_t *count)
{
	struct handover_child *children = calloc(CHILDREN_MAX, sizeof(*children));
	struct handover_listener *listeners = calloc(HANDOVER_LISTENERS_MAX, sizeof(*listeners));
	struct handover h = { .pid = p->pid, .program = (char *)version_text(), .generation = p->last_number, .state_dir = p->state_dir,
			      .control = p->control_path, .lock_fd = p->lock_fd, .shared_fd = p->shared_fd, .control_fd = p->command_fd,
			      .spool_fd = p->spool_fd, .transparent = p->transparent, .drain_stop_s = p->drain.stop_s,
			      .drain_reload_s = p->drain.reload_s, .listener = listeners, .child = children };
	int rc = -ENOMEM;

	if (children && listeners) {
		listeners_write(p, &h);
		children_write(p, &h);
		rc = handover_write(&h, text);
	}
	*count = 0;
	fds[(*count)++] = h.lock_fd;
	fds[(*count)++] = h.shared_fd;
	fds[(*count)++] = h.control_fd;
	fds[(*count)++] = h.spool_fd;
	for (size_t i = 0; i < h.listener_count; i++)
		fds[(*count)++] = listeners[i].fd;
	for (size_t i = 0; i < h.child_count; i++)
		fds[(*count)++] = children[i].fd;
	free(children);
	free(listeners);
	return rc;
}

/* The text in a file without a name that can no longer change. */
static int handover_file(const struct buf *text)
{
	int fd = memfd_create("gatepost-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc = fd < 0 ? -errno : file_write_all(fd, text->data, text->len);

	if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		rc = -errno;
	if (rc < 0 && fd >= 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/* Of what goes with us into the new program. */
static void keep_over_exec(const int *fds, size_t count, bool keep)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			(void)fcntl(fds[i], F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void environment(int fd)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	if (fd >= 0)
		setenv(HANDOVER_ENV, number, 1);
	else
		unsetenv(HANDOVER_ENV);
}

/* The trial */

void parent_upgrade_end(struct parent *p)
{
	struct parent_upgrade *u = &p->upgrade;

	if (u->trial > 0)
		kill(u->trial, SIGKILL);        /* reaped like anybody */
	u->trial = 0;
	if (u->trial_fd >= 0)
		close(u->trial_fd);
	if (u->binary_fd >= 0)
		close(u->binary_fd);
	u->trial_fd = u->binary_fd = -1;
	u->approved = u->waits = false;
	buf_release(&u->said);
}

static void refused(struct parent *p, const char *why)
{
	parent_log_lines(LOG_LEVEL_ERROR, "upgrade", "error", &p->upgrade.said);
	log_error("upgrade", "what", "REFUSED: the running program goes on", "file", p->upgrade.program ? p->upgrade.program : "", "version",
		  version_text(), "why", why, NULL);
	atomic_fetch_add(&p->shared->upgrades_refused, 1);
	parent_upgrade_end(p);
}

/* 0, or a sentence. Anybody may have put anything there. */
static const char *binary_open(struct parent_upgrade *u)
{
	struct stat st;

	if (!u->program)
		return "it is not known where the program lies";
	u->binary_fd = open(u->program, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (u->binary_fd < 0)
		return strerror(errno);
	if (fstat(u->binary_fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return "it is not executable";
	return NULL;
}

/* In the child. Whatever the program is, it gets nothing but a copy of the list. */
static void trial_run(struct parent *p, int handover_fd, int out)
{
	char *argv[] = { p->upgrade.program, "upgrade", "--trial", "-c", (char *)p->opt->path, NULL };
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(126);
	environment(handover_fd);
	keep_over_exec(&handover_fd, 1, true);
	fexecve(p->upgrade.binary_fd, argv, environ);
	dprintf(STDERR_FILENO, "%s: %s\n", p->upgrade.program, strerror(errno));
	_exit(126);
}

static const char *trial_start(struct parent *p, int handover_fd)
{
	struct parent_upgrade *u = &p->upgrade;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return strerror(errno);
	fflush(NULL);
	u->trial = fork();
	if (u->trial == 0)
		trial_run(p, handover_fd, ends[1]);
	close(ends[1]);
	u->trial_fd = ends[0];
	if (u->trial > 0)
		return NULL;
	u->trial = 0;
	return strerror(errno);
}

void parent_upgrade(struct parent *p)
{
	AUTO(buf) struct buf text = BUF_INIT(HANDOVER_TEXT_MAX);
	int *fds = calloc(HANDOVER_LISTENERS_MAX + CHILDREN_MAX + 4, sizeof(*fds)), fd = -1;
	const char *why;
	size_t count;

	if (p->phase == PHASE_STOPPING || !fds) {
		free(fds);
		return;
	}
	parent_upgrade_end(p);          /* asked for once more: what lies there now counts */
	log_notice("upgrade", "what", "the new program is tried", "file", p->upgrade.program ? p->upgrade.program : "", NULL);
	why = binary_open(&p->upgrade);
	if (!why) {
		int rc = handover_make(p, &text, fds, &count);

		fd = rc < 0 ? rc : handover_file(&text);
		why = fd < 0 ? strerror(-fd) : trial_start(p, fd);
	}
	if (fd >= 0)
		close(fd);
	free(fds);
	p->upgrade.deadline_ms = clock_ms() + PARENT_START_S * 1000;
	if (why)
		refused(p, why);
}

void parent_upgrade_read(struct parent *p)
{
	struct parent_upgrade *u = &p->upgrade;
	char chunk[2000];
	ssize_t n = read(u->trial_fd, chunk, sizeof(chunk));

	if (n > 0) {
		(void)buf_add(&u->said, chunk, (size_t)n);      /* beyond its bound nobody wants to know */
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(u->trial_fd);
		u->trial_fd = -1;
	}
}

/* The line in which it says what it speaks. */
static bool trial_line(const struct buf *said, unsigned *channel, char version[64])
{
	const char *line = strstr(buf_str(said), "gatepost-upgrade ");
	unsigned handover;

	return line && sscanf(line, "gatepost-upgrade handover=%u channel=%u version=%63s", &handover, channel, version) == 3 &&
	       handover == HANDOVER_VERSION;
}

static void approve(struct parent *p)
{
	struct parent_upgrade *u = &p->upgrade;
	char version[64];
	unsigned channel;

	if (!trial_line(&u->said, &channel, version)) {
		refused(p, "it does not say that it can take over");
		return;
	}
	log_notice("upgrade", "what", "the new program can take over", "version", version, "from", version_text(), NULL);
	if (channel != channel_version())
		log_warning("upgrade", "warning", "its processes speak another language than ours: sessions that are open get the time of drain_stop, and new ones wait for that",
			    NULL);
	u->approved = true;
}

bool parent_upgrade_reaped(struct parent *p, pid_t pid, int status)
{
	struct parent_upgrade *u = &p->upgrade;
	char why[80];

	if (u->trial <= 0 || pid != u->trial)
		return false;
	u->trial = 0;
	for (int i = 0; i < SAID_LINES && u->trial_fd >= 0; i++)
		parent_upgrade_read(p);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		approve(p);
		return true;
	}
	if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "tried, it was ended by a signal: %s", strsignal(WTERMSIG(status)));
	else
		snprintf(why, sizeof(why), "tried, it ended with status %d", WEXITSTATUS(status));
	refused(p, why);
	return true;
}

void parent_upgrade_late(struct parent *p)
{
	refused(p, "tried, it did not come to an end");
}

/* The change */

static void execute(struct parent *p)
{
	int *fds = calloc(HANDOVER_LISTENERS_MAX + CHILDREN_MAX + 4, sizeof(*fds)), fd, rc;
	char *argv[] = { p->upgrade.program, "run", "-c", (char *)p->opt->path, NULL };
	AUTO(buf) struct buf text = BUF_INIT(HANDOVER_TEXT_MAX);
	size_t count = 0;

	rc = fds ? handover_make(p, &text, fds, &count) : -ENOMEM;
	fd = rc < 0 ? rc : handover_file(&text);
	if (fd >= 0) {
		keep_over_exec(fds, count, true);
		keep_over_exec(&fd, 1, true);
		environment(fd);
		fexecve(p->upgrade.binary_fd, argv, environ);
		rc = -errno;
		environment(-1);
		keep_over_exec(fds, count, false);
		close(fd);
	} else {
		rc = fd;
	}
	free(fds);
	buf_release(&p->upgrade.said);
	refused(p, strerror(-rc));
}

void parent_upgrade_go(struct parent *p)
{
	if (!parent_reload_room(p)) {
		parent_room_ask(p, &p->upgrade.waits);
		return;
	}
	notify_reloading();
	log_notice("upgrade", "what", "the new program is executed", "file", p->upgrade.program, NULL);
	execute(p);
	notify_ready();
}
