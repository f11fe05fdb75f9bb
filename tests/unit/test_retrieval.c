/*
 * Messages that are fetched, judged by small policies: what passes, what becomes a notice, what the quarantine and the state are told. The state is SQLite in
 * memory with a clock of ours, the DNS a table, the store a counter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/syscalls.h"
#include "filters/fact.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/policy_files.h"
#include "policy/released.h"
#include "policy/state_sqlite.h"
#include "policy/store_id.h"
#include "retrieval/retrieval_impl.h"
#include "support/dns_table.h"

enum { DAY = 86400 };

static struct site site;
static char *domain_list[] = { (char *)"corp.example", (char *)"second.example" };
static struct state_local local;
static struct state counted;            /* before local: counts, and can be away */
static int state_asked, state_rc;
static int64_t now = 1000000;
static struct dns_table *dns;
static struct { int kept, rc; int64_t made_ms; json_t *meta; off_t size; } stored;
static struct retrieval *r;

static int64_t fake_now(void)
{
	return now;
}

static int counted_run(struct state *s, struct state_op *ops, size_t count)
{
	state_asked++;
	return state_rc < 0 ? state_rc : state_run(&local.state, ops, count);
}

static int store_test_open(struct store *s)
{
	return memfd_create("store", MFD_CLOEXEC);
}

static int store_test_keep(struct store *s, int fd, const char *meta_json, char id[STORE_ID_MAX])
{
	if (stored.rc < 0)
		return stored.rc;
	json_decref(stored.meta);
	stored.meta = json_loads(meta_json, 0, NULL);
	assert_non_null(stored.meta);
	snprintf(id, STORE_ID_MAX, "q%d", ++stored.kept);
	if (stored.made_ms)
		store_id_make(stored.made_ms, (unsigned)stored.kept, id);
	return 0;
}

static struct store store = { store_test_open, store_test_keep };

static void use_policy(const char *text)
{
	AUTO(buf) struct buf errors = BUF_INIT(4096);

	retrieval_free(r);
	r = NULL;
	policy_free(site.policy);
	site.policy = policy_parse("p", text, strlen(text), NULL, &errors, NULL);
	if (!site.policy)
		fail_msg("%s", buf_str(&errors));
	policy_set_local(site.policy, site.domains, site.domain_count);
	r = retrieval_new(&(struct retrieval_conf){ .site = &site, .dns = dns_table_dns(dns), .state = &counted, .store = &store });
	assert_non_null(r);
}

/* All as at first, with this policy. */
static void begin(const char *policy)
{
	struct state_sqlite *db;

	if (local.db)
		state_sqlite_close(local.db);
	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	state_local_init(&local, db, fake_now);
	counted.run = counted_run;
	state_asked = state_rc = 0;
	stored.kept = stored.rc = 0;
	stored.made_ms = 0;
	site.quarantine = (struct store_retention){ .keep_s = 0 };
	site.mode = MODE_ENFORCE;
	site.domains = domain_list;
	site.domain_count = 1;
	site.dkim_max_signatures = 10;
	site.limits.message_bytes = 1 << 20;
	site.limits.message = (struct message_limits){ .memory_bytes = 64 * 1024, .header_bytes = 4096, .header_fields = 50 };
	dns_table_clear(dns);
	use_policy(policy);
}

static const struct retrieval_key key_of_joe = { "mail", "joe", "INBOX", "17", "4", NULL };

static struct retrieval_key key_with(const char *uid)
{
	struct retrieval_key k = key_of_joe;

	k.uid = uid;
	return k;
}

static int scan_rc(const struct retrieval_key *key, const char *message, size_t len, size_t step, struct retrieval_verdict *v)
{
	struct net_addr addr;
	struct retrieval_client client = { .addr = &addr, .protocol = "imap", .sid = "5f3c", .listener = "imaps" };
	AUTO(retrieval_scan) struct retrieval_scan *s = NULL;

	assert_int_equal(net_parse("192.0.2.9", &addr), 0);
	s = retrieval_scan_new(r, &client, key);
	assert_non_null(s);
	for (size_t at = 0; at < len; at += step)
		retrieval_scan_add(s, message + at, len - at < step ? len - at : step);
	return retrieval_scan_end(s, v);
}

static struct retrieval_verdict scan(const struct retrieval_key *key, const char *message)
{
	struct retrieval_verdict v;

