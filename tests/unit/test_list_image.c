/*
 * Lists as images: the same answers as a list in memory, whichever process looks. `test_list_image N` measures one of N domains.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "policy/list_table.h"
#include "policy/policy_files.h"
#include "policy/policy_list.h"

static char path[64];

static int world_make(void **state)
{
	int fd;

	strcpy(path, "/tmp/test_list.XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int world_end(void **state)
{
	return unlink(path);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static struct policy_list *load(void)
{
	AUTO(buf) struct buf errors = BUF_INIT(10000);
	struct policy_list *l = policy_list_new();
	struct list_stamp stamp, now;
	int rc = policy_list_load(l, path, "list", &stamp, &errors);

	if (rc != 0)
		fail_msg("%d: %s", rc, buf_str(&errors));
	assert_true(policy_list_stamp(path, &now) && policy_list_stamp_same(&stamp, &now));
	return l;
}

static void put_many(int n)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	for (int i = 0; i < n; i++)
		fprintf(f, "host%d.some-domain%d.example\n", i * 7, i);
	assert_int_equal(fclose(f), 0);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void check_many(const struct policy_list *l, int n)
{
	char text[128];

	for (int i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "Host%d.some-domain%d.example", i * 7, i);
		assert_true(policy_list_has(l, FACT_DOMAIN, text, NULL));
		snprintf(text, sizeof(text), "a.b.host%d.some-domain%d.example", i * 7, i);
		assert_true(policy_list_has(l, FACT_DOMAIN, text, NULL));
		snprintf(text, sizeof(text), "user@host%d.some-domain%d.example", i * 7, i);
		assert_true(policy_list_has(l, FACT_ADDRESS, text, NULL));
		snprintf(text, sizeof(text), "some-domain%d.example", i);
		assert_false(policy_list_has(l, FACT_DOMAIN, text, NULL));
		snprintf(text, sizeof(text), "host%d.some-domain%d.example", i * 7 + 1, i);
		assert_false(policy_list_has(l, FACT_DOMAIN, text, NULL));
	}
}

static void test_many(void **state)
{
	enum { MANY = 200000 };
	AUTO(policy_list) struct policy_list *l = NULL, *other = policy_list_new();
	int fd;

	put_many(MANY);
	l = load();
	assert_int_equal(policy_list_count(l), MANY);
	check_many(l, MANY / 4);
	fd = policy_list_take_fd(l);
	assert_true(fd >= 0);
	assert_int_equal(policy_list_take_fd(l), -1);
	assert_int_equal(policy_list_map(other, fd), 0);
	close(fd);
	check_many(other, MANY / 4);
	policy_list_become(l, policy_list_new());       /* one goes, the other stays */
	assert_false(policy_list_has(l, FACT_DOMAIN, "host0.some-domain0.example", NULL));
	check_many(other, 100);
}

