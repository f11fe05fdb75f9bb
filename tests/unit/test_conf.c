/* gatepost.conf: every option set and read back, every default, wrong files with the very line of the error. What is shipped: test_conf_manual.c. */
#include <errno.h>
#include <fcntl.h>

#include "base/asan.h"
#include "base/sasl.h"
#include "policy/conf_scan.h"
#include "policy/conf_table.h"
#include "policy/user_map.h"
#include "tests/support/certificate.h"
#include "tests/support/scarce.h"
#include "tests/unit/conf_lab.h"

#if UNDER_ASAN
#include <sanitizer/lsan_interface.h>
#endif

static void put_ca(void)
{
	struct certificate *ca = certificate_new("Own CA", NULL, 0, 86400);

	put("ca.pem", certificate_pem(ca));
	put("ca.key", certificate_key_pem(ca));
	certificate_free(ca);
}

static int setup(void **state)
{
	AUTO(buf) struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), cert2 = BUF_INIT(65536), key2 = BUF_INIT(65536);

	dir_make();
	put("bad-policy.conf", "accept\nnonsense here\n");
	put("recipients", "# known\nb@Example.com\n  A@example.com  # the boss\n\n@example.org\r\n");
	put("bad-recipients", "a@example.com\nno address\n\n@\n");
	assert_int_equal(tls_self_signed("mx.example.com", &cert, &key), 0);
	assert_int_equal(tls_self_signed("mx.example.com", &cert2, &key2), 0);
	put("cert.pem", buf_str(&cert));
	put("key.pem", buf_str(&key));
	put("other-key.pem", buf_str(&key2));
	put("anchor", ". IN DS 1 2 3 abcd\n");
	put_bytes("binary", "a\0b", 3);
	put("empty", "");
	put_key("dkim.pem", DKIM_KEY_ED25519, 0, 0600);
	put("srs-secret", "0123456789abcdef\n\nfedcba9876543210\r\n");
	put_ca();
	put("users", "alice@example.com store\n");
	put("redis-password", "s3cret word\r\nnot this\n");
	return 0;
}

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

