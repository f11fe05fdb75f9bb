/* What is asked of the quarantine: comparisons with facts, and which messages of an index a filter means. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filters/fact.h"
#include "policy/store_index.h"
#include "policy/store_view.h"

static const char facts[] =
	"{\"spf\":\"fail\",\"dnsbl.score\":7,\"tls\":true,\"sender.null\":false,\"dkim.domains\":[\"a.example\",\"b.example\"],"
	"\"client.rdns\":[],\"dmarc\":{\"temperror\":\"away\"},\"header.subject\":\"Rechnung: \\u00fcber\\u0000fällig\",\"helo\":\"x\\\"spf\\\":\\\"pass\\\"\"}";

static void test_facts(void **unused)
{
	static const struct { const char *text; int want; } rows[] = {  /* -1: refused */
		{ "spf=fail", 1 }, { "spf=FAIL", 1 }, { "spf = fail", 1 }, { "spf=pass", 0 }, { "spf!=pass", 1 }, { "spf!=fail", 0 }, { "spf=", -1 },
		{ "dnsbl.score=7", 1 }, { "dnsbl.score!=7", 0 }, { "dnsbl.score>=7", 1 }, { "dnsbl.score>7", 0 }, { "dnsbl.score<8", 1 },
		{ "dnsbl.score<=6", 0 }, { "dnsbl.score>-1", 1 }, { "dnsbl.score=many", 0 }, { "dnsbl.score!=many", 1 }, { "dnsbl.score~^7$", 1 },
		{ "tls=yes", 1 }, { "tls=true", 1 }, { "tls=no", 0 }, { "tls!=no", 1 }, { "sender.null=no", 1 }, { "tls=7", 0 }, { "tls>0", 0 },
		{ "dkim.domains=b.example", 1 }, { "dkim.domains!=b.example", 0 }, { "dkim.domains!=c.example", 1 }, { "dkim.domains~^a", 1 },
		{ "client.rdns=x", 0 }, { "client.rdns!=x", 1 }, { "client.rdns~.", 0 },
		{ "dmarc=temperror", 1 }, { "dmarc=pass", 0 }, { "dmarc~/^temp/", 1 },
		{ "header.subject~/^Rechnung/", 1 }, { "header.subject~f\xc3\xa4llig$", 1 }, { "header.subject=Rechnung", 0 },
		{ "dkim=pass", 0 }, { "dkim!=pass", 0 }, { "dkim~.", 0 },               /* not in the record */
		{ "spf<5", 0 }, { "helo=pass", 0 }, { "spf=pass\"", -1 },
		{ "spf", -1 }, { "", -1 }, { "=x", -1 }, { "spf==fail", -1 }, { "spf=fial", -1 }, { "dmarc!=passed", -1 }, { "dmarc.aligned=dmarc", -1 }, { "SPF=fail", -1 }, { "no.such.fact=1", -1 }, { "dnsbl.score<x", -1 },
		{ "dnsbl.score>", -1 }, { "helo~(", -1 }, { "helo~/(/", -1 }, { "dnsbl.score>99999999999999999999", -1 }, { "'spf=fail", -1 },
		{ "spf;fail", -1 }, { "spf fail", -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(store_filter) struct store_filter f;
		AUTO(buf) struct buf err = BUF_INIT(4096);
		int rc, got;

		store_filter_init(&f);
		rc = store_filter_fact(&f, rows[i].text, &err);
		got = rc < 0 ? -1 : store_fact_holds(&f.fact[0], facts, strlen(facts));
		if (got != rows[i].want || (rc < 0) != (err.len > 0))
			fail_msg("%s: %d, \"%s\"", rows[i].text, got, buf_str(&err));
	}
}

static void test_too_many(void **unused)
{
	AUTO(store_filter) struct store_filter f;
	AUTO(buf) struct buf err = BUF_INIT(4096);

	store_filter_init(&f);
	for (int i = 0; i < STORE_FILTER_FACTS; i++)
		assert_int_equal(store_filter_fact(&f, "spf=fail", &err), 0);
	assert_int_equal(store_filter_fact(&f, "spf=fail", &err), -EINVAL);
}

