#include "base/box.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/clock.h"
#include "base/places.h"
#include "base/syscalls.h"
#include "base/task.h"

enum {
	BLOCK = 4096, SERVER_FD = 3,
	PACE_MS = 1, PACE_PAUSE_MS = 6,
	/* Of all processes of our user, in any generation: the kernel's bound for a server that is no longer itself. It does not hold for root. */
	PROCESSES_MAX = PLACES_WORKERS_MAX * (2 + BOX_SERVER_MAX),
};

/* The descriptors that go with a request. */
enum { FD_IN, FD_OUT, FD_COUNT };

union control {
	struct cmsghdr head;
	char space[CMSG_SPACE(FD_COUNT * sizeof(int))];
};

static struct {
	int fd;                 /* to the server; valid when pid is set */
	pid_t pid;              /* ours, which made it: a child of ours makes its own */
	struct gate gate[2];    /* of jobs that may take long, and of quick ones */
	void (*lost)(void *arg);
	void *lost_arg;
} box = { .fd = -1, .gate = { { .limit = BOX_AT_ONCE }, { .limit = BOX_QUICK_AT_ONCE } } };

static void limit(int what, rlim_t soft, rlim_t hard)
{
	const struct rlimit r = { soft, hard };

	(void)setrlimit(what, &r);
}

/*
 * A box: the bytes, its memory, a way to answer. The bytes are a file that it must not change, though its descriptor may be one for writing: so
 * there is no write but to stderr, no second descriptor of it, which could stand where stderr was, and no memory that is shared.
 */
static const struct syscall_rule box_calls[] = {
	MAY(brk), MAY(munmap), MAY(mremap), MAY(madvise), MAY_IF(mprotect, OF_BITS(2, PROT_EXEC, 0)),
	MAY_IF(mmap, OF_BITS(2, PROT_EXEC, 0), OF_BITS(3, MAP_TYPE, MAP_PRIVATE)),
	MAY(read), MAY(readv), MAY(pread64), MAY(preadv), MAY(lseek), MAY(close), MAY(fstat), MAY_IF(newfstatat, OF_BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH)),
	MAY_IF(write, IS(0, STDERR_FILENO)), MAY_IF(writev, IS(0, STDERR_FILENO)), MAY(sendto), MAY_IF(fcntl, IS(1, F_GETFD)),
	MAY(clock_gettime), MAY(gettimeofday), MAY(time), MAY(nanosleep), MAY(clock_nanosleep), MAY_IF(setitimer, IS(0, ITIMER_PROF)), MAY_IF(setitimer, IS(0, ITIMER_VIRTUAL)), MAY(getrandom), MAY(getpid), MAY(getppid), MAY(gettid),
	MAY(futex), MAY(getrusage),
	MAY(rt_sigaction), MAY(rt_sigprocmask), MAY(rt_sigreturn), MAY(restart_syscall), MAY(exit), MAY(exit_group),
	SYSCALLS_END,
};
static const struct syscall_rule *const box_tables[] = {
	syscalls_kernel_intruder, syscalls_intruder, syscalls_file_intruder, syscalls_network_intruder, box_calls, NULL,
};

/* The server: the same, since what it may not its boxes may not either; it is asked, forks, and lets them confine themselves further. */
static const struct syscall_rule server_calls[] = {
	MAY(sendto), MAY(recvmsg), MAY_IF(wait4, IS(2, WNOHANG)),
	MAY_IF(clone, IS(0, CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD)),
	MAY_IF(prctl, IS(0, PR_SET_PDEATHSIG)), MAY_IF(prctl, IS(0, PR_SET_NO_NEW_PRIVS)), MAY_IF(prlimit64, IS(0, 0), IS(3, 0)), MAY(setrlimit), MAY(alarm),
	MAY_IF(setitimer, IS(0, ITIMER_PROF)), MAY_IF(setitimer, IS(0, ITIMER_VIRTUAL)),
	MAY_IF(seccomp, IS(0, SECCOMP_SET_MODE_FILTER)),
	SYSCALLS_END,
};
static const struct syscall_rule *const server_tables[] = {
	syscalls_kernel_intruder, syscalls_intruder, syscalls_file_intruder, syscalls_network_intruder, syscalls_common, syscalls_signal_self, server_calls,
	NULL,
};

