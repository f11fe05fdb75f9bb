#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <malloc.h>
#include <openssl/evp.h>

#include "base/buf.h"
#include "base/task.h"
#include "filters/arc_verify.h"
#include "support/arc_hop.h"
#include "support/scarce.h"

#define MESSAGE "From: Alice <alice@author.example>\r\nTo: list@lists.example\r\nSubject: hello\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\r\nOne line  of text \r\nand  another.\r\n\r\n"
#define PASSED "mx.lists.example; dmarc=pass header.from=author.example"

enum { A, B, C, SHORT, KEYS };

static struct arc_key *key[KEYS];
static struct dns_table *dns;

static void keys_publish(void)
{
	dns_table_clear(dns);
	for (int i = 0; i < KEYS; i++)
		arc_key_publish(key[i], dns);
}

static int setup(void **state)
{
	key[A] = arc_key_new("a.example", "s1", 0);
	key[B] = arc_key_new("b.example", "s2", 2048);
	key[C] = arc_key_new("c.example", "s3", 1024);
	key[SHORT] = arc_key_new("short.example", "s", 768);
	dns = dns_table_new();
	keys_publish();
	return loop_init();
}

static int teardown(void **state)
{
	for (int i = 0; i < KEYS; i++)
		arc_key_free(key[i]);
	dns_table_free(dns);
	loop_release();
	return 0;
}

static char *replaced(char *message, const char *from, const char *to)
{
	char *at = strstr(message, from), *out;
	size_t before;

	if (!at)
		fail_msg("%s is not in the message", from);
	before = (size_t)(at - message);
	out = malloc(strlen(message) + strlen(to) + 1);
	assert_non_null(out);
	memcpy(out, message, before);
	strcpy(out + before, to);
	strcat(out, at + strlen(from));
	free(message);
	return out;
}

/* The message as several hops hand it on; each may change it before it seals: "old|new". */
struct hop {
	int key;                /* and that of the AMS, if ams is set */
	const char *cv, *change, *more, *c, *h;
	int ams;
};

static char *carried(const char *message, const struct hop *hops, size_t count)
{
	char *p = strdup(message);
	size_t len;

	for (size_t i = 0; i < count; i++) {
		struct arc_hop hop = { .key = key[hops[i].key], .ams_key = hops[i].ams ? key[hops[i].ams] : NULL, .instance = (unsigned)i + 1,
				       .cv = hops[i].cv ? hops[i].cv : i ? "pass" : "none", .results = PASSED, .h = hops[i].h, .c = hops[i].c,
				       .more = hops[i].more };
		char from[100], *sealed;

		if (hops[i].change) {
			snprintf(from, sizeof(from), "%.*s", (int)strcspn(hops[i].change, "|"), hops[i].change);
			p = replaced(p, from, strchr(hops[i].change, '|') + 1);
		}
		sealed = arc_hop_seal(&hop, p, strlen(p), &len);
		free(p);
		p = sealed;
	}
	return p;
}

static char *blocks[12000];
static size_t count;

/* What was fed is gone. */
static void forget(void)
{
	while (count > 0)
		free(blocks[--count]);
}

/* The header in fields, in order, each a block of its own; forget() follows. */
static int fed(struct arc_verify *v, const char *p, size_t chunk)
{
	size_t len;
	const char *end;
	int rc = 0;

	while (*p && strncmp(p, "\r\n", 2) != 0 && rc == 0) {
		end = p;
		do
			end = strstr(end, "\r\n") + 2;
		while (*end == ' ' || *end == '\t');
		blocks[count] = malloc((size_t)(end - p));
		if (!blocks[count]) {
			rc = -1;
			break;
		}
		memcpy(blocks[count], p, (size_t)(end - p));
		rc = arc_verify_field(v, blocks[count++], (size_t)(end - p));
		p = end;
	}
	if (rc == 0)
		rc = arc_verify_header_end(v);
	p += *p ? 2 : 0;
	for (len = strlen(p); len > 0 && rc == 0; p += chunk < len ? chunk : len, len -= chunk < len ? chunk : len)
		rc = arc_verify_body(v, p, chunk < len ? chunk : len);
	return rc;
}