static const char everything[] =
	"hostname = \"MX.Example.com\"\n"
	"authserv_id = auth-1.example.com\n"
	"domains = { \"b.example\", \"Example.com\", \".Example.org\", \"b\xc3\xbc" "cher.example\" }\n"
	"domains += { \"a.example\" }\n"
	"mode = observe relay_networks = { \"10.0.0.0/8\", \"2001:db8::/32\" } bypass = { \"10.9.0.1\" } client_header = X-Client\n"
	"policy = \"./policy.conf\" allow_list = recipients\n"
	"user = root keeper_user = daemon key_user = nobody sandbox = no\n"
	"workers = 3\n"
	"state_dir = state\n"
	"control = \"/run/x/control\"\n"
	"temperror_max = 2h known_senders = 30d user_map = users\n"
	"dnsbl_test_interval = 30m\n"
	"listener one { protocol = smtp  address = \"127.0.0.1:2525\" }\n"
	"listener \"two\" {\n\taddress = \"[2001:db8::1]:26\"\n}\n"
	"listener three { address = \"192.0.2.1\" backends = { six } proxy_from = { \"10.1.0.0/16\" } direction = outbound transparent = yes intercept = 26 tls = own-ca"
	" max_connections = 5 max_per_client = 6 idle_timeout = 90s }\n"
	"listener four { protocol = imap address = \"192.0.2.1:1143\" login_timeout = 8s plaintext = refuse scan = yes }\n"
	"backend main {\n"
	"	address = \"mail.internal.example:2025\"\n"
	"	priority = 5\n	max_sessions = 20\n	max_sessions_wait = 7s\n	tls = required\n	tls_name = \"Mail.example.com\"\n"
	"	tls_ca = cert.pem\n	xclient = yes\n	proxy = v2\n	reuse = no\n	reuse_idle = 11s\n	reuse_messages = 12\n	spool = yes\n	connect_timeout = 1500ms\n	probe_interval = 2m\n"
	"}\n"
	"backend six { address = \"[2001:db8::5]:27\" tls = off }\n"
	"backend store { protocol = imap address = \"10.0.0.5:2143\" implicit_tls = yes }\n"
	"outbound { via = { \"smart.example.net:587\", \"[2001:db8::9]:26\", \"192.0.2.9\" } username = site password_file = redis-password port = 2526\n"
	"	source = { \"192.0.2.25\", \"2001:db8::25\" } never = { \"10.0.0.0/8\" } max_sessions = 3 max_sessions_wait = 4s connect_timeout = 5s\n"
	"	reuse_idle = 6s reuse_messages = 7 bench = 8s\n"
	"	tls = required dane = no mta_sts = no tls_ca = cert.pem }\n"
	"tls_policy \"Example.NET\" { tls = verified dane = yes mta_sts = no name = MX.example.net }\n"
	"tls_policy .example.net { tls = off }\n"
	"recipients { verify = file  file = recipients  callout = \"10.0.0.5:2525\"  positive = 1d  negative = 5m }\n"
	"tls { offer = no  certificate = cert.pem  key = key.pem  ca_certificate = ca.pem  ca_key = ca.key }\n"
	"sni \"*.Example.org\" { certificate = cert.pem key = key.pem backends = { store } }\n"
	"dns { forward = { \"192.0.2.53\", \"192.0.2.54:5353\", \"[2001:db8::53]:54\", \"2001:db8::54\" } timeout = 2s dnssec = no trust_anchor = anchor cache_size = 8M\n"
	"	local_zone = { \"example. static\" } local_data = { 'www.example. A 192.0.2.1', \"example. TXT \\\"v=spf1 -all\\\"\" } }\n"
	"zone internal.example { servers = { \"10.0.0.53\", \"10.0.0.54:54\" } }\n"
	"dnsbl Zen.example.org { codes = { 127.0.0.2, \"127.0.0.10/31=3\", \"127.0.1.0/24=-2\" } weight = 4 ipv4 = no ipv6 = yes timeout = 900ms test = no }\n"
	"dnsbl wl.example.org { weight = -3 }\n"
	"spf { engine = libspf2 timeout = 15s received_spf = yes }\n"
	"dkim { max_signatures = 4 }\n"
	"dkim_sign example.com { keys = { \"a=dkim.pem\" } subdomains = yes headers = { Subject } oversign = { Subject } canonicalization = simple/simple expire = 2d }\n"
	"srs { domain = Example.com secret_file = srs-secret life = 3d }\ndmarc { engine = libopendmarc }\nrate hour { by = sender count = messages limit = 30 period = 2h }\n"
	"greylist { delay = 1m window = 1d life = 30d auto_passes = 0 ipv4_bits = 20 ipv6_bits = 56 }\n"
	"auth { offer = yes inbound = yes plaintext = yes mechanisms = { LOGIN, \"gssapi\" } slow_after = 4 slow_by = 3s refuse_after = 11\n"
	"	refuse_for = 20m forget_after = 2h account_slow_after = 12 account_refuse_after = 13 trust_for = 7d exempt = { \"10.0.0.7\", \"2001:db8::/48\" }\n"
	"	exempt_users = { scanner, \"A\\\\fax\" } }\n"
	"history { record = no keep = 2d max_size = 300M }\n"
	"spool { life = 3d delay_notice = 2h retry_min = 500ms retry_max = 1h max_size = 1G max_messages = 77 deliveries = 6 }\n"
	"quarantine { keep = 60d max_size = 10G }\nquarantine_class board { keep = 0 }\nquarantine_class sales { max_size = 1G }\n"
	"state_store redis { address = \"10.0.0.9:6380\" prefix = \"mx:\" password_file = redis-password timeout = 750ms away = defer }\n"
	"smtp { banner_delay = 250ms bare_lf = refuse eightbit = refuse prdr = no ledger = 30m split = retry }\n"
	"limits { line = 4K message_size = 10M recipients = 200 transactions = 7 errors = 8 hops = 50 sessions = 900 sessions_per_client = 9 memory_total = 700M shed_from = 60 shed_lag = 90ms\n"
	"	memory = 64K header_size = 128K header_fields = 300 }\n"
	"client_limits { period = 2m connections = 11 commands = 2000 errors = 13 recipients = 1400 unknown_recipients = 15 messages = 160 bytes = 640M logins = 18\n"
	"	slow_from = 60 slow_max = 2s slowed = 7 exempt = { \"10.0.0.8\", \"2001:db8:1::/48\" } }\n"
	"site_limits { period = 3m connections = 21 commands = 22 errors = 23 recipients = 24 unknown_recipients = 25 messages = 26 bytes = 27M logins = 28\n"
	"	slow_from = 70 slow_max = 3s }\n"
	"timeouts { command = 1s data = 2s session = 3s transaction = 4s backend_greeting = 5s backend_helo = 6s backend_mail = 7s backend_rcpt = 8s\n"
	"	backend_data = 9s backend_block = 10s backend_dot = 11s backend_quit = 12s backend_budget = 13s backend_dot_budget = 14s drain_stop = 40s drain_reload = 2h }\n";

