/* Every signature, whichever engine has hashed it, is verified by our verifier with both engines, and by libopendkim from key record to end of message. */
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
#include <opendkim/dkim.h>

#include "base/clock.h"
#include "filters/crlf.h"
#include "filters/dkim_signer.h"
#include "filters/dkim_verify.h"
#include "support/dns_table.h"
#include "support/random.h"

enum { KEYS = 3 };

static struct dns_table *dns;
static const struct dkim_engine *engine = &dkim_engine_native;      /* that signs; every test is run with each */
static struct dkim_sign_key keys[KEYS];
static char *records[KEYS];
static char *fields[] = { "From", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Reply-To", "List-Unsubscribe" };
static char *oversigned[] = { "From", "Subject", "To" };
static struct dkim_sign_conf conf = {
	.domain = "example.com", .key = keys, .key_count = KEYS, .field = fields, .field_count = sizeof(fields) / sizeof(*fields),
	.oversign = oversigned, .oversign_count = 3, .form = DKIM_FORM_RELAXED, .expire_s = 600,
};

static int setup(void **state)
{
	static char *const selectors[KEYS] = { "r2048", "r1024", "ed" };

	keys[0].key = dkim_private_make(DKIM_KEY_RSA, 2048);
	keys[1].key = dkim_private_make(DKIM_KEY_RSA, 1024);
	keys[2].key = dkim_private_make(DKIM_KEY_ED25519, 0);
	dns = dns_table_new();
	for (size_t i = 0; i < KEYS; i++) {
		struct buf record = BUF_INIT(4096);
		char name[64];

		assert_non_null(keys[i].key);
		keys[i].selector = selectors[i];
		assert_int_equal(dkim_private_record(keys[i].key, &record), 0);
		snprintf(name, sizeof(name), "%s._domainkey.example.com", selectors[i]);
		dns_table_add(dns, name, "TXT", buf_str(&record));
		records[i] = buf_steal(&record);
	}
	return loop_init();
}

static int teardown(void **state)
{
	for (size_t i = 0; i < KEYS; i++) {
		dkim_private_free(keys[i].key);
		free(records[i]);
	}
	dns_table_free(dns);
	loop_release();
	return 0;
}

/* ---- the two verifiers, on the whole message as it is on the wire ---- */

static struct message *message_of(const char *p, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 8 << 20, .header_bytes = 1 << 20, .header_fields = 3000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert_non_null(m);
	assert_int_equal(message_add(m, p, len), 0);
	message_end(m);
	return m;
}

/* How many signatures pass, of all. */
static size_t verify_by(const struct dkim_engine *by, const char *p, size_t len, size_t *all)
{
	struct message *m = message_of(p, len);
	struct dkim_limits lim = { .engine = by };
	struct dkim_verify *v = dkim_verify_new(dns_table_dns(dns), &lim);
	const struct dkim_result *r;
	size_t passes = 0, off = message_body_offset(m);

	for (size_t i = 0; i < message_field_count(m); i++)
		assert_int_equal(dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len), 0);
	assert_int_equal(dkim_verify_header_end(v), 0);
	assert_int_equal(dkim_verify_body(v, p + off, len - off), 0);
	assert_int_equal(dkim_verify_finish(v, &r, all), 0);
	for (size_t i = 0; i < *all; i++)
		passes += r[i].word == DKIM_RESULT_PASS && !r[i].from_added;
	dkim_verify_free(v);
	message_free(m);
	return passes;
}

static size_t verify_own(const char *p, size_t len, size_t *all)
{
	size_t passes = verify_by(&dkim_engine_native, p, len, all);

	if (verify_by(&dkim_engine_opendkim, p, len, all) != passes)
		fail_msg("native has %zu that pass, libopendkim not: %.2000s", passes, p);
	return passes;
}

static DKIM_CBSTAT key_lookup(DKIM *dkim, DKIM_SIGINFO *sig, unsigned char *buf, size_t room)
{
	for (size_t i = 0; i < KEYS; i++)
		if (strcmp((const char *)dkim_sig_getselector(sig), keys[i].selector) == 0)
			return snprintf((char *)buf, room, "%s", records[i]) < (int)room ? DKIM_CBSTAT_CONTINUE : DKIM_CBSTAT_ERROR;
	return DKIM_CBSTAT_NOTFOUND;
}