static void verify(const char *message, size_t chunk, struct arc_result *out)
{
	AUTO(arc_verify) struct arc_verify *v = arc_verify_new(dns_table_dns(dns));

	assert_non_null(v);
	assert_int_equal(fed(v, message, chunk), 0);
	assert_int_equal(arc_verify_finish(v, out), 0);
	forget();
}

static const struct {
	const char *name;
	struct hop hops[4];
	size_t count;
	const char *tamper[2];          /* "old|new", at the end */
	enum arc_state state;
	unsigned oldest;
	const char *why;
} rows[] = {
	{ "one hop",              { { .key = A } }, 1, { NULL }, ARC_PASS, 0, "" },
	{ "RSA",                  { { .key = B } }, 1, { NULL }, ARC_PASS, 0, "" },
	{ "three hops, three keys", { { .key = A }, { .key = B }, { .key = C } }, 3, { NULL }, ARC_PASS, 0, "" },
	{ "all canonicalizations", { { .key = A, .c = "simple/simple" }, { .key = B, .c = "simple/relaxed" }, { .key = C, .c = "relaxed/simple" } }, 3, { NULL }, ARC_PASS, 0, "" },
	{ "c= of one word",       { { .key = A, .c = "relaxed" } }, 1, { NULL }, ARC_PASS, 0, "" },
	{ "AMS with another key", { { .key = A, .ams = B } }, 1, { NULL }, ARC_PASS, 0, "" },
	{ "second hop changes",   { { .key = A }, { .key = B, .change = "Subject: hello|Subject: [list] hello" } }, 2, { NULL }, ARC_PASS, 2, "ARC-Message-Signature i=1: the signature does not fit the header" },
	{ "third hop changes",    { { .key = A }, { .key = B }, { .key = C, .change = "and  another|or  another" } }, 3, { NULL }, ARC_PASS, 3, "i=2: the body is not what was signed" },
	{ "second of three changes", { { .key = A }, { .key = B, .change = "and  another|or  another" }, { .key = C } }, 3, { NULL }, ARC_PASS, 2, "i=1: the body" },
	{ "a field that nobody signs", { { .key = A } }, 1, { "\r\nDate: Thu|\r\nX-New: x\r\nDate: Fri" }, ARC_PASS, 0, "" },
	{ "body refolded",        { { .key = A } }, 1, { "line  of text |line of\ttext" }, ARC_PASS, 0, "" },
	{ "header refolded",      { { .key = A } }, 1, { "Subject: hello|sUBJECT:\r\n  hello " }, ARC_PASS, 0, "" },
	{ "l= of the whole",      { { .key = A, .more = "l=48; " } }, 1, { NULL }, ARC_FAIL, 0, "l= is not the length" },
	{ "l= less",              { { .key = A, .more = "l=3; " } }, 1, { NULL }, ARC_FAIL, 0, "l= is not the length" },
	{ "x= to come",           { { .key = A, .more = "x=9999999999; " } }, 1, { NULL }, ARC_PASS, 0, "" },
	{ "x= past",              { { .key = A, .more = "x=1000000000; " } }, 1, { NULL }, ARC_FAIL, 0, "expired" },
	{ "x= past, older",       { { .key = A, .more = "x=1000000000; " }, { .key = B } }, 2, { NULL }, ARC_PASS, 2, "i=1: the signature has expired" },
	{ "From is not signed",   { { .key = A, .h = "to:subject" } }, 1, { NULL }, ARC_PASS, 0, "" },
	{ "cv=fail",              { { .key = A }, { .key = B, .cv = "fail" } }, 2, { NULL }, ARC_FAIL, 0, "ARC-Seal i=2: cv=fail" },
	{ "sealed after a break", { { .key = A }, { .key = B, .change = "dmarc=pass|dmarc=fail" } }, 2, { NULL }, ARC_FAIL, 0, "ARC-Seal i=1: the signature" },
	{ "Subject changed",      { { .key = A } }, 1, { "Subject: hello|Subject: goodbye" }, ARC_FAIL, 0, "ARC-Message-Signature i=1: the signature" },
	{ "From changed",         { { .key = A } }, 1, { "alice@author|alice@victim" }, ARC_FAIL, 0, "ARC-Message-Signature i=1: the signature" },
	{ "From added above",     { { .key = A } }, 1, { "From: Alice|From: x@y.example\r\nFrom: Alice" }, ARC_PASS, 0, "" },
	{ "From added below",     { { .key = A } }, 1, { "Date: |From: x@y.example\r\nDate: " }, ARC_FAIL, 0, "ARC-Message-Signature i=1: the signature" },
	{ "body changed",         { { .key = A } }, 1, { "and  another|and  a lie" }, ARC_FAIL, 0, "the body is not what was signed" },
	{ "body longer",          { { .key = A } }, 1, { "another.\r\n|another.\r\nand more\r\n" }, ARC_FAIL, 0, "the body is not what was signed" },
	{ "body gone",            { { .key = A } }, 1, { "One line  of text \r\nand  another.\r\n\r\n|" }, ARC_FAIL, 0, "the body is not what was signed" },
	{ "AAR changed",          { { .key = A } }, 1, { "dmarc=pass|dmarc=best" }, ARC_FAIL, 0, "ARC-Seal i=1: the signature" },
	{ "an old AAR changed",   { { .key = A }, { .key = B } }, 2, { "i=1; mx.lists.example; dmarc=pass|i=1; mx.lists.example; dmarc=fail" }, ARC_FAIL, 0, "ARC-Seal i=2: the signature" },
	{ "a seal's d= changed",  { { .key = A } }, 1, { "cv=none; d=a.example; s=s1|cv=none; d=b.example; s=s2" }, ARC_FAIL, 0, "ARC-Seal i=1: the key is not one for a=" },
	{ "the oldest set gone",  { { .key = A }, { .key = B } }, 2, { "ARC-Seal: i=1|X-Seal: i=1", "ARC-Message-Signature: i=1|X-AMS: i=1" }, ARC_FAIL, 0, "ARC-Seal i=1: it is missing" },
	{ "the newest set gone",  { { .key = A }, { .key = B, .change = "and  another|or  another" } }, 2, { "ARC-Seal: i=2|X-S: i=2", "ARC-Message-Signature: i=2|X-A: i=2" }, ARC_FAIL, 0, "ARC-Seal i=2: it is missing" },
	{ "a short key",          { { .key = SHORT } }, 1, { NULL }, ARC_FAIL, 0, "fewer than 1024 bits" },
	{ "an old seal, short key", { { .key = SHORT }, { .key = A } }, 2, { NULL }, ARC_FAIL, 0, "ARC-Seal i=1: the key has fewer than 1024 bits" },
	{ "an old AMS, short key", { { .key = A, .ams = SHORT }, { .key = A } }, 2, { NULL }, ARC_PASS, 2, "i=1: the key has fewer" },
	{ "seal is rsa-sha1",     { { .key = B } }, 1, { "cv=none|cv=none; x=9999999999", "a=rsa-sha256; cv|a=rsa-sha1; cv" }, ARC_FAIL, 0, "rsa-sha1" },
};