static void check_outbound(const struct site *s)
{
	const struct outbound_conf *o = &s->outbound;
	char text[NET_TEXT_MAX];

	assert_int_equal(o->via_count, 3);
	assert_string_equal(o->via[0].host, "smart.example.net");
	assert_int_equal(o->via[0].port, 587);
	assert_string_equal(o->via[1].host, "2001:db8::9");
	assert_int_equal(o->via[1].port, 26);
	assert_int_equal(o->via[2].port, 25);
	assert_int_equal(o->tls.mode, OUTBOUND_TLS_REQUIRED);
	assert_false(o->tls.dane || o->tls.mta_sts);
	assert_non_null(strstr(o->tls.ca_pem, "BEGIN CERTIFICATE"));
	assert_int_equal(o->tls.policy_count, 2);
	assert_string_equal(o->tls.policy[0].domain, "example.net");
	assert_int_equal(o->tls.policy[0].mode, OUTBOUND_TLS_VERIFIED);
	assert_true(o->tls.policy[0].dane && !o->tls.policy[0].mta_sts);
	assert_string_equal(o->tls.policy[0].name, "mx.example.net");
	assert_string_equal(o->tls.policy[1].domain, ".example.net");
	assert_int_equal(o->tls.policy[1].mode, OUTBOUND_TLS_OFF);
	assert_null(o->tls.policy[1].name);
	assert_string_equal(o->username, "site");
	assert_string_equal(o->password, "s3cret word");
	assert_int_equal(o->port, 2526);
	assert_int_equal(o->source_count, 2);
	assert_string_equal(net_text(&o->source[1], text), "2001:db8::25");
	assert_int_equal(o->never_count, 1);
	assert_int_equal(o->never[0].bits, 8);
	assert_int_equal(o->max_sessions, 3);
	assert_int_equal(o->max_sessions_wait_ms, 4000);
	assert_int_equal(o->connect_timeout_ms, 5000);
	assert_int_equal(o->reuse_idle_ms, 6000);
	assert_int_equal(o->reuse_max, 7);
	assert_int_equal(o->bench_ms, 8000);
}