static size_t verify_library(const char *p, size_t len)
{
	DKIM_LIB *lib = dkim_init(NULL, NULL);
	struct message *m = message_of(p, len);
	size_t off = message_body_offset(m), passes = 0;
	DKIM_SIGINFO **sigs;
	DKIM_STAT st;
	DKIM *d;
	int n = 0;

	assert_int_equal(dkim_set_key_lookup(lib, key_lookup), DKIM_STAT_OK);
	d = dkim_verify(lib, (const unsigned char *)"test", NULL, &st);
	assert_non_null(d);
	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *h = message_field(m, i);
		size_t text = h->raw_len;

		while (text > 0 && (h->raw[text - 1] == '\n' || h->raw[text - 1] == '\r'))
			text--;
		dkim_header(d, (unsigned char *)h->raw, text);
	}
	assert_int_equal(dkim_eoh(d), DKIM_STAT_OK);
	if (len > off)
		assert_int_equal(dkim_body(d, (unsigned char *)p + off, len - off), DKIM_STAT_OK);
	dkim_eom(d, NULL);
	assert_int_equal(dkim_getsiglist(d, &sigs, &n), DKIM_STAT_OK);
	for (int i = 0; i < n; i++) {
		dkim_sig_process(d, sigs[i]);
		passes += (dkim_sig_getflags(sigs[i]) & DKIM_SIGFLAG_PASSED) && dkim_sig_getbh(sigs[i]) == DKIM_SIGBH_MATCH;
	}
	dkim_free(d);
	dkim_close(lib);
	message_free(m);
	return passes;
}

/* ---- signing ---- */

static int wire_put(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

/* The message as the next hop gets it: what was signed above it, all lines with CRLF, the last one, too. */
static void sign_with(const struct dkim_sign_conf *c, const char *p, size_t len, struct buf *wire)
{
	struct message *m = message_of(p, len);
	size_t off = message_body_offset(m);
	struct dkim_signer *s = dkim_signer_new(p, off);
	struct buf out = BUF_INIT(1 << 20);
	struct crlf lines = { .put = wire_put, .arg = wire };
	const char *why = NULL;

	assert_non_null(s);
	assert_int_equal(dkim_signer_sign(s, c, engine, m, clock_wall_s(), &out, &why), 0);
	buf_add(wire, out.data, out.len);
	assert_int_equal(crlf_add(&lines, p, len), 0);
	assert_int_equal(crlf_end(&lines), 0);
	if (wire->len >= 2 && memcmp(wire->data + wire->len - 2, "\r\n", 2) != 0)
		buf_adds(wire, "\r\n");
	assert_false(wire->failed);
	buf_release(&out);
	dkim_signer_free(s);
	message_free(m);
}

static void want_good(const struct dkim_sign_conf *c, const char *p, size_t len)
{
	AUTO(buf) struct buf wire = BUF_INIT(32 << 20);
	size_t all;

	sign_with(c, p, len, &wire);
	if (verify_own(wire.data, wire.len, &all) != c->key_count)
		fail_msg("own verifier: %.2000s", buf_str(&wire));
	if (verify_library(wire.data, wire.len) != c->key_count)
		fail_msg("libopendkim: %.2000s", buf_str(&wire));
}

#define HEAD "From: A <a@example.com>\r\nTo: b@example.net\r\nSubject: s\r\nDate: Sun, 22 Nov 2026 06:00:00 +0000\r\n"

static const struct {
	const char *name, *text;
	size_t len;             /* 0: of the text */
} rows[] = {
	{ "plain", HEAD "\r\nhello\r\n", 0 },
	{ "empty body", HEAD "\r\n", 0 },
	{ "no empty line", HEAD, 0 },
	{ "no final line end", HEAD "\r\nhello", 0 },
	{ "one empty line", HEAD "\r\n\r\n", 0 },
	{ "blank lines at the end", HEAD "\r\nhello\r\n\r\n\r\n", 0 },
	{ "blanks at the end", HEAD "\r\nhello \t \r\n  \r\n", 0 },
	{ "dots", HEAD "\r\n.\r\n..\r\n.hello\r\n", 0 },
	{ "8 bits", HEAD "Cc: J\xc3\xb6rg <j@example.net>\r\n\r\ngr\xc3\xbc\xc3\x9f \xff\xfe\r\n", 0 },
	{ "NUL in the body", HEAD "\r\na\0b\r\n", sizeof(HEAD "\r\na\0b\r\n") - 1 },
	{ "folds", "From: A\r\n\t<a@example.com>\r\nSubject: a\r\n \tb\r\n c \r\n\r\nx\r\n", 0 },
	{ "no blank after the colon", "From:a@example.com\r\nSubject:x\r\n\r\nx\r\n", 0 },
	{ "blanks before the colon", "From : a@example.com\r\nSubject  : x\r\nTo: y\r\n\r\nx\r\n", 0 },
	{ "empty field", "From: a@example.com\r\nSubject:\r\nTo: \r\n\r\nx\r\n", 0 },
	{ "letter case", "FROM: a@example.com\r\nsUBJECT: x\r\n\r\nx\r\n", 0 },
	{ "two Subjects and two Tos", "Subject: a\r\nFrom: a@example.com\r\nTo: a@x.example\r\nSubject: b\r\nTo: b@x.example\r\n\r\nx\r\n", 0 },
	{ "nothing else than From", "From: a@example.com\r\n\r\nx\r\n", 0 },
	{ "Received above", "Received: from x\r\n\tby y; now\r\n" HEAD "\r\nx\r\n", 0 },
	{ "another's signature below", "DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; h=from; bh=x; b=y\r\n" HEAD "\r\nx\r\n", 0 },
	{ "bare LF in the body", HEAD "\r\na\nb\n\nc\n", 0 },
	{ "bare CR in the body", HEAD "\r\na\rb\r\rc\r", 0 },
	{ "CR CR LF", HEAD "\r\na\r\r\nb\r\n", 0 },
	{ "bare LF in the header", "From: a@example.com\nSubject: a\n b\r\nTo: x@example.net\n\nx\r\n", 0 },
	{ "a colon in a body", HEAD "\r\nSubject: not me\r\n", 0 },
	{ "strange names", "X;y: 1\r\nX=: 2\r\nFrom: a@example.com\r\n\r\nx\r\n", 0 },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = rows[i].len ? rows[i].len : strlen(rows[i].text);

		for (int form = DKIM_FORM_RELAXED; form <= DKIM_FORM_SIMPLE; form++) {
			conf.form = (enum dkim_sign_form)form;
			print_message("%s, form %d\n", rows[i].name, form);
			want_good(&conf, rows[i].text, len);
		}
	}
	conf.form = DKIM_FORM_RELAXED;
}