static void chains(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *p = carried(MESSAGE, rows[i].hops, rows[i].count);
		static const size_t chunks[] = { 100000, 1, 7 };
		struct arc_result r;

		for (int k = 0; k < 2 && rows[i].tamper[k]; k++) {
			char from[200];

			snprintf(from, sizeof(from), "%.*s", (int)strcspn(rows[i].tamper[k], "|"), rows[i].tamper[k]);
			p = replaced(p, from, strchr(rows[i].tamper[k], '|') + 1);
		}
		for (size_t k = 0; k < 3; k++) {
			verify(p, chunks[k], &r);
			if (r.state != rows[i].state || r.oldest_pass != rows[i].oldest || !*r.why != !*rows[i].why || !strstr(r.why, rows[i].why))
				fail_msg("%s: %s, oldest %u, %s", rows[i].name, arc_state_name(r.state), r.oldest_pass, r.why);
			assert_int_equal(r.count, rows[i].count);
		}
		free(p);
	}
}

/* Whether From is covered, each of them. */
static void from_covered(void **state)
{
	static const struct { const char *h, *add; bool want; } all[] = {
		{ "from:to", "", true }, { "to", "", false }, { "from:to", "From: x@y.example\r\n", false }, { "from:from", "From: x@y.example\r\n", true },
	};

	for (size_t i = 0; i < 4; i++) {
		struct hop hop = { .key = A, .h = all[i].h };
		AUTO(buf) struct buf text = BUF_INIT(4000);
		struct arc_result r;
		char *p;

		buf_addf(&text, "%s%s", all[i].add, MESSAGE);
		p = carried(buf_str(&text), &hop, 1);
		verify(p, 1000, &r);
		assert_int_equal(r.state, ARC_PASS);
		assert_int_equal(r.from_signed, all[i].want);
		free(p);
	}
}

