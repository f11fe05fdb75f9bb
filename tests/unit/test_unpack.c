#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/box.h"
#include "base/syscalls.h"
#include "filters/archive.h"
#include "filters/archive_list.h"
#include "filters/attachment.h"
#include "filters/charset.h"
#include "filters/unpack.h"
#include "tests/support/filter_bench.h"

/* Linked with --wrap=box_run: answers of the box are this test's own. */
int __real_box_run(const struct box_job *job, int in, int *left_ms, struct buf *out);
int __wrap_box_run(const struct box_job *job, int in, int *left_ms, struct buf *out);

enum { ANSWERS_MAX = ARCHIVES_MAX + 2 };

struct answer { const char *octets; size_t len; int rc; };

static struct answer answers[ANSWERS_MAX];
static uint64_t args[ANSWERS_MAX];
static int asked;
static bool really;             /* a real box instead */
static bool always;             /* the first answer, time and again */

int __wrap_box_run(const struct box_job *job, int in, int *left_ms, struct buf *out)
{
	const struct answer *a = &answers[always ? 0 : asked];

	assert_true(asked < ANSWERS_MAX);
	args[asked++] = job->arg;
	if (really)
		return __real_box_run(job, in, left_ms, out);
	if (a->rc == -ETIMEDOUT)
		*left_ms = 0;
	if (a->len)
		buf_add(out, a->octets, a->len);
	return a->rc;
}

#define LINES(text) { text, sizeof(text) - 1, 0 }

static const char mail[] = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=gb18030\r\n\r\n<b>\xb7\xa2\xc6\xb1</b>\r\n"
			   "--b\r\nContent-Type: application/octet-stream; name=\"a.EXE\"\r\n\r\nMZ\r\n--b--\r\n";

static void open_with(struct filter_bench *b, const char *text)
{
	static const struct message_limits limits = { 1 << 20, 1 << 16, 100 };
	struct message *m = message_new(&limits, NULL, NULL);

	assert_int_equal(message_add(m, text, strlen(text)), 0);
	assert_int_equal(message_end(m), 0);
	filter_bench_open(b, "192.0.2.7");
	b->txn.message = m;
	b->txn.stage = STAGE_DATA;
	asked = 0;
	really = always = false;
	memset(answers, 0, sizeof(answers));
}

/* A real box; the text and the parts are looked at in one, the archives in another. */
static void test_in_a_box(void **state)
{
	struct filter_bench b;

	open_with(&b, mail);
	really = true;
	filters_start(&b.txn, STAGE_DATA, UINT32_MAX);
	assert_string_equal(filter_bench_word(&b, "text"), "发票");
	assert_string_equal(filter_bench_word(&b, "attachment.name"), "a.EXE");
	assert_string_equal(filter_bench_word(&b, "attachment.extension"), "exe");
	assert_string_equal(filter_bench_word(&b, "mime.parts"), "2");
	assert_string_equal(filter_bench_word(&b, "mime.unread"), "false");
	assert_string_equal(filter_bench_word(&b, "text.unread"), "false");
	assert_int_equal(asked, 1);
	assert_string_equal(filter_bench_word(&b, "archive.name"), "");
	assert_string_equal(filter_bench_word(&b, "archive.unread"), "false");
	assert_int_equal(asked, 2);
	filter_bench_close(&b);

	open_with(&b, mail);
	really = true;
	assert_string_equal(filter_bench_word(&b, "mime.depth"), "1");
	assert_int_equal(args[0], 1u << fact_owner(fact_find("mime.depth", 10)));        /* nobody has asked for the text */
	filter_bench_close(&b);
}

/* The box was ended, or says what it must not: that is known, and said. */
static void test_ended(void **state)
{
	static const struct { struct answer answer; const char *why; } rows[] = {
		{ { NULL, 0, 0 }, "the process that read it was ended" }, { LINES("\xfa\1"), "the process that read it was ended" },
		{ LINES("\xfa\0\0\1\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xed"), "the process that read it was ended" },  /* a fact of another filter */
		{ { "", 0, -ETIMEDOUT }, "it takes too long" }, { { "", 0, -ENOSPC }, "the process that read it was ended" },
	};
	struct filter_bench b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		open_with(&b, mail);
		answers[0] = rows[i].answer;
		filters_start(&b.txn, STAGE_DATA, UINT32_MAX);
		assert_string_equal(filter_bench_word(&b, "mime.unread"), "true");
		assert_string_equal(filter_bench_why(&b, "mime.unread"), rows[i].why);
		assert_string_equal(filter_bench_word(&b, "mime.broken"), "true");
		assert_string_equal(filter_bench_word(&b, "text.unread"), "true");
		assert_string_equal(filter_bench_word(&b, "text.cut"), "true");
		assert_string_equal(filter_bench_word(&b, "text"), "TEMPERROR");
		assert_string_equal(filter_bench_word(&b, "attachment.name"), "TEMPERROR");
		assert_string_equal(filter_bench_word(&b, "mime.parts"), "TEMPERROR");
		assert_int_equal(asked, 1);
		filter_bench_close(&b);
	}
	/* Not tried at all: that is nothing about the message. */
	open_with(&b, mail);
	answers[0] = (struct answer){ "", 0, -EBUSY };
	assert_string_equal(filter_bench_word(&b, "mime.broken"), "TEMPERROR");
	filter_bench_close(&b);
}

struct archives { struct answer answer[4]; int asked; const char *names, *broken, *bomb, *unread; };

