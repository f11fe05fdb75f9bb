#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "rua/rua_gzip.h"

enum { BOUND = 1 << 20 };

static int squeeze(const char *p, size_t len, size_t step, struct buf *out)
{
	AUTO(rua_gzip) struct rua_gzip *g = rua_gzip_new(out);
	int rc = 0;

	assert_non_null(g);
	for (size_t n; rc == 0 && len > 0; p += n, len -= n) {
		n = len < step ? len : step;
		rc = rua_gzip_add(g, p, n);
	}
	return rc < 0 ? rc : rua_gzip_end(g);
}

static void check_is(const struct buf *gz, const char *p, size_t len)
{
	char *back = malloc(len + 1);
	z_stream z = { .next_in = (unsigned char *)gz->data, .avail_in = (unsigned)gz->len, .next_out = (unsigned char *)back, .avail_out = (unsigned)len + 1 };

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, len);
	assert_int_equal(z.avail_in, 0);
	assert_memory_equal(back, p, len);
	inflateEnd(&z);
	free(back);
}

/* Of chance, so that it does not get smaller; and of text. */
static char *text_make(size_t len, unsigned letters)
{
	char *p = malloc(len + 1);
	uint32_t seed = 1;

	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (char)(seed >> 24) % (int)letters;
	}
	return p;
}

static void test_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 57, 16384, 16385, 65536, 300000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (unsigned letters = 2; letters < 200; letters += 123) {
			char *p = text_make(sizes[i], letters);
			AUTO(buf) struct buf a = BUF_INIT(BOUND), b = BUF_INIT(BOUND);

			assert_int_equal(squeeze(p, sizes[i], 1000, &a), 0);
			check_is(&a, p, sizes[i]);
			assert_int_equal(squeeze(p, sizes[i], 1000, &b), 0);
			assert_int_equal(a.len, b.len);
			assert_memory_equal(a.data, b.data, a.len);
			/* No time, no name (RFC 1952 section 2.3). */
			assert_memory_equal(a.data + 3, "\0\0\0\0\0", 5);
			free(p);
		}
}

/* Every bound below what it takes is said; what it takes is enough. */
static void test_bound(void **state)
{
	char *p = text_make(3000, 200);
	AUTO(buf) struct buf whole = BUF_INIT(BOUND);

	assert_int_equal(squeeze(p, 3000, 3000, &whole), 0);
	for (size_t max = 0; max <= whole.len; max++) {
		AUTO(buf) struct buf out = BUF_INIT(max);

		assert_int_equal(squeeze(p, 3000, 700, &out), max == whole.len ? 0 : -ENOSPC);
		assert_true(out.len <= max);
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
