#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/task.h"
#include "filters/filter.h"
#include "filters/spf.h"
#include "filters/spf_engine.h"
#include "support/dns_table.h"

static struct dns_table *table;

static int setup(void **state)
{
	table = dns_table_new();
	return 0;
}

static int teardown(void **state)
{
	dns_table_free(table);
	return 0;
}

static struct spf_query query(const char *client, const char *sender)
{
	struct spf_query q = { .helo = "mx.h.example", .sender = sender, .receiver = "gw.example", .timeout_ms = 20000, .explain = true };

	assert_int_equal(net_parse(client, &q.client), 0);
	return q;
}

static struct spf_result check(enum engine engine, const char *client, const char *sender)
{
	struct spf_query q = query(client, sender);
	struct spf_result r;

	dns_table_forget(table);
	assert_int_equal(spf_check(engine, &q, dns_table_dns(table), &r), 0);
	assert_non_null(r.why);
	assert_non_null(r.domain);
	return r;
}

static void expect(enum engine engine, const char *client, const char *sender, enum spf_code code, const char *why)
{
	struct spf_result r = check(engine, client, sender);

	if (r.code != code || !strstr(r.why, why))
		fail_msg("%s: %s (%s), expected %s (%s)", engine == ENGINE_NATIVE ? "native" : "libspf2", spf_code_name(r.code), r.why, spf_code_name(code), why);
	spf_result_release(&r);
}

/* A record of count terms; %d in term is a number from `from` on. */
static void add_list(const char *name, const char *term, int from, int count, const char *end)
{
	AUTO(buf) struct buf b = BUF_INIT(60000);

	buf_adds(&b, "v=spf1");
	for (int i = from; i < from + count; i++) {
		buf_addc(&b, ' ');
		buf_addf(&b, term, i);          /* a literal of this file */
	}
	buf_adds(&b, end);
	dns_table_add(table, name, "TXT", buf_str(&b));
}

/* Ten includes in each of ten records, six deep: a library without one budget asks 111,111 times. */
static void test_include_tree(void **state)
{
	for (int i = 0; i < 6; i++) {
		char name[32], term[32];

		snprintf(name, sizeof(name), "t%d.example", i);
		snprintf(term, sizeof(term), "include:t%d.example", i + 1);
		add_list(name, term, 0, 10, " ?all");
	}
	dns_table_add(table, "t6.example", "TXT", "v=spf1 ?all");
	for (int e = 0; e < 2; e++) {
		struct spf_result r = check((enum engine)e, "192.0.2.1", "a@t0.example");

		assert_int_equal(r.code, SPF_PERMERROR);
		if (r.terms != 10)
			fail_msg("%d: %s", e, r.why);
		assert_true(dns_table_asked(table) <= 42);      /* the library's own and those that were started for it */
		assert_true(e == 1 || dns_table_asked(table) <= 21);
		spf_result_release(&r);
	}
}

/* Fifteen levels deep, each in the next: permerror at the eleventh. */
static void test_include_chain(void **state)
{
	for (int i = 0; i < 15; i++) {
		char name[32], text[64];

		snprintf(name, sizeof(name), "c%d.example", i);
		snprintf(text, sizeof(text), "v=spf1 include:c%d.example -all", i + 1);
		dns_table_add(table, name, "TXT", text);
	}
	dns_table_add(table, "c10.example", "NODATA", "");
	for (int e = 0; e < 2; e++)
		expect((enum engine)e, "192.0.2.1", "a@c0.example", SPF_PERMERROR, "c0.example");
}

static void test_voids(void **state)
{
	static const struct { const char *record; enum spf_code code; int voids; } rows[] = {
		{ "v=spf1 a:n1.example a:n2.example ?all", SPF_NEUTRAL, 2 },
		{ "v=spf1 a:n1.example a:n2.example a:n3.example ?all", SPF_PERMERROR, 3 },
		{ "v=spf1 a:n1.example a:n1.example a:n1.example ?all", SPF_PERMERROR, 3 },
		{ "v=spf1 exists:n1.example mx:n2.example ptr ?all", SPF_PERMERROR, 3 },
		{ "v=spf1 a:x..y.example a:x..z.example a:x..w.example ?all", SPF_NEUTRAL, 0 },
		{ "v=spf1 mx:mx.example ?all", SPF_NEUTRAL, 0 },
		{ "v=spf1 exp=n1.example a:n1.example a:n2.example -all", SPF_FAIL, 2 },
	};

	dns_table_zone(table, "mx.example MX 1 n1.example\nmx.example MX 2 n2.example\nmx.example MX 3 n3.example\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		dns_table_remove(table, "v.example");
		dns_table_add(table, "v.example", "TXT", rows[i].record);
		for (int e = 0; e < 2; e++) {
			struct spf_result r = check((enum engine)e, "192.0.2.1", "a@v.example");

			if (r.code != rows[i].code || r.voids != rows[i].voids)
				fail_msg("%d %s: %s, %d voids", e, rows[i].record, r.why, r.voids);
			spf_result_release(&r);
		}
	}
}

