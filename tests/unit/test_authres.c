#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/authres.h"
#include "support/scarce.h"

#define OURS "mx.example.com"

static const struct {
	const char *name, *body;
	bool claims;
} claims[] = {
	{ "plain",                       " mx.example.com; spf=pass", true },
	{ "none",                        " mx.example.com; none", true },
	{ "alone",                       " mx.example.com", true },
	{ "no blank",                    "mx.example.com;spf=pass", true },
	{ "upper case",                  " MX.Example.COM; spf=pass", true },
	{ "version",                     " mx.example.com 1; spf=pass", true },
	{ "version, comments",           " mx.example.com (a) 1 (b) ; spf=pass", true },
	{ "final dot",                   " mx.example.com.; spf=pass", true },
	{ "comment first",               " (hello) mx.example.com; spf=pass", true },
	{ "nested comments",             " (a (b (c) ) d) mx.example.com; spf=pass", true },
	{ "escaped bracket in comment",  " (a \\) b) mx.example.com; spf=pass", true },
	{ "comment right after",         " mx.example.com(a); spf=pass", true },
	{ "fold first",                  "\r\n\tmx.example.com; spf=pass", true },
	{ "fold and comment",            "\r\n (x)\r\n mx.example.com\r\n ; spf=pass", true },
	{ "quoted",                      " \"mx.example.com\"; spf=pass", true },
	{ "quoted, escapes",             " \"m\\x.ex\\ample.com\"; spf=pass", true },
	{ "quoted, fold inside",         " \"mx.exam\r\nple.com\"; spf=pass", true },
	{ "bare LF",                     "\n mx.example.com; spf=pass", true },
	/* malformed, with our name in them */
	{ "garbage after",               " mx.example.com spf=pass", true },
	{ "garbage after the version",   " mx.example.com 1 2; spf=pass", true },
	{ "old version syntax",          " mx.example.com/1; spf=pass", true },
	{ "comment does not end",        " (a mx.example.com; spf=pass", true },
	{ "quoted string does not end",  " \"mx.example.com; spf=pass", true },
	{ "fold in the name",            " mx.exam\r\n ple.com; spf=pass", true },
	{ "comment in the name",         " mx.exam(a)ple.com; spf=pass", true },
	{ "half quoted",                 " mx.\"example\".com; spf=pass", true },
	{ "quoted, then more",           " \"mx\".example.com; spf=pass", true },
	{ "backslashes",                 " mx\\.example.com; spf=pass", true },
	{ "an address",                  " a@mx.example.com; spf=pass", true },
	{ "equals",                      " =mx.example.com; spf=pass", true },
	{ "two names",                   " other.example mx.example.com; spf=pass", true },
	{ "bracket that closes nothing", " ) mx.example.com; spf=pass", true },
	/* what others may take for blanks */
	{ "vertical tab after",          " mx.example.com\v; spf=pass", true },
	{ "form feed before",            "\fmx.example.com; spf=pass", true },
	{ "separator in quotes",         " \"mx.example.com\x1f\"; spf=pass", true },
	{ "delete",                      " mx.example.com\x7f; spf=pass", true },
	{ "blank that does not break",   " mx.example.com\302\240; spf=pass", true },
	{ "the same in Latin-1",         " \240mx.example.com; spf=pass", true },
	{ "ideographic blank",           " mx.example.com\343\200\200; spf=pass", true },
	{ "line separator",              " mx.example.com\342\200\250; spf=pass", true },
	/* others' */
	{ "vertical tab, another name",  " other.example\v; spf=pass", false },
	{ "not ASCII, another name",     " other.example\302\240; spf=pass", false },
	{ "another name",                " other.example; spf=pass", false },
	{ "ours in a value",             " other.example; spf=pass smtp.helo=mx.example.com", false },
	{ "ours in a comment",           " (mx.example.com) other.example; spf=pass", false },
	{ "a longer name",               " mx.example.com.other.example; spf=pass", false },
	{ "a name before",               " foo.mx.example.com; spf=pass", false },
	{ "a shorter name",              " example.com; spf=pass", false },
	{ "empty",                       "", false },
	{ "only blanks",                 " \r\n\t ", false },
	{ "only a comment",              " (mx)", false },
	{ "semicolon first",             "; spf=pass", false },
	{ "malformed, another name",     " other.example spf=pass", false },
	{ "quoted nothing",              " \"\"; none", false },
};