static void test_damaged_facts(void **unused)
{
	static const char *const rows[] = { "", "{", "[]", "{\"spf\":", "null", "{\"spf\":\"fail", "\"spf\":", "{\"spf\":null}", "{\"x\":\"\\\"spf\\\":\\\"fail\\\"\"}" };
	AUTO(store_filter) struct store_filter f;
	AUTO(buf) struct buf err = BUF_INIT(4096);

	store_filter_init(&f);
	assert_int_equal(store_filter_fact(&f, "spf=fail", &err), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_false(store_fact_holds(&f.fact[0], rows[i], strlen(rows[i])));
}

/* ---- an index of 1,500 messages, three pages and more ---- */

static char dir[64];
static struct store_view *view;
enum { MESSAGES = 1500 };
static const int64_t first_ms = 1795306775000;

static void index_fill(const char *path)
{
	struct store_index *x = NULL;
	bool fresh;

	assert_int_equal(store_index_open(path, &x, &fresh), 0);
	assert_int_equal(store_index_begin(x), 0);
	for (int n = 0; n < MESSAGES; n++) {
		char id[STORE_ID_MAX], meta[1024];

		store_id_make(first_ms + n * 1000, 0, id);
		snprintf(meta, sizeof(meta),
			 "{\"envelope\":{\"from\":\"u%d@s%d.example\",\"rcpt\":[{\"address\":\"r%d@x.example\"}]},\"client\":{\"ip\":\"192.0.2.%d\"},"
			 "\"message\":{\"id\":\"<%d@x>\",\"subject\":\"Number %d\"},\"verdict\":{\"rule\":{\"name\":\"rule%d\"}},"
			 "\"facts\":{\"dnsbl.score\":%d,\"class\":[\"c%d\"]}}",
			 n, n % 10, n % 7, n % 4, n, n, n % 3, n % 50, n % 2);
		assert_int_equal(store_index_add(x, id, (first_ms + n * 1000) / 1000, 100, meta), 0);
		if (n % 100 == 0)
			assert_int_equal(store_index_set_state(x, id, "released"), 0);
	}
	assert_int_equal(store_index_commit(x), 0);
	store_index_close(x);
}

static int make(void **unused)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	char path[96];

	snprintf(dir, sizeof(dir), "%s/gatepost-filter-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/quarantine.db", dir);
	index_fill(path);
	return store_view_open(dir, &view, &err);
}

static int tear(void **unused)
{
	char command[128];

	store_view_close(view);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

struct seen {
	int count, bad, last;
	bool oldest_first;
	bool (*want)(int n);
};

static int on_entry(void *arg, const struct store_entry *e)
{
	struct seen *s = arg;
	int n = (int)((store_id_ms(e->id) - first_ms) / 1000);

	s->bad += !s->want(n) || (s->count && (s->oldest_first ? n <= s->last : n >= s->last));
	s->last = n;
	s->count++;
	return 0;
}

static bool any(int n) { return true; }
static bool from_3(int n) { return n == 3; }
static bool domain_3(int n) { return n % 10 == 3; }
static bool to_5(int n) { return n % 7 == 5; }
static bool both(int n) { return n % 10 == 3 && n % 7 == 5; }
static bool rule_1(int n) { return n % 3 == 1; }
static bool client_2(int n) { return n % 4 == 2; }
static bool client_net(int n) { return n % 4 >= 2; }
static bool score(int n) { return n % 50 >= 49; }
static bool released(int n) { return n % 100 == 0; }
static bool kept(int n) { return n % 100 != 0; }
static bool time_range(int n) { return n >= 100 && n < 200; }
static bool class_1(int n) { return n % 2 == 1; }
static bool subject(int n) { return n / 10 == 77 || n == 77 || n == 177 || n == 277 || n == 377 || n == 477 || n == 577 || n == 677 || n == 877 ||
				    n == 977 || n == 1077 || n == 1177 || n == 1277 || n == 1377 || n == 1477 || n == 777; }
static bool much(int n) { return rule_1(n) && client_net(n) && domain_3(n) && class_1(n); }
static bool none(int n) { return false; }

static void set(struct store_filter *f, const char *what, const char *value)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	int rc = 0;

	if (strcmp(what, "from") == 0)
		rc = store_filter_from(f, value, &err);
	else if (strcmp(what, "to") == 0)
		rc = store_filter_to(f, value, &err);
	else if (strcmp(what, "client") == 0)
		rc = store_filter_client(f, value, &err);
	else if (strcmp(what, "fact") == 0)
		rc = store_filter_fact(f, value, &err);
	else if (strcmp(what, "rule") == 0)
		f->rule = value;
	else if (strcmp(what, "state") == 0)
		f->state = value;
	else if (strcmp(what, "class") == 0)
		f->class = value;
	else if (strcmp(what, "subject") == 0)
		f->subject = value;
	else if (strcmp(what, "message-id") == 0)
		f->message_id = value;
	else if (strcmp(what, "since") == 0)
		f->since_s = first_ms / 1000 + atoi(value);
	else if (strcmp(what, "until") == 0)
		f->until_s = first_ms / 1000 + atoi(value);
	if (rc < 0)
		fail_msg("%s %s: %s", what, value, buf_str(&err));
}