static void check_wire(const struct site *s)
{
	const struct backend_conf *b = &s->backend[0];
	char text[NET_TEXT_MAX];
	struct net_addr inside;

	assert_int_equal(s->listener_count, 4);
	assert_string_equal(s->listener[0].name, "one");
	assert_string_equal(net_text_port(&s->listener[0].address, text), "127.0.0.1:2525");
	assert_string_equal(net_text_port(&s->listener[1].address, text), "[2001:db8::1]:26");
	assert_int_equal(s->listener[1].line, 14);
	assert_string_equal(net_text_port(&s->listener[2].address, text), "192.0.2.1:25");
	assert_int_equal(s->listener[0].direction, DIRECTION_INBOUND);
	assert_int_equal(s->listener[0].tls, LISTENER_TLS_STARTTLS);
	assert_true(s->listener[2].direction == DIRECTION_OUTBOUND && s->listener[2].transparent && s->listener[2].intercept == 26 && s->listener[2].tls == LISTENER_TLS_OWN_CA);
	assert_true(s->listener[2].max_connections == 5 && s->listener[2].max_per_client == 6 && s->listener[2].idle_timeout_ms == 90000 && s->listener[2].proxy_from_count == 1);
	assert_true(listener_has_backend(s, &s->listener[2], &s->backend[1]) && !listener_has_backend(s, &s->listener[2], b));
	assert_true(listener_has_backend(s, NULL, b) && !listener_has_backend(s, &s->listener[0], &s->backend[1]));
	assert_true(s->listener[3].protocol == LISTENER_IMAP && s->listener[3].login_timeout_ms == 8000 && s->listener[3].plaintext == PLAINTEXT_REFUSE && s->listener[3].scan && s->listener[3].max_per_client == 2000);
	assert_true(s->backend[2].protocol == LISTENER_IMAP && s->backend[2].implicit_tls && !b->implicit_tls && b->protocol == LISTENER_SMTP);
	assert_true(listener_has_backend(s, &s->listener[3], &s->backend[2]) && !listener_has_backend(s, &s->listener[3], b) && !listener_has_backend(s, NULL, &s->backend[2]));
	assert_int_equal(s->bypass_count, 1);
	net_parse("10.200.0.1", &inside);
	assert_true(site_in_networks(s->relay_networks, s->relay_network_count, &inside));
	assert_false(site_in_networks(s->bypass, s->bypass_count, &inside));
	assert_string_equal(s->client_header, "X-Client");
	assert_int_equal(s->backend_count, 3);
	assert_string_equal(b->host, "mail.internal.example");
	assert_int_equal(b->port, 2025);
	assert_int_equal(b->priority, 5);
	assert_int_equal(b->max_sessions, 20);
	assert_int_equal(b->max_sessions_wait_ms, 7000);
	assert_int_equal(b->tls, TLS_REQUIRED);
	assert_string_equal(b->tls_name, "mail.example.com");
	assert_non_null(strstr(b->tls_ca_pem, "BEGIN CERTIFICATE"));
	assert_true(b->xclient && !s->backend[1].xclient && b->proxy == PROXY_V2 && s->backend[1].proxy == PROXY_NO);
	assert_false(b->reuse);
	assert_int_equal(b->reuse_idle_ms, 11000);
	assert_int_equal(b->reuse_max, 12);
	assert_true(b->spool);
	assert_int_equal(b->connect_timeout_ms, 1500);
	assert_int_equal(b->probe_interval_ms, 120000);
	assert_int_equal(b->line, 19);
	assert_string_equal(s->backend[1].host, "2001:db8::5");
	assert_int_equal(s->backend[1].port, 27);
	assert_int_equal(s->backend[1].tls, TLS_OFF);
}

