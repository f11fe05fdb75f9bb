/* dns_unbound: the worker's resolver against a real name server (knotd), a responder that can be mute, and its own local data */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/dns_unbound.h"
#include "base/task.h"
#include "policy/conf.h"
#include "support/knot.h"

/* Waits that a test does not expect to end by their deadline: a busy machine is slow. */
enum { LONG_MS = 30000 };

static struct knot *knot, *tampered;
static char *anchors;                   /* DNSKEY lines of the signed zones */

/* ---- a resolver on a loop, and a task that uses it ---- */

struct setting {
	const char *zone, *server;      /* forwarded; zone NULL last */
};

struct run {
	struct dns_unbound *u;
	struct dns *d;
	void (*fn)(struct run *r);
	struct event *socket;           /* of the responder */
};

static void run_task(void *arg)
{
	struct run *r = arg;

	r->fn(r);
	loop_stop();
}

static struct dns_conf conf_with(const struct setting *settings, struct dns_zone_forward *forward, char *server[])
{
	struct dns_conf conf = { .timeout_ms = LONG_MS };

	for (size_t i = 0; settings && settings[i].zone; i++) {
		server[i] = (char *)(uintptr_t)settings[i].server;
		forward[i] = (struct dns_zone_forward){ .zone = (char *)(uintptr_t)settings[i].zone, .servers = &server[i], .server_count = 1 };
		conf.forward_count++;
	}
	conf.forward = forward;
	return conf;
}

static void run_conf(const struct dns_conf *conf, struct run *r, void (*fn)(struct run *r))
{
	AUTO(buf) struct buf err = BUF_INIT(4096);

	r->fn = fn;
	r->u = dns_unbound_new(conf, &err);
	if (!r->u)
		fail_msg("%s", buf_str(&err));
	r->d = dns_unbound_dns(r->u);
	assert_int_equal(task_spawn("test", run_task, r, NULL), 0);
	loop_run();
	dns_unbound_free(r->u);
}

static void run(const struct setting *settings, int timeout_ms, void (*fn)(struct run *r))
{
	struct dns_zone_forward forward[16];
	char *server[16];
	struct dns_conf conf = conf_with(settings, forward, server);
	struct run r = { 0 };

	conf.timeout_ms = timeout_ms;
	assert_int_equal(loop_init(), 0);
	run_conf(&conf, &r, fn);
	loop_release();
}

static const char *at(unsigned short port)
{
	static char text[8][32];
	static int n;

	n = (n + 1) % 8;
	snprintf(text[n], sizeof(text[n]), "127.0.0.1@%u", port);
	return text[n];
}

static const struct dns_answer *ask(struct run *r, const char *name, enum dns_type type, struct dns_lookup **l)
{
	dns_drop(*l);
	assert_int_equal(dns_start(r->d, name, type, l), 0);
	return dns_wait(*l);
}

/* ---- against knotd ---- */

static void kinds_in(struct run *r)
{
	static const struct { const char *name; enum dns_type type; enum dns_status want; size_t count; } rows[] = {
		{ "a.plain.example",        DNS_A,    DNS_OK,       2 },
		{ "A.Plain.EXAMPLE",        DNS_A,    DNS_OK,       2 },
		{ "a.plain.example",        DNS_AAAA, DNS_NODATA,   0 },
		{ "nothing.plain.example",  DNS_A,    DNS_NXDOMAIN, 0 },
		{ "ent.plain.example",      DNS_A,    DNS_NODATA,   0 },
		{ "alias.plain.example",    DNS_A,    DNS_OK,       2 },
		{ "alias.plain.example",    DNS_CNAME, DNS_OK,      1 },
		{ "alias.plain.example",    DNS_TXT,  DNS_NODATA,   0 },
		{ "two.plain.example",      DNS_A,    DNS_OK,       2 },
		{ "across.plain.example",   DNS_TXT,  DNS_OK,       1 },
		{ "dangling.plain.example", DNS_A,    DNS_NXDOMAIN, 0 },
		{ "loop.plain.example",     DNS_A,    DNS_TEMPFAIL, 0 },
		{ "plain.example",          DNS_MX,   DNS_OK,       2 },
		{ "plain.example",          DNS_NS,   DNS_OK,       1 },
		{ "plain.example",          DNS_SOA,  DNS_OK,       1 },
		{ "big.plain.example",      DNS_TXT,  DNS_OK,       1 },
		{ "many.plain.example",     DNS_TXT,  DNS_OK,       1 },
		{ "dots\\.in.plain.example", DNS_A,   DNS_OK,       1 },
		{ "bad..plain.example",     DNS_A,    DNS_BADNAME,  0 },
	};

	for (int round = 0; round < 2; round++) {       /* asked, then cached */
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			AUTO(dns_lookup) struct dns_lookup *l = NULL;
			const struct dns_answer *a = ask(r, rows[i].name, rows[i].type, &l);

			if (a->status != rows[i].want || a->count != rows[i].count)
				fail_msg("%s: %d, %zu, %s", rows[i].name, a->status, a->count, a->why);
			assert_int_equal(a->why[0] == '\0', a->status == DNS_OK);
			assert_false(a->secure);
			if (a->status == DNS_OK)
				assert_in_range(a->ttl_s, 1, 300);
			if (a->status == DNS_NXDOMAIN || a->status == DNS_NODATA)
				assert_in_range(a->ttl_s, 1, 60);
		}
	}
}