	assert_int_equal(scan_rc(key, message, strlen(message), 7, &v), 0);
	return v;
}

static struct retrieval_verdict known(const struct retrieval_key *key)
{
	struct retrieval_verdict v;

	retrieval_known(r, key, 1, &v);
	return v;
}

/* Another worker: it remembers nothing of its own. */
static void forget(void)
{
	struct retrieval_conf conf = { .site = &site, .dns = dns_table_dns(dns), .state = &counted, .store = &store };

	retrieval_free(r);
	r = retrieval_new(&conf);
}

#define BAD "Return-Path: <Eve@Evil.Example>\r\nFrom: eve@evil.example\r\nSubject: =?utf-8?q?cheap_=3Cpills=3E?=\r\nMessage-ID: <1@evil.example>\r\n\r\nbuy\r\n"
#define GOOD "From: bob@good.example\r\nSubject: lunch\r\n\r\nat noon?\r\n"
#define PROGRAM "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhi\r\n--x\r\n" \
	"Content-Type: application/octet-stream; name=\"a.exe\"\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQ\r\n--x--\r\n"

/* --- verdicts --- */

static const struct {
	const char *policy, *message;
	enum retrieval_answer want;
} verdicts[] = {
	{ "accept", BAD, RETRIEVAL_PASS },
	{ "quarantine if direction = retrieval", BAD, RETRIEVAL_NOTICE },
	{ "quarantine if direction = inbound", BAD, RETRIEVAL_PASS },
	{ "accept if direction in (outbound, internal)\nquarantine if header.subject ~ /pills/", BAD, RETRIEVAL_NOTICE },
	{ "quarantine if header.subject ~ /pills/", GOOD, RETRIEVAL_PASS },
	{ "reject \"550 5.7.1 no\" if header.subject ~ /pills/", BAD, RETRIEVAL_NOTICE },
	{ "discard if header.subject ~ /pills/", BAD, RETRIEVAL_NOTICE },
	{ "redirect to \"abuse@corp.example\" if header.subject ~ /pills/", BAD, RETRIEVAL_NOTICE },
	{ "tag \"[X] \" if header.subject ~ /pills/\ncopy to \"abuse@corp.example\"", BAD, RETRIEVAL_PASS },
	{ "defer \"450 4.7.1 later\" if header.subject ~ /pills/", BAD, RETRIEVAL_PASS },
	{ "greylist\nquarantine if text ~ /buy/", BAD, RETRIEVAL_NOTICE },
	{ "score +5 if text ~ /buy/\nquarantine if score >= 5", BAD, RETRIEVAL_NOTICE },
	{ "observe quarantine if text ~ /buy/", BAD, RETRIEVAL_PASS },
	{ "quarantine if attachment.extension = exe", PROGRAM, RETRIEVAL_NOTICE },
	{ "quarantine if attachment.extension = exe", GOOD, RETRIEVAL_PASS },
	/* who fetches, and for whom */
	{ "accept if client.relay\naccept if auth.user ~ /./\nquarantine if client.ip = 192.0.2.9 and listener = \"imaps\"", BAD, RETRIEVAL_NOTICE },
	{ "quarantine if rcpt = joe@corp.example and rcpt.domain = corp.example", BAD, RETRIEVAL_NOTICE },
	{ "quarantine if sender = Eve@evil.example and sender.domain = evil.example", BAD, RETRIEVAL_NOTICE },
	{ "quarantine if sender.null", GOOD, RETRIEVAL_PASS },                  /* no Return-Path: nobody knows */
	{ "quarantine if sender.null", "Return-Path: <>\r\n" GOOD, RETRIEVAL_NOTICE },
	{ "quarantine if sender.domain = evil.example", "Return-Path: <a b@evil.example>\r\n" GOOD, RETRIEVAL_PASS },
	{ "quarantine if sender.domain = evil.example", "Return-Path: <a@evil.example\r\n" GOOD, RETRIEVAL_PASS },
	/* checks for strangers */
	{ "quarantine if spf = fail or dnsbl.score > 0 or client.fcrdns != pass or helo.syntax = bad or dmarc = fail or rate.over ~ /./", BAD, RETRIEVAL_PASS },
	{ "quarantine if client.early_talker", BAD, RETRIEVAL_PASS },
	/* what is broken */
	{ "quarantine if from.count != 1", "\r\nno header\r\n", RETRIEVAL_NOTICE },
	{ "quarantine if text ~ /never/", "", RETRIEVAL_PASS },
	{ "quarantine if mime.broken", "Content-Type: multipart/mixed; boundary=x\r\n\r\nno part\r\n", RETRIEVAL_NOTICE },
	{ "accept", "A: b\r\nC: d\r\n", RETRIEVAL_PASS },
	/* a header that is broken: mail programs pass over the line, or end with it */
	{ "quarantine if attachment.extension = exe", "this is no field\r\n" PROGRAM, RETRIEVAL_NOTICE },
	{ "quarantine if attachment.extension = exe", "Subject: x\r\n\x80: y\r\n" PROGRAM, RETRIEVAL_NOTICE },
	{ "quarantine if attachment.extension = exe", "Subject: x\rMIME-Version: 1.0\rContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
	  "Content-Type: application/octet-stream; name=\"a.exe\"\r\n\r\nMZ\r\n--x--\r\n", RETRIEVAL_NOTICE },
	{ "quarantine if attachment.extension = exe", "Content-Type: multipart/mixed; boundary=x\r\nno field\r\n--x\r\n"
	  "Content-Type: application/octet-stream; name=\"a.exe\"\r\n\r\nMZ\r\n--x--\r\n", RETRIEVAL_NOTICE },
	{ "quarantine if attachment.extension = exe", "no field\r\n a: \r\n" GOOD, RETRIEVAL_PASS },
	{ "quarantine if attachment.extension = exe", "no field at all", RETRIEVAL_PASS },
	{ "quarantine if attachment.extension = exe", "Subject: x\r\nno field\r\n", RETRIEVAL_PASS },
};