static void check_dns(const struct site *s)
{
	const struct dnsbl_conf *d = &s->dnsbl[0];

	assert_int_equal(s->dns.forward_count, 2);
	assert_string_equal(s->dns.forward[0].zone, ".");
	assert_int_equal(s->dns.forward[0].server_count, 4);
	assert_string_equal(s->dns.forward[0].servers[0], "192.0.2.53@53");
	assert_string_equal(s->dns.forward[0].servers[1], "192.0.2.54@5353");
	assert_string_equal(s->dns.forward[0].servers[2], "2001:db8::53@54");
	assert_string_equal(s->dns.forward[0].servers[3], "2001:db8::54@53");
	assert_string_equal(s->dns.forward[1].zone, "internal.example");
	assert_int_equal(s->dns.forward[1].server_count, 2);
	assert_string_equal(s->dns.forward[1].servers[1], "10.0.0.54@54");
	assert_int_equal(s->dns.timeout_ms, 2000);
	assert_false(s->dns.dnssec);
	assert_string_equal(s->dns.trust_anchor, ". IN DS 1 2 3 abcd\n");
	assert_int_equal(s->dns.cache_bytes, 8 * 1024 * 1024);
	assert_int_equal(s->dns.local_zone_count, 1);
	assert_string_equal(s->dns.local_zone[0], "example. static");
	assert_int_equal(s->dns.local_data_count, 2);
	assert_string_equal(s->dns.local_data[0], "www.example. A 192.0.2.1");
	assert_string_equal(s->dns.local_data[1], "example. TXT \"v=spf1 -all\"");
	assert_int_equal(s->dnsbl_count, 2);
	assert_string_equal(d->zone, "zen.example.org");
	assert_int_equal(d->weight, 4);
	assert_int_equal(d->code_count, 3);
	assert_int_equal(d->code[0].weight, 4);
	assert_int_equal(d->code[0].codes.bits, 32);
	assert_int_equal(d->code[1].weight, 3);
	assert_int_equal(d->code[1].codes.bits, 31);
	assert_int_equal(d->code[2].weight, -2);
	assert_true(!d->ipv4 && d->ipv6 && !d->test);
	assert_int_equal(d->timeout_ms, 900);
	assert_int_equal(s->dnsbl[1].weight, -3);
	assert_int_equal(s->dnsbl[1].code_count, 0);
	assert_true(s->dnsbl[1].ipv4 && s->dnsbl[1].ipv6 && s->dnsbl[1].test);
}

static void check_client_limits(const struct client_limits *l)
{
	static const int client[USE_KINDS] = { 11, 2000, 13, 1400, 15, 160, 10 * 1024, 18 }, site[USE_KINDS] = { 21, 22, 23, 24, 25, 26, 27 * 16, 28 };

	assert_memory_equal(l->client.limit, client, sizeof(client));
	assert_memory_equal(l->site.limit, site, sizeof(site));
	assert_true(l->client.period_ms == 120000 && l->client.slow_from == 60 && l->client.slow_max_ms == 2000 && l->slowed == 7);
	assert_true(l->site.period_ms == 180000 && l->site.slow_from == 70 && l->site.slow_max_ms == 3000);
	assert_int_equal(l->exempt_count, 2);
	assert_int_equal(l->exempt[1].bits, 48);
}

static void check_numbers(const struct site *s)
{
	const struct smtp_limits *l = &s->limits;
	const int *t = &s->timeouts.command_ms;

	for (int i = 0; i < 14; i++)
		assert_int_equal(t[i], (i + 1) * 1000);         /* they stand in the file in the order of the struct */
	assert_int_equal(sizeof s->timeouts / sizeof *t, 14);
	assert_int_equal(s->drain.stop_s, 40);
	assert_int_equal(s->drain.reload_s, 7200);
	assert_int_equal(l->line_bytes, 4096);
	assert_int_equal(l->message_bytes, 10 * 1024 * 1024);
	assert_int_equal(l->recipients, 200);
	assert_int_equal(l->transactions, 7);
	assert_int_equal(l->errors, 8);
	assert_int_equal(l->hops, 50);
	assert_int_equal(l->sessions, 900);
	assert_int_equal(l->sessions_per_client, 9);
	assert_true(l->memory_total == 700 << 20 && l->shed_from == 60 && l->shed_lag_ms == 90);
	check_client_limits(&s->client_limits);
	assert_int_equal(l->message.memory_bytes, 64 * 1024);
	assert_int_equal(l->message.header_bytes, 128 * 1024);
	assert_int_equal(l->message.header_fields, 300);
	assert_true(s->auth.offer && s->auth.inbound && s->auth.plaintext && s->auth.mechanisms == (SASL_LOGIN | SASL_GSSAPI));
	assert_true(s->auth.guard.slow_after == 4 && s->auth.guard.slow_ms == 3000 && s->auth.guard.refuse_after == 11);
	assert_true(s->auth.guard.refuse_s == 1200 && s->auth.guard.forget_s == 7200);
	assert_true(s->auth.guard.account_slow_after == 12 && s->auth.guard.account_refuse_after == 13 && s->auth.guard.trust_s == 7 * 86400);
	assert_true(s->auth.guard.exempt_count == 2 && s->auth.guard.exempt[1].bits == 48 && s->auth.guard.exempt_user_count == 2);
	assert_string_equal(s->auth.guard.exempt_users[1], "A\\fax");
	assert_int_equal(s->greylist.delay_s, 60);
	assert_int_equal(s->greylist.window_s, 86400);
	assert_int_equal(s->greylist.life_s, 30 * 86400);
	assert_int_equal(s->greylist.auto_passes, 0);
	assert_int_equal(s->greylist.v4_bits, 20);
	assert_int_equal(s->greylist.v6_bits, 56);
}

