#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/user_map.h"

/* Backends are called b0, b1 and so on, up to b19; smtp is one of another kind. */
static int find(const void *arg, const char *name, const char **why)
{
	int n, used;

	assert_ptr_equal(arg, "arg");
	if (strcmp(name, "smtp") == 0) {
		*why = "speaks SMTP";
		return -1;
	}
	return sscanf(name, "b%2d%n", &n, &used) == 1 && !name[used] && n < 20 ? n : -1;
}

static struct user_map *parse(const char *text, size_t len, struct buf *errors)
{
	return user_map_parse("m", text, len, find, "arg", errors);
}

/* "0 3" */
static const char *numbers(const struct user_map_backends *b, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; b && i < b->count; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%d", i ? " " : "", b->number[i]);
	return out;
}

static void test_lookup(void **state)
{
	static const char text[] =
		"# users\n"
		"\n"
		"alice@example.com b1\n"
		"  Bob@Example.COM\tb2   b3  # both\r\n"
		"@example.com b4\n"
		"carol b5\n"
		"DOM\\dave b6 b1\n"
		"@b\xc3\xbc" "cher.example b7\n"
		"a@b@example.net b8\n"
		"we#ird@example.net b9 #\n"
		"\t # nothing\n"
		"@sub.example.com b2 b3\n"
		"last@example.org b10";
	static const struct { const char *user, *want; } rows[] = {
		{ "alice@example.com", "1" }, { "ALICE@EXAMPLE.COM", "1" }, { "alice@example.com.", "1" }, { "bob@example.com", "2 3" },
		{ "zoe@example.com", "4" }, { "@example.com", "4" }, { "carol", "5" }, { "Carol", "5" }, { "dom\\Dave", "6 1" },
		{ "x@b\xc3\xbc" "cher.example", "7" }, { "x@xn--bcher-kva.example", "7" }, { "x@B\xc3\x9c" "CHER.example", "7" }, { "A@B@example.net", "8" },
		{ "we#ird@example.net", "9" }, { "bob@sub.example.com", "2 3" }, { "x@y@sub.example.com", "2 3" }, { "last@example.org", "10" },
		{ "", "" }, { "@", "" }, { "alice", "" }, { "carol@example.org", "" }, { "alice@", "" }, { "x@y.sub.example.com", "" }, { "example.com", "" },
		{ "alice@example.com@", "" }, { "bob @example.com", "" }, { "bob\n@example.com", "" }, { "dave", "" }, { "#", "" }, { "users", "" },
		{ "we", "" }, { "alice@example.com\r", "" }, { "x@example..com", "" },
	};
	AUTO(buf) struct buf errors = BUF_INIT(4096);
	AUTO(user_map) struct user_map *m = parse(text, sizeof(text) - 1, &errors);
	char long_user[400], got[64];

	assert_string_equal(buf_str(&errors), "");
	assert_non_null(m);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(numbers(user_map_lookup(m, rows[i].user), got, sizeof(got)), rows[i].want) != 0)
			fail_msg("%s: \"%s\", not \"%s\"", rows[i].user, got, rows[i].want);
	memset(long_user, 'a', sizeof(long_user));
	strcpy(long_user + 350, "@example.com");
	assert_null(user_map_lookup(m, long_user));
	assert_null(user_map_lookup(NULL, "alice@example.com"));
	/* "b2 b3" is there once. */
	assert_int_equal(user_map_list_count(m), 9);
	assert_int_equal(user_map_list(m, 1)->count, 2);
	assert_int_equal(user_map_list_count(NULL), 0);
}

