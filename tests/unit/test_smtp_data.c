#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "smtp/smtp_data.h"

/* Decode in pieces of at most `step`; how much was eaten in *eaten. The first DATA_BARE and DATA_NUL do not stop it. */
static enum smtp_data_event decode(struct smtp_data *d, const char *in, size_t len, size_t step, struct buf *out, size_t *eaten)
{
	size_t at = 0;
	int turns = 0;

	while (at < len) {
		size_t piece = len - at < step ? len - at : step, used, n;
		const char *p;
		/* a copy of its own, so that the sanitizer sees a read past the piece */
		char *copy = malloc(piece);
		enum smtp_data_event e;

		memcpy(copy, in + at, piece);
		e = smtp_data_decode(d, copy, piece, &used, &p, &n);
		assert_true(used <= piece);
		if (n > 0)
			buf_add(out, p, n);
		free(copy);
		at += used;
		if (e == DATA_END || e == DATA_SMUGGLED) {
			*eaten = at;
			return e;
		}
		turns = used ? 0 : turns + 1;
		assert_true(turns < 4);
	}
	*eaten = at;
	return DATA_MORE;
}

static const struct {
	const char *name, *in;
	enum smtp_data_event want;
	const char *out;
	size_t left;            /* bytes after the end */
} rows[] = {
	{ "empty", ".\r\n", DATA_END, "", 0 },
	{ "one line", "a\r\n.\r\n", DATA_END, "a\r\n", 0 },
	{ "commands behind", "a\r\n.\r\nQUIT\r\n", DATA_END, "a\r\n", 6 },
	{ "stuffed", "..a\r\n...\r\n.\r\n", DATA_END, ".a\r\n..\r\n", 0 },
	{ "stuffed wrongly", ".a\r\n.\r\n", DATA_END, "a\r\n", 0 },
	{ "dot inside", "a.\r\nb.c\r\n.\r\n", DATA_END, "a.\r\nb.c\r\n", 0 },
	{ "stuffed lone dot", "..\r\n.\r\n", DATA_END, ".\r\n", 0 },
	{ "empty lines", "\r\n\r\n.\r\n", DATA_END, "\r\n\r\n", 0 },
	{ "no end", "a\r\n.", DATA_MORE, "a\r\n", 0 },
	{ "no end, CR", "a\r\n.\r", DATA_MORE, "a\r\n", 0 },
	{ "bare LF", "a\nb\r\n.\r\n", DATA_END, "a\r\nb\r\n", 0 },
	{ "bare CR", "a\rb\r\n.\r\n", DATA_END, "a\r\nb\r\n", 0 },
	{ "sentence, bare LF", "end.\nb\r\n.\r\n", DATA_END, "end.\r\nb\r\n", 0 },
	{ "sentence, bare CR", "end.\rb\r\n.\r\n", DATA_END, "end.\r\nb\r\n", 0 },
	{ "dots re-judged after LF", "a\n..b\r\n.\r\n", DATA_END, "a\r\n.b\r\n", 0 },
	{ "CR CR LF", "a\r\r\nb\r\n.\r\n", DATA_END, "a\r\n\r\nb\r\n", 0 },
	{ "CR CR LF at the end", "a\r\r\n.\r\n", DATA_END, "a\r\n\r\n", 0 },
	{ "LF LF", "a\n\nb\r\n.\r\n", DATA_END, "a\r\n\r\nb\r\n", 0 },
	{ "LF CR", "a\n\rb\r\n.\r\n", DATA_END, "a\r\n\r\nb\r\n", 0 },
	{ "LF.LF", "a\n.\nMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "LF.CRLF", "a\n.\r\nMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "CRLF.LF", "a\r\n.\nMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "CR.CR", "a\r.\rMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "CRLF.CR", "a\r\n.\rMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "CR.CRLF", "a\r.\r\nMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "CR.LF", "a\r.\nMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "LF.CR", "a\n.\rMAIL", DATA_SMUGGLED, "a\r\n", 4 },
	{ "CRLF.CRCRLF", "a\r\n.\r\r\nMAIL", DATA_SMUGGLED, "a\r\n", 6 },
	{ "LF at the very beginning", "\n.\n", DATA_SMUGGLED, "\r\n", 0 },
	{ "dot LF at the very beginning", ".\n", DATA_SMUGGLED, "", 0 },
	{ "dot CR at the very beginning", ".\rX", DATA_SMUGGLED, "", 1 },
	{ "bare line, then true end", "a\nb\n\r\n.\r\n", DATA_END, "a\r\nb\r\n\r\n", 0 },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step <= 40; step++) {
			AUTO(buf) struct buf out = BUF_INIT(1000);
			struct smtp_data d;
			size_t eaten, len = strlen(rows[i].in);
			enum smtp_data_event e;

			smtp_data_init(&d, false);
			e = decode(&d, rows[i].in, len, step, &out, &eaten);
			if (e != rows[i].want || strcmp(buf_str(&out), rows[i].out) || len - eaten != rows[i].left)
				fail_msg("%s, step %zu: event %d, left %zu, out \"%s\"", rows[i].name, step, (int)e,
					 len - eaten, buf_str(&out));
		}
}

