/* The index: what is found by which name, deletions, several processes at it, and what happens when another one takes its name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/store_index.h"
#include "policy/store_meta.h"

static char dir[64], path[96];

static int make(void **unused)
{
	snprintf(dir, sizeof(dir), "%s/gatepost-index-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/quarantine.db", dir);
	return 0;
}

static int tear(void **unused)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static const char plain[] =
	"{\"envelope\":{\"from\":\"A@Sender.example\",\"rcpt\":[{\"address\":\"Bob@Example.com\"},{\"address\":\"carol@example.com\"}]},"
	"\"client\":{\"ip\":\"192.0.2.1\"},\"message\":{\"id\":\"<1@x>\",\"from\":\"Alice <alice@other.example>\",\"subject\":\"hi\"},"
	"\"verdict\":{\"rule\":{\"name\":\"hold\"}},\"facts\":{\"spf\":\"fail\",\"class\":[\"sales\",\"board\",\"sales\"]}}";

static int collect(void *arg, const char *name)
{
	char *out = arg;

	strcat(strcat(out, name), " ");
	return 0;
}

static void test_meta(void **unused)
{
	static const struct { const char *name, *text, *from, *to, *classes; int rc; } rows[] = {
		{ "all", plain, "a@sender.example @sender.example alice@other.example @other.example ",
		  "bob@example.com @example.com carol@example.com ", " board sales ", 0 },
		{ "the filter's authors count", "{\"message\":{\"from\":\"x <x@a.example>\"},\"facts\":{\"from.addresses\":[\"y@b.example\",\"z@b.example\"]}}",
		  "y@b.example @b.example z@b.example ", "", "", 0 },
		{ "null sender", "{\"envelope\":{\"from\":\"\",\"rcpt\":[]}}", " ", "", "", 0 },
		{ "the same twice", "{\"envelope\":{\"from\":\"x@a.example\"},\"message\":{\"from\":\"X@A.EXAMPLE\"}}", "x@a.example @a.example ", "", "", 0 },
		{ "one class", "{\"facts\":{\"class\":\"board\"}}", "", "", " board ", 0 },
		{ "classes of all recipients", "{\"envelope\":{\"rcpt\":[{\"address\":\"a@b\",\"classes\":[\"z\",\"y\"]},{\"classes\":[\"y\",5,\"x\"]}]},"
		  "\"facts\":{\"class\":[\"z\"]}}", "", "a@b @b ", " x y z ", 0 },
		{ "no address in From", "{\"message\":{\"from\":\"someone else\"}}", "", "", "", 0 },
		{ "unclosed", "{\"message\":{\"from\":\"x <x@a.example\"}}", "", "", "", 0 },
		{ "blank inside", "{\"message\":{\"from\":\"<x y@a.example>\"}}", "", "", "", 0 },
		{ "NUL in an address", "{\"envelope\":{\"from\":\"a\\u0000b@c.example\"}}", "a ", "", "", 0 },
		{ "no domain", "{\"envelope\":{\"from\":\"a@\"}}", "a@ ", "", "", 0 },
		{ "wrong kinds", "{\"envelope\":[1],\"client\":5,\"facts\":\"x\",\"message\":null,\"verdict\":[]}", "", "", "", 0 },
		{ "recipients of wrong kinds", "{\"envelope\":{\"rcpt\":[1,null,{\"address\":5},{}]}}", "", "", "", 0 },
		{ "rcpt is no list", "{\"envelope\":{\"rcpt\":{\"address\":\"a@b\"}}}", "", "", "", 0 },
		{ "classes with blanks", "{\"facts\":{\"class\":[\"a b\",\"\",\"c\"]}}", "", "", " c ", 0 },
		{ "a list", "[]", NULL, NULL, NULL, -EINVAL },
		{ "a word", "\"x\"", NULL, NULL, NULL, -EINVAL },
		{ "nothing", "", NULL, NULL, NULL, -EINVAL },
		{ "cut", "{\"envelope\":", NULL, NULL, NULL, -EINVAL },
		{ "more behind", "{} {}", NULL, NULL, NULL, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char from[500] = "", to[500] = "";
		struct store_meta m;
		int rc = store_meta_read(rows[i].text, strlen(rows[i].text), &m);

		if (rc != rows[i].rc)
			fail_msg("%s: %d", rows[i].name, rc);
		if (rc == 0) {
			assert_int_equal(store_meta_from(&m, collect, from), 0);
			assert_int_equal(store_meta_to(&m, collect, to), 0);
			if (strcmp(from, rows[i].from) || strcmp(to, rows[i].to) || strcmp(buf_str(&m.classes), rows[i].classes))
				fail_msg("%s: from [%s] to [%s] classes [%s]", rows[i].name, from, to, buf_str(&m.classes));
		}
		store_meta_release(&m);
	}
}

static void test_names(void **unused)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "Bob@Example.COM", "bob@example.com" }, { "Example.com", "@example.com" }, { "@Example.com", "@example.com" },
		{ "<>", "" }, { "<a@b>", "a@b" }, { "", NULL }, { "a@", NULL }, { "@", NULL }, { "<", "@<" },
	};
	AUTO(buf) struct buf b = BUF_INIT(4096);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int rc = store_meta_name(rows[i].in, &b);

		if (rc != (rows[i].out ? 0 : -EINVAL) || (rows[i].out && strcmp(buf_str(&b), rows[i].out)))
			fail_msg("%s: %d %s", rows[i].in, rc, buf_str(&b));
	}
}

static struct store_index *open_new(bool want_fresh)
{
	struct store_index *x = NULL;
	bool fresh = !want_fresh;

	assert_int_equal(store_index_open(path, &x, &fresh), 0);
	assert_int_equal(fresh, want_fresh);
	return x;
}

static const char *id_of(int n)
{
	static char id[4][STORE_ID_MAX];

	store_id_make(1795306775000 + n, 0, id[n & 3]);
	return id[n & 3];
}

static void add(struct store_index *x, int n, const char *meta)
{
	assert_int_equal(store_index_begin(x), 0);
	assert_int_equal(store_index_add(x, id_of(n), 1795306775, 100, meta), 0);
	assert_int_equal(store_index_commit(x), 0);
}

static int remove_one(struct store_index *x, int n)
{
	int rc;

	assert_int_equal(store_index_begin(x), 0);
	rc = store_index_remove(x, id_of(n), 5, "ann", "deleted");
	assert_int_equal(store_index_commit(x), 0);
	return rc;
}

static int64_t number(struct store_index *x, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int64_t n = -1;

	assert_int_equal(sqlite3_prepare_v2(store_index_sql(x), sql, -1, &st, NULL), SQLITE_OK);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n;
}

static void test_add_and_remove(void **unused)
{
	struct store_index *x = open_new(true);
	char id[4][STORE_ID_MAX];

	for (int n = 0; n < 3; n++)
		add(x, n, plain);
	add(x, 2, plain);                       /* the same again changes nothing */
	assert_int_equal(store_index_count(x), 3);
	assert_int_equal(number(x, "SELECT count(*) FROM party"), 3 * 7);
	assert_int_equal(number(x, "SELECT disk FROM total WHERE classes = ' board sales '"), 3 * (100 + strlen(plain)));
	assert_int_equal(store_index_set_state(x, id_of(1), "released"), 0);
	assert_int_equal(store_index_set_state(x, id_of(9), "released"), -ENOENT);
	assert_int_equal(remove_one(x, 1), 0);
	assert_int_equal(remove_one(x, 1), -ENOENT);
	assert_int_equal(remove_one(x, 7), -ENOENT);
	assert_int_equal(store_index_count(x), 2);
	assert_int_equal(number(x, "SELECT count(*) FROM party"), 2 * 7);
	assert_int_equal(number(x, "SELECT count(*) FROM facts"), 2);
	assert_int_equal(number(x, "SELECT disk FROM total"), 2 * (100 + strlen(plain)));
	assert_true(store_index_deleted(x, id_of(1)));
	assert_int_equal(store_index_to_unlink(x, id, 4), 1);
	assert_string_equal(id[0], id_of(1));
	assert_int_equal(store_index_forget(x, 100, 10), 0);    /* not before its files have gone */
	assert_int_equal(store_index_unlinked(x, id_of(1)), 0);
	assert_int_equal(store_index_to_unlink(x, id, 4), 0);
	assert_false(store_index_deleted(x, id_of(1)));
	assert_int_equal(store_index_forget(x, 5, 10), 0);
	assert_int_equal(store_index_forget(x, 6, 10), 1);
	store_index_close(x);
}