/* What is changed after signing is noticed, or not, as h= has it. */
static void test_changes(void **state)
{
	static const struct {
		const char *name, *find, *put;
		bool good;
	} changes[] = {
		{ "nothing", "hello", "hello", true },
		{ "the body", "hello", "hallo", false },
		{ "a field that is not signed", "X-Note: 1", "X-Note: 2", true },
		{ "the subject", "Subject: s", "Subject: t", false },
		{ "blanks in the subject", "Subject: s", "Subject:   s ", true },
		{ "a second From above", "X-Note: 1", "From: z@example.com", false },
		{ "a second Subject above", "X-Note: 1", "Subject: z", false },
		{ "a second Date above", "X-Note: 1", "Date: now", true },
		{ "a Reply-To, of which there was none", "X-Note: 1", "Reply-To: z@x.example", true },
		{ "a Received line", "X-Note: 1", "Received: from x by y; now", true },
		{ "the To", "b@example.net", "c@example.net", false },
	};
	static const char text[] = "X-Note: 1\r\n" HEAD "\r\nhello\r\n";

	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		AUTO(buf) struct buf wire = BUF_INIT(1 << 20), changed = BUF_INIT(1 << 20);
		const char *at;
		size_t all;

		sign_with(&conf, text, strlen(text), &wire);
		at = strstr(buf_str(&wire), changes[i].find);
		assert_non_null(at);
		buf_add(&changed, wire.data, (size_t)(at - wire.data));
		buf_adds(&changed, changes[i].put);
		buf_adds(&changed, at + strlen(changes[i].find));
		print_message("%s\n", changes[i].name);
		assert_int_equal(verify_own(changed.data, changed.len, &all), changes[i].good ? KEYS : 0);
		assert_int_equal(verify_library(changed.data, changed.len), changes[i].good ? KEYS : 0);
	}
}

