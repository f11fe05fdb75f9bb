/* gatepost.conf: every default, wrong files with the very line of the error. Every option set: test_conf_everything.c; what is shipped: test_conf_manual.c. */
#include <errno.h>
#include <fcntl.h>

#include "base/asan.h"
#include "policy/conf_scan.h"
#include "policy/conf_table.h"
#include "policy/user_map.h"
#include "tests/support/scarce.h"
#include "tests/unit/conf_full.h"

#if UNDER_ASAN
#include <sanitizer/lsan_interface.h>
#endif

/* No MX, A or AAAA record of a stranger's leads into this host, or to all hosts; an inside that the site has itself it may. */
static void check_never(const struct outbound_conf *o)
{
	static const struct { const char *address; bool never; } rows[] = {
		{ "0.0.0.0", true }, { "0.1.2.3", true }, { "127.0.0.1", true }, { "127.255.255.254", true }, { "169.254.169.254", true },
		{ "224.0.0.1", true }, { "255.255.255.255", true }, { "::", true }, { "::1", true }, { "::ffff:127.0.0.1", true }, { "::ffff:0.0.0.0", true },
		{ "fe80::1", true }, { "ff02::1", true },
		{ "1.0.0.1", false }, { "192.0.2.1", false }, { "10.0.0.5", false }, { "::2", false }, { "2001:db8::1", false }, { "fd00::1", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct net_addr a;

		assert_int_equal(net_parse(rows[i].address, &a), 0);
		if (site_in_networks(o->never, o->never_count, &a) != rows[i].never)
			fail_msg("%s", rows[i].address);
	}
}

/* There is a configuration, or there is none and an error: whoever reads it again while it serves goes on with the one it has. */
static void test_no_memory(void **state)
{
	int n;

	put("gatepost.conf", MINIMAL);
	for (n = 1; scarce_begin(n); n++) {
		struct buf errors = BUF_INIT(4096);
		struct site *s;
		bool failed;

#if UNDER_ASAN
		__lsan_disable();       /* what has been made of it is lost */
#endif
		s = site_load(in_dir("gatepost.conf"), &errors, NULL);
#if UNDER_ASAN
		__lsan_enable();
#endif
		failed = scarce_end();
		if (!failed)
			assert_non_null(s);
		if (!s)
			assert_true(errors.len > 0 || errors.failed);
		site_free(s);
		buf_release(&errors);
		if (!failed)
			break;
	}
	assert_true(n > 20);
}

static void test_minimal(void **state)
{
	struct site *s = load_good(MINIMAL);
	char text[NET_TEXT_MAX];

	assert_string_equal(s->hostname, "mx.example.com");
	assert_string_equal(s->authserv_id, "mx.example.com");
	assert_int_equal(s->listener_count, 2);
	assert_string_equal(net_text_port(&s->listener[0].address, text), "0.0.0.0:25");
	assert_string_equal(net_text_port(&s->listener[1].address, text), "[::]:25");
	assert_int_equal(s->backend_count, 1);
	assert_string_equal(s->backend[0].name, "main");
	assert_string_equal(s->backend[0].host, "10.0.0.5");
	assert_int_equal(s->backend[0].port, 25);
	assert_string_equal(s->backend[0].tls_name, "10.0.0.5");
	assert_int_equal(s->backend[0].tls, TLS_OPPORTUNISTIC);
	assert_int_equal(s->backend[0].max_sessions_wait_ms, 10000);
	assert_int_equal(s->backend[0].line, 3);
	assert_int_equal(s->outbound.via_count, 0);
	assert_int_equal(s->outbound.port, 25);
	assert_int_equal(s->outbound.tls.mode, OUTBOUND_TLS_OPPORTUNISTIC);
	assert_true(s->outbound.tls.dane && s->outbound.tls.mta_sts);
	assert_int_equal(s->outbound.tls.policy_count, 0);
	assert_int_equal(s->outbound.never_count, 7);
	check_never(&s->outbound);
	assert_int_equal(s->outbound.connect_timeout_ms, 30000);
	assert_true(s->workers >= 1);
	assert_string_equal(s->state_dir, "/var/lib/gatepost");
	assert_null(s->keeper_user);
	assert_null(s->key_user);
	assert_true(s->sandbox);
	assert_string_equal(s->control_path, "/var/lib/gatepost/control");
	assert_string_equal(s->policy_path, in_dir("policy.conf"));
	assert_string_equal(s->allow_path, in_dir("allowed.txt"));
	assert_non_null(s->policy);
	assert_int_equal(s->verify, VERIFY_BACKEND);
	assert_int_equal(s->verify_positive_s, 7 * 86400);
	assert_int_equal(s->verify_negative_s, 3600);
	assert_null(s->tls_cert_pem);
	assert_true(s->tls_offer);
	assert_true(s->dns.dnssec);
	assert_int_equal(s->dns.forward_count, 0);
	assert_int_equal(s->dns.timeout_ms, 5000);
	assert_int_equal(s->temperror_max_s, 4 * 3600);
	assert_int_equal(s->known_s, 60 * 86400);
	assert_int_equal(s->dnsbl_test_interval_s, 3600);
	assert_int_equal(s->spf_timeout_ms, 20000);
	assert_int_equal(s->dkim_max_signatures, 10);
	assert_int_equal(s->greylist.delay_s, 300);
	assert_int_equal(s->greylist.window_s, 2 * 86400);
	assert_int_equal(s->greylist.life_s, 36 * 86400);
	assert_int_equal(s->redis.address.family, 0);
	assert_int_equal(s->state_away, AWAY_OPEN);
	assert_int_equal(s->quarantine.keep_s, 30 * 86400);
	assert_int_equal(s->quarantine.max_bytes, 0);
	assert_int_equal(s->quarantine.class_count, 0);
	assert_true(s->history.record);
	assert_int_equal(s->history.keep_s, 30 * 86400);
	assert_int_equal(s->history.max_bytes, (int64_t)2 << 30);
	assert_true(s->eightbit_pass);
	assert_true(s->prdr);
	assert_int_equal(s->ledger_s, 6 * 3600);
	assert_false(s->split_retry);
	assert_false(s->add_received_spf);
	assert_int_equal(s->banner_delay_ms, 0);
	assert_int_equal(s->timeouts.command_ms, 300000);
	assert_int_equal(s->timeouts.budget_ms, 240000);
	assert_int_equal(s->timeouts.dot_budget_ms, 480000);
	assert_int_equal(s->drain.stop_s, 30);
	assert_int_equal(s->drain.reload_s, 3600);
	assert_int_equal(s->limits.line_bytes, 2048);
	assert_true(s->limits.memory_total == (512ull + 128ull * (unsigned)s->workers) << 20);
	assert_int_equal(s->limits.message_bytes, 50 * 1024 * 1024);
	assert_int_equal(s->limits.message.memory_bytes, 256 * 1024);
	assert_int_equal(s->limits.message.header_fields, 2000);
	site_free(s);
	site_free(NULL);
}

/* What the syntax allows. */
static void test_syntax(void **state)
{
	struct site *s = load_good("/* a comment\n   of two lines */ hostname=mx.example.com // more\n"
	                           "domains = { # the first\n  \"a.example\", /* and */ 'b.example'\n  // the last\n  , c.example }\r\n"
	                           "backend \"main\"\n{\n\taddress = \"10.0.0.5\" # why\n}\n"
	                           "state_dir = \"/a#b\" control = '/x//y'\n");

	assert_int_equal(s->domain_count, 3);
	assert_string_equal(s->domains[1], "b.example");
	assert_string_equal(s->state_dir, "/a#b");
	assert_string_equal(s->control_path, "/x//y");
	site_free(s);
}

static void test_syntax_2(void **state)
{
	struct site *s = load_good("domains = a.example /* one */\nhostname = \"mx.example.com\"\nbackend main{address=10.0.0.5:26}limits{}\ntimeouts {\n}");

	assert_int_equal(s->domain_count, 1);
	assert_int_equal(s->backend[0].port, 26);
	site_free(s);
}

/* The text stands behind MINIMAL, so it begins on line 4. want: the errors, "@" standing for the path of the file, "%" for its directory. */
static const struct { const char *name, *text, *want; } wrong[] = {
	{ "TLS without TLS", "listener a {\n address = \"0.0.0.0:465\"\n}\ntls { offer = no }\n",
	  "@:4: listener a: tls = implicit has no certificate with tls { offer = no }, expected offer = yes\n" },
	{ "mechanism of the certificate", "auth { mechanisms = { \"EXTERNAL\" } }\n",
	  "@:4: mechanisms: EXTERNAL hangs on the TLS connection, which ends here; expected some of PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256 "
	  "SCRAM-SHA-1 XOAUTH2 OAUTHBEARER NTLM GSSAPI\n" },
	{ "mechanism with channel binding", "auth { mechanisms = { \"SCRAM-SHA-1-PLUS\" } }\n",
	  "@:4: mechanisms: SCRAM-SHA-1-PLUS hangs on the TLS connection, which ends here; expected some of PLAIN LOGIN CRAM-MD5 DIGEST-MD5 "
	  "SCRAM-SHA-256 SCRAM-SHA-1 XOAUTH2 OAUTHBEARER NTLM GSSAPI\n" },
	{ "no mechanism", "auth { mechanisms = { \"KERBEROS_V4\" } }\n",
	  "@:4: mechanisms: \"KERBEROS_V4\" is not known, expected some of PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256 SCRAM-SHA-1 XOAUTH2 "
	  "OAUTHBEARER NTLM GSSAPI\n" },
	{ "exempt", "auth { exempt = { \"10.0.0.7/8\" } }\n",
	  "@:4: exempt: \"10.0.0.7/8\" is no network, expected one such as \"192.0.2.0/24\" or \"2001:db8::/32\"\n" },
	{ "exempt user", "auth { exempt_users = { \"\" } }\n", "@:4: exempt_users: \"\" is no name of a user, expected 1 to 255 octets\n" },
	{ "unknown option", "nonsense = 1\n", "@:4: nonsense: unknown option, expected one that gatepost.conf(5) lists\n" },
	{ "near miss", "hostnam = x\n", "@:4: hostnam: unknown option, expected perhaps hostname\n" },
	{ "near miss, swapped", "wrokers = 2\n", "@:4: wrokers: unknown option, expected perhaps workers\n" },
	{ "near miss of a section", "limit { line = 2K }\n", "@:4: limit: unknown option, expected perhaps limits\n" },
	{ "option of another section", "max_signatures = 2\n", "@:4: max_signatures: unknown option at the top level, expected in section dkim\n" },
	{ "option of the top in a section", "limits { workers = 2 }\n", "@:4: workers: unknown option in limits, expected at the top level\n" },
	{ "unknown in a section", "limits {\n\tlines = 2K\n}\n", "@:5: lines: unknown option in limits, expected perhaps line\n" },
	{ "unknown list", "foo = { a, b,\n c }\nbar = 1\n",
	  "@:4: foo: unknown option, expected one that gatepost.conf(5) lists\n@:6: bar: unknown option, expected one that gatepost.conf(5) lists\n" },
	{ "unknown section", "quux title {\n a = 1\n b { c = 2 }\n}\nworkers = x\n",
	  "@:4: quux: unknown option, expected one that gatepost.conf(5) lists\n@:8: workers: \"x\" is no number, expected one such as 20\n" },
	{ "all errors of a file", "workers = many\nlimits {\n\tline = 1\n\trecipients = 5\n}\nmode = off\n",
	  "@:4: workers: \"many\" is no number, expected one such as 20\n@:6: line: 1 is out of range, expected 512 to 64K\n"
	  "@:7: recipients: 5 is out of range, expected 100 to 100000\n@:9: mode: \"off\" is not known, expected enforce or observe\n" },
	{ "after a C comment", "/* a\n b */ /* c */\nworkers = x # d\n", "@:6: workers: \"x\" is no number, expected one such as 20\n" },
	{ "value of a list on its line", "dns {\n forward = {\n  \"192.0.2.1\",\n  \"x\"\n }\n}\n",
	  "@:7: forward: \"x\" is no server, expected an address such as \"192.0.2.53\" or \"192.0.2.53:5353\"\n" },
	{ "more than a line in a value", "authserv_id = \"a\\nb\"\nmode = \"\\e[2J\"\n",
	  "@:4: authserv_id: \"a?b\" is no name, expected letters, digits, dots and hyphens\n@:5: mode: \"?[2J\" is not known, expected" },
	{ "set twice", "workers = 1\nworkers = 2\n", "@:5: workers: is set twice, first on line 4\n" },
	{ "section twice", "limits { }\nlimits { line = 3K }\n", "@:5: limits: comes twice, first on line 4\n" },
	{ "title twice", "backend main { address = \"10.0.0.6\" }\n", "@:4: backend main: comes twice, first on line 3\n" },
	{ "no title", "backend { address = \"10.0.0.6\" }\n", "@:4: backend: has no title, expected backend \"name\" { ... }\n" },
	{ "a title too many", "limits x { }\n", "@:4: limits: has the title \"x\", expected none\n" },
	{ "section in a section", "limits { tls { } }\n", "@:4: tls: is a section in a section, expected limits to end before it\n" },
	{ "list where one is wanted", "workers = { 1, 2 }\n", "@:4: workers: is a list, expected one value\n" },
	{ "no equals sign", "workers 2\n", "@:4: missing equal sign after option 'workers', expected name = value, name = { value, value }, or section { ... }\n" },
	{ "no value", "workers =\n", "@:5: premature end of file, expected name = value, name = { value, value }, or section { ... }\n" },
	{ "brace not closed", "limits {\n", "@:4: limits: begins here and does not end, expected its closing brace\n" },
	{ "brace too many", "}\n", "@:4: unexpected closing brace, expected name = value, name = { value, value }, or section { ... }\n" },
	{ "string without end", "workers = 1\nuser = \"root\n", "@:5: a string begins here and does not end, expected its end\n" },
	{ "comment without end", "workers = 1 /* one\n", "@:4: a comment begins here and does not end, expected its end\n" },
	/* values */
	{ "duration without unit", "temperror_max = 5\n", "@:4: temperror_max: \"5\" is no duration, expected a number and ms, s, m, h or d, such as \"30s\"\n" },
	{ "duration with another unit", "temperror_max = 5w\n", "@:4: temperror_max: \"5w\" is no duration, expected a number and ms, s, m, h or d, such as \"30s\"\n" },
	{ "negative duration", "temperror_max = -5s\n", "@:4: temperror_max: \"-5s\" is no duration, expected a number and ms, s, m, h or d, such as \"30s\"\n" },
	{ "duration of nothing", "temperror_max = \"\"\n", "@:4: temperror_max: \"\" is no duration, expected a number and ms, s, m, h or d, such as \"30s\"\n" },
	{ "duration too long", "temperror_max = 8d\n", "@:4: temperror_max: 8d is out of range, expected 0 to 7d\n" },
	{ "duration far too long", "temperror_max = 999999999999d\n", "@:4: temperror_max: \"999999999999d\" is no duration" },
	{ "duration too fine", "greylist { delay = 1500ms }\n", "@:4: delay: 1500ms is too fine, expected whole seconds\n" },
	{ "size with another unit", "limits { message_size = 50MB }\n", "@:4: message_size: \"50MB\" is no size, expected a number of bytes, or with K, M or G, such as \"50M\"\n" },
	{ "size too large", "limits { message_size = 5G }\n", "@:4: message_size: 5G is out of range, expected 64K to 4G\n" },
	{ "number with a unit", "workers = 2K\n", "@:4: workers: \"2K\" is no number, expected one such as 20\n" },
	{ "negative number", "workers = -1\n", "@:4: workers: -1 is out of range, expected 0 to 256\n" },
	{ "huge number", "workers = 99999999999999999999\n", "@:4: workers: \"99999999999999999999\" is no number, expected one such as 20\n" },
	{ "true for yes", "dns { dnssec = true }\n", "@:4: dnssec: \"true\" is neither yes nor no, expected one of them\n" },
	{ "unknown word of three", "backend b { address = \"10.0.0.6\" tls = on }\n", "@:4: tls: \"on\" is not known, expected off, opportunistic or required\n" },
	{ "unknown engine of DKIM", "dkim { engine = opendkim }\n", "@:4: engine: \"opendkim\" is not known, expected native or libopendkim\n" },
	{ "unknown engine", "dmarc { engine = opendmarc }\n", "@:4: engine: \"opendmarc\" is not known, expected native or libopendmarc\n" },
	{ "eightbit", "smtp { eightbit = convert }\n", "@:4: eightbit: \"convert\" is not known, expected refuse or pass\n" },
	{ "host name", "authserv_id = \"a b\"\n", "@:4: authserv_id: \"a b\" is no name, expected letters, digits, dots and hyphens\n" },
	{ "domain", "domains += { \"a..b\" }\n", "@:4: domains: \"a..b\" is no domain, expected one such as \"example.com\", or \".example.com\" for all below it\n" },
	{ "domain with a star", "domains += { \"*.example.com\" }\n",
	  "@:4: domains: \"*.example.com\" is no domain, expected one such as \"example.com\", or \".example.com\" for all below it\n" },
	{ "user", "user = no-such-user-here\n", "@:4: user: there is no user \"no-such-user-here\", expected one of this machine (systemd-sysusers makes those that come with gatepost)\n" },
	{ "keeper_user", "keeper_user = no-such-user-here\n", "@:4: keeper_user: there is no user \"no-such-user-here\", expected one of this machine (systemd-sysusers makes those that come with gatepost)\n" },
	{ "key_user", "key_user = \"\"\n", "@:4: key_user: there is no user \"\", expected one of this machine (systemd-sysusers makes those that come with gatepost)\n" },
	{ "sandbox", "sandbox = perhaps\n", "@:4: sandbox: \"perhaps\"" },
	{ "empty path", "state_dir = \"\"\n", "@:4: state_dir: is empty, expected a path\n" },
	/* sections */
	{ "listener without address", "listener x { }\n", "@:4: listener x: has no address, expected one such as address = \"0.0.0.0:25\"\n" },
	{ "listener address", "listener x { address = localhost }\n", "@:4: address: \"localhost\" is no address, expected one such as \"0.0.0.0:25\" or \"[::]:25\"\n" },
	{ "listener name", "listener \"a b\" { address = \"[::]:25\" }\n", "@:4: listener: \"a b\" is no name, expected up to 40 letters, digits, dots and hyphens\n" },
	{ "listener protocol", "listener x { address = \"[::]:25\" protocol = lmtp }\n", "@:4: protocol: \"lmtp\" is not known, expected smtp, tcp, pop3 or imap\n" },
	{ "POP3 without a server", "listener x { address = \"[::]:80\" protocol = pop3 }\n", "@:4: listener x: there is no backend that speaks pop3, expected one such as backend store { address = \"10.0.0.5:110\" }\n" },
	{ "IMAP with a server of another kind", "listener x { address = \"[::]:143\" backends = { main } }\n", "@:4: listener x: speaks imap, and backend main speaks smtp, expected one that speaks the same\n" },
	{ "listener direction", "listener x { address = \"[::]:25\" direction = both }\n",
	  "@:4: direction: \"both\" is not known, expected inbound, submission or outbound\n" },
	{ "intercept without transparent", "listener x { address = \"[::]:25\" intercept = 26 }\n", "@:4: listener x: intercept is for transparent = yes alone\n" },
	{ "intercept outside", "listener x { address = \"[::]:25\" transparent = yes intercept = 65536 }\n", "@:4: intercept: 65536 is out of range, expected 0 to 65535\n" },
	{ "tls of inline outbound listeners", "listener x { address = \"[::]:25\" tls = hide }\n",
	  "@:4: listener x: tls = hide is for transparent = yes and direction = outbound alone\n" },
	{ "listener without its backend", "listener x { address = \"[::]:25\" backends = { \"none\" } }\n", "@:4: listener x: there is no backend \"none\"\n" },
	{ "tcp listener", "listener x { address = \"[::]:80\" protocol = tcp }\n", "@:4: listener x: protocol = tcp needs backends = { \"name\" }\n" },
	{ "proxy_from", "listener x { address = \"[::]:25\" proxy_from = { \"10.0.0.1/24\" } }\n",
	  "@:4: proxy_from: \"10.0.0.1/24\" is no network, expected one such as \"192.0.2.0/24\" or \"2001:db8::/32\"\n" },
	{ "relay_networks", "relay_networks = { \"all\" }\n",
	  "@:4: relay_networks: \"all\" is no network, expected one such as \"192.0.2.0/24\" or \"2001:db8::/32\"\n" },
	{ "relay for all", "relay_networks = { \"0.0.0.0/0\" }\n", "@:4: relay_networks: \"0.0.0.0/0\" is half the world: this would be an open relay" },
	{ "relay for all of IPv6", "relay_networks = { \"2000::/3\" }\n", "@:4: relay_networks: \"2000::/3\" is half the world" },
	{ "relay for half", "relay_networks = { \"128.0.0.0/1\" }\n", "@:4: relay_networks: \"128.0.0.0/1\" is half the world" },
	{ "a backend's header", "backend other { address = \"10.0.0.6\" proxy = v3 }\n", "@:4: proxy: \"v3\" is not known, expected no, v1 or v2\n" },
	{ "client_header", "client_header = \"Received\"\n",
	  "@:4: client_header: \"Received\" is no name of a header field of the site's own, expected one such as \"X-Client-Address\"\n" },
	{ "two listeners, one address", "listener x { address = \"[::]:25\" }\nlistener y {\n address = \"[::]:25\"\n}\n",
	  "@:5: listener y: has the address of listener x, expected another\n" },
	{ "backend without address", "\nbackend b {\n}\n", "@:5: backend b: has no address, expected one such as address = \"10.0.0.5:25\"\n" },
	{ "backend port", "backend b { address = \"10.0.0.6:0\" }\n", "@:4: address: \"10.0.0.6:0\" is no server" },
	{ "backend port too high", "backend b { address = \"host:65536\" }\n", "@:4: address: \"host:65536\" is no server" },
	{ "backend host", "backend b { address = \"a_b!:25\" }\n", "@:4: address: \"a_b!:25\" is no server" },
	{ "backend half an address", "backend b { address = \"10.0.0:25\" }\n", "@:4: address: \"10.0.0:25\" is no server" },
	{ "backend CA that is none", "backend b { address = \"h\" tls_ca = policy.conf }\n", "@:4: backend b: tls_ca: " },
	{ "CA that is not there", "backend b { address = \"h\" tls_ca = nowhere.pem }\n", "@:4: tls_ca: %/nowhere.pem: No such file or directory, expected a readable text file\n" },
	{ "outbound by no server", "outbound { via = { \"a b\" } }\n", "@:4: via: \"a b\" is no server" },
	{ "outbound by too many", "outbound { via = { a.b, b.b, c.b, d.b, e.b, f.b, g.b, h.b, i.b } }\n", "@:4: via: more than 8 servers\n" },
	{ "outbound from a name", "outbound { source = { mx.example.com } }\n",
	  "@:4: source: \"mx.example.com\" is no address, expected one such as \"192.0.2.25\"\n" },
	{ "outbound from two", "outbound { source = { \"192.0.2.1\", \"192.0.2.2\" } }\n", "@:4: source: \"192.0.2.2\" is the second of its kind" },
	{ "outbound never", "outbound { never = { loopback } }\n", "@:4: never: \"loopback\" is no network" },
	{ "outbound port", "outbound { port = 0 }\n", "@:4: port: 0 is" },
	{ "outbound user alone", "outbound { via = { a.b } username = x }\n", "@:4: outbound: username without password_file, expected both\n" },
	{ "outbound password alone", "outbound { via = { a.b } password_file = redis-password }\n",
	  "@:4: outbound: password_file without username, expected both\n" },
	{ "outbound user for the world", "outbound { username = x password_file = redis-password }\n", "@:4: outbound: username without via" },
	{ "callout without port", "recipients { verify = callout callout = \"10.0.0.5\" }\n",
	  "@:4: callout: \"10.0.0.5\" is no address with a port, expected one such as \"192.0.2.10:2525\"\n" },
	{ "verify = callout alone", "recipients { verify = callout }\n", "@:4: recipients: verify = callout without callout, expected callout = \"192.0.2.10:2525\"\n" },
	{ "verify = file alone", "recipients { verify = file }\n", "@:4: recipients: verify = file without file, expected file = \"recipients\"\n" },
	{ "lines of the recipients", "recipients { verify = file file = bad-recipients }\n",
	  "%/bad-recipients:2: \"no address\" is no recipient, expected \"user@example.com\", or \"@example.com\" for a whole domain\n"
	  "%/bad-recipients:4: \"@\" is no recipient, expected \"user@example.com\", or \"@example.com\" for a whole domain\n" },
	{ "certificate without key", "tls {\n certificate = cert.pem\n}\n", "@:4: tls: certificate without key, expected both, or neither for a certificate made on first start\n" },
	{ "key without certificate", "tls { key = key.pem }\n", "@:4: tls: key without certificate, expected both, or neither for a certificate made on first start\n" },
	{ "CA without key", "tls {\n ca_certificate = ca.pem\n}\n", "@:4: tls: ca_certificate without ca_key, expected both, or neither\n" },
	{ "CA that is none", "tls { ca_certificate = cert.pem ca_key = key.pem }\n", "@:4: tls: the certificate is not one of a CA" },
	{ "own-ca without a CA", "listener o { address = \"192.0.2.1\" direction = outbound transparent = yes tls = own-ca }\n",
	  "@:4: listener o: tls = own-ca needs ca_certificate and ca_key in section tls\n" },
	{ "policy of no domain", "tls_policy \"a..b\" { }\n", "@:4: tls_policy: \"a..b\" is no domain, expected one such as \"example.net\" or \".example.net\"\n" },
	{ "two policies of a domain", "tls_policy a.example { }\ntls_policy A.example { }\n", "@:5: tls_policy a.example: there is one on line 4, expected one for a domain\n" },
	{ "CAs of outbound", "outbound { tls_ca = policy.conf }\n", "@:4: outbound: tls_ca: " },
	{ "key of another certificate", "tls { certificate = cert.pem key = other-key.pem }\n", "@:4: tls: " },
	{ "certificate that is none", "tls { certificate = policy.conf key = key.pem }\n", "@:4: tls: " },
	{ "certificate that is a directory", "tls { certificate = \"/tmp\" key = key.pem }\n", "@:4: certificate: /tmp: not a file, expected a readable text file\n" },
	{ "certificate with a NUL", "tls { certificate = binary key = key.pem }\n", "@:4: certificate: %/binary: not text, expected a readable text file\n" },
	{ "local_zone", "dns { local_zone = { example. } }\n", "@:4: local_zone: \"example.\" is none, expected a zone and its type, such as \"example. static\"\n" },
	{ "local_data", "dns { local_data = { \"www.example. A\" } }\n",
	  "@:4: local_data: \"www.example. A\" is no record, expected name, type and data, such as \"www.example. A 192.0.2.1\"\n" },
	{ "zone", "zone \"a b\" { servers = { \"10.0.0.1\" } }\n", "@:4: zone: \"a b\" is no domain, expected one such as \"internal.example\"\n" },
	{ "zone without servers", "zone example { }\n", "@:4: zone example: has no servers, expected some such as servers = { \"10.0.0.53\" }\n" },
	{ "zone twice in another case", "zone example { servers = { \"10.0.0.1\" } }\nzone Example { servers = { \"10.0.0.1\" } }\n", "@:5: zone example: comes twice, expected once\n" },
	{ "dnsbl zone", "dnsbl \"127.0.0.1/8\" { }\n", "@:4: dnsbl: \"127.0.0.1/8\" is no domain, expected one such as \"zen.example.org\"\n" },
	{ "dnsbl code outside", "dnsbl a.example { codes = { \"10.0.0.1\" } }\n",
	  "@:4: codes: \"10.0.0.1\" is no answer of a DNS list, expected one in 127.0.0.0/8 such as \"127.0.0.2\" or \"127.0.0.10/31=3\"\n" },
	{ "dnsbl code with host bits", "dnsbl a.example { codes = { \"127.0.0.3/24\" } }\n", "@:4: codes: \"127.0.0.3/24\" is no answer of a DNS list" },
	{ "dnsbl code without weight", "dnsbl a.example { codes = { \"127.0.0.2=\" } }\n", "@:4: codes: \"127.0.0.2=\" has no weight after =, expected -1000 to 1000\n" },
	{ "dnsbl code with half a weight", "dnsbl a.example { codes = { \"127.0.0.2=3x\" } }\n", "@:4: codes: \"127.0.0.2=3x\" has no weight after =, expected -1000 to 1000\n" },
	{ "dnsbl for nobody", "dnsbl a.example { ipv4 = no ipv6 = no }\n", "@:4: dnsbl a.example: neither ipv4 nor ipv6, expected at least one\n" },
	{ "greylist window", "greylist { delay = 1h window = 1h }\n", "@:4: greylist: window is not longer than delay, expected a retry to have time\n" },
	{ "drain", "timeouts { drain_stop = 2m drain_reload = 1m }\n", "@:4: timeouts: drain_reload is shorter than drain_stop, expected at least as long\n" },
	{ "greylist life", "greylist { window = 2d life = 1d }\n", "@:4: greylist: life is shorter than window, expected at least as long\n" },
	{ "quarantine backwards", "quarantine { keep = -1d }\n", "@:4: keep: \"-1d\"" },
	{ "quarantine for ages", "quarantine { keep = 99999d }\n", "@:4: keep: 99999d is" },
	{ "class of two words", "quarantine_class \"a b\" { keep = 1d }\n", "@:4: quarantine_class: \"a b\" is no name" },
	{ "class twice", "quarantine_class a { keep = 1d }\nquarantine_class a { keep = 2d }\n", "@:5: quarantine_class a: comes twice" },
	{ "class of nothing", "quarantine_class { keep = 1d }\n", "@:4: " },
	{ "spool for no time", "spool { life = 0 }\n", "@:4: life: 0 is" },
	{ "spool for longer than anybody waits", "spool { life = 61d }\n", "@:4: life: 61d is" },
	{ "spool tried without a pause", "spool { retry_min = 0 }\n", "@:4: retry_min: 0 is" },
	{ "spool with pauses that shrink", "spool { retry_min = 10m retry_max = 5m }\n", "@:4: spool: retry_max is shorter" },
	{ "spool for nothing", "spool { max_messages = 0 }\n", "@:4: max_messages: 0 is" },
	{ "spool to nobody", "spool { deliveries = 0 }\n", "@:4: deliveries: 0 is" },
	{ "history for no time", "history { keep = 0 }\n", "@:4: keep: 0 is" },
	{ "history in a thimble", "history { max_size = 1K }\n", "@:4: max_size: 1K is" },
	{ "history = no", "history = no\n", "@:4: history: " },
	{ "another store", "state_store memcached { address = \"10.0.0.9:1\" }\n",
	  "@:4: state_store: \"memcached\" is not known, expected redis; without a section: this machine alone\n" },
	{ "store without address", "state_store redis { }\n", "@:4: state_store redis: has no address, expected one such as address = \"10.0.0.9:6379\"\n" },
	{ "store by name", "state_store redis { address = \"redis.example:6379\" }\n", "@:4: address: \"redis.example:6379\" is no address, expected one" },
	{ "store port", "state_store redis { address = \"10.0.0.9:0\" }\n", "@:4: address: \"10.0.0.9:0\" is no address, expected one" },
	{ "store prefix", "state_store redis { address = \"10.0.0.9\" prefix = \"a*\" }\n",
	  "@:4: prefix: \"a*\" is no prefix, expected up to 64 letters, digits, colons, dots and hyphens\n" },
	{ "store without password", "state_store redis { address = \"10.0.0.9\" password_file = empty }\n", "@:4: password_file: the first line of empty is no password" },
	{ "store password not there", "state_store redis { address = \"10.0.0.9\" password_file = nowhere }\n",
	  "@:4: password_file: %/nowhere: No such file or directory, expected a readable text file\n" },
	{ "store away", "state_store redis { address = \"10.0.0.9\" away = closed }\n", "@:4: away: \"closed\" is not known, expected open or defer\n" },
	{ "store twice", "state_store redis { address = \"10.0.0.9\" }\nstate_store redis { address = \"10.0.0.8\" }\n", "@:5: state_store redis: comes twice, first on line 4\n" },
	{ "more fields than are read", "limits { header_fields = 10001 }\n", "@:4: header_fields: 10001 is out of range, expected 50 to 10000\n" },
	{ "header larger than message", "limits { message_size = 64K header_size = 128K }\n", "@:4: limits: header_size is larger than message_size, expected it to fit\n" },
	{ "policy that is not there", "policy = nowhere.conf\n", "%/nowhere.conf: No such file or directory, expected a policy file\n" },
	{ "allow list with a mistake", "policy = policy.conf\nallow_list = bad-recipients\n", "%/bad-recipients:2:1: no address is no entry" },
	{ "allow list that is a directory", "policy = policy.conf\nallow_list = \".\"\n", "%/.: not a file, expected a list file\n" },
	{ "policy with a mistake", "policy = bad-policy.conf\n", "%/bad-policy.conf:2:" },
};

static void test_wrong(void **state)
{
	int differ = 0;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s;

		print_message("    %s\n", wrong[i].name);
		s = load_rest(wrong[i].text, &errors, NULL);
		site_free(s);
		if (!s && as_wanted(buf_str(&errors), wrong[i].want))
			continue;
		print_error("got:\n%sexpected:\n%s\n", buf_str(&errors), wrong[i].want);
		differ++;
	}
	assert_int_equal(differ, 0);
}