/* Every pair of line ends around a dot, with one or more of them: only what ends in exactly CRLF . CRLF ends, and nothing else goes on. */
static void test_smuggling_table(void **state)
{
	static const char *const ends[] = { "", "\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\r", "\r\n\r", "\r\n\n", "\n\r\n", "\r\n\r\n" };
	enum { N = sizeof(ends) / sizeof(ends[0]) };

	for (int l = 0; l < N; l++)
		for (int r = 1; r < N; r++)
			for (size_t step = 1; step < 12; step++) {
				AUTO(buf) struct buf out = BUF_INIT(1000);
				char in[64];
				struct smtp_data d;
				size_t eaten, ll = strlen(ends[l]);
				bool line_start = ll > 0, right_clean = strncmp(ends[r], "\r\n", 2) == 0;
				bool left_clean = ll >= 2 && !strcmp(ends[l] + ll - 2, "\r\n");
				enum smtp_data_event e, want;

				snprintf(in, sizeof(in), "text%s.%sMAIL FROM:<x@y>\r\n", ends[l], ends[r]);
				want = !line_start ? DATA_MORE : left_clean && right_clean ? DATA_END : DATA_SMUGGLED;
				smtp_data_init(&d, false);
				e = decode(&d, in, strlen(in), step, &out, &eaten);
				if (e != want)
					fail_msg("left %d right %d step %zu: %d, expected %d", l, r, step, (int)e, (int)want);
				/* and what was refused is refused for ever */
				if (e == DATA_SMUGGLED) {
					const char *p;
					size_t n;

					assert_int_equal(smtp_data_decode(&d, "\r\n.\r\n", 5, &eaten, &p, &n), DATA_SMUGGLED);
					assert_int_equal(n, 0);
				}
			}
}

static void test_refuse_bare(void **state)
{
	static const char *const bad[] = { "a\nb\r\n.\r\n", "a\rb\r\n.\r\n", "\n", "\rX", "a\r\r\n" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct smtp_data d;
		const char *in = bad[i], *p;
		size_t len = strlen(in), used, n;
		int bare = 0;

		smtp_data_init(&d, true);
		while (len > 0) {
			enum smtp_data_event e = smtp_data_decode(&d, in, len, &used, &p, &n);

			bare += e == DATA_BARE;
			in += used;
			len -= used;
			if (e == DATA_END)
				break;
		}
		assert_int_equal(bare, 1);
	}
}

static void test_nul(void **state)
{
	struct smtp_data d;
	const char *p;
	size_t used, n;

	smtp_data_init(&d, false);
	assert_int_equal(smtp_data_decode(&d, "a\0b\r\n.\r\n", 8, &used, &p, &n), DATA_NUL);
	assert_true(d.nul);
	assert_int_equal(smtp_data_decode(&d, ".\r\n", 3, &used, &p, &n), DATA_MORE);
	smtp_data_init(&d, false);
	assert_int_equal(smtp_data_decode(&d, "a\r\n.\r\n\0", 7, &used, &p, &n), DATA_MORE);
	assert_false(d.nul);
	assert_int_equal(used, 4);
}

