/* What filters change of a message and its envelope. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "filters/milter_mail.h"
#include "policy/conf.h"

static const char text[] = "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n\r\nbody\r\n.dot\r\n";

static char ann[] = "ann@site.example", bob[] = "bob@site.example", none[] = "";
static struct recipient rcpt[] = { { .address = ann, .params = none }, { .address = bob, .params = none } };

struct made {
	struct site site;
	struct txn txn;
	struct milter_mail mail;
};

static int open_fd(void *arg)
{
	return memfd_create("test", MFD_CLOEXEC);
}

static void make(struct made *m, const char *message, size_t len)
{
	memset(m, 0, sizeof(*m));
	m->site.limits = (struct smtp_limits){ .recipients = 3, .message = { .memory_bytes = 1000, .header_bytes = 600, .header_fields = 12 } };
	m->txn = (struct txn){ .site = &m->site, .env = { .rcpt = rcpt, .rcpt_count = 2 } };
	m->txn.message = message_new(&m->site.limits.message, open_fd, NULL);
	assert_int_equal(message_add(m->txn.message, message, len), 0);
	assert_int_equal(message_end(m->txn.message), 0);
	assert_int_equal(milter_mail_init(&m->mail, &m->txn, 5000), 0);
}

static void unmake(struct made *m)
{
	milter_mail_release(&m->mail);
	message_free(m->txn.message);
}

static int header(struct made *m, enum milter_answer what, uint32_t index, const char *name, const char *value)
{
	struct milter_reply r = { .what = what, .index = index, .text = { name, value } };

	return milter_mail_change(&m->mail, &r, false);
}

static int one(struct made *m, enum milter_answer what, const char *a, const char *b)
{
	struct milter_reply r = { .what = what, .text = { a, b } };

	return milter_mail_change(&m->mail, &r, false);
}

static int body(struct made *m, const char *p, size_t len)
{
	struct milter_reply r = { .what = MILTER_REPLACE_BODY, .data = p, .len = len };

	return milter_mail_change(&m->mail, &r, false);
}

/* The whole message as it would leave. */
static void read_all(struct message *m, struct buf *out)
{
	const char *p;
	size_t n;

	for (size_t off = 0;; off += n) {
		assert_int_equal(message_read(m, off, &p, &n), 0);
		if (n == 0)
			break;
		buf_add(out, p, n);
	}
	assert_int_equal(out->len, message_size(m));
}

static void comes_out(struct made *m, const char *want)
{
	AUTO(message) struct message *made = milter_mail_message(&m->mail, NULL, NULL);
	AUTO(buf) struct buf all = BUF_INIT(100000);

	assert_non_null(made);
	read_all(made, &all);
	assert_string_equal(buf_str(&all), want);
}