static void add_random(struct buf *b, unsigned bytes, bool header)
{
	static const char *const pieces[] = { "a", "word", " ", "  ", "\t", "\r\n ", "\r\n\t", ".", ";", ":", "=", "\xc3\xa4", "\xff", "=20" };
	static const char *const lines[] = { "\r\n", "\r\n", "\r\n.\r\n", "\r\n\r\n", "\n", "\r", " \r\n", "\t \r\n", "\r\r\n", "\n\r" };

	for (unsigned i = pick(bytes); i > 0; i--)
		buf_adds(b, header || pick(4) ? ONE_OF(pieces) : ONE_OF(lines));
}

static void test_random(void **state)
{
	static const char *const names[] = { "Subject", "To", "Cc", "X-A", "Date", "Message-ID", "Received", "subject", "MIME-Version", "Reply-To" };

	random_seed(7);
	for (int round = 0; round < 400; round++) {
		AUTO(buf) struct buf text = BUF_INIT(1 << 20);
		bool from = false;

		for (unsigned n = 1 + pick(8); n > 0 || !from; n -= n > 0) {
			if (!from && (n <= 1 || pick(3) == 0)) {
				buf_adds(&text, "From: a@example.com\r\n");
				from = true;
				continue;
			}
			buf_addf(&text, "%s:", ONE_OF(names));
			add_random(&text, 12, true);
			/* A fold of blanks alone is no field's end. */
			buf_adds(&text, "x\r\n");
		}
		if (pick(10))
			buf_adds(&text, "\r\n");
		if (pick(10) && text.len > 2 && memcmp(text.data + text.len - 4, "\r\n\r\n", 4) == 0)
			add_random(&text, 60, false);
		conf.form = (enum dkim_sign_form)pick(4);
		want_good(&conf, text.data, text.len);
	}
	conf.form = DKIM_FORM_RELAXED;
}

static void test_author(void **state)
{
	static const struct {
		const char *header, *domain;
	} authors[] = {
		{ "From: a@example.com\r\n\r\n", "example.com" },
		{ "From: A <a@EXAMPLE.com>\r\n\r\n", "example.com" },
		{ "From: \"x@evil.example\" <a@example.com>\r\n\r\n", "example.com" },
		{ "From: a@example.com, b@example.com\r\n\r\n", "example.com" },
		{ "From: a@b\xc3\xbc" "cher.example\r\n\r\n", "xn--bcher-kva.example" },
		{ "From: a@sub.example.com\r\n", "sub.example.com" },
		{ "To: a@example.com\r\n\r\n", NULL },
		{ "From: a@example.com, b@other.example\r\n\r\n", NULL },
		{ "From: a@example.com\r\nFrom: b@other.example\r\n\r\n", NULL },
		{ "From: <a@evil.example> b@example.com\r\n\r\n", NULL },
		{ "From: a@[192.0.2.1]\r\n\r\n", NULL },
		{ "From: nobody\r\n\r\n", NULL },
		{ "From:\r\n\r\n", NULL },
	};

	for (size_t i = 0; i < sizeof(authors) / sizeof(*authors); i++) {
		struct dkim_signer *s = dkim_signer_new(authors[i].header, strlen(authors[i].header));
		const char *domain;

		assert_non_null(s);
		domain = dkim_signer_author(s);
		if (!domain != !authors[i].domain || (domain && strcmp(domain, authors[i].domain) != 0))
			fail_msg("%s: %s", authors[i].header, domain ? domain : "none");
		dkim_signer_free(s);
	}
}