/* ---- early lookups ---- */

static void assert_asked(const char *names)
{
	AUTO(buf) struct buf b = BUF_INIT(4096);

	for (size_t i = 0; i < dns_table_asked(table); i++)
		buf_addf(&b, "%s%s/%d", i ? " " : "", dns_table_question(table, i)->name, (int)dns_table_question(table, i)->type);
	assert_string_equal(buf_str(&b), names);
	dns_table_forget(table);
}

/* Each generation of names is asked for at once: three rounds for a tree of three levels. */
static void test_side_by_side(void **state)
{
	struct spf_query q = query("192.0.2.99", "a@s.example");
	AUTO(spf_result) struct spf_result r = { 0 };
	struct spf_check *c;

	dns_table_zone(table, "s.example TXT v=spf1 a:h.example include:i1.example mx include:i2.example exists:%{p}.x.example -all\n"
			      "i1.example TXT v=spf1 include:j1.example a:k1.example ~all\n"
			      "i2.example TXT v=spf1 ip4:192.0.2.0/24 a:never.example -all\n"
			      "j1.example TXT v=spf1 ip4:203.0.113.0/24 -all\n"
			      "s.example MX 10 m1.example\ns.example MX 20 m2.example\nm1.example A 203.0.113.7\nm2.example A 203.0.113.8\n"
			      "h.example A 203.0.113.1\nk1.example A 203.0.113.2\n");
	dns_table_hold(table, true);
	assert_int_equal(spf_check_begin(ENGINE_NATIVE, &q, dns_table_dns(table), &c), 0);
	assert_asked("s.example/16");
	dns_table_answer(table, NULL, 0);
	assert_asked("h.example/1 i1.example/16 s.example/15 i2.example/16");   /* %{p} waits for its turn */
	dns_table_answer(table, NULL, 0);
	assert_asked("j1.example/16 k1.example/1 m1.example/1 m2.example/1");   /* never.example stands behind a match */
	dns_table_answer(table, NULL, 0);
	assert_int_equal(dns_table_waiting(table), 0);
	assert_int_equal(spf_check_finish(c, &r), 0);                           /* nothing is left to wait for */
	assert_int_equal(dns_table_asked(table), 0);
	assert_int_equal(r.code, SPF_PASS);
	assert_string_equal(r.why, "s.example: include:i2.example: ip4:192.0.2.0/24 matched");
	assert_int_equal(r.terms, 6);
	spf_check_free(c);
}

static void test_early_lookups_are_bounded(void **state)
{
	struct spf_query q = query("192.0.2.99", "a@many.example");
	struct spf_check *c;

	add_list("many.example", "a:a%d.example", 0, 200, " -all");
	assert_int_equal(spf_check_begin(ENGINE_NATIVE, &q, dns_table_dns(table), &c), 0);
	assert_int_equal(dns_table_asked(table), 1 + 10);
	spf_check_free(c);
	/* ten terms of ten hosts each: only ten hosts are looked up before anybody asks */
	dns_table_remove(table, "many.example");
	add_list("many.example", "mx:m%d.example", 0, 200, " -all");
	for (int i = 0; i < 200; i++) {
		char name[32], mx[40];

		snprintf(name, sizeof(name), "m%d.example", i);
		for (int k = 0; k < 10; k++) {
			snprintf(mx, sizeof(mx), "%d h%d.example", k, k);
			dns_table_add(table, name, "MX", mx);
		}
	}
	dns_table_forget(table);
	assert_int_equal(spf_check_begin(ENGINE_NATIVE, &q, dns_table_dns(table), &c), 0);
	assert_int_equal(dns_table_asked(table), 1 + 10 + 10);
	spf_check_free(c);
	expect(ENGINE_NATIVE, "192.0.2.99", "a@many.example", SPF_PERMERROR, "11th");
	assert_true(dns_table_asked(table) <= 1 + 10 + 100);
}

