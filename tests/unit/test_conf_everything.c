/* gatepost.conf: every option set and read back; the same file mangled. */
#include "base/sasl.h"
#include "policy/conf_table.h"
#include "policy/user_map.h"
#include "tests/unit/conf_full.h"

/* Each load forks a child that looks at the keys: what the address sanitizer keeps of the loads of before (half a gigabyte otherwise) is copied each time. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "quarantine_size_mb=16";
}

#define PIN "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"

static const char everything[] =
	"hostname = \"MX.Example.com\"\n"
	"authserv_id = auth-1.example.com\n"
	"domains = { \"b.example\", \"Example.com\", \".Example.org\", \"b\xc3\xbc" "cher.example\" }\n"
	"domains += { \"a.example\" }\n"
	"mode = observe relay_networks = { \"10.0.0.0/8\", \"2001:db8::/32\" } bypass = { \"10.9.0.1\" } trusted_relays = { \"198.51.100.0/24\" } client_header = X-Client\n"
	"policy = \"./policy.conf\" allow_list = recipients\n"
	"user = root keeper_user = daemon key_user = nobody directory_user = games sandbox = no\n"
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
	"domain \".Example.COM\" { backends = { old, six } learn = yes }\n"
	"backend store { protocol = imap address = \"10.0.0.5:2143\" implicit_tls = yes }\n"
	"backend old { address = \"10.0.0.7:26\" tls = required tls_min = 1.0 tls_security_level = 0 tls_ciphers = \"AES\"\n"
	"	tls_pin = { \"sha256:01020304:05060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fff\", \"sha256-key:" PIN "\" } }\n"
	"outbound { via = { \"smart.example.net:587\", \"[2001:db8::9]:26\", \"192.0.2.9\" } username = site password_file = redis-password port = 2526\n"
	"	source = { \"192.0.2.25\", \"2001:db8::25\" } never = { \"10.0.0.0/8\" } max_sessions = 3 max_sessions_wait = 4s connect_timeout = 5s\n"
	"	reuse_idle = 6s reuse_messages = 7 bench = 8s\n"
	"	tls = required dane = no mta_sts = no tls_ca = cert.pem }\n"
	"tls_policy \"Example.NET\" { tls = verified dane = yes mta_sts = no name = MX.example.net }\n"
	"tls_policy .example.net { tls = off }\n"
	"recipients { verify = file  file = recipients  callout = \"10.0.0.5:2525\"  positive = 1d  negative = 5m }\n"
	"directory \"ad\" { server = { \"ldap://dc1.example.com:3268\", \"ldaps://10.0.0.8\" } base = \"DC=example,DC=com\" bind_dn = \"CN=x\" password_file = redis-password\n"
	"	tls = off tls_ca = cert.pem schema = domino filter = \"(a=b)\" attributes = { mail, uid } domains = { \"Example.com\", \".b.example\" } catch_all = { all.example }\n"
	"	plus = yes subdomains = yes restricted = refuse refresh = 5m keep = 1d timeout = 2s live = 7 }\n"
	"tls { offer = no  certificate = cert.pem  key = key.pem  ca_certificate = ca.pem  ca_key = ca.key }\n"
	"sni \"*.Example.org\" { certificate = cert.pem key = key.pem backends = { store } }\n"
	"dns { forward = { \"192.0.2.53\", \"192.0.2.54:5353\", \"[2001:db8::53]:54\", \"2001:db8::54\" } timeout = 2s dnssec = no trust_anchor = anchor cache_size = 8M\n"
	"	local_zone = { \"example. static\" } local_data = { 'www.example. A 192.0.2.1', \"example. TXT \\\"v=spf1 -all\\\"\" } }\n"
	"zone internal.example { servers = { \"10.0.0.53\", \"10.0.0.54:54\" } }\n"
	"dnsbl Zen.example.org { codes = { 127.0.0.2, \"127.0.0.10/31=3\", \"127.0.1.0/24=-2\" } weight = 4 ipv4 = no ipv6 = yes timeout = 900ms test = no }\n"
	"dnsbl wl.example.org { weight = -3 }\n"
	"uribl Dbl.example.org { codes = { \"127.0.1.0/24\", \"&64=2\" } weight = 4 use = { links, dkim } names = registrable addresses = yes skip = domains timeout = 800ms test = no"
	" test_listed = DBLtest.com test_clean = clean.example }\n"
	"spf { engine = libspf2 timeout = 15s received_spf = yes }\n"
	"dkim { engine = libopendkim max_signatures = 4 }\n"
	"dkim_sign example.com { keys = { \"a=dkim.pem\" } subdomains = yes headers = { Subject } oversign = { Subject } canonicalization = simple/simple expire = 2d }\n"
	"arc_seal Example.org { selector = ARC1 key = seal.pem when = always headers = { Subject } }\n"
	"srs { domain = Example.com secret_file = srs-secret life = 3d }\ndmarc { engine = libopendmarc rua = no rua_from = \"Reports.d@Example.COM\" rua_org = \"Example & S\303\266hne\" rua_contact = \"https://example.com/?a\" rua_destinations = 3 rua_max_size = 2M rua_spread = 90m }\nrate hour { by = sender count = messages limit = 30 period = 2h }\n"
	"greylist { delay = 1m window = 1d life = 30d auto_passes = 0 ipv4_bits = 20 ipv6_bits = 56 }\n"
	"clamd { address = { \"unix:/run/clamav/clamd.ctl\", \"127.0.0.1:3310\", \"[::1]:3311\", \"Scan.example:3312\" } max_connections = 3 connect_timeout = 1s\n"
	"	timeout = 2s idle_timeout = 3s max_size = 4M away = pass }\n"
	"rspamd { address = { \"127.0.0.1:11333\" } max_connections = 4 connect_timeout = 2s timeout = 3s idle_timeout = 4s max_size = 5M password_file = redis-password away = pass }\n"
	"spamd { address = { \"127.0.0.1:783\" } max_connections = 5 connect_timeout = 3s timeout = 4s idle_timeout = 5s max_size = 6M user = mail away = pass }\n"
	"milter one { address = { \"inet:8891@localhost\", \"inet6:8892@::1\", \"inet:127.0.0.1:8893\", \"local:/run/x.sock\" } max_connections = 4 connect_timeout = 2s\n"
	"	command_timeout = 3s content_timeout = 5s protocol = 4 away = accept directions = { submission, outbound } listeners = { two } daemon_name = ORIGINATING\n"
	"	connect_macros = { j } helo_macros = { \"{cipher}\" } mail_macros = { \"i\", \"{mail_addr}\" } rcpt_macros = { \"{rcpt_addr}\" } data_macros = { i }\n"
	"	end_of_header_macros = { j } end_of_data_macros = { \"i\", \"{auth_authen}\" } }\n"
	"milter two { address = { \"unix:/run/y.sock\" } }\n"
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

static void check_milters(const struct site *s)
{
	const struct milter_conf *m = s->milter[0];

	assert_int_equal(s->milter_count, 2);
	assert_string_equal(m->daemon.name, "one");
	assert_int_equal(m->daemon.address_count, 4);
	assert_string_equal(m->daemon.address[0].host, "localhost");
	assert_int_equal(m->daemon.address[0].port, 8891);
	assert_string_equal(m->daemon.address[1].host, "::1");
	assert_int_equal(m->daemon.address[1].port, 8892);
	assert_string_equal(m->daemon.address[2].host, "127.0.0.1");
	assert_string_equal(m->daemon.address[3].path, "/run/x.sock");
	assert_true(m->daemon.max_connections == 4 && m->daemon.connect_timeout_ms == 2000 && m->command_ms == 3000 && m->content_ms == 5000 && m->protocol == 4);
	assert_int_equal(m->daemon.away, DAEMON_AWAY_PASS);
	assert_int_equal(m->directions, 1 << DIRECTION_SUBMISSION | 1 << DIRECTION_OUTBOUND);
	assert_true(m->listener_count == 1 && strcmp(m->listeners[0], "two") == 0);
	assert_string_equal(m->daemon_name, "ORIGINATING");
	assert_string_equal(m->macros[MILTER_AT_CONNECT], "j");
	assert_string_equal(m->macros[MILTER_AT_HELO], "{cipher}");
	assert_string_equal(m->macros[MILTER_AT_MAIL], "i {mail_addr}");
	assert_string_equal(m->macros[MILTER_AT_RCPT], "{rcpt_addr}");
	assert_string_equal(m->macros[MILTER_AT_DATA], "i");
	assert_string_equal(m->macros[MILTER_AT_HEADER_END], "j");
	assert_string_equal(m->macros[MILTER_AT_END], "i {auth_authen}");
	m = s->milter[1];
	assert_true(m->protocol == 6 && m->daemon.away == DAEMON_AWAY_DEFER && m->daemon.max_connections == 1000 && !m->daemon_name && m->listener_count == 0);
	assert_string_equal(m->macros[MILTER_AT_CONNECT], "j {daemon_name} {daemon_addr} v _");
}

static void check_scanners(const struct site *s)
{
	const struct daemon_conf *d = &s->clamd.daemon;

	bool listed = false;

	for (size_t i = 0; i < s->daemon_count; i++)
		listed |= s->daemon[i] == d;
	assert_true(listed);
	assert_string_equal(d->name, "clamd");
	assert_int_equal(d->address_count, 4);
	assert_string_equal(d->address[0].path, "/run/clamav/clamd.ctl");
	assert_null(d->address[0].host);
	assert_string_equal(d->address[1].host, "127.0.0.1");
	assert_int_equal(d->address[1].port, 3310);
	assert_string_equal(d->address[2].host, "::1");
	assert_int_equal(d->address[2].port, 3311);
	assert_string_equal(d->address[3].host, "scan.example");
	assert_string_equal(d->address[3].text, "Scan.example:3312");
	assert_true(d->max_connections == 3 && d->connect_timeout_ms == 1000 && d->timeout_ms == 2000 && d->idle_ms == 3000 && d->max_size == 4 << 20);
	assert_int_equal(d->away, DAEMON_AWAY_PASS);
	d = &s->rspamd.daemon;
	assert_true(s->daemon_count >= 3 && s->daemon[1] == d && s->daemon[2] == &s->spamd.daemon);
	assert_true(d->max_connections == 4 && d->connect_timeout_ms == 2000 && d->timeout_ms == 3000 && d->idle_ms == 4000 && d->max_size == 5 << 20);
	assert_int_equal(d->away, DAEMON_AWAY_PASS);
	assert_string_equal(s->rspamd.password, "s3cret word");
	d = &s->spamd.daemon;
	assert_true(d->max_connections == 5 && d->connect_timeout_ms == 3000 && d->timeout_ms == 4000 && d->idle_ms == 5000 && d->max_size == 6 << 20);
	assert_int_equal(d->away, DAEMON_AWAY_PASS);
	assert_string_equal(s->spamd.user, "mail");
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
	net_parse("198.51.100.9", &inside);
	assert_true(site_in_networks(s->trusted_relays, s->trusted_relay_count, &inside));
	assert_true(site_in_networks(s->client_limits.exempt, s->client_limits.exempt_count, &inside) && site_in_networks(s->auth.guard.exempt, s->auth.guard.exempt_count, &inside));
	assert_string_equal(s->client_header, "X-Client");
	assert_int_equal(s->backend_count, 4);
	assert_true(s->backend[3].tls_min == TLS_VERSION_1_0 && s->backend[3].tls_level == 0 && strcmp(s->backend[3].tls_ciphers, "AES") == 0);
	assert_true(s->backend[3].tls_pin_count == 2 && !s->backend[3].tls_pin[0].key && s->backend[3].tls_pin[1].key);
	assert_true(s->backend[3].tls_pin[0].digest[31] == 0xff && s->backend[3].tls_pin[1].digest[10] == 0xaa);
	assert_true(b->tls_min == TLS_VERSION_1_2 && b->tls_level == TLS_LEVEL_DEFAULT && !b->tls_ciphers && b->tls_pin_count == 0);
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
	assert_int_equal(s->dnsbl_count, 3);
	d = &s->dnsbl[2];
	assert_true(d->use == (DNSBL_USE_LINKS | DNSBL_USE_DKIM) && d->registrable && d->addresses && d->timeout_ms == 800 && !d->test && d->weight == 4);
	assert_true(d->code_count == 2 && d->code[0].weight == 4 && !d->code[0].bit && d->code[1].bit == 64 && d->code[1].weight == 2);
	assert_string_equal(d->listed, "dbltest.com");
	assert_string_equal(d->clean, "clean.example");
	assert_true(d->skip_count == 2 && strcmp(d->skip[0], "a.example") == 0 && strcmp(d->skip[1], "b.example") == 0);
	d = &s->dnsbl[0];
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
	assert_int_equal(l->exempt_count, 3);   /* and trusted_relays */
	assert_int_equal(l->exempt[2].bits, 48);
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
	assert_true(s->auth.guard.exempt_count == 3 && s->auth.guard.exempt[2].bits == 48 && s->auth.guard.exempt_user_count == 2);
	assert_string_equal(s->auth.guard.exempt_users[1], "A\\fax");
	assert_int_equal(s->greylist.delay_s, 60);
	assert_int_equal(s->greylist.window_s, 86400);
	assert_int_equal(s->greylist.life_s, 30 * 86400);
	assert_int_equal(s->greylist.auto_passes, 0);
	assert_int_equal(s->greylist.v4_bits, 20);
	assert_int_equal(s->greylist.v6_bits, 56);
}

