#include "tests/support/redis.h"

#include <assert.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/port.h"

struct redis {
	pid_t pid;
	unsigned short port;
};

/* Any answer to PING, a demand for the password included. */
static bool up(unsigned short port)
{
	struct timeval tv = { 1, 0 };
	redisContext *c = redisConnectWithTimeout("127.0.0.1", port, tv);
	redisReply *r = c && !c->err ? redisCommand(c, "PING") : NULL;
	bool ok = r != NULL;

	if (r)
		freeReplyObject(r);
	if (c)
		redisFree(c);
	return ok;
}

struct redis *redis_start(unsigned short port, const char *password)
{
	struct redis *r = calloc(1, sizeof(*r));
	char number[16];
	bool there = false;

	assert(r);
	r->port = port ? port : port_free();
	snprintf(number, sizeof(number), "%u", r->port);
	fflush(NULL);
	r->pid = fork();
	assert(r->pid >= 0);
	if (r->pid == 0) {
		int fd = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fd, 1);
		dup2(fd, 2);
		execlp("redis-server", "redis-server", "--port", number, "--bind", "127.0.0.1", "--save", "", "--appendonly",
		       "no", "--daemonize", "no", "--dir", "/tmp", "--requirepass", password ? password : "", (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && !there; i++) {
		there = up(r->port);
		if (!there)
			poll(NULL, 0, 10);
	}
	if (!there) {
		fprintf(stderr, "redis-server does not come up on port %u\n", r->port);
		abort();
	}
	return r;
}

void redis_stop(struct redis *r)
{
	if (!r)
		return;
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	free(r);
}

unsigned short redis_port(const struct redis *r)
{
	return r->port;
}

void redis_freeze(struct redis *r)
{
	int status;

	kill(r->pid, SIGSTOP);
	waitpid(r->pid, &status, WUNTRACED);    /* it has stopped now, not soon */
}

void redis_thaw(struct redis *r)
{
	kill(r->pid, SIGCONT);
}
