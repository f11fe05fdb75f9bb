#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/task.h"
#include "filters/dkim.h"
#include "filters/dkim_verify.h"
#include "policy/conf.h"
#include "support/dns_table.h"

#define VECTORS "tests/conformance/dkim/"

static struct dns_table *dns;
static struct site site;
static int self;
static enum engine engine;      /* every test is run with each */

static char *file_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *p;
	long n;

	if (!f)
		fail_msg("%s is not there; run from the top of the repository", path);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	p = malloc((size_t)n + 1);
	assert_int_equal(fread(p, 1, (size_t)n, f), n);
	fclose(f);
	p[n] = '\0';
	*len = (size_t)n;
	return p;
}

static int setup(void **state)
{
	size_t len;
	char *keys = file_read(VECTORS "keys.txt", &len), *line, *save = NULL;

	fact_register_all();
	self = 0;
	while (filters[self] != &filter_dkim)
		self++;
	dns = dns_table_new();
	for (line = strtok_r(keys, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *blank = strchr(line, ' ');

		*blank = '\0';
		dns_table_add(dns, line, "TXT", blank + 1);
	}
	free(keys);
	return loop_init();
}

static int teardown(void **state)
{
	dns_table_free(dns);
	loop_release();
	return 0;
}

struct fixture {
	struct client client;
	struct txn txn;
	char *bytes;
	size_t len, body;
};

static int open_memfd(void *arg)
{
	return memfd_create("message", MFD_CLOEXEC);
}

static void begin_bytes(struct fixture *x, char *bytes, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 256 << 10, .header_bytes = 1 << 20, .header_fields = 3000 };

	memset(x, 0, sizeof(*x));
	memset(&site, 0, sizeof(site));
	site.dkim_max_signatures = 10;
	site.dkim_engine = engine;
	dns_table_forget(dns);
	txn_init(&x->txn, &site, dns_table_dns(dns), &x->client);
	x->bytes = bytes;
	x->len = len;
	x->txn.message = message_new(&lim, open_memfd, NULL);
	assert_non_null(x->txn.message);
	assert_int_equal(message_add(x->txn.message, bytes, len), 0);
	message_end(x->txn.message);
	x->body = message_body_offset(x->txn.message);
	x->txn.stage = STAGE_HEADER;
}

static void begin(struct fixture *x, const char *vector)
{
	char path[256];
	size_t len;
	char *p;

	snprintf(path, sizeof(path), "%s%s.eml", VECTORS, vector);
	p = file_read(path, &len);
	begin_bytes(x, p, len);
}

static void end(struct fixture *x)
{
	message_free(x->txn.message);
	x->txn.message = NULL;
	txn_release(&x->txn);
	client_release(&x->client);
	free(x->bytes);
}

/* The session's part: start at the end of the header, the body in chunks. */
static void session(struct fixture *x, size_t chunk)
{
	filters_start(&x->txn, STAGE_HEADER, 1u << self);
	for (size_t at = x->body; at < x->len; at += chunk)
		assert_int_equal(filters_body(&x->txn, 1u << self, x->bytes + at, x->len - at < chunk ? x->len - at : chunk), 0);
	x->txn.stage = STAGE_DATA;
}

static const struct fact *fact(struct fixture *x, const char *name)
{
	const struct fact *f = filters_fact(&x->txn, fact_find(name, strlen(name)));

	if (!f)
		fail_msg("%s is unknown", name);
	return f;
}

static void want_word(struct fixture *x, const char *name, const char *word)
{
	const struct fact *f = fact(x, name);

	assert_int_equal(f->state, FACT_KNOWN);
	assert_string_equal(f->text[0], word);
}

static void want_list(struct fixture *x, const char *name, const char *joined)
{
	const struct fact *f = fact(x, name);
	char have[2048] = "";

	assert_int_equal(f->state, FACT_KNOWN);
	for (size_t i = 0; i < f->count; i++) {
		strcat(have, i ? "," : "");
		strcat(have, f->text[i]);
	}
	assert_string_equal(have, joined);
}