static void contents_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *a = ask(r, "big.plain.example", DNS_TXT, &l);
	char *txt, name[DNS_NAME_MAX];
	unsigned preference, seen = 0;
	size_t len;

	assert_int_equal(dns_txt(&a->rr[0], &txt, &len), 0);
	assert_int_equal(len, 20 * 250);        /* over TCP, in one piece */
	assert_int_equal(strspn(txt, "x"), len);
	free(txt);
	a = ask(r, "plain.example", DNS_MX, &l);
	for (size_t i = 0; i < a->count; i++) {
		assert_int_equal(dns_mx(&a->rr[i], &preference, name), 0);
		assert_string_equal(name, preference == 10 ? "mx.plain.example" : "");
		seen += preference;
	}
	assert_int_equal(seen, 10);
	a = ask(r, "1.2.0.192.in-addr.arpa", DNS_PTR, &l);
	if (a->status != DNS_OK)
		fail_msg("PTR: %d %s", a->status, a->why);
	assert_int_equal(dns_name(&a->rr[0], 0, name), 0);
	assert_string_equal(name, "client.plain.example");
}

/* A port where nobody listens. */
static void nobody_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;

	assert_int_equal(ask(r, "no.server.example", DNS_A, &l)->status, DNS_TEMPFAIL);
}

static void knot_kinds(void **state)
{
	const struct setting s[] = {
		{ "plain.example", at(knot_port(knot)) }, { "other.example.", at(knot_port(knot)) },
		{ "2.0.192.in-addr.arpa", at(knot_port(knot)) }, { NULL, NULL },
	};
	const struct setting nobody[] = { { "server.example", at(9) }, { NULL, NULL } };

	run(s, LONG_MS, kinds_in);
	run(s, LONG_MS, contents_in);
	run(nobody, 300, nobody_in);
}

/* All through one forwarder. */
static void forward_all(void **state)
{
	const struct setting s[] = { { ".", at(knot_port(knot)) }, { NULL, NULL } };

	run(s, LONG_MS, contents_in);
}

enum { MANY = 10000 };