/* What it says of a value in memory it says as an image, mapped again, and in another process. */
static void test_same(void **state)
{
	static const char text[] =
		"# all kinds\n192.0.2.0/24\n2001:db8::/32\na.example # twice\n.b.example\n@c.example\nu@d.example\n"
		"\"any text\"\n/^x[0-9]+\\/y$/\na.example\n.a.example\nB.example\n/(?i)spam/ # of all kinds\n/^x[0-9]+\\/y$/\n";
	static const struct {
		enum fact_type type;
		const char *value;
		bool has;
	} rows[] = {
		{ FACT_IP, "192.0.2.77", true },	  { FACT_IP, "192.0.3.1", false },
		{ FACT_IP, "2001:db8:5::1", true },	  { FACT_DOMAIN, "a.example", true },
		{ FACT_DOMAIN, "x.b.example", true },	  { FACT_DOMAIN, "b.example", true },
		{ FACT_DOMAIN, "c.example", false },	  { FACT_ADDRESS, "v@c.example", true },
		{ FACT_ADDRESS, "u@d.example", true },	  { FACT_ADDRESS, "v@d.example", false },
		{ FACT_TEXT, "Any Text", true },	  { FACT_TEXT, "x12/y", true },
		{ FACT_TEXT, "X12/y", false },		  { FACT_TEXT, "12/y", false },
		{ FACT_ADDRESS, "noSPAM@e.example", true }, { FACT_DOMAIN, "spam.example", true },
		{ FACT_IP, "spam", true },		  { FACT_WORD, "spam", false },
		{ FACT_NUMBER, "spam", false },		  { FACT_TEXT, "", false },
	};
	AUTO(policy_list) struct policy_list *memory = policy_list_new(), *image = NULL, *mapped = policy_list_new();
	AUTO(buf) struct buf errors = BUF_INIT(10000);
	int fd, status;

	put(text);
	assert_int_equal(policy_list_read(memory, text, strlen(text), "memory", &errors), 0);
	image = load();
	fd = policy_list_take_fd(image);
	assert_int_equal(policy_list_map(mapped, fd), 0);
	for (int turn = 0; turn < 3; turn++) {  /* mapped over itself: what is compiled goes over */
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
			if (policy_list_has(memory, rows[i].type, rows[i].value, NULL) != rows[i].has ||
			    policy_list_has(image, rows[i].type, rows[i].value, NULL) != rows[i].has ||
			    policy_list_has(mapped, rows[i].type, rows[i].value, NULL) != rows[i].has)
				fail_msg("%s", rows[i].value);
		assert_int_equal(policy_list_count(image), policy_list_count(memory));
		assert_int_equal(policy_list_count(mapped), 9);
		assert_int_equal(policy_list_regexes(mapped), 2);
		assert_true(policy_list_sum(mapped) == policy_list_sum(image));
		assert_int_equal(policy_list_map(mapped, fd), 0);
	}
	for (int type = FACT_WORD; type <= FACT_BOOL; type++)
		assert_int_equal(policy_list_useful(mapped, type), policy_list_useful(memory, type));
	fflush(NULL);
	if (fork() == 0)
		_exit(policy_list_has(image, FACT_IP, "192.0.2.77", NULL) ? 0 : 1);
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	close(fd);
}

static void test_empty(void **state)
{
	AUTO(policy_list) struct policy_list *l = NULL;

	put("");
	l = load();
	assert_int_equal(policy_list_count(l), 0);
	assert_false(policy_list_has(l, FACT_DOMAIN, "a.example", NULL));
	put("# nothing\n\n  \r\n\t");
	policy_list_become(l, load());
	assert_int_equal(policy_list_count(l), 0);
	put("a.example");
	policy_list_become(l, load());
	assert_true(policy_list_has(l, FACT_DOMAIN, "a.example", NULL));
}

/* Lines that lie across the blocks that are read. */
static void test_blocks(void **state)
{
	AUTO(policy_list) struct policy_list *l = NULL;
	FILE *f = fopen(path, "we");

	for (int i = 0; i < 300; i++)
		fprintf(f, "d%d.example # %*s\n", i, 3000 + i, "x");
	fclose(f);
	l = load();
	assert_int_equal(policy_list_count(l), 300);
	assert_true(policy_list_has(l, FACT_DOMAIN, "d299.example", NULL));
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "a.example\n  /a(/\n", "list:2:6: missing closing parenthesis, expected a Perl regular expression\n" },
		{ "/a\n", "list:1:1: a regular expression without its end, expected / on the same line\n" },
		{ "/\n", "list:1:1: a regular expression without its end, expected / on the same line\n" },
		{ "/a\\/\n", "list:1:1: a regular expression without its end, expected / on the same line\n" },
		{ "/a\\", "list:1:1: a regular expression without its end, expected / on the same line\n" },
		{ "//\n", "list:1:1: a regular expression of 0 bytes, expected 1 to 1000\n" },
		{ "\t/a/i\n", "list:1:2: something after the regular expression, expected the end of the line\n" },
		{ "/a/ b\n/b", "list:1:1: something after the regular expression, expected the end of the line\n"
			       "list:2:1: a regular expression without its end, expected / on the same line\n" },
		{ "/[/\n", "list:1:3: missing terminating ] for character class, expected a Perl regular expression\n" },
		{ "/\\C/\n", "list:1:4: using \\C is disabled by the application, expected a Perl regular expression\n" },
		{ "\"x\n", "list:1:1: a text without its end, expected \" on the same line\n" },
		{ "a.example# x\n", "list:1:1: a.example# x is no entry, expected a domain, a mailbox, an address, a network, a /regular "
				    "expression/, or any text in double quotes\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(policy_list) struct policy_list *l = policy_list_new();
		AUTO(buf) struct buf errors = BUF_INIT(10000);

		put(rows[i].text);
		assert_true(policy_list_load(l, path, "list", NULL, &errors) > 0);
		assert_string_equal(buf_str(&errors), rows[i].want);
		assert_int_equal(policy_list_take_fd(l) >= 0, true);
	}
}