static void two_signatures(void **state)
{
	struct fixture x;

	begin(&x, "dual-rsa-ed");
	session(&x, 10);
	want_word(&x, "dkim", "pass");
	want_list(&x, "dkim.pass_domains", "example.com");
	want_list(&x, "dkim.temperror_domains", "");
	want_list(&x, "dkim.algorithms", "ed25519-sha256,rsa-sha256");
	assert_int_equal(fact(&x, "dkim.signatures")->number, 2);
	assert_int_equal(fact(&x, "dkim.unsigned_text")->number, 0);
	assert_int_equal(fact(&x, "dkim.from_added")->number, 0);
	assert_int_equal(fact(&x, "dkim.testing")->number, 0);
	assert_int_equal(strncmp(fact(&x, "dkim.results")->text[1], "pass d=example.com s=r2048 a=rsa-sha256 b=", 42), 0);
	assert_non_null(strstr(fact(&x, "dkim.results")->text[0], " k=256"));
	end(&x);
}

static void unsigned_message(void **state)
{
	struct fixture x;

	begin_bytes(&x, strdup("From: a@example.com\r\n\r\nhi\r\n"), 27);
	session(&x, 100);
	want_word(&x, "dkim", "none");
	want_list(&x, "dkim.results", "");
	want_list(&x, "dkim.pass_domains", "");
	assert_int_equal(fact(&x, "dkim.signatures")->number, 0);
	assert_int_equal(dns_table_asked(dns), 0);
	end(&x);
}

/* A rule asks at the end of data, and nobody has started the filter; or it was started in the middle of the body. */
static void asked_late(void **state)
{
	struct fixture x;

	begin(&x, "rsa-2048");
	x.txn.stage = STAGE_DATA;
	want_word(&x, "dkim", "pass");
	end(&x);

	begin(&x, "rsa-2048");
	filters_start(&x.txn, STAGE_HEADER, 1u << self);
	assert_int_equal(filters_body(&x.txn, 1u << self, x.bytes + x.len - 5, 5), 0);
	x.txn.stage = STAGE_DATA;
	want_word(&x, "dkim", "pass");
	end(&x);
}

static void key_is_asked_at_the_header(void **state)
{
	struct fixture x;

	begin(&x, "rsa-2048");
	assert_int_equal(dns_table_asked(dns), 0);
	filters_start(&x.txn, STAGE_HEADER, 1u << self);
	assert_int_equal(dns_table_asked(dns), 1);
	assert_string_equal(dns_table_question(dns, 0)->name, "r2048._domainkey.example.com");
	end(&x);                                /* and the session may end here: nothing leaks */
}

static void no_question_without_need(void **state)
{
	static const char *const vectors[] = { "rsa-sha1", "v2", "x-expired", "i-other-domain", "from-not-signed", "no-from-header" };

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct fixture x;

		begin(&x, vectors[i]);
		session(&x, 100);
		assert_string_not_equal(fact(&x, "dkim")->text[0], "pass");
		if (dns_table_asked(dns) > 0)
			fail_msg("%s: a key is asked for", vectors[i]);
		end(&x);
	}
}

static const struct {
	const char *vector, *word, *why;
} words[] = {
	{ "body-changed",         "fail",      "the body is not what was signed" },
	{ "hdr-changed",          "fail",      "the signature does not fit the header" },
	{ "rsa-sha1",             "fail",      "rsa-sha1" },
	{ "rsa-768",              "fail",      "fewer than 1024 bits" },
	{ "x-expired",            "fail",      "expired" },
	{ "l-too-large",          "fail",      "l= is more than there is" },
	{ "rsa-8192",             "pass",      NULL },
	{ "key-nxdomain",         "permerror", "no key" },
	{ "key-revoked",          "permerror", "revoked" },
	{ "key-bad-base64",       "permerror", "base64" },
	{ "key-dup-tag",          "permerror", "twice" },
	{ "key-t-s-subdomain-i",  "permerror", "t=s" },
	{ "alg-key-mismatch",     "permerror", "not one for a=" },
	{ "sig-dup-tag",          "neutral",   "twice" },
	{ "sig-q-unknown",        "neutral",   "q=" },
	{ "v2",                   "neutral",   "v=" },
	{ "body-bare-lf",         "pass",      NULL },
	{ "body-bare-cr-relaxed", "pass",      NULL },
	{ "multi-bad-good",       "pass",      NULL },
};