static double cpu_us(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return 1e6 * (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

static void many_in(struct run *r)
{
	struct dns_lookup **l = calloc(MANY, sizeof(struct dns_lookup *));
	struct dns_unbound_stats st;

	for (int round = 0; round < 3; round++) {
		double before = cpu_us();
		int64_t start = clock_ms();
		size_t peak = 0, ok = 0;

		for (int i = 0; i < MANY; i++) {
			char name[64];

			snprintf(name, sizeof(name), "n%d.wild.example", i);
			assert_int_equal(dns_start(r->d, name, DNS_A, &l[i]), 0);
		}
		for (int i = 0; i < MANY; i++) {
			dns_unbound_stats(r->u, &st);
			peak = st.in_flight > peak ? st.in_flight : peak;
			ok += dns_wait(l[i])->status == DNS_OK;
			dns_drop(l[i]);
		}
		dns_unbound_stats(r->u, &st);
		assert_int_equal(ok, MANY);
		assert_in_range(peak, 0, DNS_UNBOUND_IN_FLIGHT);
		assert_int_equal(st.waiting, 0);
		print_message("%d lookups, %s: %.1f us CPU each, %d ms, %zu in flight at most\n", MANY, round ? "cached" : "asked",
			      (cpu_us() - before) / MANY, (int)(clock_ms() - start), peak);
	}
	free(l);
}

static void knot_many(void **state)
{
	const struct setting s[] = { { "wild.example", at(knot_port(knot)) }, { NULL, NULL } };

	run(s, LONG_MS, many_in);
}

/* ---- DNSSEC ---- */

static void base64(const uint8_t *p, size_t len, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		unsigned v = (unsigned)p[i] << 16 | (i + 1 < len ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < len ? p[i + 2] : 0);

		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*out++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*out = '\0';
}

/* The zones' own keys as trust anchors, asked for without validation. */
static void keys_in(struct run *r)
{
	static const char *const zones[] = { "ec.example", "rsa.example" };
	AUTO(buf) struct buf text = BUF_INIT(65536);

	for (int i = 0; i < 2; i++) {
		AUTO(dns_lookup) struct dns_lookup *l = NULL;
		const struct dns_answer *a = ask(r, zones[i], (enum dns_type)48, &l);

		assert_int_equal(a->status, DNS_OK);
		for (size_t k = 0; k < a->count; k++) {
			const uint8_t *d = a->rr[k].data;
			char key[2048];

			base64(d + 4, a->rr[k].len - 4, key);
			buf_addf(&text, "; a key\n%s. IN DNSKEY %u %u %u %s\r\n\n", zones[i], d[0] * 256u + d[1], d[2], d[3], key);
		}
	}
	anchors = buf_steal(&text);
}

static void signed_in(struct run *r)
{
	static const struct { const char *name; enum dns_type type; enum dns_status want; } rows[] = {
		{ "www.ec.example", DNS_A, DNS_OK },
		{ "www.ec.example", DNS_TXT, DNS_NODATA },
		{ "_25._tcp.www.ec.example", DNS_TLSA, DNS_OK },
		{ "_25._tcp.ec.example", DNS_TLSA, DNS_NXDOMAIN },
		{ "alias.ec.example", DNS_A, DNS_OK },
		{ "none.ec.example", DNS_A, DNS_NXDOMAIN },
		{ "www.rsa.example", DNS_A, DNS_OK },
		{ "other.rsa.example", DNS_A, DNS_OK },
		{ "none.rsa.example", DNS_A, DNS_NXDOMAIN },
	};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			AUTO(dns_lookup) struct dns_lookup *l = NULL;
			const struct dns_answer *a = ask(r, rows[i].name, rows[i].type, &l);

			if (a->status != rows[i].want || !a->secure)
				fail_msg("%s: %d, %s, secure %d", rows[i].name, a->status, a->why, a->secure);
		}
	}
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *a = ask(r, "a.plain.example", DNS_A, &l);

	assert_int_equal(a->status, DNS_OK);
	assert_false(a->secure);                /* below no anchor */
	assert_null(a->canon);
	dns_drop(l);
	l = NULL;
	a = ask(r, "alias.ec.example", DNS_A, &l);
	assert_true(a->secure);
	assert_string_equal(a->canon, "www.ec.example");
	dns_drop(l);
	l = NULL;
	a = ask(r, "out.ec.example", DNS_A, &l);        /* a signed CNAME to what is not */
	assert_int_equal(a->status, DNS_OK);
	assert_false(a->secure);
	assert_string_equal(a->canon, "a.plain.example");
	dns_drop(l);
	l = NULL;
	a = ask(r, "out.ec.example", DNS_CNAME, &l);    /* itself it is */
	assert_int_equal(a->status, DNS_OK);
	assert_true(a->secure);
	dns_drop(l);
	l = NULL;
	a = ask(r, "_25._tcp.www.ec.example", DNS_TLSA, &l);
	assert_int_equal(a->count, 2);
	assert_int_equal(a->rr[0].len, 3 + 32);
	assert_int_equal(a->rr[0].data[0] + a->rr[1].data[0], 3 + 2);
}

static void tampered_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *a;

	for (int round = 0; round < 2; round++) {
		a = ask(r, "other.rsa.example", DNS_A, &l);
		assert_int_equal(a->status, DNS_OK);
		assert_true(a->secure);
		a = ask(r, "www.rsa.example", DNS_A, &l);
		assert_int_equal(a->status, DNS_TEMPFAIL);
		assert_int_equal(a->count, 0);
		assert_false(a->secure);
		assert_memory_equal(a->why, "bogus", 5);
		assert_true(a->bogus);
	}
}