static void test_join(void **unused)
{
	struct store_index *x, *y = NULL;

	assert_int_equal(store_index_join(path, &y), -ENOENT);
	assert_int_equal(access(path, F_OK), -1);       /* and has not made one */
	x = open_new(true);
	assert_int_equal(store_index_join(path, &y), 0);
	assert_false(store_index_complete(y));
	assert_int_equal(store_index_set_complete(x), 0);
	assert_true(store_index_complete(y));
	add(x, 0, plain);
	assert_true(store_index_has(y, id_of(0)));
	assert_int_equal(remove_one(y, 0), 0);
	assert_false(store_index_has(x, id_of(0)));
	/* One that is closed takes nothing away from the others. */
	store_index_close(x);
	add(y, 1, plain);
	x = open_new(false);
	assert_true(store_index_has(x, id_of(1)));
	store_index_close(x);
	store_index_close(y);
}

static void spoil(const char *text)
{
	char wal[128];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	unlink(wal);
}

static void test_damaged(void **unused)
{
	struct store_index *x = open_new(true), *y = NULL;

	store_index_set_complete(x);
	store_index_close(x);
	spoil("This is no database, but a text that is longer than its header would be. .......................................................");
	assert_int_equal(store_index_join(path, &y), -EBADMSG);
	spoil("");
	assert_int_equal(store_index_join(path, &y), -ENOENT);
	x = open_new(true);
	store_index_close(x);
	spoil("This is no database, but a text that is longer than its header would be. .......................................................");
	x = open_new(true);
	store_index_close(x);
}