static void test_verdicts(void **state)
{
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(*verdicts); i++) {
		struct retrieval_verdict v;

		begin(verdicts[i].policy);
		v = scan(&key_of_joe, verdicts[i].message);
		if (v.answer != verdicts[i].want)
			fail_msg("row %zu, %s: %d", i, verdicts[i].policy, v.answer);
		assert_int_equal(stored.kept, verdicts[i].want == RETRIEVAL_NOTICE);
		assert_string_equal(v.id, verdicts[i].want == RETRIEVAL_NOTICE ? "q1" : "");
		v = known(&key_of_joe);
		assert_int_equal(v.answer, verdicts[i].want);
		forget();
		v = known(&key_of_joe);
		assert_int_equal(v.answer, verdicts[i].want);
		assert_string_equal(v.id, verdicts[i].want == RETRIEVAL_NOTICE ? "q1" : "");
	}
}

static void test_observe(void **state)
{
	begin("quarantine if text ~ /buy/");
	site.mode = MODE_OBSERVE;
	assert_int_equal(scan(&key_of_joe, BAD).answer, RETRIEVAL_PASS);
	assert_int_equal(stored.kept, 0);
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_PASS);
	site.mode = MODE_ENFORCE;                       /* what passed for that is no verdict now */
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	forget();
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
}

static void test_dkim(void **state)
{
	static const char text[] = "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n" GOOD;

	begin("quarantine if dkim = permerror");        /* no key: it was looked up */
	assert_int_equal(scan(&key_of_joe, text).answer, RETRIEVAL_NOTICE);
	begin("quarantine if dkim != pass");            /* cannot be known now: nobody waits */
	dns_table_add(dns, "k._domainkey.a.example", "TIMEOUT", "");
	assert_int_equal(scan(&key_of_joe, text).answer, RETRIEVAL_PASS);
	assert_int_equal(dns_table_asked(dns), 1);
	begin("quarantine if temperror.expired\naccept");
	assert_int_equal(scan(&key_of_joe, text).answer, RETRIEVAL_PASS);
}