static void results_in_words(void **state)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct fixture x;
		const struct fact *f;

		begin(&x, words[i].vector);
		session(&x, 7);
		f = fact(&x, "dkim");
		if (f->state != FACT_KNOWN || strcmp(f->text[0], words[i].word) || (words[i].why && (!f->why || !strstr(f->why, words[i].why))))
			fail_msg("%s: %s (%s)", words[i].vector, f->text ? f->text[0] : "?", f->why ? f->why : "");
		end(&x);
	}
}

static void warnings(void **state)
{
	struct fixture x;

	begin(&x, "l-appended");
	session(&x, 100);
	want_word(&x, "dkim", "pass");
	assert_int_equal(fact(&x, "dkim.unsigned_text")->number, 1);
	end(&x);
	begin(&x, "l-exact");
	session(&x, 100);
	assert_int_equal(fact(&x, "dkim.unsigned_text")->number, 0);
	end(&x);
	begin(&x, "from-added-not-oversigned");
	session(&x, 100);
	want_word(&x, "dkim", "pass");
	assert_int_equal(fact(&x, "dkim.from_added")->number, 1);
	end(&x);
	begin(&x, "key-t-y");
	session(&x, 100);
	assert_int_equal(fact(&x, "dkim.testing")->number, 1);
	end(&x);
}

static void dns_away(void **state)
{
	struct fixture x;
	char *keys, *record;
	size_t len;

	begin(&x, "rsa-2048");
	dns_table_remove(dns, "r2048._domainkey.example.com");
	dns_table_add(dns, "r2048._domainkey.example.com", "SERVFAIL", "");
	session(&x, 100);
	assert_int_equal(fact(&x, "dkim")->state, FACT_TEMPERROR);
	assert_int_equal(fact(&x, "dkim.pass_domains")->state, FACT_TEMPERROR);
	want_list(&x, "dkim.temperror_domains", "example.com");
	want_list(&x, "dkim.domains", "example.com");
	end(&x);

	/* One of two keys is away: the other one's signature is enough. */
	begin(&x, "dual-rsa-ed");
	session(&x, 100);
	want_word(&x, "dkim", "pass");
	want_list(&x, "dkim.pass_domains", "example.com");
	want_list(&x, "dkim.temperror_domains", "example.com");
	end(&x);

	dns_table_remove(dns, "r2048._domainkey.example.com");
	keys = file_read(VECTORS "keys.txt", &len);
	record = strstr(keys, "\nr2048._domainkey.example.com ");
	record[strcspn(record + 1, "\n") + 1] = '\0';
	dns_table_add(dns, "r2048._domainkey.example.com", "TXT", strchr(record, ' ') + 1);
	free(keys);
}

static void limit_of_signatures(void **state)
{
	struct fixture x;
	const struct fact *f;
	size_t policy = 0;

	begin(&x, "multi-20");
	session(&x, 100);
	want_word(&x, "dkim", "pass");
	f = fact(&x, "dkim.results");
	assert_int_equal(f->count, 20);
	assert_int_equal(fact(&x, "dkim.pass_domains")->count, 1);
	assert_int_equal(fact(&x, "dkim.signatures")->number, 20);
	for (size_t i = 0; i < f->count; i++)
		policy += strncmp(f->text[i], "policy;", 7) == 0;
	assert_int_equal(policy, 10);
	assert_int_equal(dns_table_asked(dns), 1);      /* one key, one question */
	end(&x);
}

