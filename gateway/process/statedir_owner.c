#include "process/statedir_owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 8 };

static int give_below(int dir, dev_t device, const struct statedir_owners *o, int depth, size_t *given);

static bool is_from(const struct statedir_owners *o, uid_t uid)
{
	for (size_t i = 0; i < o->from_count; i++)
		if (o->from[i] == uid)
			return true;
	return false;
}

/* fd: of the thing itself, whatever its name leads to by now. */
static int give_one(int fd, uid_t uid, gid_t gid)
{
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* Root's for the while: root that may not look into everything looks into its own. */
static int give_directory(int fd, dev_t device, const struct stat *st, const struct statedir_owners *o, int depth, size_t *given)
{
	bool gives = st->st_uid != o->to && is_from(o, st->st_uid);
	int rc = gives ? give_one(fd, geteuid(), (gid_t)-1) : 0, below;

	if (rc < 0)
		return rc;
	below = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rc = below >= 0 ? give_below(below, device, o, depth + 1, given) : errno == EACCES && !gives ? 0 : -errno;
	if (rc == 0 && gives) {
		rc = give_one(fd, o->to, o->to_group);
		*given += rc == 0;
	}
	return rc;
}

static int give_entry(int dir, const char *name, dev_t device, const struct statedir_owners *o, int depth, size_t *given)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), rc = 0;
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0) {
		rc = -errno;
	} else if (st.st_dev == device && S_ISDIR(st.st_mode)) {
		rc = give_directory(fd, device, &st, o, depth, given);
	} else if (st.st_dev == device && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid != o->to && is_from(o, st.st_uid)) {
		rc = give_one(fd, o->to, o->to_group);
		*given += rc == 0;
	}
	close(fd);
	return rc;
}

/* dir is closed. */
static int give_below(int dir, dev_t device, const struct statedir_owners *o, int depth, size_t *given)
{
	DIR *d = depth <= DEPTH_MAX ? fdopendir(dir) : NULL;
	struct dirent *e;
	int rc = 0;

	if (!d) {
		rc = depth <= DEPTH_MAX ? -errno : -ELOOP;
		close(dir);
		return rc;
	}
	while (rc == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = give_entry(dirfd(d), e->d_name, device, o, depth, given);
	closedir(d);
	return rc;
}

int statedir_give(int dir, const struct statedir_owners *o, size_t *given)
{
	struct stat st;
	int below, rc;

	*given = 0;
	if (fstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	rc = give_one(dir, geteuid(), (gid_t)-1);
	if (rc < 0)
		return rc;
	below = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = below < 0 ? -errno : give_below(below, st.st_dev, o, 0, given);
	return rc == 0 ? give_one(dir, o->to, o->to_group) : rc;
}
