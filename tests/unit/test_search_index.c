/* The full-text index: what is in a message is found, in any script; what was removed is not; nothing that is asked breaks it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "policy/search_index.h"
#include "policy/search_query.h"

static char dir[64], path[96];

static int remove_files(void)
{
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/*", dir);
	if (glob(pattern, 0, NULL, &g) == 0) {
		for (size_t i = 0; i < g.gl_pathc; i++)
			unlink(g.gl_pathv[i]);
		globfree(&g);
	}
	return 0;
}

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/gatepost-search-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/search.db", dir);
	return 0;
}

static int teardown(void **state)
{
	remove_files();
	return rmdir(dir);
}

static struct search_index *opened(void)
{
	struct search_index *x = NULL;

	assert_int_equal(search_index_open(path, &x), 0);
	return x;
}

static json_t *record(const char *from, const char *to, const char *subject, const char *text)
{
	json_t *r = json_pack("{s:{s:s}, s:{s:s, s:[{s:s}]}, s:{s:s, s:s}, s:{s:{s:s}}, s:{s:[s, s]}, s:s}", "client", "ip", "192.0.2.7",
			      "envelope", "from", from, "rcpt", "address", to, "message", "subject", subject, "id", "<n42@host.example>",
			      "verdict", "rule", "name", "held", "facts", "attachment.name", "Lieferschein.pdf", "b.exe", "text", text);

	assert_non_null(r);
	return r;
}

static void add(struct search_index *x, const char *id, json_t *r)
{
	assert_int_equal(search_index_begin(x), 0);
	assert_int_equal(search_index_add(x, id, r), 0);
	assert_int_equal(search_index_commit(x), 0);
	json_decref(r);
}

static int on_id(void *arg, const char *id)
{
	struct buf *out = arg;

	buf_addf(out, "%s%s", out->len ? " " : "", id);
	return 0;
}

static void find(struct search_index *x, const char *asked, struct buf *out)
{
	AUTO(search_query) struct search_query *q = search_query_new();
	int rc = search_query_add(q, asked);

	buf_clear(out);
	if (rc == 0)
		rc = search_index_find(x, q, on_id, out, NULL);
	if (rc < 0)
		fail_msg("%s: %s %s", asked, strerror(-rc), q->error);
}

#define FIND(x, asked, want)                                                                                     \
	do {                                                                                                     \
		AUTO(buf) struct buf found_ = BUF_INIT(65536);                                                    \
		find(x, asked, &found_);                                                                          \
		if (strcmp(buf_str(&found_), want) != 0)                                                          \
			fail_msg("line %d: %s finds [%s], expected [%s]", __LINE__, asked, buf_str(&found_), want); \
	} while (0)

static const char A[] = "0g3c1h3ta001", B[] = "0g3c1h3tb001", C[] = "0g3c1h3tc001", D[] = "0g3c1h3td001";

static void fill(struct search_index *x)
{
	add(x, A, record("anna@firma.example", "bob@example.com", "Zweite Mahnung",
			 "Sehr geehrte Damen,\nanbei die Abschlagsrechnungen und Versandgebühren für die Straße."));
	add(x, B, record("li@gongsi.example", "carol@example.com", "增值税发票", "我们公司在北京市税\r\n务局开具发票。手机iPhone水管"));
	add(x, C, record("", "bob@example.com", "請求書のご案内", "東京タワー ｶﾞｲﾄﾞ ウォーター"));
	add(x, D, record("kim@hoesa.example", "dave@example.com", "세금계산서 발행", "첫 번째 서울특별시 invoice draft"));
}

static void test_finds(void **state)
{
	struct search_index *x = opened();

	fill(x);
	FIND(x, "mahnung", A);
	FIND(x, "MAHNUNG", A);
	FIND(x, "rechnung", A);                 /* inside of Abschlagsrechnungen */
	FIND(x, "gebühr", A);
	FIND(x, "gebuehr", A);
	FIND(x, "GEBUHR", A);
	FIND(x, "strasse", A);
	FIND(x, "abschlag", A);
	FIND(x, "ungen", A);
	FIND(x, "rechnungsgebühr", "");
	FIND(x, "hren", "0g3c1h3ta001");
	FIND(x, "ahn", "");                     /* of three letters: words of their own only */
	FIND(x, "die", A);
	FIND(x, "发票", B);
	FIND(x, "税务", B);                     /* across the end of a line */
	FIND(x, "北京市税务局", B);
	FIND(x, "北京税务", "");
	FIND(x, "水", B);
	FIND(x, "局", B);
	FIND(x, "发", B);
	FIND(x, "东", "");
	FIND(x, "手机iphone", B);
	FIND(x, "iphone水", B);
	FIND(x, "請求書", C);
	FIND(x, "請求", C);
	FIND(x, "東京", C);
	FIND(x, "ガイド", C);
	FIND(x, "세금", D);
	FIND(x, "서울", D);
	FIND(x, "첫", D);
	FIND(x, "anna@firma.example", A);
	FIND(x, "firma", A);
	FIND(x, "host.example", "0g3c1h3td001 0g3c1h3tc001 0g3c1h3tb001 0g3c1h3ta001");
	FIND(x, "lieferschein.pdf", "0g3c1h3td001 0g3c1h3tc001 0g3c1h3tb001 0g3c1h3ta001");
	FIND(x, "192.0.2.7", "0g3c1h3td001 0g3c1h3tc001 0g3c1h3tb001 0g3c1h3ta001");
	FIND(x, "192.0.2.8", "");
	search_index_close(x);
}

