#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int file_write_all(int fd, const void *p, size_t len)
{
	const char *at = p;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

enum { PATH_BYTES = 2048, OWNERS_MAX = 4 };

/* Of the path, or of what is next above it that can be looked at: what keeps us out is his. */
static int owner_of(const char *path, uid_t *out)
{
	char p[PATH_BYTES];
	struct stat st;
	size_t n = strlen(path);

	if (n >= sizeof(p))
		return -ENAMETOOLONG;
	memcpy(p, path, n + 1);
	for (;;) {
		char *slash;

		if (stat(p, &st) == 0) {
			*out = st.st_uid;
			return 0;
		}
		slash = strrchr(p, '/');
		if (errno != EACCES || !slash || slash == p)
			return -errno;
		*slash = '\0';
	}
}

typedef int try_fn(const char *path, void *out);

static int open_now(const char *path, void *out)
{
	int rc = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return rc < 0 ? -errno : rc;
}

static int stat_now(const char *path, void *out)
{
	return stat(path, out) < 0 ? -errno : 0;
}

static int connect_now(const char *path, void *out)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd, rc;

	if (len >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* Several times: a directory of one may have a file of another. */
static int as_owner(const char *path, try_fn *now, void *out)
{
	int rc = now(path, out);
	uid_t uid = 0;

	for (int i = 0; rc == -EACCES && geteuid() == 0 && i < OWNERS_MAX && owner_of(path, &uid) == 0 && uid != 0; i++) {
		setfsuid(uid);
		rc = now(path, out);
	}
	setfsuid(geteuid());
	return rc;
}

int file_open(const char *path)
{
	return as_owner(path, open_now, NULL);
}

int file_stat(const char *path, struct stat *out)
{
	return as_owner(path, stat_now, out);
}

int file_connect(const char *path)
{
	return as_owner(path, connect_now, NULL);
}