/* The first box is for what takes next to no time: what it says counts if it has come to its end. */
static void test_archives_quickly(void **state)
{
	static const struct archives rows[] = {
		{ { LINES("$\n") }, 1, "", "false", "false", "false" },
		{ { LINES("a\nna.exe\n.\na\nnb.js\n.\n$\n") }, 1, "a.exe,b.js", "false", "false", "false" },
		{ { LINES("a\nna.exe\n.\na\nb why\nxlimit\n.\n$\n") }, 1, "a.exe", "true", "true", "false" },
		/* Nonsense. */
		{ { LINES("\n\n\0\0\nzz\nn\nsx\n\xff\n$\n") }, 1, "", "false", "false", "false" },
		/* Not to its end: nothing of it counts. */
		{ { LINES("a\nna.exe\n.\na\ne\nxlimit\n.\n"), LINES("$\n") }, 2, "", "false", "false", "false" },
		{ { LINES(""), LINES("$\n") }, 2, "", "false", "false", "false" },
		{ { LINES("a\nn$\n"), LINES("a\nnb.js\n.\n$\n") }, 2, "b.js", "false", "false", "false" },
		{ { { "a\nna.exe\n.\n$\n", 13, -ETIMEDOUT }, LINES("$\n") }, 2, "", "false", "false", "false" },
		{ { { "a\nna.exe\n.\n$\n", 13, -ENOSPC }, LINES("$\n") }, 2, "", "false", "false", "false" },
		/* Its turn never came. */
		{ { { "", 0, -EBUSY } }, 1, "TEMPERROR", "TEMPERROR", "TEMPERROR", "TEMPERROR" },
	};
	struct filter_bench b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		open_with(&b, mail);
		memcpy(answers, rows[i].answer, sizeof(rows[i].answer));
		assert_string_equal(filter_bench_word(&b, "archive.name"), rows[i].names);
		assert_string_equal(filter_bench_word(&b, "archive.broken"), rows[i].broken);
		assert_string_equal(filter_bench_word(&b, "archive.bomb"), rows[i].bomb);
		assert_string_equal(filter_bench_word(&b, "archive.unread"), rows[i].unread);
		assert_int_equal(asked, rows[i].asked);
		assert_true(args[0] == UINT64_MAX && (asked == 1 || args[1] == 0));
		filter_bench_close(&b);
	}
}

static void test_archives_ended(void **state)
{
	static const struct archives rows[] = {
		{ { LINES("a\nna.exe\n.\na\nnb.js\n.\n$\n") }, 1, "a.exe,b.js", "false", "false", "false" },
		/* A crash in the second: the third is looked at all the same. */
		{ { LINES("a\nna.exe\n.\na\nnb."), LINES("a\nnc.scr\n.\n$\n") }, 2, "a.exe,b.,c.scr", "true", "false", "true" },
		/* Its time is over. */
		{ { LINES("a\n\nxit takes too long\n"), LINES("a\nnc.scr\n.\n$\n") }, 2, "c.scr", "false", "true", "true" },
		{ { LINES("a\n\nxit takes too long\n"), LINES("a\n\nxit takes too long\n"), LINES("$\n") }, 3, "", "false", "true", "true" },
		/* Ended before the first: no use in trying again. */
		{ { LINES("") }, 1, "TEMPERROR", "true", "false", "true" },
		{ { LINES("a\n.\n"), LINES("") }, 2, "TEMPERROR", "true", "false", "true" },
		{ { { "a\nna.exe\n", 9, -ETIMEDOUT } }, 1, "a.exe", "true", "true", "true" },
		{ { { "a\nna.exe\n", 9, -ENOSPC }, LINES("$\n") }, 2, "a.exe", "true", "true", "true" },
		/* Nonsense. */
		{ { LINES("\n\n\0\0\nzz\nn\nsx\n\xff\n$\n") }, 1, "", "false", "false", "false" },
	};
	struct filter_bench b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		open_with(&b, mail);
		answers[0] = (struct answer)LINES("");          /* the quick one */
		memcpy(answers + 1, rows[i].answer, sizeof(rows[i].answer));
		assert_string_equal(filter_bench_word(&b, "archive.name"), rows[i].names);
		assert_string_equal(filter_bench_word(&b, "archive.broken"), rows[i].broken);
		assert_string_equal(filter_bench_word(&b, "archive.bomb"), rows[i].bomb);
		assert_string_equal(filter_bench_word(&b, "archive.unread"), rows[i].unread);
		assert_int_equal(asked, rows[i].asked + 1);
		for (int k = 2; k < asked; k++)
			assert_true(args[k] > args[k - 1]);
		filter_bench_close(&b);
	}
}

/* One archive after the other, and each ends its box: there is an end. */
static void test_as_many_as_there_may_be(void **state)
{
	struct filter_bench b;

	open_with(&b, mail);
	answers[0] = (struct answer)LINES("a\n");
	always = true;
	assert_string_equal(filter_bench_word(&b, "archive.unread"), "true");
	assert_int_equal(asked, ARCHIVES_MAX + 2);      /* the first, quickly */
	filter_bench_close(&b);
}

static void test_text(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(1000);
	struct filter_bench b;

	open_with(&b, mail);
	really = true;
	assert_int_equal(unpack_text(b.txn.message, 1000, &out), 0);
	assert_string_equal(buf_str(&out), "a.EXE\n发票\n");
	filter_bench_close(&b);
}

static int setup(void **state)
{
	const char *missing = NULL;

	fact_register_all();
	archive_list_setup();
	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2): the boxes' processes go without */
		syscalls_none();
	return charset_setup(&missing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_a_box), cmocka_unit_test(test_ended), cmocka_unit_test(test_archives_quickly), cmocka_unit_test(test_archives_ended), cmocka_unit_test(test_as_many_as_there_may_be),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