static const struct { const char *name, *text, *want; } lacking[] = {
	{ "nothing at all", "", "@: domains: is not set, expected the domains whose mail is accepted\n"
	                        "@: backend: there is none, expected at least one: backend main { address = \"10.0.0.5:25\" }\n" },
	{ "no backend", "domains = { example.com }\n", "@: backend: there is none, expected at least one: backend main { address = \"10.0.0.5:25\" }\n" },
	{ "no domains", "backend main { address = \"10.0.0.5\" }\n", "@: domains: is not set, expected the domains whose mail is accepted\n" },
	{ "host name", "hostname = \"a/b\"\ndomains = { a }\nbackend b { address = h }\n",
	  "@:1: hostname: \"a/b\" is no host name, expected one such as \"mx.example.com\"\n" },
};

static void test_lacking(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);

	for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
		print_message("    %s\n", lacking[i].name);
		buf_clear(&errors);
		assert_null(load(lacking[i].text, &errors, NULL));
		if (!as_wanted(buf_str(&errors), lacking[i].want))
			fail_msg("got:\n%sexpected:\n%s", buf_str(&errors), lacking[i].want);
	}
	buf_clear(&errors);
	assert_null(site_load(in_dir("nowhere.conf"), &errors, NULL));
	assert_non_null(strstr(buf_str(&errors), "nowhere.conf: No such file or directory"));
	buf_clear(&errors);
	assert_null(site_load(in_dir("binary"), &errors, NULL));
	assert_non_null(strstr(buf_str(&errors), "not text"));
	assert_null(site_load(dir, NULL, NULL));
}

