/* dnsbl: which answers count, with what weight; and the zones' tests, by which they are benched and come back */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "filters/dnsbl_health.h"
#include "support/filter_bench.h"

static struct dnsbl_health shared;

static struct dnsbl_conf zone_conf(const char *zone, int weight)
{
	return (struct dnsbl_conf){ .zone = (char *)(uintptr_t)zone, .weight = weight, .ipv4 = true, .ipv6 = true, .timeout_ms = 1000, .test = true };
}

static void code_add(struct dnsbl_conf *z, const char *prefix, int weight)
{
	assert_int_equal(net_parse_prefix(prefix, &z->code[z->code_count].codes), 0);
	z->code[z->code_count++].weight = weight;
}

static void check(struct filter_bench *b, const char *name, const char *score, const char *zones, const char *codes)
{
	if (strcmp(filter_bench_word(b, "dnsbl.score"), score) != 0)
		fail_msg("%s: score %s", name, filter_bench_word(b, "dnsbl.score"));
	if (strcmp(filter_bench_word(b, "dnsbl.zones"), zones) != 0)
		fail_msg("%s: zones %s", name, filter_bench_word(b, "dnsbl.zones"));
	if (strcmp(filter_bench_word(b, "dnsbl.codes"), codes) != 0)
		fail_msg("%s: codes %s", name, filter_bench_word(b, "dnsbl.codes"));
}

static void answers(void **state)
{
	static const struct { const char *name, *records, *score, *zones, *codes; bool suspect; } rows[] = {
		{ "not listed",        "", "0", "", "", false },
		{ "listed",            "A 127.0.0.2", "4", "bl.example", "bl.example=127.0.0.2", false },
		{ "any code",          "A 127.9.8.7", "4", "bl.example", "bl.example=127.9.8.7", false },
		{ "two codes",         "A 127.0.0.2\nA 127.0.0.4", "4", "bl.example", "bl.example=127.0.0.2,bl.example=127.0.0.4", false },
		{ "127.0.0.1",         "A 127.0.0.1", "0", "", "", false },
		{ "127.0.0.1 and 2",   "A 127.0.0.1\nA 127.0.0.2", "4", "bl.example", "bl.example=127.0.0.2", false },
		{ "error",             "A 127.255.255.254", "0", "", "", true },
		{ "error and a code",  "A 127.0.0.2\nA 127.255.255.252", "0", "", "", true },
		{ "near the errors",   "A 127.255.254.255", "4", "bl.example", "bl.example=127.255.254.255", false },
		{ "parked",            "A 203.0.113.80", "0", "", "", true },
		{ "parked and a code", "A 203.0.113.80\nA 127.0.0.2", "0", "", "", true },
		{ "126.x",             "A 126.0.0.2", "0", "", "", true },
		{ "CNAME to a code",   "CNAME l.example", "4", "bl.example", "bl.example=127.0.0.3", false },
		{ "TXT only",          "TXT blocked", "0", "", "", false },
		{ "timeout",           "TIMEOUT", "0", "", "", false },
		{ "SERVFAIL",          "SERVFAIL", "0", "", "", false },
		{ "three bytes",       "TYPE1 7f0000", "0", "", "", true },
		{ "five bytes",        "TYPE1 7f00000200", "0", "", "", true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct dnsbl_conf z = zone_conf("bl.example", 4);
		char lines[512] = "";
		struct filter_bench b;
		const char *p = rows[i].records;

		memset(&shared, 0, sizeof(shared));
		dnsbl_health_use(&shared);
		atomic_store(&shared.zone[0].state, DNSBL_WELL);
		filter_bench_open(&b, "192.0.2.7");
		b.site.dnsbl = &z;
		b.site.dnsbl_count = 1;
		dns_table_add(b.dns, "l.example", "A", "127.0.0.3");
		while (*p) {
			size_t n = strcspn(p, "\n");

			snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "7.2.0.192.bl.example %.*s\n", (int)n, p);
			p += n + (p[n] == '\n');
		}
		dns_table_zone(b.dns, lines);
		filter_bench_start(&b, "dnsbl");
		check(&b, rows[i].name, rows[i].score, rows[i].zones, rows[i].codes);
		assert_int_equal(atomic_load(&shared.zone[0].suspect), rows[i].suspect);
		assert_int_equal(dns_table_question(b.dns, 0)->timeout_ms, 1000);
		filter_bench_close(&b);
	}
	dnsbl_health_use(NULL);
}