static void test_terms_together(void **state)
{
	struct search_index *x = opened();
	AUTO(search_query) struct search_query *q = search_query_new();
	AUTO(buf) struct buf out = BUF_INIT(1000);

	fill(x);
	FIND(x, "\"mahnung\" damen", A);
	FIND(x, "\"mahnung\" draft", "");
	FIND(x, "zweite mahnung", A);
	FIND(x, "mahnung zweite", "");
	FIND(x, "\"example\" -mahnung", "0g3c1h3td001 0g3c1h3tc001 0g3c1h3tb001");
	FIND(x, "\"example\" -mahnung -发票 -draft", C);
	FIND(x, "\"example\" -rechnung", "0g3c1h3td001 0g3c1h3tc001 0g3c1h3tb001");
	FIND(x, "subject:mahnung", A);
	FIND(x, "subject:damen", "");
	FIND(x, "subject:mahn", A);
	FIND(x, "subject:发票", B);
	FIND(x, "subject:公司", "");
	FIND(x, "subject:票", B);
	FIND(x, "from:anna", A);
	FIND(x, "to:anna", "");
	FIND(x, "to:bob@example.com", "0g3c1h3tc001 0g3c1h3ta001");
	FIND(x, "\"from:firma.example to:bob\"", "");
	assert_int_equal(search_query_add(q, "from:firma.example"), 0);
	assert_int_equal(search_query_add(q, "to:bob"), 0);
	assert_int_equal(search_index_find(x, q, on_id, &out, NULL), 0);
	assert_string_equal(buf_str(&out), A);
	search_index_close(x);
}

static void test_removed(void **state)
{
	struct search_index *x = opened();
	json_t *r = record("a@b.example", "c@d.example", "weg", "Sonderangebot 发票");
	char ids[4][STORE_ID_MAX];

	fill(x);
	add(x, "0g3c1h3te001", json_incref(r));
	add(x, "0g3c1h3te001", json_incref(r));         /* once more is nothing */
	FIND(x, "发票", "0g3c1h3te001 0g3c1h3tb001");
	assert_int_equal(search_index_begin(x), 0);
	assert_int_equal(search_index_remove(x, "0g3c1h3te001", r), 0);
	assert_int_equal(search_index_remove(x, "0g3c1h3te001", r), 0);
	assert_int_equal(search_index_remove(x, B, NULL), 0);
	assert_int_equal(search_index_commit(x), 0);
	assert_false(search_index_has(x, B));
	assert_true(search_index_has(x, C));
	FIND(x, "发票", "");
	FIND(x, "sonder", "");
	assert_int_equal(search_index_ids(x, "", ids, 4), 3);
	assert_string_equal(ids[0], A);
	assert_string_equal(ids[2], D);
	assert_int_equal(search_index_ids(x, C, ids, 4), 1);
	/* a number is never given twice: what words of B are left do not become those of the next */
	add(x, "0g3c1h3tf001", record("", "c@d.example", "neu", "nichts"));
	FIND(x, "公司", "");
	FIND(x, "nichts", "0g3c1h3tf001");
	json_decref(r);
	search_index_close(x);
}