/* 500 signatures, each with a length of its own: five body hashes would be too many, five hundred a way to stop us. */
static void flood_of_lengths(void **state)
{
	enum { BODY = 1 << 20, COUNT = 500 };
	char *p = malloc(COUNT * 300 + BODY + 200);
	struct fixture x;
	const struct fact *f;
	size_t n = 0, tried = 0;

	for (int i = 0; i < COUNT; i++)
		n += (size_t)sprintf(p + n, "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=r2048; c=relaxed/relaxed; l=%d; h=from;\r\n"
				     " bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=dGhlIHF1aWNrIGJyb3du\r\n", 1000 + i);
	n += (size_t)sprintf(p + n, "From: a@example.com\r\n\r\n");
	for (size_t i = 0; i < BODY; i += 64)
		n += (size_t)sprintf(p + n, "%.*s\r\n", 62, "the quick brown fox jumps over the lazy dog  and so on and so forth");
	begin_bytes(&x, p, n);
	site.dkim_max_signatures = 64;
	session(&x, 65536);
	want_word(&x, "dkim", "fail");
	f = fact(&x, "dkim.results");
	assert_int_equal(f->count, 64);
	for (size_t i = 0; i < f->count; i++)
		tried += strncmp(f->text[i], "fail ", 5) == 0;
	assert_int_equal(tried, 4);
	assert_int_equal(fact(&x, "dkim.signatures")->number, COUNT);
	end(&x);
}

/* Every field of the message is covered, the signature's own named, too, and names are left over: libopendkim would write past its memory (glibc ends us, valgrind tells). */
static void every_field_covered(void **state)
{
	static const char sig[] = "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=r2048; h=dkim-signature:%s:x;\r\n"
				  " bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=dGhlIHF1aWNrIGJyb3du\r\n";

	for (int fields = 1; fields < 40; fields++) {
		AUTO(buf) struct buf names = BUF_INIT(4096), text = BUF_INIT(1 << 16);
		struct fixture x;

		for (int i = 0; i < fields; i++)
			buf_adds(&names, i ? ":from" : "from");
		buf_addf(&text, sig, buf_str(&names));
		for (int i = 0; i < fields; i++)
			buf_adds(&text, "From: a@example.com\r\n");
		buf_adds(&text, "\r\n");
		begin_bytes(&x, memcpy(malloc(text.len), text.data, text.len), text.len);
		session(&x, 100);
		want_word(&x, "dkim", "fail");
		end(&x);
	}
}

/* Several key records: undefined by the RFC; one that is good is enough. */
/* The record of that name, again. */
static void publish(const char *name)
{
	size_t len;
	char *keys = file_read(VECTORS "keys.txt", &len), *at = strstr(keys, name);

	assert_non_null(at);
	at[strcspn(at, "\n")] = '\0';
	dns_table_add(dns, name, "TXT", at + strlen(name) + 1);
	free(keys);
}

static void several_records(void **state)
{
	static const char ed25519[] = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
	struct fixture x;

	dns_table_add(dns, "r2048._domainkey.example.com", "TXT", "v=spf1 -all");
	begin(&x, "rsa-2048");
	session(&x, 100);
	want_word(&x, "dkim", "pass");
	end(&x);
	dns_table_add(dns, "knop._domainkey.example.com", "TXT", "v=DKIM1; p=");
	begin(&x, "key-no-p");
	session(&x, 100);
	want_word(&x, "dkim", "permerror");
	end(&x);

	/* Of two types that which fits a=, wherever it stands among the eight that are looked at. */
	for (int before = 1; before <= 8; before++) {
		dns_table_remove(dns, "r2048._domainkey.example.com");
		for (int i = 0; i < before; i++)
			dns_table_add(dns, "r2048._domainkey.example.com", "TXT", ed25519);
		publish("r2048._domainkey.example.com");
		begin(&x, "rsa-2048");
		session(&x, 100);
		want_word(&x, "dkim", before < 8 ? "pass" : "permerror");
		end(&x);
	}
	dns_table_remove(dns, "r2048._domainkey.example.com");
	publish("r2048._domainkey.example.com");
}

