/* gatepost.conf: daemons that look at what a message has in it */
#include "filters/fact.h"
#include "policy/conf_table.h"
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	dir_make();
	fact_register_all();
	return 0;
}

static void test_mistakes(void **state)
{
#define NO_DAEMON " is no daemon's, expected one such as \"127.0.0.1:3310\", \"[::1]:3310\", \"scan.internal.example:3310\" or \"unix:/run/clamav/clamd.ctl\"\n"
#define NO_SOCKET " is no socket, expected \"unix:\" and a path from the root of at most 107 bytes\n"
	static const struct { const char *address, *errors; } rows[] = {
		{ "127.0.0.1", "@:5: address: \"127.0.0.1\"" NO_DAEMON },
		{ "127.0.0.1:", "@:5: address: \"127.0.0.1:\"" NO_DAEMON },
		{ "127.0.0.1:0", "@:5: address: \"127.0.0.1:0\"" NO_DAEMON },
		{ "127.0.0.1:65536", "@:5: address: \"127.0.0.1:65536\"" NO_DAEMON },
		{ "127.0.0.1:3310x", "@:5: address: \"127.0.0.1:3310x\"" NO_DAEMON },
		{ "127.0.0:3310", "@:5: address: \"127.0.0:3310\"" NO_DAEMON },
		{ "::1:3310", "@:5: address: \"::1:3310\"" NO_DAEMON },
		{ "[::1]3310", "@:5: address: \"[::1]3310\"" NO_DAEMON },
		{ ":3310", "@:5: address: \":3310\"" NO_DAEMON },
		{ "a b:3310", "@:5: address: \"a b:3310\"" NO_DAEMON },
		{ "/run/clamav/clamd.ctl", "@:5: address: \"/run/clamav/clamd.ctl\"" NO_DAEMON },
		{ "inet:127.0.0.1", "@:5: address: \"inet:127.0.0.1\"" NO_DAEMON },
		{ "unix:", "@:5: address: \"unix:\"" NO_SOCKET },
		{ "unix:run/clamd.ctl", "@:5: address: \"unix:run/clamd.ctl\"" NO_SOCKET },
		{ "unix:/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/01234567",
		  "@:5: address: \"unix:/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/01234567\"" NO_SOCKET },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), text = BUF_INIT(4096);

		buf_addf(&text, "clamd {\naddress = { \"%s\" }\n}\n", rows[i].address);
		assert_null(load_rest(buf_str(&text), &errors, NULL));
		if (!as_wanted(buf_str(&errors), rows[i].errors))
			fail_msg("%s: %s", rows[i].address, buf_str(&errors));
	}
}

static void test_bounds(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ "clamd { }\n", "@:4: clamd: it has no address" },
		{ "clamd { max_connections = 3 }\n", "@:4: clamd: it has no address" },
		{ "clamd { address = { \"127.0.0.1:1\" } max_connections = 0 }\n", "@:4: max_connections" },
		{ "clamd { address = { \"127.0.0.1:1\" } max_connections = 1001 }\n", "@:4: max_connections" },
		{ "clamd { address = { \"127.0.0.1:1\" } timeout = 0 }\n", "@:4: timeout" },
		{ "clamd { address = { \"127.0.0.1:1\" } timeout = 6m }\n", "@:4: timeout" },
		{ "clamd { address = { \"127.0.0.1:1\" } connect_timeout = 99ms }\n", "@:4: connect_timeout" },
		{ "clamd { address = { \"127.0.0.1:1\" } max_size = 1023 }\n", "@:4: max_size" },
		{ "clamd { address = { \"127.0.0.1:1\" } away = reject }\n", "@:4: away" },
		{ "rspamd { }\n", "@:4: rspamd: it has no address" },
		{ "rspamd { address = { \"127.0.0.1:1\" } password_file = none }\n", "@:4: password_file" },
		{ "spamd { }\n", "@:4: spamd: it has no address" },
		{ "spamd { address = { \"127.0.0.1:1\" } user = \"\" }\n", "@:4: user: \"\" is no user's name" },
		{ "spamd { address = { \"127.0.0.1:1\" } user = \"a b\" }\n", "@:4: user: \"a b\" is no user's name" },
		{ "spamd { address = { \"127.0.0.1:1\" } user = \"a\nb\" }\n", "@:5: user: \"a?b\" is no user's name" },
		{ "clamd { address = { \"a:1\",\"b:1\",\"c:1\",\"d:1\",\"e:1\",\"f:1\",\"g:1\",\"h:1\",\"i:1\" } }\n", "@:4: address: more than 8\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);

		assert_null(load_rest(rows[i].text, &errors, NULL));
		if (!as_wanted(buf_str(&errors), rows[i].errors))
			fail_msg("%s: %s", rows[i].text, buf_str(&errors));
	}
}

/* There is none until the file says so. */
static void test_none(void **state)
{
	struct site *s = load_good(MINIMAL);

	assert_int_equal(s->daemon_count, 0);
	assert_int_equal(s->clamd.daemon.address_count, 0);
	site_free(s);
}

/* Who is asked by no rule sees no message: the warning says so. */
static void test_nobody_asks(void **state)
{
	static const char all[] = "clamd { address = { \"127.0.0.1:1\" } }\nrspamd { address = { \"127.0.0.1:1\" } }\nspamd { address = { \"127.0.0.1:1\" } }\n";
	static const struct { const char *policy, *who; } rows[] = {
		{ "accept\n", "clamd rspamd spamd " },
		{ "reject if virus\nreject if rspamd.action = reject\nreject if spamd.spam\naccept\n", "" },
		{ "reject if clamd.away\nreject if rspamd.symbols = A\naccept\n", "spamd " },
		{ "reject if not virus.name ~ /x/\nreject if spamd.score >= 5\naccept\n", "rspamd " },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536), who = BUF_INIT(100);
		struct site *s;

		put("policy.conf", rows[i].policy);
		s = load_rest(all, &errors, &warnings);
		assert_string_equal(buf_str(&errors), "");
		for (const char *p = buf_str(&warnings); (p = strstr(p, ": no rule of the policy asks")); p++) {
			const char *word = p;

			while (word[-1] != ' ')
				word--;
			buf_addf(&who, "%.*s ", (int)(p - word), word);
		}
		assert_string_equal(buf_str(&who), rows[i].who);
		site_free(s);
	}
	put("policy.conf", "accept\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_mistakes), cmocka_unit_test(test_bounds), cmocka_unit_test(test_none), cmocka_unit_test(test_nobody_asks) };

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
