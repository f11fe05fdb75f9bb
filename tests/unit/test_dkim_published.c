/* The record of a key, and what an answer of the DNS says of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command/dkim_published.h"
#include "filters/domain.h"
#include "support/dns_table.h"

static struct dkim_private *rsa, *ed, *other;
static char *rsa_record, *ed_record, *other_record;

static char *record_of(const struct dkim_private *k)
{
	struct buf b = BUF_INIT(4096);

	assert_int_equal(dkim_private_record(k, &b), 0);
	return buf_steal(&b);
}

static int setup(void **state)
{
	rsa = dkim_private_make(DKIM_KEY_RSA, 2048);
	other = dkim_private_make(DKIM_KEY_RSA, 1024);
	ed = dkim_private_make(DKIM_KEY_ED25519, 0);
	rsa_record = record_of(rsa);
	other_record = record_of(other);
	ed_record = record_of(ed);
	return 0;
}

static int teardown(void **state)
{
	dkim_private_free(rsa);
	dkim_private_free(other);
	dkim_private_free(ed);
	free(rsa_record);
	free(other_record);
	free(ed_record);
	return 0;
}

/* What is said of these records (NULL last), or of a failure of that type. */
static enum dkim_published judge(const struct dkim_private *key, const char *type, const char *const *data, char *why)
{
	struct dns_table *t = dns_table_new();
	struct dns_lookup *l;
	enum dkim_published p;

	for (size_t i = 0; data[i]; i++)
		dns_table_add(t, "s._domainkey.example.com", type, data[i]);
	assert_int_equal(dns_start(dns_table_dns(t), "s._domainkey.example.com", DNS_TXT, &l), 0);
	p = dkim_published_judge(dns_wait(l), key, why, 256);
	dns_drop(l);
	dns_table_free(t);
	return p;
}

static void test_judge(void **state)
{
	char testing[4096], loose[4096], why[256];
	const struct {
		const char *name, *type, *data[3];
		const struct dkim_private *key;
		enum dkim_published want;
		const char *say;
	} rows[] = {
		{ "the key", "TXT", { rsa_record }, rsa, DKIM_PUBLISHED_GOOD, "RSA key of 2048 bits" },
		{ "the Ed25519 key", "TXT", { ed_record }, ed, DKIM_PUBLISHED_GOOD, "Ed25519" },
		{ "any key", "TXT", { rsa_record }, NULL, DKIM_PUBLISHED_GOOD, "RSA" },
		{ "another form of it", "TXT", { loose }, rsa, DKIM_PUBLISHED_GOOD, "RSA" },
		{ "testing", "TXT", { testing }, rsa, DKIM_PUBLISHED_TESTING, "t=y" },
		{ "another key", "TXT", { other_record }, rsa, DKIM_PUBLISHED_OTHER, "another key is published, of 1024 bits" },
		{ "a key of another kind", "TXT", { ed_record }, rsa, DKIM_PUBLISHED_OTHER, "Ed25519" },
		{ "revoked", "TXT", { "v=DKIM1; p=" }, rsa, DKIM_PUBLISHED_REVOKED, "revoked" },
		{ "not a key", "TXT", { "v=spf1 -all" }, rsa, DKIM_PUBLISHED_BAD, "no key" },
		{ "empty", "TXT", { "" }, rsa, DKIM_PUBLISHED_BAD, "no key" },
		{ "v= not first", "TXT", { "k=rsa; v=DKIM1; p=AAAA" }, rsa, DKIM_PUBLISHED_BAD, "no key" },
		{ "cut", "TXT", { "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" }, rsa, DKIM_PUBLISHED_BAD, "p= is not" },
		{ "two, ours second", "TXT", { other_record, rsa_record }, rsa, DKIM_PUBLISHED_SEVERAL, "2 records" },
		{ "two, none ours", "TXT", { "v=DKIM1; p=", other_record }, rsa, DKIM_PUBLISHED_REVOKED, "revoked" },
		{ "nothing", "TXT", { NULL }, rsa, DKIM_PUBLISHED_MISSING, "no such record" },
		{ "no TXT", "A", { "192.0.2.1" }, rsa, DKIM_PUBLISHED_MISSING, "no such record" },
		{ "no answer", "TIMEOUT", { "" }, rsa, DKIM_PUBLISHED_UNKNOWN, "no answer" },
		{ "SERVFAIL", "SERVFAIL", { "" }, rsa, DKIM_PUBLISHED_UNKNOWN, "no answer" },
	};

	snprintf(testing, sizeof(testing), "v=DKIM1; t=y:s; k=rsa; p=%s", strstr(rsa_record, "p=") + 2);
	snprintf(loose, sizeof(loose), "p=%s ;n=mail", strstr(rsa_record, "p=") + 2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		enum dkim_published p = judge(rows[i].key, rows[i].type, rows[i].data, why);

		if (p != rows[i].want || !strstr(why, rows[i].say))
			fail_msg("%s: %d %s", rows[i].name, p, why);
	}
}

static void test_zone(void **state)
{
	AUTO(buf) struct buf zone = BUF_INIT(8192);
	size_t len = 0;
	char why[256];

	assert_int_equal(dkim_published_zone("s._domainkey.example.com", rsa_record, &zone), 0);
	assert_int_equal(strncmp(zone.data, "s._domainkey.example.com. IN TXT ( \"v=DKIM1; k=rsa; p=", 54), 0);
	for (const char *p = zone.data; (p = strchr(p, '"')); p = strchr(p + 1, '"') + 1) {
		size_t n = strcspn(p + 1, "\"");

		assert_true(n <= 255);
		assert_memory_equal(rsa_record + len, p + 1, n);
		len += n;
	}
	assert_int_equal(len, strlen(rsa_record));
	/* dns_table reads such strings as a server does. */
	{
		char *strings = strdup(strchr(zone.data, '"'));
		const char *const data[] = { strings, NULL };

		*strrchr(strings, ')') = '\0';
		for (char *p = strings; *p; p++)
			if (*p == '\n' || *p == '\t')
				*p = ' ';
		while (strings[strlen(strings) - 1] == ' ')
			strings[strlen(strings) - 1] = '\0';
		assert_int_equal(judge(rsa, "TXT", data, why), DKIM_PUBLISHED_GOOD);
		free(strings);
	}
}

static void test_name(void **state)
{
	char name[DOMAIN_MAX], label[255];

	memset(label, 'a', sizeof(label));
	label[254] = '\0';
	assert_int_equal(dkim_published_name("s", "example.com", name), 0);
	assert_string_equal(name, "s._domainkey.example.com");
	assert_true(dkim_published_name(label, "example.com", name) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_judge), cmocka_unit_test(test_zone), cmocka_unit_test(test_name) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