/* The name servers were away for a while: that is no verdict for a day, and none for 30. */
static void test_doubt(void **state)
{
	static const char text[] = "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n" GOOD;
	static const struct { const char *policy; enum retrieval_answer want; } rows[] = {
		{ "quarantine if dkim = permerror", RETRIEVAL_PASS }, { "quarantine if dkim = temperror", RETRIEVAL_NOTICE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		begin(rows[i].policy);
		dns_table_add(dns, "k._domainkey.a.example", "TIMEOUT", "");
		assert_int_equal(scan(&key_of_joe, text).answer, rows[i].want);
		assert_int_equal(known(&key_of_joe).answer, rows[i].want);
		forget();
		assert_int_equal(known(&key_of_joe).answer, rows[i].want);
		now += 1000;
		forget();
		assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	}
}

static void test_reason(void **state)
{
	struct retrieval_verdict v;

	begin("reject pills: \"550 5.7.1 we want no pills\" if header.subject ~ /pills/ and text ~ /buy/");
	v = scan(&key_of_joe, BAD);
	assert_string_equal(v.reason, "we want no pills; rule pills by header.subject, text");
	forget();
	assert_string_equal(known(&key_of_joe).reason, v.reason);
	begin("quarantine if header.subject ~ /pills/");
	assert_string_equal(scan(&key_of_joe, BAD).reason, "rule line 1 by header.subject");
}

/* --- sizes --- */

static char *message_of(size_t len)
{
	char *p = malloc(len + 1);
	size_t n = (size_t)sprintf(p, "From: a@b.example\r\nSubject: big\r\n\r\n");

	while (n + 64 < len)
		n += (size_t)sprintf(p + n, "0123456789 0123456789 0123456789 0123456789\r\n");
	memset(p + n, 'x', len - n);
	p[len] = '\0';
	return p;
}

static void test_large(void **state)
{
	char *p = message_of(300000), *header = malloc(6000);
	struct retrieval_verdict v;

	begin("quarantine if message.size > 250000");
	assert_int_equal(scan_rc(&key_of_joe, p, 300000, 4096, &v), 0);
	assert_int_equal(v.answer, RETRIEVAL_NOTICE);
	begin("quarantine if message.size = 300000");
	site.limits.message_bytes = 100000;             /* the rest is not looked at, its size is known */
	assert_int_equal(scan_rc(&key_of_joe, p, 300000, 4096, &v), 0);
	assert_int_equal(v.answer, RETRIEVAL_NOTICE);
	begin("quarantine if text ~ /xxx/");
	site.limits.message_bytes = 100000;
	assert_int_equal(scan_rc(&key_of_joe, p, 300000, 4096, &v), 0);
	assert_int_equal(v.answer, RETRIEVAL_PASS);
	/* a header that SMTP would not have taken: nobody has looked at it */
	begin("accept");
	memset(header, 'a', 6000);
	memcpy(header, "From: ", 6);
	assert_int_equal(scan_rc(&key_of_joe, header, 6000, 1000, &v), 0);
	assert_int_equal(v.answer, RETRIEVAL_NOTICE);
	assert_string_equal(v.id, "");
	assert_int_equal(stored.kept, 0);
	forget();
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_NOTICE);
	site.limits.message.header_bytes = 10000;       /* who sees that this was too strict finds his mail shown */
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(scan_rc(&key_of_joe, header, 6000, 1000, &v), 0);
	assert_int_equal(v.answer, RETRIEVAL_PASS);
	free(header);
	free(p);
}