/* Knot writes its zone file a moment after the zone is up. */
static char *signed_text(const char *zone)
{
	for (int i = 0; i < 500; i++) {
		char *text = knot_zone_text(knot, zone);

		if (strstr(text, "RRSIG"))
			return text;
		free(text);
		poll(NULL, 0, 10);
	}
	fail_msg("%s was not signed", zone);
	return NULL;
}

static void knot_dnssec(void **state)
{
	const char *k = at(knot_port(knot));
	const struct setting plain[] = { { "ec.example", k }, { "rsa.example", k }, { NULL, NULL } };
	const struct setting more[] = { { "ec.example", k }, { "rsa.example", k }, { "plain.example", k }, { NULL, NULL } };
	struct dns_zone_forward forward[16];
	char *server[16], *text, *p;
	struct dns_conf conf;
	struct run r = { 0 };

	free(anchors);
	run(plain, LONG_MS, keys_in);

	conf = conf_with(more, forward, server);
	conf.dnssec = true;
	conf.trust_anchor = anchors;
	assert_int_equal(loop_init(), 0);
	run_conf(&conf, &r, signed_in);

	/* The same zone with an address changed after it was signed. */
	text = signed_text("rsa.example");
	p = strstr(text, "192.0.2.80");
	assert_non_null(p);
	memcpy(p, "192.0.2.66", 10);
	tampered = knot_start((const struct knot_zone[]){ { "rsa.example", text, NULL }, { 0 } });
	free(text);
	const struct setting bad[] = { { "rsa.example", at(knot_port(tampered)) }, { NULL, NULL } };

	conf = conf_with(bad, forward, server);
	conf.dnssec = true;
	conf.trust_anchor = anchors;
	run_conf(&conf, &r, tampered_in);
	loop_release();
}

/* ---- a responder in this process, that can be mute, and that can insist on recursion ---- */

enum manner { MUTE, RECURSIVE, AUTHORITATIVE };

static struct {
	int fd;
	enum manner manner;
	int asked;
} responder;

static void respond(evutil_socket_t fd, short what, void *arg)
{
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	uint8_t q[1500];
	ssize_t n = recvfrom(fd, q, 512, 0, (struct sockaddr *)&from, &from_len);
	size_t end = 12;
	static const uint8_t a[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 7 };
	bool rd;

	if (n < 17)
		return;
	responder.asked++;
	if (responder.manner == MUTE)
		return;
	rd = q[2] & 1;
	while (q[end] && end < 500)
		end += q[end] + 1u;
	end += 5;
	q[2] = (uint8_t)(0x80 | (responder.manner == AUTHORITATIVE ? 4 : 0) | (rd ? 1 : 0));
	q[3] = (uint8_t)(responder.manner == RECURSIVE ? 0x80 | (rd ? 0 : 5) : 0);
	memset(q + 6, 0, 6);
	if ((q[3] & 15) == 0 && q[end - 3] == 1) {
		q[7] = 1;
		memcpy(q + end, a, sizeof(a));
		end += sizeof(a);
	}
	sendto(fd, q, end, 0, (struct sockaddr *)&from, from_len);
}

static unsigned short responder_open(struct run *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);

	assert_int_equal(loop_init(), 0);
	responder.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	responder.asked = 0;
	assert_int_equal(bind(responder.fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(getsockname(responder.fd, (struct sockaddr *)&sin, &len), 0);
	r->socket = event_new(loop_base(), responder.fd, EV_READ | EV_PERSIST, respond, NULL);
	event_add(r->socket, NULL);
	return ntohs(sin.sin_port);
}

static void responder_run(const char *zone, int timeout_ms, enum manner manner, void (*fn)(struct run *r))
{
	struct run r = { 0 };
	const struct setting s[] = { { zone, at(responder_open(&r)) }, { NULL, NULL } };
	struct dns_zone_forward forward[16];
	char *server[16];
	struct dns_conf conf = conf_with(s, forward, server);

	conf.timeout_ms = timeout_ms;
	responder.manner = manner;
	run_conf(&conf, &r, fn);
	event_free(r.socket);
	close(responder.fd);
	loop_release();
}

static void internal_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;

	assert_int_equal(ask(r, "host.corp.example", DNS_A, &l)->status, DNS_OK);
	assert_int_equal(responder.asked, 1);
	assert_int_equal(ask(r, "host.corp.example", DNS_A, &l)->status, DNS_OK);
	assert_int_equal(responder.asked, 1);   /* from the cache */
	assert_int_equal(ask(r, "host.corp.example", DNS_TXT, &l)->status, DNS_NODATA);
}