static void test_find(void **state)
{
	static struct dkim_sign_conf all[] = {
		{ .domain = "example.com", .subdomains = true },
		{ .domain = "mail.example.com" },
		{ .domain = "example.net" },
	};
	static const struct {
		const char *domain;
		int which;      /* -1: none */
	} want[] = {
		{ "example.com", 0 }, { "x.example.com", 0 }, { "mail.example.com", 1 }, { "x.mail.example.com", 0 }, { "example.net", 2 },
		{ "x.example.net", -1 }, { "badexample.com", -1 }, { "com", -1 }, { "example.org", -1 },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
		assert_ptr_equal(dkim_sign_find(all, 3, want[i].domain), want[i].which < 0 ? NULL : &all[want[i].which]);
}

/* No header, or one that is none; an empty line inside. */
static void test_bad_headers(void **state)
{
	static const char *const bad[] = { "", "\r\n", "hello\r\n", "From: a@example.com\r\nhello\r\n\r\n", "From: a@example.com\r\n\r\nTo: x\r\n" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_null(dkim_signer_new(bad[i], strlen(bad[i])));
}

/* Who cannot read the key does not send it unsigned. */
static void test_no_key(void **state)
{
	struct dkim_sign_conf none = conf;
	struct message *m = message_of(HEAD "\r\nx\r\n", strlen(HEAD) + 5);
	struct dkim_signer *s = dkim_signer_new(HEAD "\r\n", strlen(HEAD) + 2);
	AUTO(buf) struct buf out = BUF_INIT(1 << 16);
	const char *why = NULL;

	none.key_count = 0;
	assert_true(dkim_signer_sign(s, &none, engine, m, 0, &out, &why) < 0);
	assert_string_equal(why, "there is no key");
	dkim_signer_free(s);
	message_free(m);
}

/* libopendkim reads 4,095 octets of h= and no more, and would sign what nobody else makes of it: so what is long is hashed by our own. */
static void test_long_names(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20), wire = BUF_INIT(1 << 20);
	static char name[6][80], *long_names[6];
	struct dkim_sign_conf c = conf;
	size_t all;

	buf_adds(&text, "From: a@example.com\r\n");
	for (int i = 0; i < 6; i++) {
		snprintf(name[i], sizeof(name[i]), "X-%d-%050d", i, i);
		long_names[i] = name[i];
		for (int k = 0; k < DKIM_SIGN_SAME_MAX; k++)
			buf_addf(&text, "%s: %d\r\n", name[i], k);
	}
	buf_adds(&text, "\r\nx\r\n");
	c.field = long_names;
	c.field_count = 6;
	sign_with(&c, text.data, text.len, &wire);
	assert_int_equal(verify_by(&dkim_engine_native, wire.data, wire.len, &all), KEYS);
	assert_int_equal(all, KEYS);
}

/* What libopendkim does not see, or takes for something else: whoever passes a message on may not change it so, whichever engine is asked. */
static void test_changed_oddly(void **state)
{
	static const struct {
		const char *was, *is;
		size_t len;
	} odd[] = {
#define ROW(was, is) { was, is, sizeof(is) - 1 }
		ROW("From: A", "From\t: evil@example.com\r\nFrom: A"),
		ROW("Subject: s", "Subject: s\0evil"),
		ROW("Subject: s", "Subject:\vs"),
		ROW("Subject: s", "Subject:\rs"),
	};
	size_t all;

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		AUTO(buf) struct buf wire = BUF_INIT(1 << 20), changed = BUF_INIT(1 << 20);
		const char *at;

		sign_with(&conf, HEAD "\r\nx\r\n", strlen(HEAD) + 5, &wire);
		assert_int_equal(verify_by(&dkim_engine_opendkim, wire.data, wire.len, &all), KEYS);
		at = memmem(wire.data, wire.len, odd[i].was, strlen(odd[i].was));
		assert_non_null(at);
		buf_add(&changed, wire.data, (size_t)(at - wire.data));
		buf_add(&changed, odd[i].is, odd[i].len);
		at += strlen(odd[i].was);
		buf_add(&changed, at, (size_t)(wire.data + wire.len - at));
		if (verify_by(&dkim_engine_native, changed.data, changed.len, &all) != 0)
			fail_msg("row %zu: native", i);
		if (verify_by(&dkim_engine_opendkim, changed.data, changed.len, &all) != 0)
			fail_msg("row %zu: libopendkim", i);
	}
}

static int no_hash(struct dkim_header *h, size_t place, const struct dkim_sig *sig, unsigned char out[DKIM_HASH_MAX], const char **why)
{
	*why = "asked";
	return -EPROTO;
}