static void test_bounds(void **state)
{
	for (int turn = 0; turn < 4; turn++) {
		AUTO(policy_list) struct policy_list *l = policy_list_new();
		AUTO(buf) struct buf errors = BUF_INIT(100000);
		FILE *f = fopen(path, "we");
		static const char *const want[] = { "list:1001:1: too many regular expressions in a list, expected at most 1000\n",
						    "list:1:1: a regular expression of 1001 bytes, expected 1 to 1000\n",
						    "list:2:1: a line of more than 262144 bytes, expected shorter ones\n",
						    "list:1:1: a regular expression of 2000 bytes, expected 1 to 1000\n" };

		if (turn == 0)
			for (int i = 0; i < 1001; i++)
				fprintf(f, "/a%d/\n", i);
		else if (turn == 1)
			fprintf(f, "/%01001d/\n", 1);
		else if (turn == 2)
			fprintf(f, "#\n#%0300000d", 1);
		else
			fprintf(f, "/%02000d/\n", 1);
		fclose(f);
		assert_int_equal(policy_list_load(l, path, "list", NULL, &errors), 1);
		assert_string_equal(buf_str(&errors), want[turn]);
	}
}

static int image_file(const void *p, size_t len, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), (ssize_t)len);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* What is no image is not mapped, and the list stays as it was. */
static void test_no_image(void **state)
{
	AUTO(policy_list) struct policy_list *l = NULL, *good = NULL;
	enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
	unsigned char *copy;
	size_t len;
	int fd, bad;

	put("a.example\n/b/\n");
	good = load();
	fd = policy_list_take_fd(good);
	len = (size_t)lseek(fd, 0, SEEK_END);
	copy = calloc(1, len + 8);
	assert_non_null(copy);
	assert_int_equal(pread(fd, copy, len, 0), (ssize_t)len);
	assert_int_equal(write(fd, "x", 1), -1);        /* sealed */
	assert_int_equal(ftruncate(fd, 0), -1);
	close(fd);
	put("c.example\n");
	l = load();
	bad = image_file(copy, len, SEALS);
	assert_int_equal(policy_list_map(good, bad), 0);
	close(bad);
	bad = image_file(copy, len, F_SEAL_SHRINK);
	assert_int_equal(policy_list_map(l, bad), -EPROTO);
	close(bad);
	for (size_t i = 0; i < 5; i++) {
		bad = image_file(copy, i == 4 ? len + 4 : len - 1000 * i - 4, SEALS);
		assert_int_equal(policy_list_map(l, bad), -EPROTO);
		close(bad);
	}
	for (size_t i = 0; i < 56; i++) {       /* the numbers of the head */
		copy[i] ^= 0xff;
		bad = image_file(copy, len, SEALS);
		if (i / 8 != 6 || i % 8 > 3)    /* the count of entries is only said */
			assert_int_equal(policy_list_map(l, bad), -EPROTO);
		close(bad);
		copy[i] ^= 0xff;
	}
	bad = open(path, O_RDONLY);
	assert_int_equal(policy_list_map(l, bad), -EPROTO);
	close(bad);
	assert_true(policy_list_map(l, -1) < 0);
	free(copy);
	assert_true(policy_list_has(l, FACT_DOMAIN, "c.example", NULL));
	assert_false(policy_list_has(l, FACT_DOMAIN, "a.example", NULL));
}