static void claimed(void **state)
{
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		size_t len = strlen(claims[i].body);
		char *copy = malloc(len ? len : 1);

		memcpy(copy, claims[i].body, len);
		if (authres_claims(copy, len, OURS) != claims[i].claims)
			fail_msg("%s", claims[i].name);
		for (size_t n = 0; n < len; n++)
			authres_claims(copy, n, OURS);
		free(copy);
	}
}

static void claimed_nul(void **state)
{
	assert_true(authres_claims(" mx.example.com\0; none", 22, OURS));
	assert_true(authres_claims("\0mx.example.com; none", 21, OURS));
	assert_true(authres_claims(" mx.exam\0ple.com; none", 22, OURS));
}

static void claimed_deep(void **state)
{
	char body[2048] = "";

	for (int i = 0; i < 1000; i++)
		strcat(body, "(");
	assert_false(authres_claims(body, strlen(body), OURS));
	strcat(body, OURS);
	assert_true(authres_claims(body, strlen(body), OURS));
	memset(body, 'a', sizeof(body));
	assert_false(authres_claims(body, sizeof(body), OURS));
}

static const struct {
	const char *ours, *theirs;
	bool same;
} idn[] = {
	{ "mx.b\303\274cher.example", "mx.xn--bcher-kva.example", true },
	{ "mx.xn--bcher-kva.example", "mx.b\303\274cher.example", true },
	{ "mx.xn--bcher-kva.example", "MX.XN--BCHER-KVA.Example", true },
	{ "mx.xn--bcher-kva.example", "mx.B\303\234CHER.example", true },
	{ "mx.xn--fiqs8s", "mx.\344\270\255\345\233\275", true },
	{ "mx.xn--bcher-kva.example", "mx.bucher.example", false },
	{ "mx.xn--bcher-kva.example", "mx.xn--bcher-kvb.example", false },
	{ "mx.xn--bcher-kva.example", "mx.xn--bcher-kv!.example", false },
	{ "mx.xn--bcher-kva.example", "mx.xn--99999999999.example", false },
	{ "mx.xn--bcher-kva.example", "mx.b\303cher.example", false },
};

static void claimed_idn(void **state)
{
	for (size_t i = 0; i < sizeof(idn) / sizeof(idn[0]); i++)
		if (authres_claims(idn[i].theirs, strlen(idn[i].theirs), idn[i].ours) != idn[i].same)
			fail_msg("%s as %s", idn[i].ours, idn[i].theirs);
}

/* The facts of filters that this program may be linked without. */
static void facts_define(void)
{
	static const char *const words[] = { "none", "pass", "fail", "temperror", NULL };
	static const struct fact_def all[] = {
		{ "sender", FACT_ADDRESS, false, STAGE_MAIL, NULL, "" },
		{ "spf", FACT_WORD, false, STAGE_MAIL, words, "" },
		{ "spf.helo", FACT_WORD, false, STAGE_MAIL, words, "" },
		{ "spf.mechanism", FACT_TEXT, false, STAGE_MAIL, NULL, "" },
		{ "client.rdns", FACT_DOMAIN, false, STAGE_CONNECT, NULL, "" },
		{ "client.fcrdns", FACT_WORD, false, STAGE_CONNECT, words, "" },
		{ 0 },
	};
	static struct fact_def missing[8];
	size_t n = 0;

	if (fact_find("dkim", 4) != FACT_NONE)
		return;
	fact_register_all();
	for (size_t i = 0; all[i].name; i++)
		if (fact_find(all[i].name, strlen(all[i].name)) == FACT_NONE)
			missing[n++] = all[i];
	if (n > 0)
		fact_register(missing, -1);
}

struct fixture {
	struct client client;
	struct txn txn;
	struct buf out;
};