/* The library compares each field with every name, in one piece: many are for our own. */
static void test_not_for_the_library(void **state)
{
	static const struct dkim_engine never = { .name = "never", .hash = no_hash };

	for (int count = 100; count <= 2000; count += 1900) {
		AUTO(buf) struct buf text = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
		struct dkim_signer *s;
		struct message *m;
		const char *why = NULL;

		buf_adds(&text, "From: a@example.com\r\n");
		for (int i = 0; i < count; i++)
			buf_adds(&text, "A:\r\n");
		buf_adds(&text, "\r\n");
		m = message_of(text.data, text.len);
		s = dkim_signer_new(text.data, text.len);
		assert_non_null(s);
		assert_int_equal(dkim_signer_sign(s, &conf, &never, m, clock_wall_s(), &out, &why), count == 100 ? -EPROTO : 0);
		if (count == 100)
			assert_string_equal(why, "asked");
		dkim_signer_free(s);
		message_free(m);
	}
}

static void test_many_fields(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);

	for (int i = 0; i < 300; i++)
		buf_addf(&text, "To: x%d@example.net\r\n", i);
	buf_adds(&text, "From: a@example.com\r\nFrom: b@example.com\r\n\r\nx\r\n");
	want_good(&conf, text.data, text.len);
}

static void test_keys(void **state)
{
	static const char *const bad[] = {
		"",
		"hello",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAHD+ljk2nUGsHfkJ1cYdNRmdKnUYO81FPDMjU9e1cdv8=\n-----END PUBLIC KEY-----\n",
		/* prime256v1 */
		"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n"
		"OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n"
		"-----END PRIVATE KEY-----\n",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
		"MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgtSn3vK8au9AICCAAw\n"
		"DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEHmv83IcfgBn0+m1WAPzkVYEQHZ5\n"
		"8YucB6J+WByNPMluwfzozhkBiwD7/mWdkuormZ2A5Wm7Olz1cjhJRZqOhGbuVRgY\n"
		"pQPNUXxb5/dnUqjBtQM=\n"
		"-----END ENCRYPTED PRIVATE KEY-----\n",
	};
	const char *why;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_null(dkim_private_read(bad[i], strlen(bad[i]), &why));
		assert_non_null(why);
		print_message("%s\n", why);
	}
	for (size_t i = 0; i < KEYS; i++) {
		AUTO(buf) struct buf pem = BUF_INIT(8192), record = BUF_INIT(4096);
		struct dkim_private *k;
		struct dkim_key published;

		assert_int_equal(dkim_private_pem(keys[i].key, &pem), 0);
		k = dkim_private_read(pem.data, pem.len, &why);
		assert_non_null(k);
		assert_int_equal(dkim_private_type(k), dkim_private_type(keys[i].key));
		assert_int_equal(dkim_private_record(k, &record), 0);
		assert_string_equal(buf_str(&record), records[i]);
		assert_int_equal(dkim_key_parse(record.data, record.len, &published, &why), DKIM_KEY_GOOD);
		assert_int_equal(published.bits, dkim_private_bits(k));
		assert_null(dkim_private_read(pem.data, pem.len / 2, &why));
		dkim_private_free(k);
	}
	assert_null(dkim_private_make(DKIM_KEY_RSA, 512));
}

/* Lines are short enough for anybody, whatever is signed. */
static void test_lines(void **state)
{
	AUTO(buf) struct buf wire = BUF_INIT(1 << 20);
	const char *p, *end;

	sign_with(&conf, HEAD "\r\nx\r\n", strlen(HEAD) + 5, &wire);
	for (p = wire.data, end = strstr(p, "\r\nFrom:"); p < end;) {
		const char *lf = strchr(p, '\n');

		assert_true(lf - p <= 79);
		p = lf + 1;
	}
	assert_non_null(strstr(wire.data, " x="));
	assert_null(strstr(wire.data, " l="));
	assert_non_null(strstr(wire.data, "h=From:From:"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_changes), cmocka_unit_test(test_random), cmocka_unit_test(test_author),
		cmocka_unit_test(test_find), cmocka_unit_test(test_bad_headers), cmocka_unit_test(test_not_for_the_library), cmocka_unit_test(test_changed_oddly),
		cmocka_unit_test(test_many_fields), cmocka_unit_test(test_long_names), cmocka_unit_test(test_no_key), cmocka_unit_test(test_keys),
		cmocka_unit_test(test_lines),
	};

	int failed = cmocka_run_group_tests_name("native", tests, setup, teardown);

	engine = &dkim_engine_opendkim;
	return failed + cmocka_run_group_tests_name("libopendkim", tests, setup, teardown);
}