static void count_file(const char *file, const struct list_stamp *stamp, void *arg)
{
	++*(int *)arg;
}

static void write_regexes(int from, int count)
{
	FILE *f = fopen(path, "we");

	for (int i = from; i < from + count; i++)
		fprintf(f, "/^x%d$/\n", i);
	fclose(f);
}

/* The lists of a policy: by path, all of one path at once, and together no more regular expressions than a policy may have. */
static void test_policy(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(10000), text = BUF_INIT(10000);
	AUTO(policy) struct policy *p = NULL;
	struct policy_list *fresh;
	struct list_stamp stamp;
	int files = 0, fd;
	uint64_t before;

	buf_addf(&text, "list a = file \"%s\"\nlist b = file \"%s\"\nlist c = { /c/ }\naccept if sender in a or helo in b or helo in c or sender in allowed",
		 path, strrchr(path, '/') + 1);
	write_regexes(0, 400);
	p = policy_parse("p", buf_str(&text), text.len, "/tmp", &errors, NULL);
	if (!p)
		fail_msg("%s", buf_str(&errors));
	policy_files_each(p, count_file, &files);
	assert_int_equal(files, 2);
	assert_int_equal(policy_set_allowed(p, "/nonexistent/allowed", &errors), 0);
	policy_files_each(p, count_file, &files);
	assert_int_equal(files, 5);

	write_regexes(100, 499);                /* 2 * 499 and one in c */
	fresh = policy_file_read(p, path, &stamp, &errors);
	assert_non_null(fresh);
	assert_true(stamp.there);
	fd = policy_list_take_fd(fresh);
	policy_list_free(fresh);
	before = policy_fingerprint(p);
	assert_int_equal(policy_files_replace(p, path, fd), 2);
	assert_true(policy_fingerprint(p) != before);
	assert_int_equal(policy_files_replace(p, "/elsewhere", fd), 0);
	close(fd);
	write_regexes(0, 500);
	assert_null(policy_file_read(p, path, &stamp, &errors));
	assert_non_null(strstr(buf_str(&errors), ": too many regular expressions, expected at most 1000 in a policy and its lists\n"));
	buf_clear(&errors);
	write_regexes(0, 3);
	assert_int_equal(policy_set_allowed(p, path, &errors), -EINVAL);
	assert_non_null(strstr(buf_str(&errors), "too many"));
	buf_clear(&errors);
	put("a b\n");
	assert_null(policy_file_read(p, path, &stamp, &errors));
	assert_true(stamp.there);
	assert_non_null(strstr(buf_str(&errors), ":1:1: a b is no entry"));
	assert_null(policy_file_read(p, "/nonexistent/list", &stamp, &errors));
	assert_false(stamp.there);
}