static void begin(struct fixture *x, const char *from)
{
	facts_define();
	memset(x, 0, sizeof(*x));
	snprintf(x->client.ip, sizeof(x->client.ip), "192.0.2.1");
	x->client.helo = strdup("mail.example.org");
	txn_init(&x->txn, NULL, NULL, &x->client);
	x->txn.env.from = strdup(from);
	buf_init(&x->out, 16384);
}

static void end(struct fixture *x)
{
	txn_release(&x->txn);
	client_release(&x->client);
	buf_release(&x->out);
}

/* Every line under 78 columns (unless one word is longer), CRLF at the end of each, nothing but printable ASCII. */
static void check_form(const struct buf *b)
{
	size_t column = 0;

	assert_false(b->failed);
	assert_true(b->len > 2 && memcmp(b->data + b->len - 2, "\r\n", 2) == 0);
	for (size_t i = 0; i < b->len; i++) {
		unsigned char c = (unsigned char)b->data[i];

		if (c == '\r') {
			assert_int_equal(b->data[i + 1], '\n');
			assert_true(i + 2 == b->len || b->data[i + 2] == '\t');
			column = 0;
			i++;
			continue;
		}
		assert_true(c == '\t' || (c >= 0x20 && c < 0x7f));
		column = c == '\t' ? 8 : column + 1;
		if (column > 78 && !memchr(b->data + i - 60, '"', 61))
			fail_msg("too wide: %s", b->data);
	}
}

static void nothing_known(void **state)
{
	struct fixture x;

	begin(&x, "a@example.org");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "Authentication-Results: mx.example.com; none\r\n");
	buf_clear(&x.out);
	assert_int_equal(authres_received_spf(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "");
	end(&x);
}

static void everything_known(void **state)
{
	struct fixture x;
	struct facts *f = &x.txn.evidence.facts;

	begin(&x, "a@example.org");
	facts_set_why(f, "spf", "pass", "ip4:192.0.2.0/24 matched");
	facts_set(f, "spf.mechanism", "ip4:192.0.2.0/24");
	facts_set(f, "dkim", "pass");
	facts_add(f, "dkim.results", "pass d=example.org s=sel a=rsa-sha256 b=dGhlIHF1 k=2048");
	facts_add(f, "dkim.results", "fail d=list.example s=x a=ed25519-sha256 b=ab/dIHF1 k=256; the body is not what was signed");
	facts_add(f, "dkim.results", "neutral; a tag without =");
	facts_set(f, "dmarc", "pass");
	facts_set(f, "dmarc.policy", "reject");
	facts_set(f, "from.domain", "example.org");
	facts_set(&x.client.evidence.facts, "client.fcrdns", "pass");
	facts_set(&x.client.evidence.facts, "client.rdns", "mail.example.org");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out),
		"Authentication-Results: mx.example.com;\r\n"
		"\tspf=pass (ip4:192.0.2.0/24 matched) smtp.mailfrom=a@example.org;\r\n"
		"\tdkim=pass (2048-bit key) header.d=example.org header.s=sel\r\n"
		"\theader.a=rsa-sha256 header.b=dGhlIHF1;\r\n"
		"\tdkim=fail (256-bit key; the body is not what was signed)\r\n"
		"\theader.d=list.example header.s=x header.a=ed25519-sha256\r\n"
		"\theader.b=\"ab/dIHF1\";\r\n"
		"\tdkim=neutral (a tag without =);\r\n"
		"\tdmarc=pass (p=reject) header.from=example.org;\r\n"
		"\tiprev=pass (mail.example.org) policy.iprev=192.0.2.1\r\n");
	check_form(&x.out);
	assert_true(authres_claims(x.out.data + strlen("Authentication-Results:"), x.out.len - strlen("Authentication-Results:"), OURS));
	buf_clear(&x.out);
	assert_int_equal(authres_received_spf(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out),
		"Received-SPF: pass (ip4:192.0.2.0/24 matched) receiver=mx.example.com;\r\n"
		"\tidentity=mailfrom; client-ip=192.0.2.1; envelope-from=\"a@example.org\";\r\n"
		"\thelo=mail.example.org; mechanism=\"ip4:192.0.2.0/24\"\r\n");
	check_form(&x.out);
	end(&x);
}