static void test_read_back(void **state)
{
	struct net_addr addr = { 0 };
	struct retrieval_client client = { .addr = &addr, .protocol = "pop3", .sid = "1" };
	AUTO(retrieval_scan) struct retrieval_scan *s = NULL;
	size_t size = 200000, off = 0, n;
	char *p = message_of(size);
	const char *part;

	begin("accept");
	s = retrieval_scan_new(r, &client, &key_of_joe);
	assert_int_equal(retrieval_scan_add(s, p, size), 0);
	while (off < size) {
		assert_int_equal(retrieval_scan_read(s, off, &part, &n), 0);
		assert_true(n > 0);
		assert_memory_equal(part, p + off, n);
		off += n;
	}
	assert_int_equal(retrieval_scan_read(s, size, &part, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(retrieval_scan_read(s, size + 1, &part, &n), -EFBIG);
	retrieval_scan_free(s);
	site.limits.message_bytes = 1000;
	s = retrieval_scan_new(r, &client, &key_of_joe);
	assert_int_equal(retrieval_scan_add(s, p, size), 0);
	assert_int_equal(retrieval_scan_read(s, 999, &part, &n), 0);
	assert_int_equal(retrieval_scan_read(s, 1000, &part, &n), -EFBIG);
	free(p);
}

/* --- kept verdicts --- */

static void test_names(void **state)
{
	static const struct retrieval_key others[] = {
		{ "mail", "joe", "INBOX", "17", "5", NULL }, { "mail", "joe", "INBOX", "18", "4", NULL }, { "mail", "joe", "inbox", "17", "4", NULL },
		{ "mail", "jo", "eINBOX", "17", "4", NULL }, { "mail", "joe INBOX", "", "17", "4", NULL }, { "mai", "ljoe", "INBOX", "17", "4", NULL },
		{ "mail", "joe", "INBOX", "", "174", NULL }, { "mail", "joe", "INBOX", "17", "", NULL },
	};

	begin("quarantine if text ~ /buy/");
	scan(&key_of_joe, BAD);
	forget();
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_int_equal(known(&others[i]).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_NOTICE);
	scan(&others[7], GOOD);                         /* without a UID nothing is kept */
	assert_int_equal(known(&others[7]).answer, RETRIEVAL_UNKNOWN);
}

/* What passes for the office has been found for nobody else. */
static void test_listeners(void **state)
{
	struct retrieval_key inside = key_of_joe, outside = key_of_joe;

	inside.listener = "imaps";                      /* where the client is that scans here */
	outside.listener = "outside";
	begin("accept if listener = \"imaps\"\nquarantine if text ~ /buy/");
	assert_int_equal(scan(&inside, BAD).answer, RETRIEVAL_PASS);
	assert_int_equal(known(&inside).answer, RETRIEVAL_PASS);
	assert_int_equal(known(&outside).answer, RETRIEVAL_UNKNOWN);
	begin("quarantine if text ~ /buy/");            /* no difference: looked at once */
	scan(&inside, BAD);
	assert_int_equal(known(&outside).answer, RETRIEVAL_NOTICE);
}

static void test_life(void **state)
{
	struct retrieval_key pass = key_with("1"), notice = key_with("2");

	begin("quarantine if text ~ /buy/");
	scan(&pass, GOOD);
	scan(&notice, BAD);
	now += DAY - 1;
	forget();
	assert_int_equal(known(&pass).answer, RETRIEVAL_PASS);
	now += 2;
	forget();
	assert_int_equal(known(&pass).answer, RETRIEVAL_UNKNOWN);
	now += 28 * DAY;
	forget();
	assert_int_equal(known(&notice).answer, RETRIEVAL_NOTICE);
	now += 2 * DAY;
	forget();
	assert_int_equal(known(&notice).answer, RETRIEVAL_UNKNOWN);
}

static void test_policy_changes(void **state)
{
	begin("quarantine if text ~ /buy/");
	scan(&key_of_joe, GOOD);
	use_policy("quarantine if text ~ /noon/");
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(scan(&key_of_joe, GOOD).answer, RETRIEVAL_NOTICE);
	use_policy("accept");                           /* the rule was a mistake */
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(scan(&key_of_joe, GOOD).answer, RETRIEVAL_PASS);
	use_policy("accept");                           /* a reload that changed nothing */
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_PASS);
	site.domain_count = 2;
	use_policy("accept");
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
}

static void test_many(void **state)
{
	enum { MANY = 100 };
	struct retrieval_key keys[MANY];
	struct retrieval_verdict v[MANY];
	char uid[MANY][12];

	begin("quarantine if text ~ /buy/");
	for (int i = 0; i < MANY; i++) {
		snprintf(uid[i], sizeof(uid[i]), "%d", i);
		keys[i] = key_with(uid[i]);
		if (i % 3)
			scan(&keys[i], i % 3 == 1 ? GOOD : BAD);
	}
	for (int turn = 0; turn < 2; turn++) {
		forget();
		state_asked = 0;
		retrieval_known(r, keys, MANY, v);
		assert_true(state_asked <= 2 * (MANY + STATE_OPS_MAX - 1) / STATE_OPS_MAX);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(v[i].answer, i % 3 == 0 ? RETRIEVAL_UNKNOWN : i % 3 == 1 ? RETRIEVAL_PASS : RETRIEVAL_NOTICE);
	}
	state_asked = 0;                                /* and once more, at once */
	retrieval_known(r, &keys[1], 1, v);
	assert_int_equal(state_asked, 0);
	retrieval_known(r, NULL, 0, NULL);
}

/* As scan(), where the name may be another message's. */
static struct retrieval_verdict scan_bound(const char *message)
{
	struct retrieval_verdict v = known(&key_of_joe);
	struct net_addr addr = { 0 };
	struct retrieval_client client = { .addr = &addr, .protocol = "pop3", .sid = "1" };
	AUTO(retrieval_scan) struct retrieval_scan *s = retrieval_scan_new(r, &client, &key_of_joe);
	size_t len = strlen(message);

	retrieval_scan_bind(s, &v);
	for (size_t at = 0; at < len; at += 11)
		retrieval_scan_add(s, message + at, len - at < 11 ? len - at : 11);
	assert_int_equal(retrieval_scan_end(s, &v), 0);
	return v;
}

static void test_bound(void **state)
{
	begin("quarantine if text ~ /buy/ or attachment.extension = exe");
	for (int i = 0; i < 4; i++) {
		if (i & 1)
			forget();
		assert_int_equal(scan_bound(GOOD).answer, RETRIEVAL_PASS);
		assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_PASS);
		assert_int_equal(scan_bound(PROGRAM).answer, RETRIEVAL_NOTICE);
		if (i & 1)
			forget();
		assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_NOTICE);
		assert_string_equal(scan_bound(PROGRAM).id, "q1");
		assert_string_equal(scan_bound(BAD).id, "q2");
	}
	assert_int_equal(stored.kept, 2);
	/* what is known is not found once more: nobody is asked, not even the filters */
	begin("quarantine if dkim = permerror");
	scan_bound("DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n" GOOD);
	state_asked = 0;
	for (int i = 0; i < 3; i++)
		assert_string_equal(scan_bound("DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from; b=AAAA\r\n" GOOD).id, "q1");
	assert_int_equal(dns_table_asked(dns), 1);
	assert_int_equal(state_asked, 0);
	/* kept by who knew no content */
	begin("quarantine if text ~ /buy/");
	scan(&key_of_joe, GOOD);
	assert_int_equal(scan_bound(BAD).answer, RETRIEVAL_NOTICE);
}