static void test_nothing_behind_a_match(void **state)
{
	dns_table_add(table, "m.example", "TXT", "v=spf1 ip4:192.0.2.99 include:i.example redirect=r.example");
	expect(ENGINE_NATIVE, "192.0.2.99", "a@m.example", SPF_PASS, "ip4:192.0.2.99 matched");
	assert_asked("m.example/16");
	dns_table_remove(table, "m.example");
	dns_table_add(table, "m.example", "TXT", "v=spf1 redirect=r.example ~all include:i.example");
	expect(ENGINE_NATIVE, "192.0.2.99", "a@m.example", SPF_SOFTFAIL, "~all matched");
	assert_asked("m.example/16");
}

static void test_dropped_early(void **state)
{
	struct spf_query q = query("192.0.2.99", "a@s.example");
	struct spf_check *c;

	dns_table_add(table, "s.example", "TXT", "v=spf1 a:h.example mx ptr include:i1.example -all");
	dns_table_add(table, "s.example", "MX", "10 h.example");
	dns_table_hold(table, true);
	for (int rounds = 0; rounds < 4; rounds++) {
		assert_int_equal(spf_check_begin(ENGINE_NATIVE, &q, dns_table_dns(table), &c), 0);
		for (int i = 0; i < rounds; i++)
			dns_table_answer(table, NULL, 0);
		spf_check_free(c);
		assert_int_equal(dns_table_waiting(table), 0);
	}
}

/* ---- in a task ---- */

struct job {
	struct spf_query q;
	enum engine engine;
	struct spf_result r;
	int rc, ms;
	bool done;
	struct task *task;
};

static void job_run(void *arg)
{
	struct job *j = arg;
	int64_t start = clock_ms();

	j->rc = spf_check(j->engine, &j->q, dns_table_dns(table), &j->r);
	j->ms = (int)(clock_ms() - start);
	j->done = true;
	loop_stop();
}

static void job_cancel(void *arg)
{
	struct job *j = arg;

	if (dns_table_waiting(table) > 0)
		task_cancel(j->task);
	else
		loop_defer(job_cancel, j);
}

static void in_task(struct job *j, bool cancel)
{
	assert_int_equal(loop_init(), 0);
	assert_int_equal(task_spawn("spf", job_run, j, &j->task), 0);
	if (cancel)
		loop_defer(job_cancel, j);
	loop_run();
	assert_true(j->done);
	assert_int_equal(j->rc, 0);
	assert_int_equal(task_count(), 0);
	loop_release();
}

/* Two includes deep and an mx: three lookups that depend on each other, not their sum. */
static void test_latency(void **state)
{
	struct job j = { .q = query("192.0.2.99", "a@s.example") };

	dns_table_zone(table, "s.example TXT v=spf1 include:i1.example include:i2.example mx -all\ni1.example TXT v=spf1 a:h1.example a:h2.example mx ~all\n"
			      "i2.example TXT v=spf1 include:i3.example a:h3.example ~all\ni3.example TXT v=spf1 ip4:192.0.2.0/24 ~all\n"
			      "h1.example A 203.0.113.1\nh2.example A 203.0.113.2\nh3.example A 203.0.113.3\n"
			      "s.example MX 1 h1.example\ni1.example MX 1 h2.example\n");
	dns_table_later(table, 100);
	for (int tries = 0; tries < 20; tries++) {
		in_task(&j, false);
		assert_int_equal(j.r.code, SPF_PASS);
		assert_true(j.ms >= 290);
		spf_result_release(&j.r);
		if (j.ms < 700)                 /* eight in sequence: 800. A machine that is busy makes it longer, never shorter */
			return;
	}
	fail_msg("%d ms, twenty times as much or more", j.ms);
}