/* A key so long that a hundred signatures would keep the machine busy is not tried. */
static void long_key(void **state)
{
	static const struct hop hops[] = { { .key = B } };
	static const char *const wanted[] = { "the signature does not fit", "more than 4096 bits" };
	char *p = carried(MESSAGE, hops, 1);

	for (size_t i = 0; i < 2; i++) {
		size_t bytes = 512 + i;         /* of the modulus, with a leading zero for its sign */
		unsigned char der[600] = { 0x30, 0x82, (unsigned char)((bytes + 10) >> 8), (unsigned char)(bytes + 10), 0x02, 0x82, (unsigned char)((bytes + 1) >> 8), (unsigned char)(bytes + 1), 0 };
		static const unsigned char exponent[] = { 0x02, 0x03, 0x01, 0x00, 0x01 };
		char record[1000] = "v=DKIM1; k=rsa; p=";
		struct arc_result r;

		memset(der + 9, 0xb5, bytes);
		memcpy(der + 9 + bytes, exponent, sizeof(exponent));
		EVP_EncodeBlock((unsigned char *)record + strlen(record), der, (int)(9 + bytes + sizeof(exponent)));
		dns_table_remove(dns, "s2._domainkey.b.example");
		dns_table_add(dns, "s2._domainkey.b.example", "TXT", record);
		verify(p, 1000, &r);
		assert_int_equal(r.state, ARC_FAIL);
		if (!strstr(r.why, wanted[i]))
			fail_msg("%zu: %s", i, r.why);
	}
	free(p);
	keys_publish();
}

/* Under one selector a key of each type, that which does not fit first. */
static void two_types(void **state)
{
	static const struct hop hops[] = { { .key = A }, { .key = B } };
	struct arc_key *others[] = { arc_key_new("a.example", "s1", 1024), arc_key_new("b.example", "s2", 0) };
	char *p = carried(MESSAGE, hops, 2);
	struct arc_result r;

	dns_table_clear(dns);
	for (int i = 0; i < 2; i++) {
		arc_key_publish(others[i], dns);
		arc_key_publish(key[i == 0 ? A : B], dns);
		arc_key_free(others[i]);
	}
	verify(p, 1000, &r);
	assert_int_equal(r.state, ARC_PASS);
	assert_int_equal(r.oldest_pass, 0);
	keys_publish();
	free(p);
}

static void none(void **state)
{
	struct arc_result r;

	dns_table_forget(dns);
	verify(MESSAGE, 5, &r);
	assert_int_equal(r.state, ARC_NONE);
	verify("", 1, &r);
	assert_int_equal(r.state, ARC_NONE);
	assert_int_equal(dns_table_asked(dns), 0);
}

/* Each key once; none for a chain that cannot pass. */
static void questions(void **state)
{
	static const struct hop hops[] = { { .key = A, .ams = B }, { .key = B }, { .key = A } };
	static const struct hop failed[] = { { .key = A }, { .key = B, .cv = "fail" } };
	struct arc_result r;
	char *p = carried(MESSAGE, hops, 3);

	dns_table_forget(dns);
	verify(p, 1000, &r);
	assert_int_equal(r.state, ARC_PASS);
	assert_int_equal(dns_table_asked(dns), 2);
	p = replaced(p, "cv=none", "cv=pass");
	dns_table_forget(dns);
	verify(p, 1000, &r);
	assert_int_equal(r.state, ARC_FAIL);
	free(p);
	p = carried(MESSAGE, failed, 2);
	verify(p, 1000, &r);
	assert_int_equal(r.state, ARC_FAIL);
	assert_int_equal(dns_table_asked(dns), 0);
	free(p);
}