static void encode(const char *in, size_t len, size_t step, struct buf *out)
{
	struct smtp_encode e;
	size_t at = 0;

	smtp_encode_init(&e);
	while (at < len) {
		size_t piece = len - at < step ? len - at : step, used, n;
		const char *p;
		char *copy = malloc(piece);

		memcpy(copy, in + at, piece);
		smtp_encode(&e, copy, piece, &used, &p, &n);
		assert_true(used > 0 || n > 0);
		if (n > 0)
			buf_add(out, p, n);
		free(copy);
		at += used;
	}
	buf_adds(out, smtp_encode_end(&e));
}

static void test_encode(void **state)
{
	static const struct { const char *in, *out; } cases[] = {
		{ "", ".\r\n" },
		{ "a\r\n", "a\r\n.\r\n" },
		{ "a", "a\r\n.\r\n" },
		{ ".", "..\r\n.\r\n" },
		{ ".\r\n", "..\r\n.\r\n" },
		{ "\r\n.\r\n", "\r\n..\r\n.\r\n" },
		{ "a\n.\n", "a\r\n..\r\n.\r\n" },
		{ "a\r.\r", "a\r\n..\r\n.\r\n" },
		{ "a\r", "a\r\n.\r\n" },
		{ "a\n", "a\r\n.\r\n" },
		{ "a\r\r\n.b", "a\r\n\r\n..b\r\n.\r\n" },
		{ "..\r\n..", "...\r\n...\r\n.\r\n" },
		{ "a.b\r\nc.\r\n", "a.b\r\nc.\r\n.\r\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t step = 1; step < 10; step++) {
			AUTO(buf) struct buf out = BUF_INIT(100);

			encode(cases[i].in, strlen(cases[i].in), step, &out);
			if (strcmp(buf_str(&out), cases[i].out))
				fail_msg("case %zu step %zu: \"%s\"", i, step, buf_str(&out));
		}
}

/* A small alphabet finds every state: what goes in comes out, however it is cut. */
static void test_round_trip(void **state)
{
	unsigned seed = 20261122;

	for (int turn = 0; turn < 20000; turn++) {
		AUTO(buf) struct buf wire = BUF_INIT(2000), back = BUF_INIT(2000), whole = BUF_INIT(2000);
		static const char *const parts[] = { ".", "\r\n", "a", "\r", "\n", "..", "\r\n.", "bc", "" };
		char in[512] = "";
		struct smtp_data d;
		size_t eaten, step;
		enum smtp_data_event e1, e2;

		/* short ones, and long ones of which many bytes are read at a time */
		for (int k = 0; k < (turn & 2 ? 10 : 100); k++)
			strcat(in, parts[rand_r(&seed) % (turn & 1 ? 3 : turn & 4 ? 4 : 9)]);
		step = (size_t)(rand_r(&seed) % 7) + 1;

		/* encoded text always ends once, at its end, without a bare CR or LF, and means the same */
		encode(in, strlen(in), step, &wire);
		encode(in, strlen(in), 1000, &whole);
		assert_string_equal(buf_str(&wire), buf_str(&whole));
		buf_clear(&whole);
		smtp_data_init(&d, true);
		e1 = decode(&d, wire.data, wire.len, (size_t)(rand_r(&seed) % 7) + 1, &back, &eaten);
		assert_int_equal(e1, DATA_END);
		assert_int_equal(eaten, wire.len);
		assert_false(d.bare_cr || d.bare_lf);
		if (turn & 1) {
			size_t n = strlen(in);

			if (n > 0 && (n < 2 || strcmp(in + n - 2, "\r\n")))
				strcat(in, "\r\n");
			assert_string_equal(buf_str(&back), in);
		}

		/* raw bytes: any cut gives the same */
		buf_clear(&back);
		smtp_data_init(&d, false);
		e1 = decode(&d, in, strlen(in), step, &back, &eaten);
		smtp_data_init(&d, false);
		e2 = decode(&d, in, strlen(in), 1000, &whole, &eaten);
		assert_int_equal(e1, e2);
		assert_string_equal(buf_str(&back), buf_str(&whole));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_smuggling_table),
		cmocka_unit_test(test_refuse_bare),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_round_trip),
	};

	return cmocka_run_group_tests_name("smtp_data", tests, NULL, NULL);
}
