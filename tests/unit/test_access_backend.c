/* Which server a session belongs to, and what that server is told of the client: the parts of access_backend that need no network. */
#include "access/access_backend.h"
#include "access/access_session.h"
#include "tests/unit/conf_lab.h"

static struct access_service svc;
static struct tcp_listener listener[8];
static const struct access_protocol imap = { .name = "imap", .protocol = LISTENER_IMAP };

static int setup(void **state)
{
	dir_make();
	put("users", "alice two pop\n@example.com three\n@pop.example pop\n");
	return 0;
}

static const char text[] =
	"listener imap { address = \"127.0.0.1:1143\" protocol = imap backends = { one } }\n"
	"backend pop { address = \"10.0.0.1:110\" }\n"
	"backend one { address = \"10.0.0.1:143\" xclient = yes }\nbackend two { address = \"10.0.0.2:143\" }\n"
	"backend three { address = \"10.0.0.3:143\" }\nbackend four { address = \"10.0.0.4:143\" }\n"
	"sni imap.example.org { backends = { four, pop } }\nsni pop.example.org { backends = { pop } }\n";

static void begin(const char *more)
{
	AUTO(buf) struct buf all = BUF_INIT(65536), err = BUF_INIT(4096);

	buf_addf(&all, "%s%s%s", MINIMAL, text, more);
	memset(listener, 0, sizeof(listener));
	svc = (struct access_service){ .protocol = &imap, .site = load_good(buf_str(&all)), .listener = listener };
	for (size_t i = 0; i < svc.site->listener_count; i++)
		listener[i].backends = tcp_set_of_listener(svc.site, &svc.site->listener[i]);
	assert_int_equal(access_servers_new(&svc, &svc.servers, &err), 0);
}

static void end(void)
{
	access_servers_free(svc.servers);
	site_free((struct site *)svc.site);
}

/* A session that is connected to the backend of that name; NULL: to none. */
static struct access_session session(const char *backend, char *sni)
{
	return (struct access_session){ .svc = &svc, .conf = &svc.site->listener[0], .listener = &listener[0], .id = "5f3c", .sni = sni,
		.backend.conf = backend ? site_backend(svc.site, backend) : NULL };
}

static void test_suits(void **state)
{
	static const struct { const char *connected; char *sni; const char *user; bool suits; } rows[] = {
		{ "one", NULL, NULL, true }, { "one", NULL, "bob", true }, { "one", NULL, "bob@elsewhere.example", true }, { "one", NULL, "", true },
		{ "one", NULL, "alice", false }, { "two", NULL, "alice", true }, { "two", NULL, "Alice", true }, { "two", NULL, "bob", false },
		{ "three", NULL, "bob@example.com", true }, { "one", NULL, "bob@EXAMPLE.com", false },
		/* The map leads to a server of another protocol alone. */
		{ "one", NULL, "x@pop.example", true },
		{ "four", "imap.example.org", "bob", true }, { "one", "imap.example.org", "bob", false }, { "two", "IMAP.example.org", "alice", true },
		{ "four", "imap.example.org", "alice", false }, { "one", "pop.example.org", "bob", true }, { "one", "unknown.example", "bob", true },
		{ "one", NULL, "bob\r\nx", true }, { NULL, NULL, "bob", false },
	};

	begin("user_map = users\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct access_session s = session(rows[i].connected, rows[i].sni);

		if (access_backend_suits(&s, rows[i].user) != rows[i].suits)
			fail_msg("row %zu", i);
		assert_true(access_backend_routes(&s));
		/* Inline, the client has chosen. */
		s.backend.direct = true;
		assert_true(access_backend_suits(&s, rows[i].user));
		assert_false(access_backend_routes(&s));
	}
	end();
}

static void test_routes(void **state)
{
	static const struct { const char *connected; char *sni; bool routes; } rows[] = {
		{ "one", NULL, false }, { "one", "unknown.example", false }, { "one", "pop.example.org", false }, { "one", "imap.example.org", true },
		{ "four", "imap.example.org", false },
	};

	begin("");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct access_session s = session(rows[i].connected, rows[i].sni);

		if (access_backend_routes(&s) != rows[i].routes)
			fail_msg("row %zu", i);
	}
	end();
	/* A map that leads to servers of another protocol routes nobody here. */
	put("users", "@pop.example pop\n");
	begin("user_map = users\n");
	{
		struct access_session s = session("one", NULL);

		assert_false(access_backend_routes(&s));
	}
	end();
}

static void test_wants_starttls(void **state)
{
	struct access_session s;

	begin("");
	s = session("one", NULL);
	s.backend.tls = TLS_REQUIRED;
	assert_false(access_backend_wants_starttls(&s));        /* not connected */
	end();
}

static void ends(struct access_session *s, const char *source, const char *destination)
{
	s->header.told = source != NULL;
	if (source)
		assert_int_equal(net_parse_port(source, 0, &s->header.source), 0);
	if (destination)
		assert_int_equal(net_parse_port(destination, 0, &s->header.destination), 0);
}

static void test_told(void **state)
{
	char out[ACCESS_TOLD_MAX];
	struct access_session s;

	begin("");
	s = session("one", NULL);
	ends(&s, "192.0.2.7:51234", "198.51.100.1:993");
	assert_string_equal(access_backend_xclient(&s, out), "XCLIENT ADDR=192.0.2.7 PORT=51234 SESSION=5f3c");
	assert_string_equal(access_backend_id(&s, out), "ID (\"x-originating-ip\" \"192.0.2.7\" \"x-originating-port\" \"51234\" \"x-connected-ip\" "
			    "\"198.51.100.1\" \"x-connected-port\" \"993\" \"x-session-id\" \"5f3c\")");
	ends(&s, "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[2001:db8:eeee:eeee:eeee:eeee:eeee:eeee]:65535");
	memset(s.id, 'f', sizeof(s.id) - 1);
	assert_string_equal(access_backend_xclient(&s, out), "XCLIENT ADDR=2001:db8:ffff:ffff:ffff:ffff:ffff:ffff PORT=65535 SESSION=fffffffffffffff");
	assert_non_null(strstr(access_backend_id(&s, out), "\"x-session-id\" \"fffffffffffffff\")"));
	s.header.destination.family = 0;
	assert_null(strstr(access_backend_id(&s, out), "x-connected"));
	/* Who is not to be told, who sees himself, and of whom nothing is known. */
	s.backend.conf = site_backend(svc.site, "two");
	assert_null(access_backend_xclient(&s, out));
	assert_null(access_backend_id(&s, out));
	s = session("one", NULL);
	ends(&s, "192.0.2.7:51234", NULL);
	s.backend.direct = true;
	assert_null(access_backend_xclient(&s, out));
	assert_null(access_backend_id(&s, out));
	s = session("one", NULL);
	assert_null(access_backend_xclient(&s, out));
	assert_null(access_backend_id(&s, out));
	s = session(NULL, NULL);
	ends(&s, "192.0.2.7:51234", NULL);
	assert_null(access_backend_id(&s, out));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suits), cmocka_unit_test(test_routes), cmocka_unit_test(test_wants_starttls), cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