static void internal_servers(void **state)
{
	responder_run("corp.example", LONG_MS, RECURSIVE, internal_in);
	responder_run("corp.example", LONG_MS, AUTHORITATIVE, internal_in);
}

static void private_in(struct run *r)
{
	static const char *const open[] = { "5.1.0.10.in-addr.arpa", "1.100.16.172.in-addr.arpa", "1.0.168.192.in-addr.arpa", "7.64.100.in-addr.arpa" };

	for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++) {
		AUTO(dns_lookup) struct dns_lookup *l = NULL;
		const struct dns_answer *a = ask(r, open[i], DNS_A, &l);

		if (a->status != DNS_OK)
			fail_msg("%s: %s", open[i], a->why);
	}
}

static void private_one_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;

	assert_int_equal(ask(r, "5.1.0.10.in-addr.arpa", DNS_A, &l)->status, DNS_OK);
	assert_int_equal(ask(r, "5.2.0.10.in-addr.arpa", DNS_A, &l)->status, DNS_NXDOMAIN);
	assert_int_equal(responder.asked, 1);
}

static void special_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;

	assert_int_equal(ask(r, "host.corp.test", DNS_A, &l)->status, DNS_OK);
	assert_int_equal(ask(r, "host.other.test", DNS_A, &l)->status, DNS_NXDOMAIN);
}

/* Reverse zones of private networks are not answered by the library when the site has servers for them. */
static void private_zones(void **state)
{
	responder_run(".", LONG_MS, RECURSIVE, private_in);
	responder_run("in-addr.arpa", LONG_MS, RECURSIVE, private_in);
	responder_run("1.0.10.in-addr.arpa", LONG_MS, RECURSIVE, private_one_in);
	responder_run("corp.test", LONG_MS, RECURSIVE, special_in);
}

static void dead_in(struct run *r)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	int64_t start = clock_ms();
	const struct dns_answer *a = ask(r, "one.dead.example", DNS_A, &l);

	assert_int_equal(a->status, DNS_TEMPFAIL);
	assert_string_equal(a->why, "timeout");
	assert_in_range(clock_ms() - start, 300, LONG_MS);
	/* less, when the asker has less time */
	dns_drop(l);
	start = clock_ms();
	assert_int_equal(dns_start_within(r->d, "two.dead.example", DNS_A, 50, &l), 0);
	assert_string_equal(dns_wait(l)->why, "timeout");
	assert_in_range(clock_ms() - start, 50, LONG_MS);
	/* the server is back: the next name is answered */
	responder.manner = AUTHORITATIVE;
	for (start = clock_ms(); a->status != DNS_OK && clock_ms() - start < LONG_MS; )
		a = ask(r, "three.dead.example", DNS_A, &l);
	assert_int_equal(a->status, DNS_OK);
}

static void flood_in(struct run *r)
{
	struct dns_lookup **l = calloc(MANY, sizeof(struct dns_lookup *));
	struct dns_unbound_stats st;
	size_t peak = 0;

	for (int i = 0; i < MANY; i++) {
		char name[64];

		snprintf(name, sizeof(name), "n%d.dead.example", i);
		assert_int_equal(dns_start(r->d, name, DNS_A, &l[i]), 0);
		if (i % 1000 == 500) {
			dns_drop(l[i]);
			l[i] = NULL;
		}
	}
	for (int i = 0; i < MANY; i++) {
		if (l[i]) {
			const struct dns_answer *a = dns_wait(l[i]);

			dns_unbound_stats(r->u, &st);
			peak = st.in_flight > peak ? st.in_flight : peak;
			/* mostly a timeout; the library may give up a mute server sooner */
			if (a->status != DNS_TEMPFAIL)
				fail_msg("%d: %d %s", i, a->status, a->why);
		}
	}
	dns_unbound_stats(r->u, &st);
	assert_in_range(st.in_flight, 0, DNS_UNBOUND_IN_FLIGHT);
	assert_true(peak <= DNS_UNBOUND_IN_FLIGHT && peak > 1000);
	assert_int_equal(st.waiting, 0);
	for (int i = 0; i < MANY; i++)
		dns_drop(l[i]);
	free(l);
}