/* One copy for what is one message in several mailboxes of an account, and none where there is no room. */
static void test_copies(void **state)
{
	struct retrieval_key moved = { "mail", "joe", "Junk", "3", "1", NULL }, ann = { "mail", "ann", "INBOX", "17", "4", NULL };

	begin("quarantine if text ~ /buy/");
	assert_string_equal(scan(&key_of_joe, BAD).id, "q1");
	assert_string_equal(scan(&moved, BAD "\r\n").id, "q1");
	assert_string_equal(scan(&ann, BAD).id, "q2");
	stored.rc = -ENOSPC;
	moved.uid = "2";
	assert_string_equal(scan(&moved, "Subject: other\r\n\r\nbuy\r\n").id, "");
	assert_int_equal(known(&moved).answer, RETRIEVAL_NOTICE);
	forget();
	assert_int_equal(known(&moved).answer, RETRIEVAL_NOTICE);
	assert_string_equal(known(&moved).id, "");
	/* nobody could release it: when there is room again, it gets its copy */
	now += 1000;
	forget();
	assert_int_equal(known(&moved).answer, RETRIEVAL_UNKNOWN);
	stored.rc = 0;
	assert_string_equal(scan(&moved, "Subject: other\r\n\r\nbuy\r\n").id, "q3");
}

/* A notice does not quote the number of a copy that the quarantine has given up. */
static void test_copies_end(void **state)
{
	struct retrieval_key moved = { "mail", "joe", "Junk", "3", "1", NULL };
	char first[STORE_ID_MAX];

	begin("quarantine if text ~ /buy/");
	site.quarantine.keep_s = 5 * DAY;
	stored.made_ms = clock_wall_ms() - 3 * DAY * INT64_C(1000);
	strcpy(first, scan(&key_of_joe, BAD).id);
	forget();
	assert_string_equal(scan(&moved, BAD).id, first);
	now += 2 * DAY - 60;
	forget();
	assert_string_equal(known(&key_of_joe).id, first);
	now += 120;
	forget();
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	stored.made_ms = clock_wall_ms() - 5 * DAY * INT64_C(1000) + 60000;     /* the state still knows it */
	assert_string_equal(scan(&key_of_joe, BAD "more").id, scan(&key_of_joe, BAD "more").id);
	forget();
	strcpy(first, scan(&key_of_joe, BAD "more").id);
	forget();
	assert_string_not_equal(scan(&key_of_joe, BAD "more").id, first);
	/* the shortest class counts: whose copy it is the verdict does not know */
	begin("quarantine if text ~ /buy/");
	site.quarantine.class_count = 1;
	site.quarantine.class[0] = (struct store_retention_class){ .keep_s = DAY };
	stored.made_ms = clock_wall_ms();
	scan(&key_of_joe, BAD);
	now += DAY + 60;
	forget();
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
}