static void test_mistakes(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ "alice", "m:1: no backend stands behind the name, expected \"user@example.com backend\"\n" },
		{ "\n\nalice # b1\n", "m:3: no backend stands behind the name, expected \"user@example.com backend\"\n" },
		{ "alice b1 b99\n", "m:1: \"b99\": there is no such backend\n" },
		{ "alice smtp b1\n", "m:1: \"smtp\": speaks SMTP\n" },
		{ "alice b1\nbob b2\nALICE b3\nalice b4\n", "m:3: alice comes twice, first on line 1\nm:4: alice comes twice, first on line 3\n" },
		{ "@Example.com b1\n@example.com. b1\n", "m:2: @example.com comes twice, first on line 1\n" },
		{ "@ b1\n", "m:1: \"@\" is no user, expected a name, \"user@example.com\", or \"@example.com\" for a whole domain\n" },
		{ "a@b..c b1\n", "m:1: \"a@b..c\" is no user, expected a name, \"user@example.com\", or \"@example.com\" for a whole domain\n" },
		{ "a@b/c b1\n", "m:1: \"a@b/c\" is no user, expected a name, \"user@example.com\", or \"@example.com\" for a whole domain\n" },
		{ "a b0 b1 b2 b3 b4 b5 b6 b7 b8 b9 b10 b11 b12 b13 b14 b15 b16\n", "m:1: more backends than a line can have, expected 16 at most\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(4096);

		assert_null(parse(rows[i].text, strlen(rows[i].text), &errors));
		if (strcmp(buf_str(&errors), rows[i].errors) != 0)
			fail_msg("row %zu: %s", i, buf_str(&errors));
	}
}

static void test_bytes(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20), text = BUF_INIT(1 << 20);
	char name[400];

	assert_null(parse("a b1\nb\0c b1\n", 12, &errors));
	assert_string_equal(buf_str(&errors), "m:2: there is a NUL in it, expected text\n");
	memset(name, 'x', sizeof(name));
	name[USER_MAP_USER_MAX + 1] = '\0';
	buf_addf(&text, "%s b1\n", name);
	buf_clear(&errors);
	assert_null(parse(buf_str(&text), text.len, &errors));
	assert_non_null(strstr(buf_str(&errors), "is no user"));
	/* Not more than some, however many there are. */
	buf_clear(&text);
	buf_clear(&errors);
	for (int i = 0; i < 1000; i++)
		buf_adds(&text, "alice\n");
	assert_null(parse(buf_str(&text), text.len, &errors));
	assert_non_null(strstr(buf_str(&errors), "m:20: "));
	assert_null(strstr(buf_str(&errors), "m:21: "));
	assert_non_null(strstr(buf_str(&errors), "and 980 errors more\n"));
}

static void test_nothing(void **state)
{
	static const char *const rows[] = { "", "\n", "# alice b1", "  \t\r\n#\n" };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(4096);
		AUTO(user_map) struct user_map *m = parse(rows[i], strlen(rows[i]), &errors);

		assert_non_null(m);
		assert_null(user_map_lookup(m, "alice"));
		assert_int_equal(user_map_list_count(m), 0);
	}
	user_map_free(NULL);
}

/* Every user of many is found, by his own line. */
static void test_many(void **state)
{
	enum { USERS = 20000 };
	AUTO(buf) struct buf errors = BUF_INIT(4096), text = BUF_INIT(4 << 20);
	AUTO(user_map) struct user_map *m = NULL;

	for (int i = 0; i < USERS; i++)
		buf_addf(&text, "u%d@d%d.example b%d\n", i * 7919 % USERS, i % 10, i % 20);
	m = parse(buf_str(&text), text.len, &errors);
	assert_string_equal(buf_str(&errors), "");
	for (int i = 0; i < USERS; i++) {
		char user[64];
		const struct user_map_backends *b;

		snprintf(user, sizeof(user), "U%d@d%d.EXAMPLE", i * 7919 % USERS, i % 10);
		b = user_map_lookup(m, user);
		assert_true(b && b->count == 1 && b->number[0] == i % 20);
	}
	assert_null(user_map_lookup(m, "u1@d77.example"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup), cmocka_unit_test(test_mistakes), cmocka_unit_test(test_bytes), cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