static void dead_upstream(void **state)
{
	responder_run("dead.example", 300, MUTE, dead_in);
	responder_run("dead.example", 700, MUTE, flood_in);
}

/* ---- continuations ---- */

static struct chain {
	struct dns *d;
	struct dns_lookup *l;
	int left;
	struct future done;
	char name[64];
} chain;

static void chain_next(struct dns_lookup *l, void *arg)
{
	assert_null(task_self());
	assert_ptr_equal(l, chain.l);
	assert_int_equal(l->answer.status, DNS_OK);
	dns_drop(l);
	chain.l = NULL;
	if (--chain.left == 0) {
		future_resolve(&chain.done, 0);
		return;
	}
	snprintf(chain.name, sizeof(chain.name), "n%d.corp.example", chain.left % 3);
	assert_int_equal(dns_start(chain.d, chain.name, DNS_A, &chain.l), 0);
	assert_false(chain.l->future.done);
	dns_notify(chain.l, chain_next, NULL);
}

static void never(struct dns_lookup *l, void *arg)
{
	fail_msg("called after the lookup was dropped");
}

static void chain_in(struct run *r)
{
	struct dns_lookup *l;

	chain = (struct chain){ .d = r->d, .left = 1000 };
	assert_int_equal(dns_start(r->d, "n.corp.example", DNS_A, &chain.l), 0);
	dns_notify(chain.l, chain_next, NULL);
	assert_int_equal(future_wait(&chain.done, LONG_MS), 0);
	assert_int_equal(responder.asked, 4);
	/* dropped before it was asked, and while it is */
	assert_int_equal(dns_start(r->d, "x.corp.example", DNS_A, &l), 0);
	dns_notify(l, never, NULL);
	dns_drop(l);
	assert_int_equal(dns_start(r->d, "y.corp.example", DNS_A, &l), 0);
	dns_notify(l, never, NULL);
	task_yield();
	dns_drop(l);
	assert_int_equal(dns_start(r->d, "y.corp.example", DNS_A, &l), 0);
	assert_int_equal(dns_wait(l)->status, DNS_OK);
	dns_drop(l);
}

static void continuations(void **state)
{
	responder_run("corp.example", LONG_MS, AUTHORITATIVE, chain_in);
}

/* ---- the end ---- */

static struct dns_lookup *left[4];
static int ended;

static void count_end(struct dns_lookup *l, void *arg)
{
	struct dns_lookup *more = NULL;

	ended++;
	assert_int_equal(l->answer.status, DNS_TEMPFAIL);
	assert_string_equal(l->answer.why, "shutting down");
	assert_int_equal(dns_start(arg, "more.dead.example", DNS_A, &more), -ENOMEM);
}

static void leave_in(struct run *r)
{
	static const char *const names[] = { "a.dead.example", "b.dead.example", "c.dead.example", "d.dead.example" };

	for (int i = 0; i < 4; i++)
		assert_int_equal(dns_start(r->d, names[i], DNS_A, &left[i]), 0);
	dns_notify(left[0], count_end, r->d);
	task_sleep(20);                         /* they are asked by now */
	dns_drop(left[1]);
	dns_drop(left[2]);
	assert_int_equal(dns_start(r->d, "late.dead.example", DNS_A, &left[2]), 0);     /* not asked yet at the end */
	dns_notify(left[2], count_end, r->d);
}

static void teardown_midway(void **state)
{
	ended = 0;
	responder_run("dead.example", 5000, MUTE, leave_in);
	assert_int_equal(ended, 2);
	assert_string_equal(dns_wait(left[3])->why, "shutting down");
	dns_drop(left[0]);
	dns_drop(left[2]);
	dns_drop(left[3]);
}

static void cancelled_wait(void *arg)
{
	struct run *r = arg;
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *a = ask(r, "a.dead.example", DNS_A, &l);

	assert_int_equal(a->status, DNS_TEMPFAIL);
	assert_string_equal(a->why, "cancelled");
}