static void test_header(void **state)
{
	static const struct { const char *name; enum milter_answer what; uint32_t index; const char *field, *value; int rc; const char *want; } rows[] = {
		{ "add", MILTER_ADD_HEADER, 0, "A", "b", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: b\r\n" },
		{ "add, empty", MILTER_ADD_HEADER, 0, "A", "", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: \r\n" },
		{ "at the top, as 0", MILTER_INSERT_HEADER, 0, "A", "b", 0, "A: b\r\nReceived: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n" },
		{ "at the top, as 1", MILTER_INSERT_HEADER, 1, "A", "b", 0, "A: b\r\nReceived: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n" },
		{ "below the first", MILTER_INSERT_HEADER, 2, "A", "b", 0, "Received: one\r\n\tfolded\r\nA: b\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n" },
		{ "past the end", MILTER_INSERT_HEADER, 0xffffffff, "A", "b", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: b\r\n" },
		{ "change the first", MILTER_CHANGE_HEADER, 1, "x", "n", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nx: n\r\nX: 2\r\nx : 3\r\n" },
		{ "change number 0", MILTER_CHANGE_HEADER, 0, "X", "n", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: n\r\nX: 2\r\nx : 3\r\n" },
		{ "change the third", MILTER_CHANGE_HEADER, 3, "X", "n", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nX: n\r\n" },
		{ "change one that is not", MILTER_CHANGE_HEADER, 4, "X", "n", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nX: n\r\n" },
		{ "delete the second", MILTER_CHANGE_HEADER, 2, "X", "", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nx : 3\r\n" },
		{ "delete a folded one", MILTER_CHANGE_HEADER, 1, "received", "", 0, "Subject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n" },
		{ "delete one that is not", MILTER_CHANGE_HEADER, 1, "Y", "", 1, NULL },
		{ "folds", MILTER_ADD_HEADER, 0, "A", "b\n\tc\r\n d\n", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: b\r\n\tc\r\n d\r\n" },
		{ "no fold becomes a field", MILTER_ADD_HEADER, 0, "A", "b\nBcc: x\r\rY: z", 0,
		  "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: b\r\n\tBcc: x\r\n\tY: z\r\n" },
		{ "no fold is all blank", MILTER_ADD_HEADER, 0, "A", "b\n \n\t\r\n c\n\n\nd \n  ", 0,
		  "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: b\r\n c\r\n\td \r\n" },
		{ "a blank at the end is no fold", MILTER_ADD_HEADER, 0, "A", "b \t", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: b \t\r\n" },
		{ "nothing but line ends", MILTER_ADD_HEADER, 0, "A", "\r\n\n \r", 0, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\nA: \r\n" },
		{ "a name with a colon", MILTER_ADD_HEADER, 0, "A:", "b", 1, NULL },
		{ "a name with a line end", MILTER_INSERT_HEADER, 0, "A\r\nB", "b", 1, NULL },
		{ "no name", MILTER_ADD_HEADER, 0, "", "b", 1, NULL },
		{ "a name that is none, changed", MILTER_CHANGE_HEADER, 1, "A B", "b", 1, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf want = BUF_INIT(2000);
		struct made m;

		make(&m, text, sizeof(text) - 1);
		buf_addf(&want, "%s\r\nbody\r\n.dot\r\n", rows[i].want ? rows[i].want : "");
		if (header(&m, rows[i].what, rows[i].index, rows[i].field, rows[i].value) != rows[i].rc || milter_mail_changed(&m.mail) != (rows[i].want != NULL))
			fail_msg("%s", rows[i].name);
		comes_out(&m, rows[i].want ? buf_str(&want) : text);
		unmake(&m);
	}
}

static void test_many(void **state)
{
	struct made m;

	make(&m, text, sizeof(text) - 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(header(&m, MILTER_CHANGE_HEADER, 1, "X", ""), 0);      /* they move up */
	assert_int_equal(header(&m, MILTER_CHANGE_HEADER, 1, "X", ""), 1);
	assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "A", "1"), 0);
	assert_int_equal(header(&m, MILTER_CHANGE_HEADER, 1, "a", "2"), 0);
	comes_out(&m, "Received: one\r\n\tfolded\r\nSubject: hi\r\na: 2\r\n\r\nbody\r\n.dot\r\n");
	unmake(&m);
	/* A value that says where its blank is. */
	make(&m, text, sizeof(text) - 1);
	assert_int_equal(milter_mail_change(&m.mail, &(struct milter_reply){ .what = MILTER_CHANGE_HEADER, .index = 1, .text = { "Subject", "x" } }, true), 0);
	comes_out(&m, "Received: one\r\n\tfolded\r\nSubject:x\r\nX: 1\r\nX: 2\r\nx : 3\r\n\r\nbody\r\n.dot\r\n");
	unmake(&m);
}

static void test_bounds(void **state)
{
	char large[700];
	struct made m;

	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = '\0';
	make(&m, text, sizeof(text) - 1);
	assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "A", large), -EMSGSIZE);
	large[500] = '\0';
	assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "A", large), 0);
	assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "B", large), -EMSGSIZE);
	unmake(&m);
	make(&m, text, sizeof(text) - 1);
	for (int i = 0; i < 7; i++)
		assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "A", "b"), 0);
	assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "A", "b"), -EMSGSIZE);
	m.mail.changes = MILTER_CHANGES_MAX;
	assert_int_equal(one(&m, MILTER_DEL_RCPT, "a@b", NULL), -EMSGSIZE);
	unmake(&m);
	make(&m, text, sizeof(text) - 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(one(&m, MILTER_ADD_RCPT, "<c@site.example>", NULL), 0);
	assert_int_equal(one(&m, MILTER_ADD_RCPT, "<c@site.example>", NULL), -EMSGSIZE);
	for (int i = 0; i < 7; i++)
		assert_int_equal(body(&m, large, 700), 0);
	assert_int_equal(body(&m, large, 700), -EMSGSIZE);
	unmake(&m);
}

static void test_body(void **state)
{
	struct made m;

	make(&m, text, sizeof(text) - 1);
	assert_int_equal(body(&m, "new\r\n", 5), 0);
	assert_int_equal(body(&m, "lines", 5), 0);
	assert_int_equal(milter_mail_settle(&m.mail), 0);
	assert_true(milter_mail_changed(&m.mail));
	comes_out(&m, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n\r\nnew\r\nlines");
	/* The next one's, by way of a file. */
	for (int i = 0; i < 500; i++)
		assert_int_equal(body(&m, "12345678", 8), 0);
	assert_int_equal(milter_mail_settle(&m.mail), 0);
	{
		AUTO(message) struct message *made = milter_mail_message(&m.mail, NULL, NULL);
		AUTO(buf) struct buf all = BUF_INIT(100000);

		read_all(made, &all);
		assert_int_equal(all.len - message_body_offset(made), 4000);
		assert_memory_equal(all.data + message_body_offset(made), "1234567812345678", 16);
	}
	/* None at all. */
	assert_int_equal(body(&m, "", 0), 0);
	assert_int_equal(milter_mail_settle(&m.mail), 0);
	comes_out(&m, "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\nX: 2\r\nx : 3\r\n\r\n");
	unmake(&m);
}

static void test_odd_messages(void **state)
{
	static const struct { const char *name, *in, *want; } rows[] = {
		{ "all header", "A: b\r\n", "A: b\r\nZ: z\r\n\r\n" },
		{ "all header, no line end", "A: b", "A: b\r\nZ: z\r\n\r\n" },
		{ "no header", "\r\nbody", "Z: z\r\n\r\nbody" },
		{ "broken off", "A: b\r\nno field\r\nC: d\r\n", "A: b\r\nZ: z\r\n\r\nno field\r\nC: d\r\n" },
		{ "empty", "", "Z: z\r\n\r\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct made m;

		make(&m, rows[i].in, strlen(rows[i].in));
		assert_int_equal(header(&m, MILTER_ADD_HEADER, 0, "Z", "z"), 0);
		comes_out(&m, rows[i].want);
		unmake(&m);
	}
}

static void test_envelope(void **state)
{
	struct made m;

	make(&m, text, sizeof(text) - 1);
	assert_int_equal(milter_mail_left(&m.mail), 2);
	assert_int_equal(one(&m, MILTER_DEL_RCPT, "<ANN@site.example>", NULL), 0);
	assert_int_equal(one(&m, MILTER_DEL_RCPT, "ann@site.example", NULL), 1);
	assert_int_equal(one(&m, MILTER_ADD_RCPT, "cy@site.example", NULL), 0);
	assert_int_equal(one(&m, MILTER_ADD_RCPT_PARAMS, "<dee@site.example>", "NOTIFY=NEVER"), 0);
	assert_int_equal(milter_mail_left(&m.mail), 3);
	assert_string_equal(m.mail.added[1].params, "NOTIFY=NEVER");
	assert_int_equal(one(&m, MILTER_DEL_RCPT, "<cy@site.example>", NULL), 0);
	assert_int_equal(milter_mail_left(&m.mail), 2);
	assert_string_equal(m.mail.added[0].address, "dee@site.example");
	assert_true(m.mail.deleted[0] && !m.mail.deleted[1]);
	assert_int_equal(one(&m, MILTER_CHANGE_FROM, "<new@site.example>", "BODY=8BITMIME"), 0);
	assert_string_equal(m.mail.from, "new@site.example");
	assert_int_equal(one(&m, MILTER_CHANGE_FROM, "<>", NULL), 0);
	assert_string_equal(m.mail.from, "");
	assert_string_equal(m.mail.from_params, "");
	assert_false(milter_mail_changed(&m.mail));
	/* None of these is an address. */
	assert_int_equal(one(&m, MILTER_ADD_RCPT, "<>", NULL), 1);
	assert_int_equal(one(&m, MILTER_ADD_RCPT, "", NULL), 1);
	assert_int_equal(one(&m, MILTER_ADD_RCPT, "a@b>\r\nRCPT TO:<c@d", NULL), 1);
	assert_int_equal(one(&m, MILTER_ADD_RCPT, "a b@c", NULL), 1);
	assert_int_equal(one(&m, MILTER_CHANGE_FROM, "<a@b> SIZE=1", NULL), 1);
	assert_int_equal(one(&m, MILTER_ADD_RCPT_PARAMS, "<a@b>", "X=1\r\nDATA"), 1);
	assert_int_equal(one(&m, MILTER_CONTINUE, NULL, NULL), 1);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header), cmocka_unit_test(test_many), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_body), cmocka_unit_test(test_odd_messages), cmocka_unit_test(test_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
