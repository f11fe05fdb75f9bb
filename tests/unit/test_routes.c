/*
 * The commands for transparent listeners: what they take in and what they leave alone, for configurations of every kind. That kernels take
 * them is for tests/e2e/test_inline.py to show.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/routes.h"
#include "command/routes_servers.h"
#include "filters/fact.h"
#include "filters/filter.h"
#include "policy/conf.h"

static struct site *load(const char *text)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20), warnings = BUF_INIT(1 << 20);
	char path[] = "/tmp/gatepost-routes-XXXXXX", policy[] = "/tmp/gatepost-routes-policy-XXXXXX";
	int fd = mkstemp(path), policy_fd = mkstemp(policy);
	struct site *s;

	assert_true(fd >= 0 && policy_fd >= 0);
	dprintf(policy_fd, "accept\n");
	dprintf(fd, "hostname = \"mx.example.com\"\ndomains = { \"example.com\" }\npolicy = \"%s\"\n%s\n", policy, text);
	close(fd);
	close(policy_fd);
	s = site_load(path, &errors, &warnings);
	unlink(path);
	unlink(policy);
	if (!s)
		fail_msg("%s", buf_str(&errors));
	return s;
}

static void make(const char *conf, bool pass, struct buf *out)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	struct site *s = load(conf);
	struct routes_server *server;
	size_t count;

	assert_int_equal(routes_servers(s, &server, &count, &err), 0);
	routes_text(s, server, count, pass, out);
	free(server);
	site_free(s);
}

#define V4 "listener in { address = \"0.0.0.0:25\" transparent = yes }\n"
#define V6 "listener in6 { address = \"[::]:25\" transparent = yes }\n"
#define OUT "listener out { address = \"127.0.0.1:2500\" transparent = yes intercept = 25 direction = outbound }\n"
#define A "backend a { address = \"10.0.0.5:25\" }\n"
#define A6 "backend a6 { address = \"[2001:db8::5]:2525\" }\n"
#define B "backend b { address = \"10.0.0.6:25\" }\n"

static const struct { const char *name, *conf, *has[6], *lacks[4]; } rows[] = {
	{ "nothing transparent", "listener in { address = \"0.0.0.0:25\" }\n" A,
	  { "nothing to be done" }, { "nft", "\nip ", "sysctl" } },
	{ "IPv4", V4 A,
	  { "ip -4 rule add fwmark 0x2525 lookup 2525\n", "ip -4 route add local 0.0.0.0/0 dev lo table 2525\n", "net.ipv4.ip_forward=1",
	    "ip daddr { 10.0.0.5 } tcp dport 25 tproxy ip to :25 meta mark set 0x2525 accept\n", "ip daddr { 10.0.0.5 } tcp dport 25 reject with tcp reset\n" },
	  { "ip -6", "ip6", "WARNING" } },
	{ "a server of the family that is not taken in", V4 A A6,
	  { "# WARNING: backend a6 has the address 2001:db8::5", "ip daddr { 10.0.0.5 } tcp" }, { "ip -6", "ip6 " } },
	{ "a listener of the family that no server has", V4 V6 A,
	  { "ip daddr { 10.0.0.5 } tcp", "# listener in6: NO backend has an address of this family", "ip -6 rule add" }, { "ip6 daddr" } },
	{ "both, and two servers", V4 V6 A A6 B,
	  { "ip daddr { 10.0.0.5, 10.0.0.6 } tcp dport 25 tproxy", "ip6 daddr { 2001:db8::5 } tcp dport 25 tproxy ip6 to :25 meta", "ip -6 route add local ::/0 dev lo" },
	  { "WARNING" } },
	{ "one address of two backends", V4 A "backend b { address = \"10.0.0.5:26\" }\n", { "ip daddr { 10.0.0.5 } tcp" }, { "10.0.0.5, 10.0.0.5" } },
	{ "each listener has its own", "listener x { address = \"0.0.0.0:25\" transparent = yes backends = { a } }\n"
	  "listener y { address = \"0.0.0.0:587\" transparent = yes backends = { b } }\n" A B,
	  { "ip daddr { 10.0.0.5 } tcp dport 25 tproxy ip to :25", "ip daddr { 10.0.0.6 } tcp dport 587 tproxy ip to :587" }, { "10.0.0.5, 10.0.0.6" } },
	{ "POP3 and IMAP", "listener imap { address = \"0.0.0.0:143\" transparent = yes }\nlistener imaps { address = \"0.0.0.0:993\" transparent = yes }\n"
	  "listener pop3 { address = \"127.0.0.1:1110\" transparent = yes intercept = 110 }\nlistener pop3s { address = \"[::]:995\" transparent = yes }\n" V4 A
	  "backend i { address = \"10.0.0.7:143\" }\nbackend p { address = \"10.0.0.8:110\" }\nbackend p6 { address = \"[2001:db8::8]:995\" }\n",
	  { "ip daddr { 10.0.0.7 } tcp dport 143 tproxy ip to :143 meta", "ip daddr { 10.0.0.7 } tcp dport 993 tproxy ip to :993 meta",
	    "ip daddr { 10.0.0.8 } tcp dport 110 tproxy ip to 127.0.0.1:1110 meta", "ip6 daddr { 2001:db8::8 } tcp dport 995 tproxy ip6 to :995 meta",
	    "ip daddr { 10.0.0.5 } tcp dport 25 tproxy", "ip daddr { 10.0.0.7 } tcp dport 143 reject with tcp reset" },
	  { "WARNING", "10.0.0.5, 10.0.0.7" } },
	{ "IMAP, of which an address passes by", V4 V6 A A6 "listener imap { address = \"0.0.0.0:143\" transparent = yes }\n"
	  "backend i { address = \"10.0.0.5:143\" }\nbackend i6 { address = \"[2001:db8::5]:143\" }\n",
	  { "# WARNING: backend i6 has the address 2001:db8::5" }, { "WARNING: backend a6" } },
	{ "IMAP by its own address, SMTP inline", V4 A "listener imap { address = \"0.0.0.0:143\" }\nbackend i6 { address = \"[2001:db8::5]:143\" }\n",
	  { "ip daddr { 10.0.0.5 } tcp dport 25 tproxy" }, { "WARNING", "dport 143" } },
	{ "a listener with an address of its own", "listener x { address = \"127.0.0.1:2525\" transparent = yes intercept = 25 }\n" A,
	  { "ip daddr { 10.0.0.5 } tcp dport 25 tproxy ip to 127.0.0.1:2525 meta mark set 0x2525 accept" }, { "dport 2525" } },
	{ "the same, IPv6", "listener x { address = \"[::1]:2525\" transparent = yes intercept = 25 }\n" A6,
	  { "ip6 daddr { 2001:db8::5 } tcp dport 25 tproxy ip6 to [::1]:2525 meta" }, { "ip -4 rule add" } },
	{ "outbound", V4 OUT A "relay_networks = { \"10.0.0.0/24\", \"2001:db8::/64\" }\n",
	  { "fib daddr type { local, broadcast, anycast, multicast } accept\n", "ip saddr { 10.0.0.0/24 } tcp dport 25 tproxy ip to 127.0.0.1:2500 meta" },
	  { "ip6 saddr" } },
	{ "outbound mail that passes by", V4 V6 OUT A A6 "relay_networks = { \"10.0.0.5\", \"2001:db8::5\" }\n",
	  { "# WARNING: relay_networks has 2001:db8::5/128, and no transparent outbound listener" }, { "WARNING: backend", "WARNING: relay_networks has 10" } },
	{ "inbound mail that passes by", V4 OUT "listener out6 { address = \"[::1]:2500\" transparent = yes intercept = 25 direction = outbound }\n" A A6
	  "relay_networks = { \"10.0.0.5\", \"2001:db8::5\" }\n",
	  { "# WARNING: backend a6 has the address 2001:db8::5" }, { "WARNING: relay" } },
	{ "outbound alone", OUT A "relay_networks = { \"10.0.0.5\" }\n", { "ip saddr { 10.0.0.5/32 } tcp" }, { "WARNING" } },
	{ "outbound of nobody", OUT A, { "# listener out: NO relay_networks of this family" }, { "tproxy" } },
	{ "any other port", "listener x { address = \"0.0.0.0:443\" protocol = tcp transparent = yes backends = { a } }\n" A,
	  { "ip daddr { 10.0.0.5 } tcp dport 443 tproxy ip to :443 meta" }, { NULL } },
	{ "bypass, by source inbound, by destination outbound", V4 V6 OUT A A6
	  "relay_networks = { \"10.0.0.5\" }\nbypass = { \"192.0.2.0/24\", \"198.51.100.7\", \"2001:db8:1::/48\" }\n",
	  { "ip daddr { 10.0.0.5 } tcp dport 25 ip saddr { 192.0.2.0/24, 198.51.100.7/32 } accept\n",
	    "ip6 daddr { 2001:db8::5 } tcp dport 25 ip6 saddr { 2001:db8:1::/48 } accept\n",
	    "ip saddr { 10.0.0.5/32 } tcp dport 25 ip daddr { 192.0.2.0/24, 198.51.100.7/32 } accept\n" }, { NULL } },
	{ "own traffic", V4 A, { "meta mark 0x2526 accept\n", "socket wildcard 1 return\n", "socket transparent 1 meta mark set 0x2525 accept\n" }, { NULL } },
};

static void test_rows(void **unused)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(1 << 20);

		print_message("    %s\n", rows[i].name);
		make(rows[i].conf, false, &out);
		for (int k = 0; k < 6 && rows[i].has[k]; k++)
			if (!strstr(buf_str(&out), rows[i].has[k]))
				fail_msg("%s is missing in\n%s", rows[i].has[k], buf_str(&out));
		for (int k = 0; k < 4 && rows[i].lacks[k]; k++)
			if (strstr(buf_str(&out), rows[i].lacks[k]))
				fail_msg("%s stands in\n%s", rows[i].lacks[k], buf_str(&out));
	}
}

static const char *at(const struct buf *b, const char *what)
{
	const char *p = strstr(buf_str(b), what);

	assert_non_null(p);
	return p;
}

/* First what is ours, then what is left out, then what is taken in, last what is refused; inbound before outbound. */
static void test_order(void **unused)
{
	AUTO(buf) struct buf out = BUF_INIT(1 << 20);

	make(OUT V4 A "relay_networks = { \"10.0.0.5\" }\nbypass = { \"192.0.2.0/24\" }\n", false, &out);
	assert_true(at(&out, "jump ours") < at(&out, "fib daddr"));
	assert_true(at(&out, "fib daddr") < at(&out, "ip saddr { 192.0.2.0/24 }"));
	assert_true(at(&out, "ip saddr { 192.0.2.0/24 }") < at(&out, "tproxy ip to :25"));
	assert_true(at(&out, "tproxy ip to :25") < at(&out, "reject with"));
	assert_true(at(&out, "reject with") < at(&out, "# listener out\n"));
	assert_true(at(&out, "ip daddr { 192.0.2.0/24 } accept") < at(&out, "tproxy ip to 127.0.0.1:2500"));
}

static void test_when_down(void **unused)
{
	AUTO(buf) struct buf pass = BUF_INIT(1 << 20), undo = BUF_INIT(1 << 20);

	make(V4 A, true, &pass);
	assert_null(strstr(buf_str(&pass), "reject"));
	at(&pass, "connections pass, unchecked");
	routes_undo(&undo);
	at(&undo, "nft delete table inet gatepost");
	at(&undo, "while ip -4 rule del fwmark 0x2525 lookup 2525");
	at(&undo, "while ip -6 rule del fwmark 0x2525 lookup 2525");
	at(&undo, "ip -6 route flush table 2525");
	assert_null(strstr(buf_str(&undo), " add "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_when_down),
	};

	fact_register_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