static void test_everything(void **state)
{
	struct site *s = load_good(everything);
	char state_dir[256];

	snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	assert_string_equal(s->path, in_dir("gatepost.conf"));
	assert_string_equal(s->hostname, "mx.example.com");
	assert_string_equal(s->authserv_id, "auth-1.example.com");
	assert_int_equal(s->domain_count, 5);
	assert_int_equal(s->mode, MODE_OBSERVE);
	assert_string_equal(s->user, "root");
	assert_string_equal(s->keeper_user, "daemon");
	assert_string_equal(s->key_user, "nobody");
	assert_false(s->sandbox);
	assert_int_equal(s->workers, 3);
	assert_string_equal(s->state_dir, state_dir);
	assert_string_equal(s->control_path, "/run/x/control");
	assert_int_equal(s->temperror_max_s, 7200);
	assert_int_equal(s->known_s, 30 * 86400);
	assert_int_equal(s->dnsbl_test_interval_s, 1800);
	check_wire(s);
	check_outbound(s);
	check_dns(s);
	check_numbers(s);
	assert_string_equal(s->allow_path, in_dir("recipients"));
	assert_int_equal(s->verify, VERIFY_FILE);
	assert_int_equal(s->callout.port, 2525);
	assert_int_equal(s->verify_list_count, 3);
	assert_string_equal(s->verify_list[0], "@example.org");
	assert_string_equal(s->verify_list[1], "a@example.com");
	assert_string_equal(s->verify_list[2], "b@example.com");
	assert_int_equal(s->verify_positive_s, 86400);
	assert_int_equal(s->verify_negative_s, 300);
	assert_false(s->tls_offer);
	assert_non_null(strstr(s->tls_cert_pem, "BEGIN CERTIFICATE"));
	assert_non_null(strstr(s->tls_ca_cert_pem, "BEGIN CERTIFICATE"));
	assert_int_equal(s->keys.key[s->tls_key].purpose, KEY_FOR_TLS);
	assert_non_null(s->keys.key[s->tls_key].pub);
	assert_int_equal(s->keys.key[s->tls_ca_key].purpose, KEY_FOR_CA);
	assert_non_null(s->keys.key[s->tls_ca_key].pub);
	assert_string_equal(s->keys.key[s->tls_ca_key].cert_pem, s->tls_ca_cert_pem);
	assert_int_equal(s->spf_engine, ENGINE_LIBRARY);
	assert_int_equal(s->spf_timeout_ms, 15000);
	assert_true(s->add_received_spf);
	assert_int_equal(s->dkim_max_signatures, 4);
	assert_int_equal(s->dmarc_engine, ENGINE_LIBRARY);
	assert_int_equal(s->redis.address.port, 6380);
	assert_string_equal(s->redis.prefix, "mx:");
	assert_string_equal(s->redis.password, "s3cret word");
	assert_int_equal(s->redis.timeout_ms, 750);
	assert_int_equal(s->state_away, AWAY_DEFER);
	assert_int_equal(s->quarantine.keep_s, 60 * 86400);
	assert_int_equal(s->quarantine.max_bytes, (int64_t)10 << 30);
	assert_int_equal(s->quarantine.class_count, 2);
	assert_string_equal(s->quarantine.class[0].name, "board");
	assert_int_equal(s->quarantine.class[0].keep_s, 0);
	assert_int_equal(s->quarantine.class[1].keep_s, -1);
	assert_int_equal(s->quarantine.class[1].max_bytes, 1 << 30);
	assert_true(s->spool.life_s == 3 * 86400 && s->spool.delay_notice_s == 7200 && s->spool.retry_min_ms == 500 && s->spool.retry_max_ms == 3600000);
	assert_true(s->spool.max_bytes == 1u << 30 && s->spool.max_messages == 77 && s->spool.deliveries == 6);
	assert_false(s->history.record);
	assert_int_equal(s->history.keep_s, 2 * 86400);
	assert_int_equal(s->history.max_bytes, 300u << 20);
	assert_int_equal(s->banner_delay_ms, 250);
	assert_int_equal(s->bare_lf, BARE_REFUSE);
	assert_false(s->eightbit_pass);
	assert_false(s->prdr);
	assert_int_equal(s->ledger_s, 1800);
	assert_true(s->split_retry);
	assert_int_equal(s->sni_count, 1);
	assert_string_equal(site_sni(s, "a.example.org")->name, "*.example.org");
	assert_string_equal(site_sni(s, "a.example.org")->backends[0], "store");
	assert_string_equal(s->keys.key[site_sni(s, "a.example.org")->key].path, s->keys.key[s->tls_key].path);
	assert_non_null(user_map_lookup(s->users, "alice@example.com"));
	site_free(s);
}

