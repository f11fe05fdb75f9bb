#include "base/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { PATH_BYTES = DURABLE_NAME_MAX + 8 };

int durable_proc(void)
{
	int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int temp_unlinked(int dir_fd)
{
	char name[DURABLE_NAME_MAX];
	uint64_t chance = 0;
	int fd;

	if (getrandom(&chance, sizeof(chance), 0) < 0)
		return -errno;
	snprintf(name, sizeof(name), ".%016llx.tmp", (unsigned long long)chance);
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlinkat(dir_fd, name, 0);
	return fd;
}

int durable_temp(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	return errno == EOPNOTSUPP || errno == EISDIR ? temp_unlinked(dir_fd) : -errno;
}

/* "a/b" is "a/.b.tmp" until it is whole. */
static int temp_name(const char *name, char *out)
{
	const char *slash = strrchr(name, '/');
	int above = slash ? (int)(slash + 1 - name) : 0;

	return snprintf(out, PATH_BYTES, "%.*s.%s.tmp", above, name, name + above) < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static int copy_bytes(int from, int to, uint64_t bytes)
{
	char chunk[2048];
	uint64_t at = 0;

	while (at < bytes) {
		ssize_t n = pread(from, chunk, sizeof(chunk), (off_t)at);
		int rc;

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		rc = file_write_all(to, chunk, (size_t)n);
		if (rc < 0)
			return rc;
		at += (uint64_t)n;
	}
	return 0;
}

static int link_copy(int dir_fd, int fd, uint64_t bytes, const char *name)
{
	char temp[PATH_BYTES];
	int rc = temp_name(name, temp), out;

	if (rc < 0)
		return rc;
	out = openat(dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	rc = copy_bytes(fd, out, bytes);
	if (rc == 0 && fsync(out) < 0)
		rc = -errno;
	if (rc == 0 && linkat(dir_fd, temp, dir_fd, name, 0) < 0)
		rc = -errno;
	unlinkat(dir_fd, temp, 0);
	close(out);
	return rc;
}

int durable_link(int dir_fd, int proc_fd, int fd, uint64_t bytes, const char *name)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	if (linkat(proc_fd, number, dir_fd, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno == EEXIST || errno == ENOSPC || errno == EDQUOT || errno == EIO)
		return -errno;
	return link_copy(dir_fd, fd, bytes, name);
}

int durable_replace(int dir_fd, const char *name, const void *p, size_t len)
{
	char temp[PATH_BYTES];
	int rc = temp_name(name, temp), fd;

	if (rc < 0)
		return rc;
	unlinkat(dir_fd, temp, 0);
	fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = file_write_all(fd, p, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	if (rc == 0 && renameat(dir_fd, temp, dir_fd, name) < 0)
		rc = -errno;
	if (rc < 0)
		unlinkat(dir_fd, temp, 0);
	return rc;
}

int durable_sync(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}