/*
 * What may take long steps back where somebody else wants the processor: whoever has been taken off it since the last look sleeps for longer than it has run.
 * A lower priority would not do: where services are groups for the scheduler it counts within ours alone, a running process is left its turn for some
 * milliseconds whatever its priority, and under the unit no process may set one. Nobody else wants it: it runs on.
 */
static void step_back(int signo)
{
	static long preempted;
	struct timespec pause = { .tv_nsec = PACE_PAUSE_MS * 1000000L };
	struct rusage use;
	int was = errno;

	if (getrusage(RUSAGE_SELF, &use) == 0 && use.ru_nivcsw != preempted) {
		preempted = use.ru_nivcsw;
		(void)nanosleep(&pause, NULL);
	}
	errno = was;
}

static void pace(void)
{
	const struct sigaction action = { .sa_handler = step_back, .sa_flags = SA_RESTART };
	const struct itimerval time = { .it_interval.tv_usec = PACE_MS * 1000, .it_value.tv_usec = PACE_MS * 1000 };

	(void)sigaction(SIGVTALRM, &action, NULL);
	(void)setitimer(ITIMER_VIRTUAL, &time, NULL);
}

/* The box itself. */
static void run(const struct box_job *job, const int fds[FD_COUNT], const struct sock_fprog *calls)
{
	rlim_t cpu_s = job->cpu_s <= 0 ? BOX_CPU_S : job->cpu_s < BOX_CPU_MAX_S ? (rlim_t)job->cpu_s : BOX_CPU_MAX_S;

	close(SERVER_FD);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	alarm(BOX_LIFE_S + (unsigned)cpu_s);
	if (!job->quick)                /* a bomb holds up neither sessions nor what is quick, which every message needs */
		pace();
	limit(RLIMIT_CORE, 0, 0);
	limit(RLIMIT_NPROC, 0, 0);
	limit(RLIMIT_CPU, cpu_s, cpu_s + 1);
	if (!UNDER_ASAN)
		limit(RLIMIT_DATA, BOX_MEMORY_BYTES, BOX_MEMORY_BYTES);
	if (syscalls_enter(calls) < 0)
		_exit(1);
	job->fn(fds[FD_IN], fds[FD_OUT], job->arg);
	_exit(0);
}

/* One request. 0 or less: there will be no more. */
static ssize_t receive(struct box_job *job, int fds[FD_COUNT])
{
	union control control;
	struct iovec iov = { job, sizeof(*job) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(SERVER_FD, &msg, 0);
	while (n < 0 && errno == EINTR);
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (!c || n != sizeof(*job) || c->cmsg_len != CMSG_LEN(FD_COUNT * sizeof(int)))
		return -1;
	memcpy(fds, CMSG_DATA(c), FD_COUNT * sizeof(int));
	return n;
}

/* How many boxes there are. Of a box whose asker has left because it took too long nobody else knows. */
static volatile sig_atomic_t boxes;

static void on_end(int signo)
{
	int was = errno;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		boxes--;
	errno = was;
}

/* A box, when there is room for one: its own limits see to it that there will be. */
static pid_t make_box(void)
{
	const struct timespec while_full = { .tv_nsec = 10 * 1000000L };
	sigset_t end, before;
	pid_t pid;

	while (boxes >= BOX_SERVER_MAX)
		(void)nanosleep(&while_full, NULL);
	sigemptyset(&end);
	sigaddset(&end, SIGCHLD);
	sigprocmask(SIG_BLOCK, &end, &before);
	pid = fork();
	boxes += pid > 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static void serve(void)
{
	const struct sigaction ended = { .sa_handler = on_end, .sa_flags = SA_RESTART };
	struct sock_fprog calls;
	struct box_job job;
	int fds[FD_COUNT];

	sigaction(SIGCHLD, &ended, NULL);
	limit(RLIMIT_NPROC, PROCESSES_MAX, PROCESSES_MAX);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "gp-box");
	if (syscalls_compile(box_tables, SCMP_ACT_ERRNO(EPERM), &calls) < 0 || syscalls_confine(server_tables, SCMP_ACT_ERRNO(EPERM)) < 0)
		_exit(1);
	while (receive(&job, fds) > 0) {
		pid_t pid = make_box();

		if (pid == 0)
			run(&job, fds, &calls);
		for (int i = 0; i < FD_COUNT; i++)
			close(fds[i]);
	}
	_exit(0);
}

/* On the loop's own stack, whose size a library may need. */
static int make_server(void)
{
	pid_t self = getpid(), pid;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() != self || dup2(sv[1], SERVER_FD) < 0)
			_exit(1);
		close_range(SERVER_FD + 1, ~0u, 0);
		serve();
	}
	close(sv[1]);
	if (pid < 0) {
		int rc = -errno;

		close(sv[0]);
		return rc;
	}
	if (box.pid)
		close(box.fd);
	box.fd = sv[0];
	box.pid = self;
	return 0;
}