/* No option is left out of the file above. */
static void test_everything_is_all(void **state)
{
	for (size_t i = 0; conf_sections[i]; i++) {
		for (const struct conf_option *o = conf_sections[i]->options; o->name; o++) {
			char needle[64];

			snprintf(needle, sizeof needle, "%s = ", o->name);
			if (!strstr(everything, needle))
				fail_msg("%s of %s is not tested", o->name, conf_sections[i]->name);
		}
	}
}

static void test_accepts(void **state)
{
	struct site *s = load_good(everything);

	assert_true(site_accepts(s, "example.com"));
	assert_true(site_accepts(s, "a.example"));
	assert_true(site_accepts(s, "xn--bcher-kva.example"));
	assert_true(site_accepts(s, "a.example.org"));
	assert_true(site_accepts(s, "a.b.example.org"));
	assert_false(site_accepts(s, "example.org"));
	assert_false(site_accepts(s, "a.example.com"));
	assert_false(site_accepts(s, "badexample.com"));
	assert_false(site_accepts(s, "com"));
	assert_false(site_accepts(s, ""));
	assert_false(site_accepts(s, "."));
	site_free(s);
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

/* Any beginning of a whole file, and any byte of it changed, is a clear error or a file: nothing else. */
static void test_mangled(void **state)
{
	size_t len = strlen(everything);
	char *text = strdup(everything);

	for (size_t i = 0; i < len; i += 7) {
		AUTO(buf) struct buf errors = BUF_INIT(1024 * 1024);
		struct site *s;
		char was = text[i];

		text[i] = "{}\"'#=+,/*\\\n $"[i % 14];
		s = load(text, &errors, NULL);
		assert_true((s != NULL) == (errors.len == 0));
		site_free(s);
		buf_clear(&errors);
		text[i] = '\0';
		s = load(text, &errors, NULL);
		assert_true((s != NULL) == (errors.len == 0));
		site_free(s);
		text[i] = was;
	}
	free(text);
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
		cmocka_unit_test(test_many_listeners), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_minimal), cmocka_unit_test(test_everything), cmocka_unit_test(test_everything_is_all),
		cmocka_unit_test(test_accepts), cmocka_unit_test(test_syntax), cmocka_unit_test(test_syntax_2),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_lacking), cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_comments), cmocka_unit_test(test_by_port),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
