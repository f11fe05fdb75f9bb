#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "filters/fact_wire.h"
#include "filters/filter.h"

static uint32_t bit(const char *fact)
{
	return 1u << fact_owner(fact_find(fact, strlen(fact)));
}

static void fill(struct facts *f)
{
	assert_int_equal(facts_set_empty(f, "attachment.type"), 0);
	assert_int_equal(facts_add(f, "attachment.name", "a.exe"), 0);
	assert_int_equal(facts_add(f, "attachment.name", ""), 0);
	assert_int_equal(facts_add(f, "attachment.name", "\xff\n\xe2\x82\xac"), 0);
	assert_int_equal(facts_set_num(f, "mime.parts", INT64_MAX), 0);
	assert_int_equal(facts_set_num(f, "mime.depth", -1), 0);
	assert_int_equal(facts_set_bool(f, "mime.broken", true), 0);
	assert_int_equal(facts_why(f, "mime.broken", "%s", "it is"), 0);
	assert_int_equal(facts_temperror(f, "text", "no memory"), 0);
	assert_int_equal(facts_set(f, "client.ip", "192.0.2.7"), 0);
}

static void assert_same(const struct facts *a, const struct facts *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct fact *x = &a->v[i], *y = facts_get(b, x->id);

		assert_non_null(y);
		assert_int_equal(x->state, y->state);
		assert_int_equal(x->number, y->number);
		assert_int_equal(x->count, y->count);
		for (int k = 0; k < x->count; k++)
			assert_string_equal(x->text[k], y->text[k]);
		assert_string_equal(x->why ? x->why : "-", y->why ? y->why : "-");
	}
}

static void test_there_and_back(void **state)
{
	AUTO(buf) struct buf wire = BUF_INIT(10000);
	struct facts f = { 0 }, got = { 0 };

	fill(&f);
	assert_int_equal(fact_wire_write(&f, &wire), 0);
	assert_int_equal(fact_wire_read(wire.data, wire.len, UINT32_MAX, &got), 0);
	assert_same(&f, &got);
	facts_release(&got);

	/* Every one that is cut, and one that goes on. */
	for (size_t len = 0; len < wire.len; len++) {
		assert_int_equal(fact_wire_read(wire.data, len, UINT32_MAX, &got), -EPROTO);
		facts_release(&got);
	}
	buf_addc(&wire, 'x');
	assert_int_equal(fact_wire_read(wire.data, wire.len, UINT32_MAX, &got), -EPROTO);
	facts_release(&got);
	facts_release(&f);
}

/* A box that reads attachments has no say about who the client is. */
static void test_of_others(void **state)
{
	AUTO(buf) struct buf wire = BUF_INIT(10000);
	struct facts f = { 0 }, got = { 0 };

	assert_int_equal(facts_set(&f, "client.ip", "192.0.2.7"), 0);
	assert_int_equal(fact_wire_write(&f, &wire), 0);
	assert_int_equal(fact_wire_read(wire.data, wire.len, UINT32_MAX & ~bit("client.ip"), &got), -EPROTO);
	assert_int_equal(got.count, 0);
	assert_int_equal(fact_wire_read(wire.data, wire.len, bit("client.ip"), &got), 0);
	assert_string_equal(facts_word(&got, "client.ip"), "192.0.2.7");
	facts_release(&got);
	facts_release(&f);
}

/* One octet changed at each place: never a fact that its type does not allow. */
static void test_changed(void **state)
{
	AUTO(buf) struct buf wire = BUF_INIT(10000);
	struct facts f = { 0 };

	fill(&f);
	assert_int_equal(fact_wire_write(&f, &wire), 0);
	for (size_t at = 0; at < wire.len; at++)
		for (int flip = 1; flip < 256; flip += 2) {
			struct facts got = { 0 };

			wire.data[at] ^= (char)flip;
			(void)fact_wire_read(wire.data, wire.len, UINT32_MAX, &got);
			for (size_t i = 0; i < got.count; i++) {
				const struct fact *e = &got.v[i];
				const struct fact_def *d = fact_def(e->id);

				assert_true(e->state == FACT_KNOWN || e->state == FACT_TEMPERROR || e->state == FACT_UNKNOWN);
				assert_true(e->count <= (d->list ? FACT_LIST_MAX : 1));
				assert_true(d->type != FACT_BOOL || e->number == 0 || e->number == 1);
			}
			facts_release(&got);
			wire.data[at] ^= (char)flip;
		}
	facts_release(&f);
}

static void test_malformed(void **state)
{
	static const struct { const char *octets; size_t len; } rows[] = {
		{ "", 0 }, { "\xed\xed", 2 }, { "x", 1 }, { "\xfa", 1 }, { "\xfa\xff\xff\1\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xed", 19 },
		{ "\xfa\0\x80\1\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xed", 19 }, { "\xfa\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xed", 19 },
		{ "\xfa\0\0\3\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xed", 19 }, { "\xfa\0\0\1\xff\xff\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xed", 19 },
		{ "\xfa\0\0\1\1\0\0\0\0\0\0\0\0\0\xff\xff\xff\x7f\xed", 19 }, { "\xfa\0\0\1\1\0\0\0\0\0\0\0\0\0\1\0\0\0\0\xff\xff\xff\xff\xed", 24 },
	};
	struct facts got = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(fact_wire_read(rows[i].octets, rows[i].len, UINT32_MAX, &got), -EPROTO);
		facts_release(&got);
	}
	assert_int_equal(fact_wire_read("\xed", 1, 0, &got), 0);
	assert_int_equal(got.count, 0);
}

/* What comes takes the place of what was there. */
static void test_take(void **state)
{
	struct facts f = { 0 }, more = { 0 };

	assert_int_equal(facts_set_num(&f, "mime.parts", 1), 0);
	assert_int_equal(facts_add(&f, "attachment.name", "old"), 0);
	fill(&more);
	assert_int_equal(facts_take(&f, &more), 0);
	assert_int_equal(more.count, 0);
	assert_int_equal(f.count, 7);
	assert_int_equal(facts_get_name(&f, "mime.parts")->number, INT64_MAX);
	assert_int_equal(facts_get_name(&f, "attachment.name")->count, 3);
	facts_release(&f);
}

static int setup(void **state)
{
	fact_register_all();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_of_others), cmocka_unit_test(test_changed), cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_take),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