static void weights(void **state)
{
	struct dnsbl_conf z[4] = { zone_conf("bl.example", 3), zone_conf("codes.example", 1), zone_conf("white.example", -2), zone_conf("six.example", 5) };
	struct filter_bench b;

	code_add(&z[1], "127.0.0.2", 2);
	code_add(&z[1], "127.0.0.4/30", 6);
	code_add(&z[1], "127.0.0.8", -7);
	code_add(&z[2], "127.0.0.0/16", -2);
	code_add(&z[2], "127.0.4.0/24", -5);
	z[3].ipv4 = false;
	filter_bench_open(&b, "192.0.2.7");
	b.site.dnsbl = z;
	b.site.dnsbl_count = 4;
	dns_table_zone(b.dns, "7.2.0.192.bl.example A 127.0.0.2\n7.2.0.192.codes.example A 127.0.0.2\n7.2.0.192.codes.example A 127.0.0.5\n"
		"7.2.0.192.codes.example A 127.0.0.9\n7.2.0.192.white.example A 127.0.4.1\n7.2.0.192.six.example A 127.0.0.2\n"
		"8.2.0.192.codes.example A 127.0.0.2\n8.2.0.192.codes.example A 127.0.0.8\n9.2.0.192.codes.example A 127.0.0.9\n"
		"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.six.example A 127.0.0.2\n");
	/* the code of most weight, per zone; the first prefix that fits; 127.0.0.9 is not accepted */
	check(&b, "sum", "7", "bl.example,codes.example,white.example",
	      "bl.example=127.0.0.2,codes.example=127.0.0.2,codes.example=127.0.0.5,white.example=127.0.4.1");
	assert_string_equal(filter_bench_why(&b, "dnsbl.score"),
			    "bl.example: 127.0.0.2 counts +3, codes.example: 127.0.0.5 counts +6, white.example: 127.0.4.1 counts -2");
	assert_int_equal(dns_table_asked(b.dns), 3);
	filter_bench_again(&b, "192.0.2.8");
	check(&b, "negative code", "-7", "codes.example", "codes.example=127.0.0.2,codes.example=127.0.0.8");
	filter_bench_again(&b, "192.0.2.9");
	check(&b, "code not accepted", "0", "", "");
	/* IPv6, on the full address */
	dns_table_forget(b.dns);
	filter_bench_again(&b, "2001:db8::7");
	check(&b, "IPv6", "5", "six.example", "six.example=127.0.0.2");
	assert_int_equal(dns_table_asked(b.dns), 4);
	filter_bench_close(&b);
}

static void odd_zones(void **state)
{
	static char longest[260];
	struct dnsbl_conf z[3] = { zone_conf(longest, 3), zone_conf("not..a.name", 3), zone_conf("bl.example", 3) };
	struct filter_bench b;
	AUTO(buf) struct buf err = BUF_INIT(200);

	memset(longest, 'a', 250);
	longest[50] = longest[100] = longest[150] = longest[200] = '.';
	filter_bench_open(&b, "192.0.2.7");
	check(&b, "no zones", "0", "", "");
	filter_bench_again(&b, "192.0.2.7");
	b.site.dnsbl = z;
	b.site.dnsbl_count = 3;
	dns_table_add(b.dns, "7.2.0.192.bl.example", "A", "127.0.0.2");
	check(&b, "names that cannot be asked", "3", "bl.example", "bl.example=127.0.0.2");
	b.site.dnsbl_count = DNSBL_ZONES_MAX + 1;
	assert_true(filters_setup(&b.site, &err) < 0);
	b.site.dnsbl_count = 3;
	/* the client goes while all are asked */
	dns_table_hold(b.dns, true);
	filter_bench_again(&b, "192.0.2.7");
	filter_bench_start(&b, "dnsbl");
	assert_int_equal(dns_table_waiting(b.dns), 1);
	filter_bench_again(&b, "192.0.2.7");
	assert_int_equal(dns_table_waiting(b.dns), 0);
	filter_bench_close(&b);
}

/* ---- health ---- */