/* What is certainly broken is fail, whatever else could not be looked up. */
static void keys_away(void **state)
{
	static const struct hop hops[] = { { .key = A }, { .key = B }, { .key = C } };
	static const struct {
		const char *away, *tamper, *to;
		enum arc_state want;
		unsigned oldest;
	} all[] = {
		{ "s1._domainkey.a.example", NULL, NULL, ARC_TEMPERROR, 0 },
		{ "s2._domainkey.b.example", NULL, NULL, ARC_TEMPERROR, 0 },
		{ "s3._domainkey.c.example", NULL, NULL, ARC_TEMPERROR, 0 },
		{ "s1._domainkey.a.example", "and  another", "or  another", ARC_FAIL, 0 },
		{ "s3._domainkey.c.example", "and  another", "or  another", ARC_FAIL, 0 },
		{ "s3._domainkey.c.example", "i=1; mx.", "i=1; my.", ARC_FAIL, 0 },
		{ "s1._domainkey.a.example", "i=1; mx.", "i=1; my.", ARC_FAIL, 0 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char *p = carried(MESSAGE, hops, 3);
		struct arc_result r;

		dns_table_remove(dns, all[i].away);
		dns_table_add(dns, all[i].away, "SERVFAIL", "");
		if (all[i].tamper)
			p = replaced(p, all[i].tamper, all[i].to);
		verify(p, 1000, &r);
		if (r.state != all[i].want)
			fail_msg("%zu: %s %s", i, arc_state_name(r.state), r.why);
		keys_publish();
		free(p);
	}
	/* The key of an older AMS alone: the chain passes, that signature does not count. */
	{
		static const struct hop two[] = { { .key = A, .ams = B }, { .key = A } };
		char *p = carried(MESSAGE, two, 2);
		struct arc_result r;

		dns_table_remove(dns, "s2._domainkey.b.example");
		dns_table_add(dns, "s2._domainkey.b.example", "SERVFAIL", "");
		verify(p, 1000, &r);
		assert_int_equal(r.state, ARC_PASS);
		assert_int_equal(r.oldest_pass, 2);
		keys_publish();
		free(p);
	}
}

/* Fifty sets hold; sixty-four keys are asked for, and a header of a quarter of a MiB is not hashed fifty times. */
static void fifty(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	struct arc_key *keys[50];
	struct arc_result r, later;
	char *p, *sealed, domain[40];
	size_t len;

	buf_adds(&text, "X-Long: ");
	for (int i = 0; i < 60000; i++)
		buf_addc(&text, i % 70 ? 'x' : ' ');
	buf_adds(&text, "\r\n" MESSAGE);
	p = strdup(buf_str(&text));
	len = strlen(p);
	for (unsigned i = 0; i < 50; i++) {
		struct arc_hop hop = { .instance = i + 1, .cv = i ? "pass" : "none", .results = PASSED, .h = "from:x-long", .ams_key = i < 40 ? key[A] : NULL };

		snprintf(domain, sizeof(domain), "d%u.example", i);
		hop.key = keys[i] = arc_key_new(domain, "s", 0);
		if (i >= 40)
			hop.ams_key = i % 2 ? key[B] : NULL;
		arc_key_publish(keys[i], dns);
		sealed = arc_hop_seal(&hop, p, len, &len);
		free(p);
		p = sealed;
	}
	dns_table_forget(dns);
	verify(p, 4096, &r);
	assert_int_equal(r.state, ARC_PASS);
	assert_int_equal(r.count, 50);
	assert_int_equal(dns_table_asked(dns), 52);
	/* Names that do not answer, all under other keys: the newest eight sets are asked for, the others not. */
	for (int i = 0; i < 50; i++) {
		snprintf(domain, sizeof(domain), "s._domainkey.d%d.example", i);
		dns_table_remove(dns, domain);
		dns_table_add(dns, domain, "SERVFAIL", "");
	}
	dns_table_forget(dns);
	verify(p, 4096, &later);
	assert_int_equal(later.state, ARC_TEMPERROR);
	assert_int_equal(dns_table_asked(dns), 9);
	/* 50 times 60 KB is more than 1 MiB: the oldest are not looked at. */
	assert_in_range(r.oldest_pass, 30, 34);
	assert_non_null(strstr(r.why, "too much header"));
	free(p);
	for (int i = 0; i < 50; i++)
		arc_key_free(keys[i]);
	keys_publish();
}

/* What is kept of fifty sets while the body comes in: each session of a flood holds as much. */
static void small(void **state)
{
	struct mallinfo2 before, after;
	char *p = strdup(MESSAGE);
	size_t len = strlen(p);
	struct arc_verify *v;

	for (unsigned i = 0; i < 50; i++) {
		struct arc_hop hop = { .key = key[A], .instance = i + 1, .cv = i ? "pass" : "none", .results = PASSED };
		char *sealed = arc_hop_seal(&hop, p, len, &len);

		free(p);
		p = sealed;
	}
	*(strstr(p, "\r\n\r\n") + 4) = '\0';
	v = arc_verify_new(dns_table_dns(dns));
	assert_int_equal(fed(v, p, 1), 0);      /* the fields are the message's */
	before = mallinfo2();
	arc_verify_free(v);
	after = mallinfo2();
	print_message("fifty sets: %zu octets\n", before.uordblks - after.uordblks);
	assert_true(before.uordblks + before.hblkhd - after.uordblks - after.hblkhd < 64 * 1024);
	forget();
	free(p);
}

/* 50 MB of body in constant memory. */
static void much(void **state)
{
	static const struct hop hops[] = { { .key = A, .c = "simple/simple" }, { .key = B } };
	enum { CHUNK = 64 * 1024, CHUNKS = 800 };
	char *p, *chunk = malloc(CHUNK + 1), *big = malloc((size_t)CHUNK * CHUNKS + 200);
	struct arc_verify *v;
	struct arc_result r;
	struct mallinfo2 before, after;
	size_t head;

	assert_true(chunk && big);
	for (int i = 0; i < CHUNK; i++)
		chunk[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : i % 7 ? 'a' : ' ';
	chunk[CHUNK] = '\0';
	strcpy(big, "From: a@author.example\r\nTo: b\r\nSubject: big\r\n\r\n");
	head = strlen(big);
	for (size_t i = 0; i < CHUNKS; i++)
		memcpy(big + head + i * CHUNK, chunk, CHUNK);
	big[head + (size_t)CHUNK * CHUNKS] = '\0';
	p = carried(big, hops, 2);
	free(big);
	*(strstr(p, "\r\n\r\n") + 4) = '\0';     /* the header is enough: the body is that chunk, 800 times */
	v = arc_verify_new(dns_table_dns(dns));
	assert_non_null(v);
	assert_int_equal(fed(v, p, 1), 0);
	before = mallinfo2();
	for (int i = 0; i < CHUNKS; i++)
		assert_int_equal(arc_verify_body(v, chunk, CHUNK), 0);
	after = mallinfo2();
	assert_true(after.uordblks + after.hblkhd <= before.uordblks + before.hblkhd);
	assert_int_equal(arc_verify_finish(v, &r), 0);
	assert_int_equal(r.state, ARC_PASS);
	assert_int_equal(r.oldest_pass, 0);
	forget();
	arc_verify_free(v);
	free(p);
	free(chunk);
}

/* The table, which asserts memory. */
static int generous_start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	int rc;

	scarce_pause(true);
	rc = dns_start_within(dns_table_dns(dns), name, type, timeout_ms, out);
	scarce_pause(false);
	return rc;
}

/* The nth allocation fails: no memory, or the right answer, never a wrong one. */
static void no_memory(void **state)
{
	static const struct hop hops[] = { { .key = A, .c = "simple/simple" }, { .key = B } };
	static const struct dns_ops ops = { .start = generous_start };
	struct dns generous = { .ops = &ops };
	char *p = carried(MESSAGE, hops, 2);

	for (int n = 1; scarce_begin(n); n++) {
		struct arc_verify *v = arc_verify_new(&generous);
		struct arc_result r;
		int rc = v ? fed(v, p, 10) : -1;
		bool failed;

		if (rc == 0)
			rc = arc_verify_finish(v, &r);
		failed = scarce_end();
		if (rc == 0)
			assert_true(r.state == ARC_PASS || (failed && r.state == ARC_TEMPERROR));
		forget();
		arc_verify_free(v);
		if (!failed)
			break;
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains),
		cmocka_unit_test(from_covered),
		cmocka_unit_test(two_types),
		cmocka_unit_test(none),
		cmocka_unit_test(long_key),
		cmocka_unit_test(questions),
		cmocka_unit_test(keys_away),
		cmocka_unit_test(fifty),
		cmocka_unit_test(small),
		cmocka_unit_test(much),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
