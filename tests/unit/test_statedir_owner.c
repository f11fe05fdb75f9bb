/* What is given to the user whose it is to be, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/statedir_owner.h"

enum { OLD = 41001, OTHER = 41002, NEW = 41003, STRANGER = 41004 };

static char top[] = "/tmp/gatepost-owner-XXXXXX";
static const struct statedir_owners owners = { .to = NEW, .to_group = NEW, .from = { OLD, OTHER }, .from_count = 2 };

static const char *in(const char *name)
{
	static char path[2][256];
	static int n;

	n = !n;
	snprintf(path[n], sizeof(path[n]), "%s/%s", top, name);
	return path[n];
}

static void file(const char *name, uid_t uid)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fchown(fd, uid, uid), 0);
	close(fd);
}

static void directory(const char *name, uid_t uid)
{
	assert_int_equal(mkdir(in(name), 0700), 0);
	assert_int_equal(chown(in(name), uid, uid), 0);
}

static uid_t owner(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(in(name), &st), 0);
	return st.st_uid;
}

static int give(const char *name, size_t *given)
{
	int fd = open(in(name), O_RDONLY | O_DIRECTORY), rc = statedir_give(fd, &owners, given);

	close(fd);
	return rc;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	if (!mkdtemp(top))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_given_and_not(void **state)
{
	size_t given;

	if (geteuid() != 0)
		skip();
	directory("part", OLD);
	directory("outside", OLD);
	file("outside/victim", OLD);
	file("part/a", OLD);
	file("part/b", OTHER);
	file("part/mine", NEW);
	file("part/root's", 0);
	file("part/stranger's", STRANGER);
	directory("part/day", OLD);
	file("part/day/c", OLD);
	directory("part/root's day", 0);
	file("part/root's day/d", OLD);
	/* what somebody could have put there to get at something else */
	file("shadow", OLD);
	assert_int_equal(link(in("shadow"), in("part/hard")), 0);
	assert_int_equal(symlink("../outside/victim", in("part/soft")), 0);
	assert_int_equal(lchown(in("part/soft"), OLD, OLD), 0);
	assert_int_equal(symlink("../outside", in("part/away")), 0);
	assert_int_equal(mkfifo(in("part/pipe"), 0600), 0);
	assert_int_equal(chown(in("part/pipe"), OLD, OLD), 0);

	assert_int_equal(give("part", &given), 0);
	assert_int_equal(given, 5);
	assert_int_equal(owner("part"), NEW);
	assert_int_equal(owner("part/a"), NEW);
	assert_int_equal(owner("part/b"), NEW);
	assert_int_equal(owner("part/mine"), NEW);
	assert_int_equal(owner("part/day"), NEW);
	assert_int_equal(owner("part/day/c"), NEW);
	assert_int_equal(owner("part/root's day/d"), NEW);
	assert_int_equal(owner("part/root's"), 0);
	assert_int_equal(owner("part/root's day"), 0);
	assert_int_equal(owner("part/stranger's"), STRANGER);
	assert_int_equal(owner("part/soft"), OLD);
	assert_int_equal(owner("part/pipe"), OLD);
	assert_int_equal(owner("shadow"), OLD);
	assert_int_equal(owner("outside"), OLD);
	assert_int_equal(owner("outside/victim"), OLD);
	assert_int_equal(give("part", &given), 0);      /* again: nothing left */
	assert_int_equal(given, 0);
}

/* Deeper than anything of ours: an error, and the part stays root's, so that it is looked at again. */
static void test_deep(void **state)
{
	char name[200] = "deep";
	size_t given;

	if (geteuid() != 0)
		skip();
	directory(name, OLD);
	for (int i = 0; i < 12; i++) {
		strcat(name, "/d");
		directory(name, OLD);
	}
	assert_int_equal(give("deep", &given), -ELOOP);
	assert_int_equal(owner("deep"), 0);
}

static void test_no_directory(void **state)
{
	size_t given = 7;
	int fd;

	file("plain", 0);
	fd = open(in("plain"), O_RDONLY);
	assert_int_equal(statedir_give(fd, &owners, &given), -ENOTDIR);
	assert_int_equal(given, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given_and_not),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_no_directory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