static void health(void **state)
{
	static const struct { const char *name, *records; enum dnsbl_state want; } rows[] = {
		{ "well",                   "2.0.0.127.z A 127.0.0.2\n", DNSBL_WELL },
		{ "well, another code",     "2.0.0.127.z A 127.0.0.10\n2.0.0.127.z A 127.0.0.4\n", DNSBL_WELL },
		{ "lists nothing",          "z NODATA\n", DNSBL_LISTS_NONE },
		{ "lists with 127.0.0.1",   "2.0.0.127.z A 127.0.0.1\n", DNSBL_LISTS_NONE },
		{ "lists everything",       "*.z A 127.0.0.2\n", DNSBL_LISTS_ALL },
		{ "lists 127.0.0.1",        "2.0.0.127.z A 127.0.0.2\n1.0.0.127.z A 127.0.0.2\n", DNSBL_LISTS_ALL },
		{ "lists it with 127.0.0.1", "2.0.0.127.z A 127.0.0.2\n1.0.0.127.z A 127.0.0.1\n", DNSBL_WELL },
		{ "error",                  "2.0.0.127.z A 127.255.255.254\n", DNSBL_ERRORS },
		{ "error for the other",    "2.0.0.127.z A 127.0.0.2\n1.0.0.127.z A 127.255.255.255\n", DNSBL_ERRORS },
		{ "error for all",          "*.z A 127.255.255.252\n", DNSBL_ERRORS },
		{ "parked",                 "*.z A 203.0.113.80\n", DNSBL_STRANGE },
		{ "parked among codes",     "2.0.0.127.z A 127.0.0.2\n2.0.0.127.z A 203.0.113.80\n", DNSBL_STRANGE },
		{ "away",                   "*.z TIMEOUT\n", DNSBL_AWAY },
		{ "half away",              "2.0.0.127.z A 127.0.0.2\n1.0.0.127.z SERVFAIL\n", DNSBL_AWAY },
		{ "away, and lists all",    "2.0.0.127.z TIMEOUT\n1.0.0.127.z A 127.0.0.2\n", DNSBL_LISTS_ALL },
	};

	log_open("test", LOG_LEVEL_ERROR);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct dnsbl_conf z = zone_conf("z", 4);
		struct filter_bench b;

		memset(&shared, 0, sizeof(shared));
		dnsbl_health_use(&shared);
		filter_bench_open(&b, "192.0.2.7");
		b.site.dnsbl = &z;
		b.site.dnsbl_count = 1;
		dns_table_zone(b.dns, rows[i].records);
		assert_true(dnsbl_health_pending(0));
		assert_true(dnsbl_health_benched(0));
		dnsbl_health_test(&b.site, dns_table_dns(b.dns), NULL);
		if (dnsbl_health_state(0) != rows[i].want)
			fail_msg("%s: %s", rows[i].name, dnsbl_health_text(&z, dnsbl_health_state(0)));
		assert_false(dnsbl_health_pending(0));
		assert_int_equal(dnsbl_health_benched(0), rows[i].want != DNSBL_WELL);
		assert_int_equal(dns_table_asked(b.dns), 2);
		/* what is benched is not asked, and is said */
		dns_table_forget(b.dns);
		dns_table_add(b.dns, "7.2.0.192.z", "A", "127.0.0.2");
		check(&b, rows[i].name, rows[i].want == DNSBL_WELL ? "4" : "0", rows[i].want == DNSBL_WELL ? "z" : "", rows[i].want == DNSBL_WELL ? "z=127.0.0.2" : "");
		assert_string_equal(filter_bench_word(&b, "dnsbl.benched"), rows[i].want == DNSBL_WELL ? "" : "z");
		assert_int_equal(strlen(filter_bench_why(&b, "dnsbl.benched")) > 3, rows[i].want != DNSBL_WELL);
		assert_int_equal(dns_table_asked(b.dns), rows[i].want == DNSBL_WELL);
		filter_bench_close(&b);
	}
	dnsbl_health_use(NULL);
}

