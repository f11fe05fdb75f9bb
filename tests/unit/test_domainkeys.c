/* DomainKeys signatures: whose they say they are, and that they count for nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/buf.h"
#include "base/task.h"
#include "filters/domainkeys.h"
#include "tests/support/filter_bench.h"

static const struct {
	const char *name, *body, *want;         /* NULL: it says nothing */
} rows[] = {
	{ "as in RFC 4870", " a=rsa-sha1; s=brisbane; d=example.com;\r\n c=simple; q=dns;\r\n b=dydVyOfAKCdLXdJOc8G2q8LoXSlEniSbav+yuU4zGeeruD00lszZ\r\n  VoG4ZHRNiYzR;\r\n", "example.com" },
	{ "letter case", "d=Mail.EXAMPLE.com; b=x", "mail.example.com" },
	{ "alone", "d=a.example", "a.example" },
	{ "blanks", "\t d \t=\r\n a.example \r\n ; b=x;", "a.example" },
	{ "a final dot", "d=a.example.", "a.example" },
	{ "U-labels", "d=b\xc3\xbc""cher.example", "xn--bcher-kva.example" },
	{ "empty", "", NULL },
	{ "blanks only", " \r\n\t", NULL },
	{ "no d=", " a=rsa-sha1; s=x; b=y", NULL },
	{ "d= is empty", "d=; b=x", NULL },
	{ "D is another tag", "D=a.example", NULL },
	{ "dd is another tag", "dd=a.example", NULL },
	{ "d= twice", "d=a.example; d=b.example", NULL },
	{ "no tags", "hello", NULL },
	{ "no name", "=a.example", NULL },
	{ "empty tags", ";;d=a.example", NULL },
	{ "two words", "d=a b.example", NULL },
	{ "an address", "d=x@a.example", NULL },
	{ "a fold inside", "d=a.\r\n example", NULL },
	{ "a bare LF", "d=a.example\n; b=x", NULL },
	{ "a bare CR", "d=a.\rexample", NULL },
	{ "an empty label", "d=a..example", NULL },
	{ "a label of 64", "d=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example", NULL },
	{ "HTML", "d=<script>", NULL },
	{ "a control character", "d=a\x01.example", NULL },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].body);
		char *exact = malloc(len ? len : 1), out[DOMAIN_MAX] = "";
		int rc = domainkeys_domain(memcpy(exact, rows[i].body, len), len, out);

		free(exact);
		if (rc != (rows[i].want ? 0 : -EINVAL) || (rows[i].want && strcmp(out, rows[i].want) != 0))
			fail_msg("%s: %d \"%s\"", rows[i].name, rc, out);
	}
}

static void test_bounds(void **state)
{
	char *text = malloc(DOMAINKEYS_BYTES_MAX + 100), out[DOMAIN_MAX];
	size_t n = (size_t)sprintf(text, "d=a.example; b=");

	memset(text + n, 'x', DOMAINKEYS_BYTES_MAX + 1 - n);
	assert_int_equal(domainkeys_domain(text, DOMAINKEYS_BYTES_MAX, out), 0);
	assert_int_equal(domainkeys_domain(text, DOMAINKEYS_BYTES_MAX + 1, out), -EINVAL);
	assert_int_equal(domainkeys_domain("d=a\0.example", 12, out), -EINVAL);
	for (n = 0; n < 100; n++)
		sprintf(text + 6 * n, "t%03zu=;", n);
	sprintf(text + 6 * n, "d=a.example");
	assert_int_equal(domainkeys_domain(text, strlen(text), out), -EINVAL);
	free(text);
}

/* The fact of a whole header; dkim says what it says without them. */
static void want(const char *header, const char *domains)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 3000 };
	static struct filter_bench b;
	const struct fact *f;

	filter_bench_open(&b, "192.0.2.7");
	b.site.dkim_max_signatures = 10;
	b.txn.message = message_new(&lim, NULL, NULL);
	assert_int_equal(message_add(b.txn.message, header, strlen(header)), 0);
	assert_int_equal(message_end(b.txn.message), 0);
	b.txn.stage = STAGE_HEADER;
	assert_true(filters_at_hand(&b.txn, fact_find("domainkeys.domains", 18)));
	assert_string_equal(filter_bench_word(&b, "domainkeys.domains"), domains);
	b.txn.stage = STAGE_DATA;
	assert_string_equal(filter_bench_word(&b, "dkim"), "none");
	assert_string_equal(filter_bench_word(&b, "dkim.signatures"), "0");
	f = filter_bench_fact(&b, "dkim.domains");
	assert_true(f && f->count == 0);
	f = filter_bench_fact(&b, "dkim.pass_domains");
	assert_true(f && f->count == 0);
	filter_bench_close(&b);
}

static void test_facts(void **state)
{
	AUTO(buf) struct buf many = BUF_INIT(1 << 20), wanted = BUF_INIT(1000);

	want("From: a@example.com\r\n\r\nx\r\n", "");
	want("DomainKey-Signature: a=rsa-sha1; d=A.example; s=s; b=x\r\nFrom: a@example.com\r\n\r\nx\r\n", "a.example");
	want("domainkey-signature : d=b.example\r\nDomainKey-Signature: d=a.example\r\nDomainKey-Signature: d=B.example\r\nFrom: a@example.com\r\n\r\n", "b.example,a.example");
	want("DomainKey-Signature: broken\r\nDomainKey-Signature: d=a.example\r\nFrom: a@example.com\r\n\r\n", "a.example");
	want("X-DomainKey-Signature: d=a.example\r\nFrom: a@example.com\r\n\r\nDomainKey-Signature: d=b.example\r\n", "");
	for (int i = 0; i < 300; i++) {
		buf_addf(&many, "DomainKey-Signature: d=d%d.example\r\n", i);
		if (i < DOMAINKEYS_FIELDS_MAX)
			buf_addf(&wanted, "%sd%d.example", i ? "," : "", i);
	}
	buf_adds(&many, "From: a@example.com\r\n\r\n");
	want(buf_str(&many), buf_str(&wanted));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_bounds), cmocka_unit_test(test_facts) };

	fact_register_all();
	if (loop_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