static void make_server_deferred(void *arg)
{
	future_resolve(arg, make_server());
}

static int start(void)
{
	struct future made = { .done = false };
	int rc;

	if (!task_self())
		return make_server();
	rc = loop_defer(make_server_deferred, &made);
	while (rc == 0 && !made.done)           /* it lies on this stack: cancelled or not, it is waited for */
		task_yield();
	return rc < 0 ? rc : made.rc;
}

int box_start(void)
{
	return box.pid == getpid() ? 0 : start();
}

void box_on_loss(void (*lost)(void *arg), void *arg)
{
	box.lost = lost;
	box.lost_arg = arg;
}

/* A request to the server. */
static int ask(const struct box_job *job, int in, int out)
{
	const int fds[FD_COUNT] = { [FD_IN] = in, [FD_OUT] = out };
	union control control;
	struct box_job sent;
	struct iovec iov = { &sent, sizeof(sent) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = &control.head;

	memset(&control, 0, sizeof(control));
	memset(&sent, 0, sizeof(sent));         /* what lies between its members, too */
	sent.fn = job->fn;
	sent.arg = job->arg;
	sent.cpu_s = job->cpu_s;
	sent.quick = job->quick;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	return sendmsg(box.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	task_wake(arg, 0);
}

/* 0, -ETIMEDOUT or -ECANCELED. may wait */
static int wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct event ev;
	int rc;

	if (!task_self())
		return poll(&p, 1, timeout_ms) == 0 ? -ETIMEDOUT : 0;
	event_assign(&ev, loop_base(), fd, EV_READ, on_readable, task_self());
	if (event_add(&ev, NULL) < 0)
		return -ENOMEM;
	rc = task_park(timeout_ms);
	event_del(&ev);
	return rc;
}

/* What the box answers, to its end. */
static int read_answer(int fd, int64_t end_ms, struct buf *out)
{
	char block[BLOCK / 2];

	for (;;) {
		ssize_t n = recv(fd, block, sizeof(block), MSG_DONTWAIT);
		int64_t left_ms = end_ms - clock_ms();
		int rc = 0;

		if (n == 0)
			return 0;
		if (n > 0)
			rc = buf_add(out, block, (size_t)n);
		else if (errno == ECONNRESET)
			return 0;
		else if (errno == EAGAIN)
			rc = left_ms > 0 ? wait_readable(fd, (int)left_ms) : -ETIMEDOUT;
		else if (errno != EINTR)
			rc = -errno;
		if (rc < 0)
			return rc;
	}
}

static int run_in_box(const struct box_job *job, int in, int64_t end_ms, struct buf *out)
{
	int sv[2], rc = box_start();

	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	rc = ask(job, in, sv[1]);
	if (rc == -EPIPE || rc == -ECONNRESET) {        /* the server is gone: another one, once */
		rc = start();
		if (rc == 0)
			rc = ask(job, in, sv[1]);
		else if (box.lost)
			box.lost(box.lost_arg);
	}
	close(sv[1]);
	if (rc == 0)
		rc = read_answer(sv[0], end_ms, out);
	close(sv[0]);
	return rc;
}

int box_run(const struct box_job *job, int in, int *left_ms, struct buf *out)
{
	struct gate *gate = &box.gate[job->quick];
	int64_t begun_ms;
	int rc = task_self() ? gate_enter(gate, *left_ms) : 0;

	if (rc < 0)
		return rc == -ETIMEDOUT ? -EBUSY : rc;
	begun_ms = clock_ms();
	rc = run_in_box(job, in, begun_ms + *left_ms, out);
	*left_ms -= (int)(clock_ms() - begun_ms);
	if (task_self())
		gate_leave(gate);
	return rc;
}