/* A milter has changed the sender: what was found is about the one that came. */
static void another_sender(void **state)
{
	struct fixture x;
	struct facts *f = &x.txn.evidence.facts;

	begin(&x, "made@by.milter.example");
	facts_set(f, "sender", "came@example.org");
	facts_set(f, "spf", "pass");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "Authentication-Results: mx.example.com;\r\n\tspf=pass smtp.mailfrom=came@example.org\r\n");
	buf_clear(&x.out);
	assert_int_equal(authres_received_spf(&x.txn, OURS, &x.out), 0);
	assert_non_null(strstr(buf_str(&x.out), "envelope-from=\"came@example.org\""));
	facts_set(f, "sender", "");
	buf_clear(&x.out);
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "Authentication-Results: mx.example.com;\r\n\tspf=pass smtp.helo=mail.example.org\r\n");
	end(&x);
}

/* A chain is told of where there is one. */
static void chains(void **state)
{
	struct fixture x;
	struct facts *f = &x.txn.evidence.facts;

	begin(&x, "a@example.org");
	facts_set(f, "arc", "none");
	facts_set_empty(f, "arc.sealers");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "Authentication-Results: mx.example.com; none\r\n");
	buf_clear(&x.out);
	facts_set_why(f, "arc", "pass", "i=2 d=lists.example s=s1");
	facts_add(f, "arc.sealers", "lists.example");
	facts_add(f, "arc.sealers", "first.example");
	facts_set_num(f, "arc.oldest_pass", 2);
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out),
		"Authentication-Results: mx.example.com;\r\n"
		"\tarc=pass (i=2 d=lists.example s=s1) header.oldest-pass=2\r\n"
		"\tarc.chain=\"lists.example:first.example\"\r\n");
	check_form(&x.out);
	buf_clear(&x.out);
	for (int i = 0; i < 48; i++)            /* cut at a whole name */
		facts_add(f, "arc.sealers", "a-name-of-some-length.example");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_non_null(strstr(buf_str(&x.out), ":a-name-of-some-length.example\"\r\n"));
	end(&x);
	begin(&x, "a@example.org");
	facts_set_why(&x.txn.evidence.facts, "arc", "fail", "%s", "ARC-Seal i=1: no cv=");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "Authentication-Results: mx.example.com;\r\n\tarc=fail (ARC-Seal i=1: no cv=)\r\n");
	end(&x);
	begin(&x, "a@example.org");
	facts_temperror(&x.txn.evidence.facts, "arc", "ARC-Seal i=1: timeout");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out), "Authentication-Results: mx.example.com;\r\n\tarc=temperror (ARC-Seal i=1: timeout)\r\n");
	end(&x);
}

/* The field is made, and as it should be, or it is not. */
static void no_memory(void **state)
{
	char *whole = NULL;
	struct fixture x;

	begin(&x, "a@example.org");
	facts_set_why(&x.txn.evidence.facts, "spf", "fail", "none of the terms (of \"v=spf1 -all\") matched the client");
	facts_set(&x.txn.evidence.facts, "dkim", "pass");
	facts_add(&x.txn.evidence.facts, "dkim.results", "pass d=example.org s=sel a=rsa-sha256 b=dGhlIHF1 k=2048");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	whole = buf_steal(&x.out);
	for (int n = 1; scarce_begin(n); n++) {
		struct buf out = BUF_INIT(16 * 1024);
		int rc = authres_make(&x.txn, OURS, &out);
		bool failed = scarce_end();

		if (rc == 0)
			assert_string_equal(buf_str(&out), whole);
		assert_true(failed || rc == 0);
		buf_release(&out);
		if (!failed)
			break;
	}
	free(whole);
	end(&x);
}