/* Everything times out, and slow includes follow each other: the whole check keeps its time, with either engine. */
static void test_time_budget(void **state)
{
	for (int i = 0; i < 12; i++) {
		char name[32], text[128];

		snprintf(name, sizeof(name), "d%d.example", i);
		snprintf(text, sizeof(text), "v=spf1 include:d%d.example -all", i + 1);
		dns_table_add(table, name, "TXT", text);
	}
	dns_table_add(table, "t.example", "TXT", "v=spf1 a:down.example -all");
	dns_table_add(table, "down.example", "TIMEOUT", "");
	for (int e = 0; e < 2; e++) {
		static const char *const senders[] = { "a@d0.example", "a@t.example", "a@down.example" };

		for (int i = 0; i < 3; i++) {
			struct job j = { .q = query("192.0.2.99", senders[i]), .engine = (enum engine)e };
			int tries = 0;

			j.q.timeout_ms = 150;
			dns_table_later(table, 40);
			do {
				spf_result_release(&j.r);
				in_task(&j, false);
				if (j.r.code != SPF_TEMPERROR || (j.ms > 600 && tries == 20))
					fail_msg("%d %s: %s after %d ms", e, senders[i], j.r.why, j.ms);
				assert_true(j.ms >= 100);
			} while (j.ms > 600 && tries++ < 20);
			spf_result_release(&j.r);
		}
	}
}

static void test_cancelled(void **state)
{
	dns_table_add(table, "s.example", "TXT", "v=spf1 a:h.example mx ptr include:i1.example exists:%{p}.x.example -all");
	for (int e = 0; e < 2; e++) {
		struct job j = { .q = query("192.0.2.99", "a@s.example"), .engine = (enum engine)e };

		dns_table_hold(table, true);
		in_task(&j, true);
		assert_int_equal(j.r.code, SPF_TEMPERROR);
		assert_int_equal(dns_table_waiting(table), 0);
		spf_result_release(&j.r);
	}
}

/* ---- what DNS servers and clients send ---- */

static void test_broken_rdata(void **state)
{
	static const char zone[] = "b.example TXT v=spf1 a:a.example mx:m.example ptr ip4:192.0.2.1 -all\n";
	static const uint8_t junk[] = { 200, 'v', '=', 's', 'p', 'f', '1' };

	dns_table_zone(table, zone);
	dns_table_add_rdata(table, "b.example", DNS_TXT, junk, sizeof(junk));
	dns_table_add_rdata(table, "b.example", DNS_TXT, junk, 0);
	dns_table_add_rdata(table, "a.example", DNS_A, "\xc0\x00\x02", 3);
	dns_table_add_rdata(table, "a.example", DNS_A, "\xc0\x00\x02\x02\x02", 5);
	dns_table_add_rdata(table, "m.example", DNS_MX, "\x00", 1);
	dns_table_add_rdata(table, "m.example", DNS_MX, "\x00\x01\x3f" "aa", 5);
	dns_table_add_rdata(table, "m.example", DNS_MX, "\x00\x01\xc0\x00", 4);
	dns_table_add_rdata(table, "1.2.0.192.in-addr.arpa", DNS_PTR, "\x05" "a.b\\c", 6);
	dns_table_add_rdata(table, "1.2.0.192.in-addr.arpa", DNS_PTR, "\x03" "a.b\x07" "example\x00", 13);
	for (int e = 0; e < 2; e++)
		expect((enum engine)e, "192.0.2.1", "x@b.example", SPF_PASS, "");
}

