/* Fields chosen by name, from the bottom up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "filters/dkim_header.h"

static const char *const header[] = {
	"Received: 1",
	"Received: 2\r\n",
	"DKIM-Signature: v=1",
	"From: a",
	"subject: b",
	"SUBJECT : c",
	"no colon here",
	"Subject\t: d",
	"Sub: e",
	"Subjects: f",
	": g",
	" : h",
	"X-Empty:",
	"From: i",
};

/* What a list of names chooses: the places of the fields, "-" for none. */
static const struct {
	const char *names;
	int but;
	const char *want;
} rows[] = {
	{ "from", -1, "13" },
	{ "from,from", -1, "13,3" },
	{ "from,from,from,from", -1, "13,3,-,-" },
	{ "FROM,From", -1, "13,3" },
	{ "subject,from,subject,from,subject,subject", -1, "7,13,5,3,4,-" },
	{ "received,received,received", -1, "1,0,-" },
	{ "received,from,received", 1, "0,13,-" },
	{ "from,from", 13, "3,-" },
	{ "dkim-signature", 2, "-" },
	{ "dkim-signature", -1, "2" },
	{ "dkim-signature,dkim-signature", 2, "-,-" },
	{ "sub,subjects,subjec,subject s", -1, "8,9,-,-" },
	{ "x-empty,x-empty", -1, "12,-" },
	{ "no,no colon here,nothing,zzz,a", -1, "-,-,-,-,-" },
	{ "subject ,subject:,:", -1, "-,-,-" },
	{ "", -1, "-" },
};

static struct dkim_header *header_of(const char *const *fields, size_t count)
{
	struct dkim_header *h = dkim_header_new();

	assert_non_null(h);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(dkim_header_add(h, fields[i], strlen(fields[i])), 0);
	assert_int_equal(dkim_header_ready(h), 0);
	return h;
}

static void choose(struct dkim_header *h, const char *const *fields, size_t count, const char *names, char *out, size_t room)
{
	size_t n = 0;

	for (;;) {
		size_t len = strcspn(names, ",");
		const struct dkim_field *f = dkim_header_up(h, names, len);
		size_t place = 0;

		while (f && place < count && fields[place] != f->raw)
			place++;
		n += f ? (size_t)snprintf(out + n, room - n, "%zu", place) : (size_t)snprintf(out + n, room - n, "-");
		names += len;
		if (!*names++)
			return;
		n += (size_t)snprintf(out + n, room - n, ",");
	}
}

static void test_choose(void **state)
{
	enum { COUNT = sizeof(header) / sizeof(*header) };
	struct dkim_header *h = header_of(header, COUNT);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char have[200];

		dkim_header_rewind(h, rows[i].but < 0 ? SIZE_MAX : (size_t)rows[i].but);
		choose(h, header, COUNT, rows[i].names, have, sizeof(have));
		if (strcmp(have, rows[i].want) != 0)
			fail_msg("%s: %s, expected %s", rows[i].names, have, rows[i].want);
	}
	dkim_header_free(h);
}

static void test_fields(void **state)
{
	enum { COUNT = sizeof(header) / sizeof(*header) };
	struct dkim_header *h = header_of(header, COUNT);
	size_t len;

	assert_int_equal(dkim_header_count(h), COUNT);
	assert_int_equal(dkim_header_at(h, 1)->len, 11);
	assert_int_equal(dkim_header_at(h, 5)->name_len, 7);
	assert_int_equal(dkim_header_at(h, 6)->name_len, 0);
	assert_int_equal(dkim_header_at(h, 11)->name_len, 0);
	assert_true(dkim_field_is(dkim_header_at(h, 5), "Subject"));
	assert_false(dkim_field_is(dkim_header_at(h, 8), "Subject"));
	assert_memory_equal(dkim_field_body(dkim_header_at(h, 5), &len), " c", 2);
	assert_int_equal(len, 2);
	assert_non_null(dkim_field_body(dkim_header_at(h, 12), &len));
	assert_int_equal(len, 0);
	dkim_header_free(h);
}

static void test_none(void **state)
{
	struct dkim_header *h = header_of(NULL, 0);

	assert_null(dkim_header_up(h, "from", 4));
	dkim_header_free(h);
	dkim_header_free(NULL);
}

/* Names that differ in one letter, in an order that is none: each finds its own, whatever their number; and there is an end to it. */
static void test_many(void **state)
{
	enum { EACH = 8, NAMES = DKIM_HEADER_FIELDS_MAX / EACH };
	struct dkim_header *h = dkim_header_new();
	char (*raw)[24] = calloc(NAMES * EACH, sizeof(*raw));

	for (size_t i = 0; i < NAMES * EACH; i++) {
		int n = snprintf(raw[i], sizeof(raw[i]), "X-%zu: %zu", (i * 7919) % NAMES, i);

		assert_int_equal(dkim_header_add(h, raw[i], (size_t)n), 0);
	}
	assert_int_equal(dkim_header_add(h, "A: b", 4), -EMSGSIZE);
	assert_int_equal(dkim_header_ready(h), 0);
	for (size_t n = 0; n < NAMES; n++) {
		const char *above = raw[NAMES * EACH];
		char name[24];
		int len = snprintf(name, sizeof(name), "x-%zu", n);

		for (size_t k = 0; k < EACH; k++) {
			const struct dkim_field *f = dkim_header_up(h, name, (size_t)len);

			assert_non_null(f);
			assert_true(f->raw < above && dkim_field_is(f, name));
			above = f->raw;
		}
		assert_null(dkim_header_up(h, name, (size_t)len));
	}
	dkim_header_free(h);
	free(raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
