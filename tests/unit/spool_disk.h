/*
 * spool_disk - a model of the disk for test_spool_keeper.c: it stands in front of the calls that change the spool's directory or make it durable, and a
 * process can die at each of them
 *
 * KILLED: all that was done stays. POWER: of what was done since the last fsync of the directory only a beginning stays, and no contents that were not fsynced.
 */
#ifndef SPOOL_DISK_H
#define SPOOL_DISK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/random.h"

static char top[64], dir[96], back[96];

enum { OPS = 256, INODES = 256 };
enum crash { NEVER, KILLED, POWER };
static struct { enum { LINKED, UNLINKED, REPLACED } what; char name[80], backup[140]; } op[OPS];
static ino_t synced[INODES];
static size_t op_count, synced_count;
static int point, die_at;
static enum crash crash;
static unsigned backups;
static int bad_syncs;                   /* of the directory, that fail: each is said once */
static bool lying_dirs, lying_files;    /* a disk that forgets: to see that the test notices */

static bool is_spool(int fd)
{
	struct stat a, b;

	return crash != NEVER && fstat(fd, &a) == 0 && stat(dir, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

enum { PATH_BYTES = 400 };

static void in_spool(const char *name, char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s/%s", dir, name);
}

static void lose_power(void)
{
	size_t stays = op_count ? pick((unsigned)op_count + 1) : 0;
	DIR *d = opendir(dir);
	struct dirent *e;

	while (op_count > stays) {
		char path[PATH_BYTES];

		op_count--;
		in_spool(op[op_count].name, path);
		if (op[op_count].what == LINKED)
			unlink(path);
		else
			rename(op[op_count].backup, path);
	}
	while ((e = readdir(d))) {
		char path[PATH_BYTES];
		struct stat st;
		bool known = false;

		in_spool(e->d_name, path);
		if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		for (size_t i = 0; i < synced_count; i++)
			known |= synced[i] == st.st_ino;
		if (!known)
			(void)!truncate(path, 0);
	}
	_exit(42);
}

static void may_die(void)
{
	if (crash == NEVER)
		return;
	point++;
	if (die_at && point == die_at) {
		if (crash == POWER)
			lose_power();
		_exit(42);
	}
}

static void note(int what, const char *name)
{
	char path[PATH_BYTES];

	assert_true(op_count < OPS);
	op[op_count].what = what;
	snprintf(op[op_count].name, sizeof(op[op_count].name), "%s", name);
	if (what != LINKED) {
		in_spool(name, path);
		snprintf(op[op_count].backup, sizeof(op[op_count].backup), "%s/%u", back, backups++);
		if (link(path, op[op_count].backup) < 0)
			return;
	}
	op_count++;
}

int fsync(int fd)
{
	struct stat st;
	int rc;

	may_die();
	if (bad_syncs > 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		bad_syncs--;
		errno = EIO;
		return -1;
	}
	rc = (int)syscall(SYS_fsync, fd);
	if (crash != NEVER && is_spool(fd) && !lying_dirs)
		op_count = 0;
	else if (crash != NEVER && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && synced_count < INODES && !lying_files)
		synced[synced_count++] = st.st_ino;
	may_die();
	return rc;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	int rc;

	may_die();
	rc = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
	if (rc == 0 && is_spool(to_fd))
		note(LINKED, to);
	may_die();
	return rc;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	may_die();
	if (is_spool(to_fd))
		note(REPLACED, to);
	int rc = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
	may_die();
	return rc;
}

int unlinkat(int fd, const char *name, int flags)
{
	may_die();
	if (is_spool(fd))
		note(UNLINKED, name);
	int rc = (int)syscall(SYS_unlinkat, fd, name, flags);
	may_die();
	return rc;
}

#endif