static void test_released(void **state)
{
	struct retrieval_key copy = key_with("9");
	struct state_op op;

	begin("quarantine if text ~ /buy/");
	scan(&key_of_joe, BAD);
	forget();
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_NOTICE);
	forget();
	released_mark_op(&op, json_string_value(json_object_get(json_object_get(stored.meta, "retrieval"), "content")));
	assert_int_equal(state_run(&local.state, &op, 1), 0);
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(scan(&key_of_joe, BAD).answer, RETRIEVAL_PASS);
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_PASS);
	assert_int_equal(scan(&copy, "Received: from us\r\nDelivered-To: joe\r\n" BAD "\r\n\r\n").answer, RETRIEVAL_PASS);
	/* another subject, another text: another message */
	assert_int_equal(scan(&copy, "From: eve@evil.example\r\n\r\nbuy\r\n").answer, RETRIEVAL_NOTICE);
	assert_int_equal(scan(&copy, BAD "more\r\n").answer, RETRIEVAL_NOTICE);
}

/* What a released message says in its body no other can say in its header. */
static void test_released_where(void **state)
{
	static const char body[] = "\r\nbuy\r\n";
	const uint64_t head[2] = { 7, 10 };             /* Content-Type, and how long it is */
	char first[200], second[200], content[2][RELEASED_CONTENT_MAX];
	const char *const text[2] = { first, second };
	size_t len[2];

	len[0] = (size_t)sprintf(first, "Subject: a\r\n\r\n");
	memcpy(first + len[0], head, sizeof(head));
	len[0] += sizeof(head);
	len[0] += (size_t)sprintf(first + len[0], " text/html%s", body);
	len[1] = (size_t)sprintf(second, "Subject: a\r\nContent-Type: text/html\r\n\r\n%s", body);
	begin("accept");
	for (size_t i = 0; i < 2; i++) {
		AUTO(message) struct message *m = message_new(&site.limits.message, NULL, NULL);

		assert_int_equal(message_add(m, text[i], len[i]), 0);
		assert_int_equal(message_end(m), 0);
		assert_int_equal(released_content(m, content[i]), 0);
	}
	assert_string_not_equal(content[0], content[1]);
}

static void test_released_cr(void **state)
{
	static const char *const text[] = { "Received: x\r\n", "Received: x\rContent-Type: text/html\r\n", "Received: x\rContent-Type: text/htm\r\n" };
	char content[3][RELEASED_CONTENT_MAX];

	begin("accept");
	for (size_t i = 0; i < 3; i++) {
		AUTO(message) struct message *m = message_new(&site.limits.message, NULL, NULL);

		assert_int_equal(message_add(m, text[i], strlen(text[i])), 0);
		assert_int_equal(message_add(m, GOOD, strlen(GOOD)), 0);
		assert_int_equal(message_end(m), 0);
		assert_int_equal(released_content(m, content[i]), 0);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(content[i], content[k]);
	}
}

static void test_state_away(void **state)
{
	begin("quarantine if text ~ /buy/");
	state_rc = -ETIMEDOUT;
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(scan(&key_of_joe, BAD).answer, RETRIEVAL_NOTICE);
	assert_int_equal(state_asked, 1);               /* it is left alone for a while */
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_NOTICE);  /* this process knows: no copy for each fetch */
	assert_int_equal(stored.kept, 1);
	for (int i = 0; i < 3; i++) {                   /* nor where the message has no name, or another */
		struct retrieval_key nameless = key_with(i ? "" : "77");

		assert_string_equal(scan(&nameless, BAD).id, "q1");
	}
	assert_int_equal(stored.kept, 1);
	/* none at all */
	retrieval_free(r);
	r = retrieval_new(&(struct retrieval_conf){ .site = &site, .dns = dns_table_dns(dns) });
	assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
	assert_int_equal(scan(&key_of_joe, BAD).answer, RETRIEVAL_NOTICE);
	assert_string_equal(known(&key_of_joe).id, "");
}