static void test_lists(void **unused)
{
	static const struct { const char *name, *option[10]; bool (*want)(int n); } rows[] = {
		{ "all", { NULL }, any },
		{ "sender", { "from", "U3@S3.example" }, from_3 },
		{ "domain", { "from", "s3.example" }, domain_3 },
		{ "recipient", { "to", "r5@x.example" }, to_5 },
		{ "both", { "from", "@s3.example", "to", "r5@x.example" }, both },
		{ "rule", { "rule", "rule1" }, rule_1 },
		{ "client", { "client", "192.0.2.2" }, client_2 },
		{ "network", { "client", "192.0.2.2/31" }, client_net },
		{ "fact", { "fact", "dnsbl.score>=49" }, score },
		{ "released", { "state", "released" }, released },
		{ "kept", { "state", "kept" }, kept },
		{ "time", { "since", "100", "until", "200" }, time_range },
		{ "class", { "class", "c1" }, class_1 },
		{ "subject", { "subject", "nUMBER 77" }, NULL },
		{ "subject anywhere", { "subject", "77" }, subject },
		{ "message-id", { "message-id", "<3@x>" }, from_3 },
		{ "much", { "rule", "rule1", "client", "192.0.2.2/31", "from", "s3.example", "class", "c1" }, much },
		{ "nobody", { "from", "nobody@s3.example" }, none },
		{ "half a class", { "class", "c" }, none },
		{ "no pattern", { "class", "%" }, none },
		{ "quotes", { "rule", "' OR 1=1 --" }, none },
		{ "no fact", { "fact", "spf=fail" }, none },
		{ "released by rule", { "state", "released", "rule", "rule1" }, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int oldest = 0; oldest < 2; oldest++) {
			AUTO(store_filter) struct store_filter f;
			struct store_list l = { .filter = &f, .oldest_first = oldest };
			struct seen s = { .oldest_first = oldest, .want = rows[i].want ? rows[i].want : any };
			int64_t told;
			int want = 0;

			store_filter_init(&f);
			for (int k = 0; rows[i].option[k]; k += 2)
				set(&f, rows[i].option[k], rows[i].option[k + 1]);
			for (int n = 0; n < MESSAGES; n++)
				want += s.want(n);
			told = store_view_list(view, &l, on_entry, &s);
			assert_int_equal(told, s.count);
			if (s.bad || (rows[i].want && s.count != want))
				fail_msg("%s: %d of %d, %d wrong", rows[i].name, s.count, want, s.bad);
			if (!rows[i].want && (s.count == 0 || s.count == MESSAGES))
				fail_msg("%s: %d", rows[i].name, s.count);
			/* bounded */
			s = (struct seen){ .oldest_first = oldest, .want = any };
			l.limit = 7;
			assert_true(store_view_list(view, &l, on_entry, &s) <= 7);
		}
	}
}

static void test_find(void **unused)
{
	char id[STORE_ID_MAX], want[STORE_ID_MAX], part[STORE_ID_MAX];

	store_id_make(first_ms + 5000, 0, want);
	assert_int_equal(store_view_find(view, want, id), 0);
	assert_string_equal(id, want);
	snprintf(part, sizeof(part), "%.9s", want);
	assert_int_equal(store_view_find(view, part, id), 0);
	assert_string_equal(id, want);
	snprintf(part, sizeof(part), "%.4s", want);
	assert_int_equal(store_view_find(view, part, id), -ENOTUNIQ);
	assert_int_equal(store_view_find(view, "zzz", id), -ENOENT);
	assert_int_equal(store_view_find(view, "", id), -EINVAL);
	assert_int_equal(store_view_find(view, "../x", id), -EINVAL);
	assert_int_equal(store_view_find(view, "%", id), -EINVAL);
	assert_int_equal(store_view_find(view, "0123456789012", id), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_damaged_facts),
		cmocka_unit_test_setup_teardown(test_lists, make, tear),
		cmocka_unit_test_setup_teardown(test_find, make, tear),
	};

	fact_register_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