/* ---- the scanner ---- */

static void test_comments(void **state)
{
	static const struct { const char *in, *out; int line; const char *what; } rows[] = {
		{ "a # b\nc", "a    \nc", 0, NULL },
		{ "a // b\nc", "a     \nc", 0, NULL },
		{ "a /* b\n */ c", "a     \n    c", 0, NULL },
		{ "a = \"#\" # b", "a = \"#\"    ", 0, NULL },
		{ "a = '//' // b", "a = '//'     ", 0, NULL },
		{ "\"\\\"#\"#", "\"\\\"#\" ", 0, NULL },
		{ "a /b", "a /b", 0, NULL },
		{ "/**/x", "    x", 0, NULL },
		{ "", "", 0, NULL },
		{ "a\n/* b", NULL, 2, "comment" },
		{ "/*/", NULL, 1, "comment" },
		{ "\n\n\"x\n", NULL, 3, "string" },
		{ "'x\\'", NULL, 1, "string" },
		{ "\"x\\", NULL, 1, "string" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *text = strdup(rows[i].in);
		const char *what = NULL;

		assert_int_equal(conf_scan_comments(text, strlen(text), &what), rows[i].line);
		if (rows[i].out)
			assert_string_equal(text, rows[i].out);
		else
			assert_string_equal(what, rows[i].what);
		free(text);
	}
}

/* What a port is for, on both sides. */
static void test_by_port(void **state)
{
	static const struct {
		int port;
		enum listener_protocol protocol;
		bool implicit;
	} rows[] = {
		{ 25, LISTENER_SMTP, false }, { 465, LISTENER_SMTP, true }, { 587, LISTENER_SMTP, false }, { 110, LISTENER_POP3, false },
		{ 995, LISTENER_POP3, true }, { 143, LISTENER_IMAP, false }, { 993, LISTENER_IMAP, true }, { 585, LISTENER_IMAP, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf text = BUF_INIT(1024);
		struct site *s;

		buf_addf(&text, "domains = { \"example.com\" }\nhostname = \"mx.example.com\"\nlistener l { address = \"[::]:%d\" }\n"
			 "backend b { address = \"10.0.0.5:%d\" }\n", rows[i].port, rows[i].port);
		s = load_good(buf_str(&text));
		assert_int_equal(s->listener[0].protocol, rows[i].protocol);
		assert_int_equal(s->backend[0].protocol, rows[i].protocol);
		assert_int_equal(s->listener[0].tls == LISTENER_TLS_IMPLICIT, rows[i].implicit);
		assert_int_equal(s->backend[0].implicit_tls, rows[i].implicit);
		site_free(s);
	}
}

/* Each worker gets as many descriptors at its start, and a new program at an upgrade. */
static void test_many_listeners(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(65536), errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s;

	for (int i = 0; i < SITE_LISTENERS_MAX; i++)
		buf_addf(&text, "listener l%d { address = \"127.0.0.1:%d\" }\n", i, 2000 + i);
	s = load_rest(buf_str(&text), &errors, &warnings);
	assert_non_null(s);
	assert_int_equal(s->listener_count, SITE_LISTENERS_MAX);
	site_free(s);
	buf_adds(&text, "listener more { address = \"127.0.0.1:25\" }\n");
	assert_null(load_rest(buf_str(&text), &errors, &warnings));
	assert_non_null(strstr(buf_str(&errors), ": listener more: more than 240\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_listeners), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_minimal), cmocka_unit_test(test_syntax), cmocka_unit_test(test_syntax_2),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_lacking),
		cmocka_unit_test(test_comments), cmocka_unit_test(test_by_port),
	};

	return cmocka_run_group_tests(tests, conf_full_setup, dir_remove);
}
