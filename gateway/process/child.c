#include "process/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { TELL_TRIES = 5, KEEP_MAX = 256 };

const char *child_name(const struct child *c, char *out)
{
	if (c->role == ROLE_WORKER)
		snprintf(out, 32, "worker %d", c->number);
	else if (c->role == ROLE_KEYS)
		snprintf(out, 32, "key process");
	else if (c->role == ROLE_DIRECTORY)
		snprintf(out, 32, "directory process");
	else
		snprintf(out, 32, "%s keeper", c->role == ROLE_STATE ? "state" : c->role == ROLE_STORE ? "store" : c->role == ROLE_SPOOL ? "spool" : "history");
	return out;
}

static int fd_compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/*
 * Everything but 0, 1, 2 and these: other children's channels, the lock, the notify socket, what a
 * library has left open.
 */
static void close_others(const int *keep, int count, int control_fd)
{
	int sorted[KEEP_MAX + 1], n = 0;
	unsigned from = 3;

	for (int i = 0; i < count && i < KEEP_MAX; i++)
		sorted[n++] = keep[i];
	sorted[n++] = control_fd;
	qsort(sorted, (size_t)n, sizeof(sorted[0]), fd_compare);
	for (int i = 0; i < n; i++) {
		if (sorted[i] < (int)from)
			continue;
		if (sorted[i] > (int)from)
			(void)close_range(from, (unsigned)sorted[i] - 1, 0);
		from = (unsigned)sorted[i] + 1;
	}
	(void)close_range(from, ~0U, 0);
}

/*
 * The parent alone listens to signals; a group's SIGINT or SIGTERM must not cut sessions that it
 * wants to drain.
 */
static void child_signals(void)
{
	sigset_t none;

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int child_start(struct child *c, const int *keep, int count, int (*run)(void *arg, int control_fd),
		void *arg)
{
	char name[32], process[64];
	int sock[2], rc = channel_pair(sock);
	pid_t pid;

	if (rc < 0)
		return rc;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		rc = -errno;
		close(sock[0]);
		close(sock[1]);
		return rc;
	}
	if (pid == 0) {
		child_signals();
		close_others(keep, count, sock[1]);
		snprintf(process, sizeof(process), "gatepost[%s]", child_name(c, name));
		log_open(process, LOG_LEVEL_INFO);
		_exit(run(arg, sock[1]));
	}
	close(sock[1]);
	c->pid = pid;
	c->inherited = c->followed = false;
	c->version = channel_version();
	c->fd = sock[0];
	c->ready = false;
	c->started_ms = clock_ms();
	c->restart_ms = c->kill_ms = 0;
	return 0;
}

static void died_line(const struct child *c, int status, int64_t wait_ms)
{
	bool loop = c->failures >= CHILD_LOOP;
	struct log_line l;
	char name[32];

	log_start(&l, LOG_LEVEL_ERROR, "died");
	log_str(&l, "process", child_name(c, name));
	log_num(&l, "pid", c->pid);
	if (WIFSIGNALED(status))
		log_str(&l, "signal", strsignal(WTERMSIG(status)));
	else
		log_num(&l, "status", WEXITSTATUS(status));
	if (loop)
		log_str(&l, "what", "CRASH LOOP: it dies again and again");
	log_num(&l, "early_deaths", c->failures);
	log_num(&l, "restart_in_ms", wait_ms);
	log_emit(&l);
}

void child_died(struct child *c, int status, int64_t now_ms)
{
	int64_t wait_ms = 0;

	if (!c->draining) {
		c->failures = now_ms - c->started_ms >= CHILD_STABLE_MS ? 1 : c->failures + 1;
		if (c->failures > 1)
			wait_ms = c->failures > 12 ? CHILD_BACKOFF_MAX_MS
						   : (int64_t)CHILD_BACKOFF_MS << (c->failures - 2);
		if (wait_ms > CHILD_BACKOFF_MAX_MS)
			wait_ms = CHILD_BACKOFF_MAX_MS;
		died_line(c, status, wait_ms);
		c->restart_ms = now_ms + wait_ms;
	}
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->pid = 0;
	c->ready = false;
	c->kill_ms = 0;
}

void child_tell(struct child *c, enum channel_type type, const void *data, size_t len, int fd)
{
	struct channel_msg m = {
		.type = (uint16_t)type, .data = (char *)data, .len = len, .fd = fd
	};
	char name[32];
	int rc = c->pid > 0 ? channel_send(c->fd, &m) : 0;

	for (int i = 0; rc < 0 && rc != -EPIPE && i < TELL_TRIES; i++) {
		(void)poll(NULL, 0, 1);         /* it may be the kernel that has no memory */
		rc = channel_send(c->fd, &m);
	}
	if (rc == 0)
		return;
	log_error("control", "error", "a process does not take what the parent says: killed",
		  "process", child_name(c, name), NULL);
	kill(c->pid, SIGKILL);
}

void child_wire(struct child *a, struct child *b)
{
	struct channel_wire to_a = { (int32_t)b->role, b->slot, b->version },
			    to_b = { (int32_t)a->role, a->slot, a->version };
	int sock[2];

	if (a->pid <= 0 || b->pid <= 0 || a->version != b->version)
		return;                 /* wired when the other one has been started again */
	if (channel_pair(sock) < 0) {
		log_error("control", "error", "no channel can be made", "why", strerror(errno),
			  NULL);
		return;
	}
	child_tell(a, CHANNEL_WIRE, &to_a, sizeof(to_a), sock[0]);
	child_tell(b, CHANNEL_WIRE, &to_b, sizeof(to_b), sock[1]);
	close(sock[0]);
	close(sock[1]);
}