static void cancel_in(struct run *r)
{
	struct task *t;

	assert_int_equal(task_spawn("cancelled", cancelled_wait, r, &t), 0);
	task_sleep(10);
	task_cancel(t);
	task_yield();
	task_yield();
	assert_int_equal(task_count(), 1);
}

static void cancelling(void **state)
{
	responder_run("dead.example", 5000, MUTE, cancel_in);
}

/* ---- local data, and configurations that are wrong ---- */

static void local_in(struct run *r)
{
	static const struct { const char *name; enum dns_type type; enum dns_status want; size_t count; } rows[] = {
		{ "sender.demo",             DNS_TXT, DNS_OK,       1 },
		{ "mail.sender.demo",        DNS_A,   DNS_OK,       2 },
		{ "mail.sender.demo",        DNS_MX,  DNS_NODATA,   0 },
		{ "nothing.sender.demo",     DNS_A,   DNS_NXDOMAIN, 0 },
		{ "10.2.0.192.in-addr.arpa", DNS_PTR, DNS_OK,       1 },
		{ "11.2.0.192.in-addr.arpa", DNS_PTR, DNS_NXDOMAIN, 0 },
		{ "10.2.0.192.bl.demo",      DNS_A,   DNS_OK,       1 },
		{ "host.invalid",            DNS_A,   DNS_NXDOMAIN, 0 },
		{ "known.test",              DNS_A,   DNS_OK,       1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(dns_lookup) struct dns_lookup *l = NULL;
		const struct dns_answer *a = ask(r, rows[i].name, rows[i].type, &l);

		if (a->status != rows[i].want || a->count != rows[i].count)
			fail_msg("%s: %d, %zu, %s", rows[i].name, a->status, a->count, a->why);
	}
}

static void local(void **state)
{
	static char *zones[] = { "demo. static", "quiet.example" };
	static char *data[] = {
		"sender.demo. TXT \"v=spf1 ip4:192.0.2.0/24 -all\"",
		"mail.sender.demo. IN A 192.0.2.10", "mail.sender.demo. 60 IN A 192.0.2.11",
		"10.2.0.192.in-addr.arpa. PTR mail.sender.demo.", "10.2.0.192.bl.demo. A 127.0.0.2",
		"known.test. A 192.0.2.1",
	};
	struct dns_conf conf = { .timeout_ms = LONG_MS, .dnssec = true, .local_zone = zones, .local_zone_count = 2, .local_data = data,
				 .local_data_count = sizeof(data) / sizeof(*data), .cache_bytes = 8 << 20 };
	struct run r = { 0 };

	assert_int_equal(loop_init(), 0);
	run_conf(&conf, &r, local_in);
	loop_release();
}

static void wrong_conf(void **state)
{
	static const struct { const char *name, *zone, *server, *local_zone, *local_data, *anchor, *want; } rows[] = {
		{ "server is a name",  ".", "ns.example", NULL, NULL, NULL, "dns: server \"ns.example\": expected an address" },
		{ "no port",           ".", "192.0.2.1@", NULL, NULL, NULL, "dns: server \"192.0.2.1@\": expected" },
		{ "port 0",            "a.example", "192.0.2.1@0", NULL, NULL, NULL, "dns: server \"192.0.2.1@0\": expected" },
		{ "port 70000",        "a.example", "192.0.2.1@70000", NULL, NULL, NULL, "dns: server" },
		{ "words after it",    "a.example", "192.0.2.1@53 x", NULL, NULL, NULL, "dns: server" },
		{ "second line",       "a.example", "192.0.2.1\n name: x", NULL, NULL, NULL, "dns: server" },
		{ "no zone",           "", "192.0.2.1", NULL, NULL, NULL, "dns: forward zone \"\": not a zone's name" },
		{ "zone with quote",   "a\"b.example", "192.0.2.1", NULL, NULL, NULL, "dns: forward zone" },
		{ "two dots",          "a..example", "192.0.2.1", NULL, NULL, NULL, "dns: forward zone" },
		{ "zone type",         NULL, NULL, "a.example. quiet", NULL, NULL, "dns: local_zone \"a.example. quiet\": expected" },
		{ "zone empty",        NULL, NULL, "", NULL, NULL, "dns: local_zone \"\": expected" },
		{ "zone, three words", NULL, NULL, "a.example. static x", NULL, NULL, "dns: local_zone \"a.example. static x\": expected" },
		{ "zone's name",       NULL, NULL, "a..example. static", NULL, NULL, "dns: local_zone \"a..example.\": not a zone's name" },
		{ "data type",         NULL, NULL, NULL, "a.example. BLAH x", NULL, "dns: local_data \"a.example. BLAH x\": expected" },
		{ "data address",      NULL, NULL, NULL, "a.example. A 192.0.2.300", NULL, "dns: local_data" },
		{ "anchor",            NULL, NULL, NULL, NULL, "not an anchor", "dns: trust_anchor" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf err = BUF_INIT(4096);
		const struct setting s[] = { { rows[i].zone, rows[i].server }, { NULL, NULL } };
		struct dns_zone_forward forward[16];
		char *server[16], *zone = (char *)(uintptr_t)rows[i].local_zone, *data = (char *)(uintptr_t)rows[i].local_data;
		struct dns_conf conf = conf_with(s, forward, server);
		struct dns_unbound *u;

		conf.local_zone = &zone;
		conf.local_zone_count = zone != NULL;
		conf.local_data = &data;
		conf.local_data_count = data != NULL;
		conf.dnssec = true;
		conf.trust_anchor = (char *)(uintptr_t)rows[i].anchor;
		assert_int_equal(loop_init(), 0);
		u = dns_unbound_new(&conf, &err);
		dns_unbound_free(u);
		loop_release();
		if (u || strncmp(buf_str(&err), rows[i].want, strlen(rows[i].want)) != 0)
			fail_msg("%s: %s", rows[i].name, u ? "accepted" : buf_str(&err));
	}
}

/* ---- all of it ---- */

static int servers_up(void **state)
{
	static char plain[8192];
	size_t n = (size_t)snprintf(plain, sizeof(plain),
		"a A 192.0.2.1\na A 192.0.2.2\nalias CNAME a\ntwo CNAME alias\nacross CNAME there.other.example.\ndangling CNAME gone\n"
		"loop CNAME loop2\nloop2 CNAME loop\n@ MX 10 mx\n@ MX 0 .\nmx A 192.0.2.3\nbelow.ent A 192.0.2.4\ndots\\.in A 192.0.2.5\n"
		"many TXT \"a\" \"b\" \"\"\nbig TXT");

	for (int i = 0; i < 20; i++) {
		n += (size_t)snprintf(plain + n, sizeof(plain) - n, " \"");
		memset(plain + n, 'x', 250);
		n += 250;
		n += (size_t)snprintf(plain + n, sizeof(plain) - n, "\"");
	}
	snprintf(plain + n, sizeof(plain) - n, "\n");
	if (!knot_there()) {
		print_error("knotd is not installed: package knot\n");
		return -1;
	}
	knot = knot_start((const struct knot_zone[]){
		{ "plain.example", plain, NULL },
		{ "other.example", "there TXT \"here\"\n", NULL },
		{ "wild.example", "* A 192.0.2.9\n", NULL },
		{ "2.0.192.in-addr.arpa", "1 PTR client.plain.example.\n", NULL },
		{ "ec.example",
		  "www A 192.0.2.80\nalias CNAME www\nout CNAME a.plain.example.\n"
		  "_25._tcp.www TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
		  "_25._tcp.www TLSA 2 0 1 ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n", "ecdsap256sha256" },
		{ "rsa.example", "www A 192.0.2.80\nother A 192.0.2.81\n", "rsasha256" },
		{ NULL, NULL, NULL } });
	return 0;
}

static int servers_down(void **state)
{
	knot_stop(knot);
	knot_stop(tampered);
	free(anchors);
	return 0;
}

/* A test that fails leaves its loop. */
static int loop_gone(void **state)
{
	loop_release();
	return 0;
}

#define WITH_LOOP(f) cmocka_unit_test_teardown(f, loop_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LOOP(knot_kinds), WITH_LOOP(forward_all), WITH_LOOP(knot_many), WITH_LOOP(knot_dnssec),
		WITH_LOOP(internal_servers), WITH_LOOP(private_zones), WITH_LOOP(dead_upstream), WITH_LOOP(continuations),
		WITH_LOOP(teardown_midway), WITH_LOOP(cancelling), WITH_LOOP(local), WITH_LOOP(wrong_conf),
	};

	return cmocka_run_group_tests_name("dns_unbound", tests, servers_up, servers_down);
}