/* The former schema: of no use to a command; the keeper begins afresh. */
static void test_versions(void **unused)
{
	struct store_index *x = open_new(true), *y = NULL;

	store_index_set_complete(x);
	number(x, "PRAGMA user_version = 1");
	store_index_close(x);
	assert_int_equal(store_index_join(path, &y), -EPROTONOSUPPORT);
	x = open_new(true);
	number(x, "PRAGMA user_version = 99");
	store_index_close(x);
	assert_int_equal(store_index_join(path, &y), -EPROTONOSUPPORT);
	bool fresh;
	assert_int_equal(store_index_open(path, &x, &fresh), -EPROTONOSUPPORT);
}

/* While others have it open: they notice, deletions are taken over, and what they still write reaches nobody else. */
static void test_afresh(void **unused)
{
	struct store_index *keeper = open_new(true), *x = NULL, *y = NULL;
	int hold;

	add(keeper, 0, plain);
	add(keeper, 1, plain);
	assert_int_equal(remove_one(keeper, 0), 0);
	hold = store_index_hold(keeper, false);
	assert_true(hold >= 0);
	close(hold);
	assert_false(store_index_replaced(keeper));
	assert_int_equal(store_index_afresh(path, false, &x), 0);
	assert_true(store_index_replaced(keeper));
	assert_int_equal(store_index_hold(keeper, false), -ESTALE);
	assert_int_equal(store_index_count(x), 0);
	assert_false(store_index_complete(x));
	assert_true(store_index_deleted(x, id_of(0)));
	add(keeper, 2, plain);                  /* before it looks */
	add(x, 3, plain);
	store_index_close(keeper);              /* must not take the new one's WAL away */
	assert_int_equal(store_index_join(path, &y), 0);
	assert_true(store_index_has(y, id_of(3)));
	assert_false(store_index_has(y, id_of(2)));
	store_index_close(x);
	store_index_close(y);
	keeper = open_new(true);
	assert_true(store_index_has(keeper, id_of(3)));
	store_index_close(keeper);
}

/* The file alone is removed, its WAL stays: that is of no use to the next. */
static void test_removed(void **unused)
{
	struct store_index *keeper = open_new(true), *x = NULL;

	add(keeper, 0, plain);
	unlink(path);
	assert_true(store_index_replaced(keeper));
	assert_int_equal(store_index_join(path, &x), -ENOENT);
	x = open_new(true);
	assert_int_equal(store_index_count(x), 0);
	add(x, 1, plain);
	store_index_close(keeper);
	assert_true(store_index_has(x, id_of(1)));
	store_index_close(x);
	x = open_new(true);
	assert_true(store_index_has(x, id_of(1)));
	store_index_close(x);
}

/* Two processes write as fast as they can: neither hears that the other is busy. */
static void test_two_writers(void **unused)
{
	struct store_index *x = open_new(true);
	int status, longest_ms = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct store_index *y = NULL;

		store_index_close(NULL);
		if (store_index_join(path, &y) < 0)
			_exit(1);
		for (int n = 0; n < 300; n++) {
			int rc = store_index_begin(y);

			for (int i = 0; i < 10 && rc == 0; i++)
				rc = store_index_add(y, id_of(100000 + 10 * n + i), 1, 1, plain);
			if (rc < 0 || store_index_commit(y) < 0)
				_exit(2);
		}
		store_index_close(y);
		_exit(0);
	}
	for (int n = 0; n < 300; n++) {
		int64_t at_ms = clock_ms();

		add(x, n, plain);
		if (clock_ms() - at_ms > longest_ms)
			longest_ms = (int)(clock_ms() - at_ms);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(store_index_count(x), 3300);
	print_message("  the longest wait: %d ms\n", longest_ms);
	store_index_close(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meta),
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_add_and_remove, make, tear),
		cmocka_unit_test_setup_teardown(test_join, make, tear),
		cmocka_unit_test_setup_teardown(test_damaged, make, tear),
		cmocka_unit_test_setup_teardown(test_versions, make, tear),
		cmocka_unit_test_setup_teardown(test_afresh, make, tear),
		cmocka_unit_test_setup_teardown(test_removed, make, tear),
		cmocka_unit_test_setup_teardown(test_two_writers, make, tear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
