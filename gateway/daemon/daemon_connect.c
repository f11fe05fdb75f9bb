#include "daemon/daemon_connect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/host.h"
#include "base/stream.h"
#include "base/task.h"
#include "daemon/daemon_pool.h"
#include "policy/conf.h"

enum { AGAIN_MS = 25 };

static int left_ms(int64_t until_ms)
{
	int64_t left = until_ms - clock_ms();

	return left > 0 ? (int)left : 0;
}

/* may wait */
static int connect_path(const char *path, struct daemon_source *source, int64_t until_ms, struct stream **out)
{
	for (;;) {
		int fd = source ? source->connect(source, path, left_ms(until_ms)) : file_connect(path), rc;

		if (fd >= 0) {
			*out = stream_new(fd);
			return *out ? 0 : -ENOMEM;
		}
		/*
		 * connect(2) of a unix socket does not wait when it must not block: the daemon is behind with accepting. And -EBUSY: the source has made so many
		 * lately that it makes no more for a moment, which says nothing of the daemon.
		 */
		if (fd != -EAGAIN && fd != -EBUSY)
			return fd;
		if (left_ms(until_ms) == 0)
			return -ETIMEDOUT;
		rc = task_sleep(AGAIN_MS);
		if (rc < 0)
			return rc;
	}
}

/* may wait */
static int connect_host(const struct daemon_address *a, struct dns *dns, int64_t until_ms, struct stream **out, char *why)
{
	struct net_addr address[HOST_ADDRESSES_MAX];
	char unknown[HOST_WHY_MAX] = "";
	size_t n = host_addresses(dns, a->host, a->port, left_ms(until_ms), address, unknown);
	int rc = -EHOSTUNREACH;

	if (task_cancelled())
		return -ECANCELED;
	if (n == 0)
		snprintf(why, DAEMON_WHY_MAX, "%s", unknown);
	for (size_t i = 0; i < n && rc < 0 && rc != -ECANCELED; i++) {
		/* the first one that says nothing does not have all of the time */
		int left = left_ms(until_ms) / (int)(n - i);

		rc = left > 0 ? stream_connect(&address[i], NULL, left, out) : -ETIMEDOUT;
	}
	return rc;
}

int daemon_connect(const struct daemon_address *a, struct dns *dns, struct daemon_source *source, int timeout_ms, struct stream **out, char *why)
{
	int64_t until_ms = clock_ms() + timeout_ms;
	int rc;

	*why = '\0';
	rc = a->path ? connect_path(a->path, source, until_ms, out) : connect_host(a, dns, until_ms, out, why);
	if (rc < 0 && !*why)
		snprintf(why, DAEMON_WHY_MAX, "connect: %s", strerror(-rc));
	return rc;
}