static void test_rolled_back(void **state)
{
	struct search_index *x = opened();
	json_t *r = record("a@b.example", "c@d.example", "weg", "Sonderangebot");

	assert_int_equal(search_index_begin(x), 0);
	assert_int_equal(search_index_add(x, A, r), 0);
	search_index_rollback(x);
	FIND(x, "angebot", "");
	add(x, A, r);
	FIND(x, "angebot", A);                  /* the vocabulary has it, too */
	search_index_close(x);
}

static void test_reopened(void **state)
{
	struct search_index *x = opened();
	char id[STORE_ID_MAX];

	assert_int_equal(search_index_cursor(x, id), 0);
	assert_string_equal(id, "");
	fill(x);
	assert_int_equal(search_index_set_cursor(x, D), 0);
	search_index_checkpoint(x);
	search_index_close(x);
	x = opened();
	assert_int_equal(search_index_cursor(x, id), 0);
	assert_string_equal(id, D);
	FIND(x, "gebühr", A);
	search_index_close(x);
}

/* Records are read from files that somebody may have touched. */
static void test_odd_records(void **state)
{
	static const char *const odd[] = {
		"{}", "{\"text\": 7}", "{\"text\": null, \"message\": []}", "{\"envelope\": {\"rcpt\": {\"address\": \"a\"}}}",
		"{\"envelope\": {\"rcpt\": [7, [], {}, {\"address\": {}}]}}", "{\"facts\": {\"attachment.name\": {\"temperror\": \"x\"}}}",
		"{\"text\": \"\"}", "{\"text\": \"\\u0000\\u0000\"}", "[]", "\"text\"",
	};
	struct search_index *x = opened();

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		char id[STORE_ID_MAX];
		json_t *r = json_loads(odd[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

		assert_non_null(r);
		snprintf(id, sizeof(id), "0g3c1h3t%04zu", i);
		add(x, id, json_incref(r));
		assert_true(search_index_has(x, id));
		assert_int_equal(search_index_begin(x), 0);
		assert_int_equal(search_index_remove(x, id, r), 0);
		assert_int_equal(search_index_commit(x), 0);
		json_decref(r);
	}
	search_index_close(x);
}

static void test_very_long_text(void **state)
{
	struct search_index *x = opened();
	AUTO(buf) struct buf text = BUF_INIT(4 << 20);

	for (int i = 0; i < 100000; i++)
		buf_addf(&text, "wort%d ", i);
	add(x, A, record("", "", "lang", buf_str(&text)));
	FIND(x, "wort7", A);
	FIND(x, "wort99999", "");               /* past SEARCH_DOC_WORDS_MAX */
	search_index_close(x);
}

/* The most words that one may stand for: those beyond are not looked for, and it is said. */
static void test_many_compounds(void **state)
{
	struct search_index *x = opened();
	AUTO(buf) struct buf text = BUF_INIT(1 << 20), out = BUF_INIT(1000);
	AUTO(search_query) struct search_query *q = search_query_new();
	bool many = false;

	for (int i = 0; i < 5000; i++)
		buf_addf(&text, "%c%c%czentrum%c ", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676, 'a' + i % 26);
	add(x, A, record("", "", "viele", buf_str(&text)));
	assert_int_equal(search_query_add(q, "zentrum"), 0);
	assert_int_equal(search_index_find(x, q, on_id, &out, &many), 0);
	assert_string_equal(buf_str(&out), A);
	assert_true(many);
	search_index_close(x);
}

static void damage(off_t at, size_t bytes)
{
	int fd = open(path, O_RDWR);
	char junk[4096];

	memset(junk, 0x5a, sizeof(junk));
	assert_int_equal(pwrite(fd, junk, bytes, at), bytes);
	close(fd);
}

static void test_damaged(void **state)
{
	struct search_index *x = opened();

	fill(x);
	search_index_close(x);
	damage(0, 100);
	assert_int_equal(search_index_join(path, &x), -EBADMSG);
	x = opened();
	FIND(x, "gebühr", "");
	fill(x);
	FIND(x, "gebühr", A);
	search_index_close(x);
}

static void set_version(int version)
{
	sqlite3 *sql;
	char text[64];

	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	snprintf(text, sizeof(text), "PRAGMA user_version = %d", version);
	assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
}

static void test_versions(void **state)
{
	struct search_index *x = NULL;

	assert_int_equal(search_index_join(path, &x), -ENOENT);
	x = opened();

	fill(x);
	search_index_close(x);
	assert_int_equal(search_index_join(path, &x), 0);
	FIND(x, "gebühr", A);
	search_index_close(x);
	set_version(1999);                      /* other words: made again */
	assert_int_equal(search_index_join(path, &x), -EBADMSG);
	x = opened();
	FIND(x, "gebühr", "");
	search_index_close(x);
	set_version(9001);                      /* a newer gatepost's: left alone */
	assert_int_equal(search_index_join(path, &x), -EPROTONOSUPPORT);
	assert_int_equal(search_index_open(path, &x), -EPROTONOSUPPORT);
}

/* Two that write at once: one waits for the other. */
static void test_two_writers(void **state)
{
	struct search_index *x = opened(), *y = opened();
	json_t *r = record("", "", "x", "Angebot");

	assert_int_equal(search_index_begin(x), 0);
	assert_int_equal(search_index_begin(y), -EBUSY);
	assert_int_equal(search_index_add(x, A, r), 0);
	assert_int_equal(search_index_commit(x), 0);
	assert_int_equal(search_index_begin(y), 0);
	assert_int_equal(search_index_remove(y, A, r), 0);
	assert_int_equal(search_index_commit(y), 0);
	FIND(x, "angebot", "");
	json_decref(r);
	search_index_close(x);
	search_index_close(y);
}

/* Cleared by one, while another knows what words the vocabulary had. */
static void test_cleared(void **state)
{
	struct search_index *x = opened(), *y = NULL;
	char id[STORE_ID_MAX];

	fill(x);
	assert_int_equal(search_index_set_cursor(x, D), 0);
	assert_int_equal(search_index_join(path, &y), 0);
	assert_int_equal(search_index_clear(y), 0);
	FIND(x, "gebühr", "");
	FIND(x, "iphone", "");
	assert_int_equal(search_index_cursor(x, id), 0);
	assert_string_equal(id, "");
	fill(x);
	FIND(y, "gebühr", A);
	FIND(y, "票", B);
	search_index_close(x);
	search_index_close(y);
}

/* Killed while it adds: what has a number has its words, and it opens. */
static void test_killed(void **state)
{
	enum { ROUNDS = 5, ADDED_MAX = 10000 };         /* in a round, on a fast machine */
	static char ids[ROUNDS * ADDED_MAX][STORE_ID_MAX];

	for (int round = 0; round < ROUNDS; round++) {
		AUTO(buf) struct buf found = BUF_INIT(1 << 20);
		pid_t child = fork();
		struct search_index *x;
		int count;

		if (child == 0) {
			x = opened();
			for (int i = 0; i < ADDED_MAX; i++) {
				char id[STORE_ID_MAX];

				snprintf(id, sizeof(id), "0g3c1h%02d%04d", round, i);
				add(x, id, record("", "", "x", "Angebot 发票 Versandkosten"));
			}
			pause();
		}
		usleep(30000 + 7000 * (unsigned)round);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		x = opened();
		find(x, "sandkost", &found);
		count = search_index_ids(x, "", ids, ROUNDS * ADDED_MAX);
		assert_true(count >= 0);
		for (int i = 0; i < count; i++)
			assert_non_null(strstr(buf_str(&found), ids[i]));
		assert_int_equal(found.len, count ? count * (STORE_ID_LEN + 1) - 1 : 0);
		search_index_close(x);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_finds),
		TEST(test_terms_together),
		TEST(test_removed),
		TEST(test_rolled_back),
		TEST(test_reopened),
		TEST(test_odd_records),
		TEST(test_very_long_text),
		TEST(test_many_compounds),
		TEST(test_damaged),
		TEST(test_versions),
		TEST(test_two_writers),
		TEST(test_cleared),
		TEST(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