/* What stands there may be anything: another gateway's, of another version. */
static void test_state_odd(void **state)
{
	static const char *const texts[] = {
		"", "x", "0123456789abcdef", "0123456789abcdef ", "zzzzzzzzzzzzzzzz - - -", "-1-1-1-1-1-1-1-1 - - x",
	};
	struct state_op op;

	begin("quarantine if text ~ /buy/");
	scan(&key_of_joe, BAD);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		for (int count = -1; count < 4; count++) {
			char hex[80];

			forget();
			/* the key is found by what is there: the only record that is a verdict */
			op = (struct state_op){ .verb = STATE_PUT, .space = "fetch", .ttl_s = DAY, .add = count };
			snprintf(hex, sizeof(hex), "%s", texts[i]);
			snprintf(op.text, sizeof(op.text), "%s", hex);
			keep_key(r, &key_of_joe, op.key);
			assert_int_equal(state_run(&local.state, &op, 1), 0);
			assert_int_equal(known(&key_of_joe).answer, RETRIEVAL_UNKNOWN);
		}
	}
}

static void test_record(void **state)
{
	json_t *rcpt, *origin;

	begin("quarantine if text ~ /buy/");
	scan(&key_of_joe, BAD);
	assert_string_equal(json_string_value(json_object_get(json_object_get(stored.meta, "facts"), "direction")), "retrieval");
	assert_string_equal(json_string_value(json_object_get(json_object_get(stored.meta, "envelope"), "from")), "Eve@Evil.Example");
	rcpt = json_array_get(json_object_get(json_object_get(stored.meta, "envelope"), "rcpt"), 0);
	assert_string_equal(json_string_value(json_object_get(rcpt, "address")), "joe@corp.example");
	assert_string_equal(json_string_value(json_object_get(rcpt, "params")), "NOTIFY=NEVER");
	origin = json_object_get(stored.meta, "retrieval");
	assert_string_equal(json_string_value(json_object_get(origin, "account")), "joe");
	assert_string_equal(json_string_value(json_object_get(origin, "mailbox")), "INBOX");
	assert_true(released_content_ok(json_string_value(json_object_get(origin, "content"))));
}

/* Whose mail it is, by the name that he has logged in with. */
static void test_accounts(void **state)
{
	static const struct { const char *account, *address; size_t domains; } rows[] = {
		{ "joe", "joe@corp.example", 1 }, { "joe", "joe", 2 }, { "Joe@Other.Example", "Joe@Other.Example", 1 }, { "CORP\\joe", "CORP\\joe", 1 },
		{ "joe smith", "joe smith", 1 }, { "a@b@c", "a@b@c", 1 }, { "joe@", "joe@", 1 }, { "@corp.example", "@corp.example", 1 }, { "joe>", "joe>", 1 },
		{ "", "", 1 }, { "joe\r\nRCPT TO:<x@y.example>", "joe\r\nRCPT TO:<x@y.example>", 1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct retrieval_key k = key_of_joe;
		json_t *rcpt;

		begin("quarantine if text ~ /buy/");
		site.domain_count = rows[i].domains;
		k.account = rows[i].account;
		scan(&k, BAD);
		rcpt = json_array_get(json_object_get(json_object_get(stored.meta, "envelope"), "rcpt"), 0);
		assert_string_equal(json_string_value(json_object_get(rcpt, "address")), rows[i].address);
	}
}

static int set_up(void **state)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);

	fact_register_all();
	dns = dns_table_new();
	return filters_setup(&site, &err);
}

static int tear_down(void **state)
{
	retrieval_free(r);
	policy_free(site.policy);
	state_sqlite_close(local.db);
	dns_table_free(dns);
	json_decref(stored.meta);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts), cmocka_unit_test(test_observe), cmocka_unit_test(test_dkim), cmocka_unit_test(test_doubt), cmocka_unit_test(test_reason),
		cmocka_unit_test(test_large), cmocka_unit_test(test_read_back), cmocka_unit_test(test_names), cmocka_unit_test(test_listeners), cmocka_unit_test(test_life),
		cmocka_unit_test(test_policy_changes), cmocka_unit_test(test_many), cmocka_unit_test(test_bound), cmocka_unit_test(test_copies), cmocka_unit_test(test_copies_end), cmocka_unit_test(test_released), cmocka_unit_test(test_released_where), cmocka_unit_test(test_released_cr),
		cmocka_unit_test(test_state_away), cmocka_unit_test(test_state_odd), cmocka_unit_test(test_record), cmocka_unit_test(test_accounts),
	};

	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2): the boxes' processes go without */
		syscalls_none();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