static void check_directory(const struct directory_conf *d)
{
	assert_string_equal(d->name, "ad");
	assert_true(d->server_count == 2 && d->server[0].port == 3268 && !d->server[0].implicit && d->server[1].implicit && d->server[1].port == 636);
	assert_string_equal(d->base, "DC=example,DC=com");
	assert_string_equal(d->bind_dn, "CN=x");
	assert_string_equal(d->password_path, in_dir("redis-password"));
	assert_string_equal(d->filter, "(a=b)");
	assert_string_equal(d->attribute[1], "uid");
	assert_string_equal(d->domain[1], ".b.example");
	assert_string_equal(d->catch_all[0], "all.example");
	assert_true(d->tls == DIRECTORY_TLS_OFF && d->tls_ca_pem && d->schema == DIRECTORY_DOMINO && d->attribute_count == 2 && d->domain_count == 2);
	assert_true(d->plus && d->subdomains && d->restricted == DIRECTORY_RESTRICTED_REFUSE && d->refresh_s == 300 && d->keep_s == 86400);
	assert_true(d->timeout_ms == 2000 && d->live == 7);
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
	assert_string_equal(s->directory_user, "games");
	check_directory(s->directory);
	assert_false(s->sandbox);
	assert_int_equal(s->workers, 3);
	assert_string_equal(s->state_dir, state_dir);
	assert_string_equal(s->control_path, "/run/x/control");
	assert_int_equal(s->temperror_max_s, 7200);
	assert_int_equal(s->known_s, 30 * 86400);
	assert_int_equal(s->dnsbl_test_interval_s, 1800);
	check_wire(s);
	check_milters(s);
	check_scanners(s);
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
	assert_int_equal(s->dkim_engine, ENGINE_LIBRARY);
	assert_ptr_equal(site_dkim_engine(s), &dkim_engine_opendkim);
	assert_int_equal(s->dkim_max_signatures, 4);
	assert_true(strcmp(s->arc_seal->domain, "example.org") == 0 && strcmp(s->arc_seal->selector, "arc1") == 0 && s->arc_seal->when == ARC_SEAL_ALWAYS);
	assert_true(s->arc_seal->field_count == 1 && s->arc_seal->key);
	assert_int_equal(s->dmarc_engine, ENGINE_LIBRARY);
	assert_false(s->rua.send);
	assert_string_equal(s->rua.from, "Reports.d@example.com");
	assert_string_equal(s->rua.org, "Example & S\303\266hne");
	assert_string_equal(s->rua.contact, "https://example.com/?a");
	assert_int_equal(s->rua.destinations, 3);
	assert_int_equal(s->rua.max_bytes, 2u << 20);
	assert_int_equal(s->rua.spread_s, 90 * 60);
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
	assert_int_equal(s->domain_section_count, 1);
	assert_string_equal(site_domain(s, "a.b.example.com")->domain, ".example.com");
	assert_true(site_domain(s, "b.example.com")->learn);
	assert_string_equal(site_domain(s, "b.example.com")->owner[1].name, "six");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything), cmocka_unit_test(test_everything_is_all), cmocka_unit_test(test_accepts), cmocka_unit_test(test_mangled),
	};

	return cmocka_run_group_tests(tests, conf_full_setup, dir_remove);
}