static void test_odd_bytes(void **state)
{
	static const struct { const char *name, *txt; enum spf_code code; const char *why; } rows[] = {
		{ "nul", "\"v=spf1 a:x\\000.example -all\"", SPF_PERMERROR, "a control character: \"a:x\\x00.example\"" },
		{ "nul first", "\"v=spf1\\000 -all\"", SPF_NONE, "" },
		{ "line end", "\"v=spf1 -all\\013\\010\"", SPF_PERMERROR, "\"-all\\x0D\\x0A\"" },
		{ "8 bit", "\"v=spf1 \\128all\"", SPF_PERMERROR, "not ASCII: \"\\x80all\"" },
		{ "escape", "\"v=spf1 \\027[31mall\"", SPF_PERMERROR, "\\x1B" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		dns_table_remove(table, "o.example");
		dns_table_add(table, "o.example", "TXT", rows[i].txt);
		expect(ENGINE_NATIVE, "192.0.2.1", "x@o.example", rows[i].code, rows[i].why);
		expect(ENGINE_LIBRARY, "192.0.2.1", "x@o.example", rows[i].code, "");
	}
}

static void test_long_identities(void **state)
{
	static const char *const records[] = {
		"v=spf1 a:%{l}.x.example exists:%{h}.x.example exists:%{s}%{s}%{s}%{s}.x.example include:%{l} -all",
		"v=spf1 exists:%{L}%{L}%{L}.%{lr-.} exists:%{l1r-} -all exp=%{l}.x.example",
	};
	char *sender = malloc(9001), *helo = malloc(9001);

	for (size_t len = 1; len < 9000; len = len * 3 + 1) {
		memset(sender, len % 2 ? 'a' : '.', len);
		strcpy(sender + len, "@l.example");
		memset(helo, '-', len);
		helo[len] = '\0';
		for (size_t i = 0; i < 2; i++) {
			dns_table_remove(table, "l.example");
			dns_table_add(table, "l.example", "TXT", records[i]);
			for (int e = 0; e < 2; e++) {
				struct spf_query q = query("192.0.2.1", sender);
				struct spf_result r;

				q.helo = helo;
				assert_int_equal(spf_check((enum engine)e, &q, dns_table_dns(table), &r), 0);
				assert_true(r.code == SPF_FAIL || r.code == SPF_PERMERROR);
				spf_result_release(&r);
			}
		}
	}
	free(sender);
	free(helo);
}

static void test_cnames(void **state)
{
	dns_table_zone(table, "c.example TXT v=spf1 a:c1.example ?all\nc1.example CNAME c2.example\nc2.example CNAME c3.example\nc3.example A 192.0.2.1\n"
			      "loop.example TXT v=spf1 a:l1.example ?all\nl1.example CNAME l2.example\nl2.example CNAME l1.example\n"
			      "dead.example TXT v=spf1 a:d1.example ?all\nd1.example CNAME nowhere.example\n");
	for (int e = 0; e < 2; e++) {
		expect((enum engine)e, "192.0.2.1", "a@c.example", SPF_PASS, "");
		expect((enum engine)e, "192.0.2.1", "a@loop.example", SPF_TEMPERROR, "");
		expect((enum engine)e, "192.0.2.1", "a@dead.example", SPF_NEUTRAL, "");
	}
}

/* What crashes Debian's libspf2 never gets there. */
static void test_library_is_guarded(void **state)
{
	AUTO(buf) struct buf b = BUF_INIT(60000);
	AUTO(buf) struct buf exp = BUF_INIT(60000);

	for (int i = 0; i < 127; i++)
		buf_adds(&exp, "%{d}");
	buf_adds(&exp, "abcdefghijklmnopqrstuvwxyzabcd");
	dns_table_add(table, "why.example", "TXT", buf_str(&exp));
	dns_table_add(table, "e.example", "TXT", "v=spf1 -all exp=why.example");
	expect(ENGINE_LIBRARY, "192.0.2.1", "a@e.example", SPF_FAIL, "");
	assert_int_equal(dns_table_count(table, "why.example", 0), 0);

	buf_adds(&b, "v=spf1 exists:");
	for (int i = 0; i < 127; i++)
		buf_adds(&b, "%{d}");
	for (int i = 0; i < 4000; i++)
		buf_addc(&b, 'x');
	buf_adds(&b, ".example -all");
	dns_table_add(table, "m.example", "TXT", buf_str(&b));
	expect(ENGINE_LIBRARY, "192.0.2.1", "a@m.example", SPF_PERMERROR, "is too long for libspf2");
	expect(ENGINE_NATIVE, "192.0.2.1", "a@m.example", SPF_FAIL, "-all matched");

	add_list("n.example", "x%d=%%{d}", 0, 1, " exists:%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}"
		 "%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}.example -all");
	expect(ENGINE_LIBRARY, "192.0.2.1", "a@n.example", SPF_PERMERROR, "too many macros");
}

/* More terms than anybody needs. */
static void test_big_record(void **state)
{
	add_list("big.example", "ip4:10.0.%d.0/24", 0, 256, " ip4:192.0.2.1 -all");
	expect(ENGINE_NATIVE, "192.0.2.1", "a@big.example", SPF_PASS, "ip4:192.0.2.1 matched");
	/* The library would hold 64 of them and say nothing. */
	expect(ENGINE_LIBRARY, "192.0.2.1", "a@big.example", SPF_PASS, "");
	expect(ENGINE_LIBRARY, "192.0.2.2", "a@big.example", SPF_FAIL, "");
	dns_table_remove(table, "big.example");
	add_list("big.example", "exists:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d.example", 0, 20, " -all");
	expect(ENGINE_LIBRARY, "192.0.2.1", "a@big.example", SPF_PERMERROR, "is too long for libspf2");
}

/* ---- the filters ---- */

static int filter_index(const struct filter *f)
{
	int i = 0;

	while (filters[i] != f)
		assert_non_null(filters[i++]);
	return i;
}

static const struct fact *fact(struct txn *t, const char *name)
{
	return filters_fact(t, fact_find(name, strlen(name)));
}

static void txn_make(struct txn *t, struct client *c, const char *from, const char *domain)
{
	memset(c, 0, sizeof(*c));
	c->addr = query("192.0.2.1", "").client;
	c->helo = strdup("mx.h.example");
	txn_init(t, NULL, dns_table_dns(table), c);
	t->env.from = strdup(from);
	t->env.from_domain = strdup(domain);
	t->stage = STAGE_MAIL;
}

static void txn_end(struct txn *t)
{
	struct client *c = t->client;

	txn_release(t);
	client_release(c);
	assert_int_equal(dns_table_waiting(table), 0);
}

static void test_filter(void **state)
{
	struct client c;
	struct txn t;

	fact_register_all();
	dns_table_zone(table, "f.example TXT v=spf1 -ip4:192.0.2.1 exp=why.example\nwhy.example TXT no %{i}\nmx.h.example TXT v=spf1 ip4:192.0.2.1 -all\n");
	txn_make(&t, &c, "a@F.Example", "f.example");
	filters_start(&t, STAGE_MAIL, 1u << filter_index(&filter_spf));
	assert_int_equal(dns_table_count(table, "F.Example", DNS_TXT), 1);
	assert_int_equal(dns_table_count(table, "mx.h.example", DNS_TXT), 0);  /* no rule has asked about HELO */
	assert_string_equal(fact(&t, "spf")->text[0], "fail");
	assert_non_null(strstr(fact(&t, "spf")->why, "-ip4:192.0.2.1 matched"));
	assert_string_equal(fact(&t, "spf.domain")->text[0], "f.example");
	assert_string_equal(fact(&t, "spf.mechanism")->text[0], "-ip4:192.0.2.1");
	assert_string_equal(fact(&t, "spf.explanation")->text[0], "no 192.0.2.1");
	assert_int_equal(dns_table_count(table, "mx.h.example", DNS_TXT), 0);
	assert_string_equal(fact(&t, "spf.helo")->text[0], "pass");
	txn_end(&t);
}

static void test_filter_null_sender(void **state)
{
	struct client c;
	struct txn t;

	fact_register_all();
	dns_table_zone(table, "mx.h.example TXT v=spf1 ip4:192.0.2.1 -all\n");
	txn_make(&t, &c, "", "");
	assert_string_equal(fact(&t, "spf")->text[0], "pass");
	assert_string_equal(fact(&t, "spf.domain")->text[0], "mx.h.example");
	assert_null(fact(&t, "spf.explanation"));
	txn_end(&t);
}

static void test_filter_temperror(void **state)
{
	struct client c;
	struct txn t;

	fact_register_all();
	dns_table_add(table, "f.example", "SERVFAIL", "");
	txn_make(&t, &c, "a@f.example", "f.example");
	assert_int_equal(fact(&t, "spf")->state, FACT_TEMPERROR);
	assert_non_null(strstr(fact(&t, "spf")->why, "SERVFAIL"));
	txn_end(&t);
}

/* RSET or a lost client between start and the answer. */
static void test_filter_released_early(void **state)
{
	struct client c;
	struct txn t;

	fact_register_all();
	dns_table_hold(table, true);
	txn_make(&t, &c, "a@f.example", "f.example");
	filters_start(&t, STAGE_MAIL, 1u << filter_index(&filter_spf) | 1u << filter_index(&filter_spf_helo));
	assert_int_equal(dns_table_waiting(table), 2);
	txn_end(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_include_tree), TEST(test_include_chain), TEST(test_voids), TEST(test_side_by_side),
		TEST(test_early_lookups_are_bounded), TEST(test_nothing_behind_a_match), TEST(test_dropped_early), TEST(test_latency),
		TEST(test_time_budget), TEST(test_cancelled), TEST(test_broken_rdata), TEST(test_odd_bytes), TEST(test_long_identities),
		TEST(test_cnames), TEST(test_library_is_guarded), TEST(test_big_record), TEST(test_filter), TEST(test_filter_null_sender),
		TEST(test_filter_temperror), TEST(test_filter_released_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