static void health_changes(void **state)
{
	struct dnsbl_conf z[3] = { zone_conf("z", 4), zone_conf("six.z", 4), zone_conf("vouched.z", 4) };
	struct filter_bench b;
	struct dns *d;
	static const bool first[DNSBL_ZONES_MAX] = { true };

	log_open("test", LOG_LEVEL_ERROR);
	memset(&shared, 0, sizeof(shared));
	dnsbl_health_use(&shared);
	filter_bench_open(&b, "192.0.2.7");
	d = dns_table_dns(b.dns);
	z[1].ipv4 = false;
	z[2].test = false;
	b.site.dnsbl = z;
	b.site.dnsbl_count = 3;
	dns_table_zone(b.dns, "2.0.0.127.z A 127.0.0.2\n2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.six.z A 127.0.0.2\n");
	dnsbl_health_test(&b.site, d, NULL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(dnsbl_health_state(i), DNSBL_WELL);
	assert_int_equal(dns_table_asked(b.dns), 4);            /* IPv6 points for six.z, none for vouched.z */
	assert_int_equal(dns_table_count(b.dns, "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.six.z", DNS_A), 1);

	/* benched, back, and a timeout does not bench what was well */
	dns_table_add(b.dns, "1.0.0.127.z", "A", "127.255.255.254");
	dnsbl_health_suspect(0);
	dnsbl_health_test(&b.site, d, first);
	assert_int_equal(dnsbl_health_state(0), DNSBL_ERRORS);
	assert_int_equal(atomic_load(&shared.zone[0].suspect), 0);
	dns_table_remove(b.dns, "1.0.0.127.z");
	dnsbl_health_test(&b.site, d, first);
	assert_int_equal(dnsbl_health_state(0), DNSBL_WELL);
	dns_table_add(b.dns, "1.0.0.127.z", "TIMEOUT", "");
	dnsbl_health_test(&b.site, d, first);
	assert_int_equal(dnsbl_health_state(0), DNSBL_WELL);
	dnsbl_health_suspect(DNSBL_ZONES_MAX);
	dnsbl_health_suspect((size_t)-1);
	assert_false(dnsbl_health_benched(DNSBL_ZONES_MAX));

	/* the private one: untested zones count */
	dnsbl_health_use(NULL);
	assert_false(dnsbl_health_benched(0));
	filter_bench_close(&b);
}

/* ---- with a loop: a message that comes while zones are tested for the first time waits for that ---- */

static struct filter_bench bench;
static int64_t took_ms;

static void early_client(void *arg)
{
	int64_t start = clock_ms();

	check(&bench, "waited", arg ? "0" : "4", arg ? "" : "z", arg ? "" : "z=127.0.0.2");
	took_ms = clock_ms() - start;
	loop_stop();
}

static void tester(void *arg)
{
	dnsbl_health_run(&bench.site, dns_table_dns(bench.dns));
}

static void early(bool away)
{
	struct dnsbl_conf z = zone_conf("z", 4);
	struct task *t;

	z.timeout_ms = away ? 300 : 30000;
	memset(&shared, 0, sizeof(shared));
	dnsbl_health_use(&shared);
	assert_int_equal(loop_init(), 0);
	filter_bench_open(&bench, "192.0.2.7");
	bench.site.dnsbl = &z;
	bench.site.dnsbl_count = 1;
	dns_table_zone(bench.dns, "2.0.0.127.z A 127.0.0.2\n7.2.0.192.z A 127.0.0.2\n");
	if (away)
		dns_table_hold(bench.dns, true);
	else
		dns_table_later(bench.dns, 60);
	assert_int_equal(task_spawn("tester", tester, NULL, &t), 0);
	assert_int_equal(task_spawn("client", early_client, away ? &away : NULL, NULL), 0);
	loop_run();
	dns_table_answer(bench.dns, NULL, 0);
	loop_unwind();                          /* ends the tester */
	assert_in_range(took_ms, away ? 300 : 20, 20000);
	filter_bench_close(&bench);             /* questions may have timers of the loop */
	loop_release();
	dnsbl_health_use(NULL);
}

static void early_clients(void **state)
{
	log_open("test", LOG_LEVEL_ERROR);
	early(false);
	early(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers), cmocka_unit_test(weights), cmocka_unit_test(odd_zones), cmocka_unit_test(health),
		cmocka_unit_test(health_changes), cmocka_unit_test(early_clients),
	};

	return cmocka_run_group_tests_name("dnsbl", tests, NULL, NULL);
}