/* The same policy with the same lists is the same, whoever has read it; a word or an entry more is another. */
static void test_fingerprint(void **state)
{
	static const struct { const char *policy, *list, *local; bool same; } rows[] = {
		{ "list a = file \"%s\"\naccept if sender in a", "x.example\ny.example\n", "corp.example", true },
		{ "list a = file \"%s\"\naccept if sender in a", "y.example\n\nx.example # again\n", "corp.example", true },
		{ "list a = file \"%s\"\naccept if sender in a", "x.example\n", "corp.example", false },
		{ "list a = file \"%s\"\naccept if sender in a", "x.example\n.y.example\n", "corp.example", false },
		{ "list a = file \"%s\"\naccept if sender in a", "x.example\ny.example\n/z/\n", "corp.example", false },
		{ "list a = file \"%s\"\naccept if sender in a", "x.example\ny.example\n", "corp2.example", false },
		{ "list a = file \"%s\"\naccept if sender in a\n", "x.example\ny.example\n", "corp.example", false },
		{ "list a = file \"%s\"\nreject if sender in a", "x.example\ny.example\n", "corp.example", false },
		{ "list a = file \"%s\"\naccept if sender in a", "", "corp.example", false },
	};
	uint64_t first = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(10000), text = BUF_INIT(10000);
		AUTO(policy) struct policy *p = NULL;
		char *local[] = { (char *)rows[i].local };

		put(rows[i].list);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		buf_addf(&text, rows[i].policy, path);
#pragma GCC diagnostic pop
		p = policy_parse("p", buf_str(&text), text.len, "/tmp", &errors, NULL);
		if (!p)
			fail_msg("%s", buf_str(&errors));
		policy_fingerprint(p);
		assert_int_equal(policy_set_local(p, local, 1), 0);
		if (i == 0)
			first = policy_fingerprint(p);
		if ((policy_fingerprint(p) == first) != rows[i].same)
			fail_msg("row %zu", i);
	}
}

static long field_kib(const char *name)
{
	char line[200];
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtol(line + strlen(name), NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static int measure(int n)
{
	enum { LOOKUPS = 1000000, WORKERS = 8 };
	char text[128];
	int64_t start;
	struct policy_list *l;
	long before = field_kib("Rss:");

	world_make(NULL);
	put_many(n);
	start = now_ns();
	l = load();
	printf("%d domains: loaded in %.2f s, %ld MiB\n", n, (double)(now_ns() - start) / 1e9, (field_kib("Rss:") - before) / 1024);
	for (int miss = 0; miss < 2; miss++) {
		int found = 0;

		start = now_ns();
		for (unsigned i = 0; i < LOOKUPS; i++) {
			unsigned k = (unsigned)((uint64_t)i * 2654435761u % (unsigned)n);

			snprintf(text, sizeof(text), miss ? "no%u.some-domain%u.example" : "host%u.some-domain%u.example", k * 7, k);
			found += policy_list_has(l, FACT_DOMAIN, text, NULL);
		}
		printf("%s: %.0f ns each (with making the name), %d found\n", miss ? "misses" : "hits",
		       (double)(now_ns() - start) / LOOKUPS, found);
	}
	fflush(NULL);
	for (int i = 0; i < WORKERS; i++)
		if (fork() == 0) {
			for (unsigned k = 0; k < (unsigned)n; k++) {
				snprintf(text, sizeof(text), "host%u.some-domain%u.example", k * 7, k);
				(void)policy_list_has(l, FACT_DOMAIN, text, NULL);
			}
			sleep(1);
			if (i == 0)
				printf("one of %d processes: Rss %ld MiB, its share %ld MiB, private %ld MiB\n", WORKERS,
				       field_kib("Rss:") / 1024, field_kib("Pss:") / 1024,
				       field_kib("Private_Dirty:") / 1024);
			fflush(NULL);
			sleep(1);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	policy_list_free(l);
	return world_end(NULL);
}

/* What is sealed is not mapped as shared memory, which kernels before 6.7 refuse even to who only reads. */
static void test_private(void **state)
{
	char line[512];
	struct policy_list *l;
	int maps = 0;
	FILE *f;

	put("a.example\n");
	l = load();
	f = fopen("/proc/self/maps", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "gatepost-list")) {
			assert_non_null(strstr(line, " r--p "));
			maps++;
		}
	assert_non_null(f);
	fclose(f);
	assert_true(maps > 0);
	policy_list_free(l);
}

int main(int argc, char **argv)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_make, world_end)
	const struct CMUnitTest tests[] = {
		TEST(test_many),  TEST(test_same),   TEST(test_empty),	  TEST(test_blocks),
		TEST(test_bad),	  TEST(test_bounds), TEST(test_no_image),
		TEST(test_policy), TEST(test_fingerprint), TEST(test_private),
	};

	fact_register_all();
	if (argc > 1)
		return measure(atoi(argv[1]));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