static void malformed_answer(void **state)
{
	struct fixture x;

	dns_table_remove(dns, "r1024._domainkey.example.com");
	dns_table_add_rdata(dns, "r1024._domainkey.example.com", DNS_TXT, "\377abc", 4);
	begin(&x, "rsa-1024");
	session(&x, 100);
	want_word(&x, "dkim", "permerror");
	end(&x);
}

static void big_message_from_its_file(void **state)
{
	struct fixture x;
	char *p, *big;
	size_t len, extra = 700000;

	/* Appended text after l=: the signature holds, and the body is read back from the descriptor. */
	p = file_read(VECTORS "l-appended.eml", &len);
	big = malloc(len + extra);
	memcpy(big, p, len);
	memset(big + len, 'x', extra);
	memcpy(big + len + extra - 3, "x\r\n", 3);
	free(p);
	begin_bytes(&x, big, len + extra);
	assert_true(message_fd(x.txn.message) >= 0);
	x.txn.stage = STAGE_DATA;
	want_word(&x, "dkim", "pass");
	assert_int_equal(fact(&x, "dkim.unsigned_text")->number, 1);
	end(&x);
}

static void demo_message(void **state)
{
	struct dns_table *zones = dns_table_new();
	struct fixture x;
	size_t len;
	char *text = file_read("conf/demo/zones.txt", &len), *mail;

	dns_table_zone(zones, text);
	free(text);
	mail = file_read("conf/demo/genuine.eml", &len);
	begin_bytes(&x, mail, len);
	x.txn.dns = dns_table_dns(zones);
	session(&x, 1000);
	want_word(&x, "dkim", "pass");
	want_list(&x, "dkim.pass_domains", "good.example");
	end(&x);
	dns_table_free(zones);
}

/* In a task, with keys that come later: run waits for them, start did not. */
static void waiter(void *arg)
{
	struct fixture x;

	dns_table_later(dns, 20);
	begin(&x, "dual-rsa-ed");
	session(&x, 50);
	assert_int_equal(dns_table_waiting(dns), 2);
	want_word(&x, "dkim", "pass");
	assert_int_equal(strncmp(fact(&x, "dkim.results")->text[1], "pass ", 5), 0);
	end(&x);

	/* A session that ends while its keys are on the way. */
	begin(&x, "dual-rsa-ed");
	filters_start(&x.txn, STAGE_HEADER, 1u << self);
	end(&x);

	/* Cancelled while it waits: not known, and no crash. */
	begin(&x, "dual-rsa-ed");
	session(&x, 50);
	task_cancel(task_self());
	assert_int_equal(fact(&x, "dkim")->state, FACT_TEMPERROR);
	end(&x);
	dns_table_later(dns, -1);
	loop_stop();
}

static void keys_that_come_later(void **state)
{
	assert_int_equal(task_spawn("waiter", waiter, NULL, NULL), 0);
	loop_run();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_signatures),
		cmocka_unit_test(unsigned_message),
		cmocka_unit_test(asked_late),
		cmocka_unit_test(key_is_asked_at_the_header),
		cmocka_unit_test(no_question_without_need),
		cmocka_unit_test(results_in_words),
		cmocka_unit_test(warnings),
		cmocka_unit_test(dns_away),
		cmocka_unit_test(limit_of_signatures),
		cmocka_unit_test(flood_of_lengths),
		cmocka_unit_test(every_field_covered),
		cmocka_unit_test(several_records),
		cmocka_unit_test(malformed_answer),
		cmocka_unit_test(big_message_from_its_file),
		cmocka_unit_test(demo_message),
		cmocka_unit_test(keys_that_come_later),
	};

	int failed = cmocka_run_group_tests_name("native", tests, setup, teardown);

	engine = ENGINE_LIBRARY;
	return failed + cmocka_run_group_tests_name("libopendkim", tests, setup, teardown);
}
