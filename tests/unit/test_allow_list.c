#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#include "policy/allow_list.h"
#include "policy/policy_list.h"

static char dir[64];

static const char *at(const char *name)
{
	static char path[4][160];
	static int n;

	n = (n + 1) % 4;
	snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
	return path[n];
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "we");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static const char *got(const char *name)
{
	static char text[8192];
	FILE *f = fopen(at(name), "re");
	size_t n;

	if (!f)
		return "(none)";
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

static int files(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int world_make(void **state)
{
	strcpy(dir, "/tmp/test_allow.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int world_end(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static int add(const char *entry, const char *comment)
{
	AUTO(buf) struct buf err = BUF_INIT(4000);
	int rc = allow_list_add(at("a.txt"), entry, comment, &err);

	assert_int_equal(rc < 0, err.len > 0);
	return rc;
}

static void test_rows(void **state)
{
	static const struct {
		const char *name, *before, *entry, *comment;
		int rc;
		const char *after;
	} rows[] = {
		{ "new file", NULL, "u@a.example", NULL, 0, "u@a.example\n" },
		{ "comment", NULL, "u@a.example", "by hand", 0, "u@a.example  # by hand\n" },
		{ "comment is made harmless", NULL, "u@a.example", "x\ny@evil.example\r\n\x7f", 0, "u@a.example  # x y@evil.example   \n" },
		{ "appended", "# mine\nb.example\n", "u@a.example", "", 0, "# mine\nb.example\nu@a.example\n" },
		{ "no line end", "b.example", "u@a.example", NULL, 0, "b.example\nu@a.example\n" },
		{ "there", "  U@A.example # x\n", "u@a.example", "again", 1, "  U@A.example # x\n" },
		{ "there without end", "b.example\r\nu@a.example", "u@a.example", NULL, 1, "b.example\r\nu@a.example" },
		{ "a text is another entry", "\"u@a.example\"\n", "u@a.example", NULL, 0, "\"u@a.example\"\nu@a.example\n" },
		{ "a comment is none", "# u@a.example\n", "u@a.example", NULL, 0, "# u@a.example\nu@a.example\n" },
		{ "number sign", NULL, "u#1@a.example", "x", 0, "u#1@a.example  # x\n" },
		{ "number sign, there", "u#1@a.example\n", "u#1@a.example", "x", 1, "u#1@a.example\n" },
		{ "domain", "", "@a.example", NULL, 0, "@a.example\n" },
		{ "network", "", "192.0.2.0/24", NULL, 0, "192.0.2.0/24\n" },
		{ "nothing", "b.example\n", "", NULL, -EINVAL, "b.example\n" },
		{ "nothing and a comment", "b.example\n", "", "x@y.example", -EINVAL, "b.example\n" },
		{ "blank", "", " u@a.example", NULL, -EINVAL, "" },
		{ "blank behind", "", "u@a.example ", NULL, -EINVAL, "" },
		{ "two lines", "", "u@a.example\nv@a.example", NULL, -EINVAL, "" },
		{ "CR", "", "u\r@a.example", NULL, -EINVAL, "" },
		{ "comment in it", "", "u #@a.example", NULL, -EINVAL, "" },
		{ "comment only", "", "#u@a.example", NULL, -EINVAL, "" },
		{ "quoted", "", "\"u v\"@a.example", NULL, -EINVAL, "" },
		{ "text", "", "\"u@a.example\"", NULL, -EINVAL, "" },
		{ "regex", "", "/.*/", NULL, -EINVAL, "" },
		{ "no domain", "", "u@-", NULL, -EINVAL, "" },
		{ "bits", "", "192.0.2.1/24", NULL, -EINVAL, "" },
		{ "file with an error", "b..example\n", "u@a.example", NULL, -EINVAL, "b..example\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int rc;

		unlink(at("a.txt"));
		if (rows[i].before)
			put("a.txt", rows[i].before);
		rc = add(rows[i].entry, rows[i].comment);
		if (rc != rows[i].rc || strcmp(got("a.txt"), rows[i].after) != 0)
			fail_msg("%s: %d, \"%s\"", rows[i].name, rc, got("a.txt"));
		assert_int_equal(files(), 1);
	}
}

static void test_long(void **state)
{
	char entry[2000], comment[2000];

	memset(entry, 'a', sizeof(entry));
	memset(comment, 'c', sizeof(comment));
	comment[sizeof(comment) - 1] = '\0';
	strcpy(entry + 400, "@a.example");
	assert_int_equal(add(entry, NULL), -EINVAL);
	strcpy(entry + 60, "@a.example");
	assert_int_equal(add(entry, comment), 0);
	assert_int_equal(strlen(got("a.txt")), 60 + 10 + 4 + ALLOW_COMMENT_MAX + 1);
}

static void test_mode(void **state)
{
	struct stat st;

	put("a.txt", "");
	chmod(at("a.txt"), 0640);
	assert_int_equal(add("u@a.example", NULL), 0);
	stat(at("a.txt"), &st);
	assert_int_equal(st.st_mode & 07777, 0640);
	unlink(at("a.txt"));
	assert_int_equal(add("u@a.example", NULL), 0);
	stat(at("a.txt"), &st);
	assert_int_equal(st.st_mode & 07777, 0644);
	if (geteuid() != 0)
		return;
	assert_int_equal(chown(at("a.txt"), 4242, 4343), 0);
	assert_int_equal(add("v@a.example", NULL), 0);
	stat(at("a.txt"), &st);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4343);
}

static void test_links(void **state)
{
	struct stat st;
	char target[160];

	mkdir(at("b"), 0755);
	put("b/real.txt", "b.example\n");
	assert_int_equal(symlink("b/real.txt", at("a.txt")), 0);
	assert_int_equal(add("u@a.example", NULL), 0);
	assert_string_equal(got("b/real.txt"), "b.example\nu@a.example\n");
	lstat(at("a.txt"), &st);
	assert_true(S_ISLNK(st.st_mode));
	unlink(at("a.txt"));
	assert_int_equal(symlink("b/none.txt", at("a.txt")), 0);
	assert_int_equal(add("u@a.example", NULL), -ENOENT);
	unlink(at("a.txt"));
	mkdir(at("a.txt"), 0755);
	assert_true(add("u@a.example", NULL) < 0);
	snprintf(target, sizeof(target), "%s", at("a.txt"));
	rmdir(target);
	mkfifo(target, 0644);           /* nobody waits for its writer */
	assert_int_equal(add("u@a.example", NULL), -EINVAL);
}

static void test_nowhere(void **state)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);

	assert_int_equal(allow_list_add(at("none/a.txt"), "u@a.example", NULL, &err), -ENOENT);
	assert_non_null(strstr(buf_str(&err), "none/a.txt: No such file or directory"));
}

/* Additions at the same time: all are there. */
static void test_together(void **state)
{
	enum { CHILDREN = 4, EACH = 8 };
	AUTO(policy_list) struct policy_list *l = policy_list_new();
	AUTO(buf) struct buf errors = BUF_INIT(1000);
	int status, bad = 0;

	fflush(NULL);
	for (int i = 0; i < CHILDREN; i++)
		if (fork() == 0) {
			int wrong = 0;

			for (int k = 0; k < EACH; k++) {
				char entry[60];

				snprintf(entry, sizeof(entry), "u%d@d%d.example", k, i);
				wrong += add(entry, "together") != 0;
				wrong += add("all@same.example", NULL) < 0;
			}
			_exit(wrong);
		}
	while (wait(&status) > 0)
		bad += status != 0;
	assert_int_equal(bad, 0);
	assert_int_equal(policy_list_load(l, at("a.txt"), "a", NULL, &errors), 0);
	assert_int_equal(policy_list_count(l), CHILDREN * EACH + 1);
	assert_int_equal(files(), 1);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_make, world_end)
	const struct CMUnitTest tests[] = {
		TEST(test_rows), TEST(test_long), TEST(test_mode), TEST(test_links), TEST(test_nowhere), TEST(test_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