static void null_sender(void **state)
{
	struct fixture x;

	begin(&x, "");
	facts_set(&x.txn.evidence.facts, "spf", "none");
	facts_set(&x.txn.evidence.facts, "dkim", "none");
	facts_set_empty(&x.txn.evidence.facts, "dkim.results");
	facts_temperror(&x.client.evidence.facts, "client.fcrdns", "timeout");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_string_equal(buf_str(&x.out),
		"Authentication-Results: mx.example.com;\r\n"
		"\tspf=none smtp.helo=mail.example.org;\r\n"
		"\tdkim=none;\r\n"
		"\tiprev=temperror policy.iprev=192.0.2.1\r\n");
	buf_clear(&x.out);
	assert_int_equal(authres_received_spf(&x.txn, OURS, &x.out), 0);
	assert_non_null(strstr(buf_str(&x.out), "identity=helo;"));
	assert_non_null(strstr(buf_str(&x.out), "envelope-from=\"\";"));
	end(&x);
}

static const struct {
	const char *name, *from, *why, *want;
} odd[] = {
	{ "quoted local part", "\"a b\"@example.org", NULL, "smtp.mailfrom=\"\\\"a b\\\"@example.org\"" },
	{ "header injection",  "a\r\nX: y@example.org", NULL, "smtp.mailfrom=\"a??X: y@example.org\"" },
	{ "8-bit",             "b\303\274@example.org", NULL, "smtp.mailfrom=\"b??@example.org\"" },
	{ "semicolon",         "a;b@example.org", NULL, "smtp.mailfrom=\"a;b@example.org\"" },
	{ "no domain",         "a@", NULL, "smtp.mailfrom=\"a@\"" },
	{ "bare word",         "postmaster", NULL, "smtp.mailfrom=postmaster" },
	{ "backslash",         "a\\@example.org", NULL, "smtp.mailfrom=\"a\\\\@example.org\"" },
	{ "comment closes",    "a@example.org", "x) header.d=evil (", "(x\\) header.d=evil \\()" },
	{ "comment escapes",   "a@example.org", "x\\", "(x\\\\)" },
	{ "comment CRLF",      "a@example.org", "x\r\nX-Evil: 1", "(x??X-Evil: 1)" },
	{ "comment 8-bit",     "a@example.org", "x\377\001\177", "(x?" "?" "?)" },
	{ "comment blanks",    "a@example.org", " x   y ", "( x y )" },
};

static void odd_values(void **state)
{
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct fixture x;

		begin(&x, odd[i].from);
		if (odd[i].why)
			facts_set_why(&x.txn.evidence.facts, "spf", "fail", "%s", odd[i].why);
		else
			facts_set(&x.txn.evidence.facts, "spf", "fail");
		assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
		if (!strstr(buf_str(&x.out), odd[i].want))
			fail_msg("%s: %s", odd[i].name, buf_str(&x.out));
		check_form(&x.out);
		buf_clear(&x.out);
		assert_int_equal(authres_received_spf(&x.txn, OURS, &x.out), 0);
		check_form(&x.out);
		end(&x);
	}
}

static void long_values(void **state)
{
	static char from[2000], why[3000];
	struct fixture x;

	memset(from, 'a', sizeof(from) - 1);
	from[sizeof(from) - 1] = '\0';
	memcpy(from + 100, "@example.org;", 13);
	memset(why, 'y', sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	begin(&x, from);
	facts_set_why(&x.txn.evidence.facts, "spf", "fail", "%s", why);
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), 0);
	assert_true(x.out.len < 900);
	end(&x);
	begin(&x, "a@example.org");
	buf_release(&x.out);
	buf_init(&x.out, 60);
	facts_set(&x.txn.evidence.facts, "spf", "fail");
	assert_int_equal(authres_make(&x.txn, OURS, &x.out), -ENOSPC);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claimed),
		cmocka_unit_test(claimed_nul),
		cmocka_unit_test(claimed_deep),
		cmocka_unit_test(claimed_idn),
		cmocka_unit_test(nothing_known),
		cmocka_unit_test(everything_known),
		cmocka_unit_test(another_sender),
		cmocka_unit_test(chains),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(null_sender),
		cmocka_unit_test(odd_values),
		cmocka_unit_test(long_values),
	};

	return cmocka_run_group_tests_name("authres", tests, NULL, NULL);
}
