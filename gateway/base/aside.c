#include "base/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void child(int fd, void (*fn)(void *arg, struct buf *out), void *arg, struct buf *out)
{
	const struct rlimit none = { 0, 0 };
	size_t at = 0;

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	fn(arg, out);
	while (!out->failed && at < out->len) {
		ssize_t n = write(fd, out->data + at, out->len - at);

		if (n < 0 && errno != EINTR)
			_exit(1);
		at += n > 0 ? (size_t)n : 0;
	}
	_exit(out->failed ? 2 : 0);
}

static int read_all(int fd, struct buf *out)
{
	for (;;) {
		char chunk[4000];
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (buf_add(out, chunk, (size_t)n) < 0)
			return -EMSGSIZE;
	}
}

int aside_run(void (*fn)(void *arg, struct buf *out), void *arg, struct buf *out)
{
	int fd[2], rc, status;
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		buf_clear(out);
		child(fd[1], fn, arg, out);
	}
	rc = pid < 0 ? -errno : 0;
	close(fd[1]);
	if (rc == 0)
		rc = read_all(fd[0], out);
	close(fd[0]);
	if (pid < 0)
		return rc;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (rc < 0)
		return rc;
	return !WIFEXITED(status) || WEXITSTATUS(status) == 1 ? -ECHILD : WEXITSTATUS(status) == 2 ? -EMSGSIZE : 0;
}
