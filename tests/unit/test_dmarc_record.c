#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/dmarc_record.h"

/* A record as one line: what was read. "-" for a text that is no record. */
static const char *shown(const struct dmarc_record *r, char *out, size_t size)
{
	snprintf(out, size, "p=%s sp=%s np=%s%s%s%s%s%s%s fo=%u", r->has_p ? dmarc_policy_name(r->p) : "-", r->has_sp ? dmarc_policy_name(r->sp) : "-",
	         r->has_np ? dmarc_policy_name(r->np) : "-", r->strict_dkim ? " adkim" : "", r->strict_spf ? " aspf" : "", r->testing ? " t" : "",
	         r->psd == DMARC_PSD_YES ? " psd" : r->psd == DMARC_PSD_NO ? " nopsd" : "", r->rua ? " rua" : "", r->ruf ? " ruf" : "", r->fo);
	return out;
}

static const struct { const char *name, *in, *want; } rows[] = {
	/* the version */
	{ "version alone", "v=DMARC1", "p=- sp=- np=- fo=1" },
	{ "version and semicolon", "v=DMARC1;", "p=- sp=- np=- fo=1" },
	{ "blanks around =", "v \t=  DMARC1 ;p=none", "p=none sp=- np=- fo=1" },
	{ "tag in upper case", "V=DMARC1; P=reject", "p=reject sp=- np=- fo=1" },
	{ "empty text", "", "-" },
	{ "blank before", " v=DMARC1; p=reject", "-" },
	{ "tab before", "\tv=DMARC1; p=reject", "-" },
	{ "lower case", "v=dmarc1; p=reject", "-" },
	{ "another version", "v=DMARC2; p=reject", "-" },
	{ "longer version", "v=DMARC10; p=reject", "-" },
	{ "shorter version", "v=DMARC; p=reject", "-" },
	{ "version, blank, more", "v=DMARC1 p=reject", "-" },
	{ "comma for semicolon", "v=DMARC1, p=reject", "-" },
	{ "not first", "p=reject; v=DMARC1", "-" },
	{ "semicolon first", ";v=DMARC1; p=reject", "-" },
	{ "missing", "p=reject", "-" },
	{ "quoted", "\"v=DMARC1; p=reject\"", "-" },
	{ "spf", "v=spf1 -all", "-" },
	{ "no equals sign", "vDMARC1", "-" },
	{ "two equals signs", "v==DMARC1", "-" },
	{ "version twice", "v=DMARC1; v=DMARC1; p=reject", "-" },
	{ "line end before", "\r\nv=DMARC1; p=reject", "-" },
	/* policies */
	{ "none", "v=DMARC1; p=none", "p=none sp=- np=- fo=1" },
	{ "quarantine", "v=DMARC1; p=quarantine", "p=quarantine sp=- np=- fo=1" },
	{ "all three", "v=DMARC1; p=none; sp=quarantine; np=reject", "p=none sp=quarantine np=reject fo=1" },
	{ "p need not be second", "v=DMARC1; sp=none; adkim=r; p=reject", "p=reject sp=none np=- fo=1" },
	{ "no blanks", "v=DMARC1;p=none;sp=reject", "p=none sp=reject np=- fo=1" },
	{ "blanks everywhere", "v=DMARC1 ; p\t= \treject \t; ", "p=reject sp=- np=- fo=1" },
	{ "value in upper case", "v=DMARC1; p=ReJect", "p=reject sp=- np=- fo=1" },
	{ "abbreviation", "v=DMARC1; p=r; sp=q; np=rej", "p=- sp=- np=- fo=1" },
	{ "too long", "v=DMARC1; p=rejected", "p=- sp=- np=- fo=1" },
	{ "empty value", "v=DMARC1; p=; sp=none", "p=- sp=none np=- fo=1" },
	{ "two words", "v=DMARC1; p=reject none", "p=- sp=- np=- fo=1" },
	{ "bad sp alone is dropped", "v=DMARC1; p=reject; sp=bogus", "p=reject sp=- np=- fo=1" },
	{ "p twice", "v=DMARC1; p=none; p=reject", "-" },
	{ "p twice, the same", "v=DMARC1; p=none; p=none", "-" },
	{ "p twice, in another case", "v=DMARC1; p=none; P=none", "-" },
	{ "first p bad", "v=DMARC1; p=bogus; p=reject", "-" },
	/* the rest */
	{ "strict", "v=DMARC1; p=none; adkim=s; aspf=S", "p=none sp=- np=- adkim aspf fo=1" },
	{ "relaxed", "v=DMARC1; p=none; adkim=r; aspf=r", "p=none sp=- np=- fo=1" },
	{ "bad alignment", "v=DMARC1; p=none; adkim=x; aspf=strict", "p=none sp=- np=- fo=1" },
	{ "testing", "v=DMARC1; p=none; t=y", "p=none sp=- np=- t fo=1" },
	{ "not testing", "v=DMARC1; p=none; t=n", "p=none sp=- np=- fo=1" },
	{ "bad testing", "v=DMARC1; p=none; t=yes", "p=none sp=- np=- fo=1" },
	{ "psd=y", "v=DMARC1; p=none; psd=y", "p=none sp=- np=- psd fo=1" },
	{ "psd=n", "v=DMARC1; p=none; psd=N", "p=none sp=- np=- nopsd fo=1" },
	{ "psd=u", "v=DMARC1; p=none; psd=u", "p=none sp=- np=- fo=1" },
	{ "bad psd", "v=DMARC1; p=none; psd=1", "p=none sp=- np=- fo=1" },
	{ "dropped tags", "v=DMARC1; p=none; pct=abc; rf=iodef; ri=1d; pct=5", "p=none sp=- np=- fo=1" },
	{ "unknown tags", "v=DMARC1; x=1; x=1; p=none; y=;=z", "p=none sp=- np=- fo=1" },
	{ "word without =", "v=DMARC1; foo; p=none", "p=none sp=- np=- fo=1" },
	{ "p without =", "v=DMARC1; p; p=none", "p=none sp=- np=- fo=1" },
	{ "empty tags", "v=DMARC1;;; ; p=none;;", "p=none sp=- np=- fo=1" },
	{ "fo", "v=DMARC1; p=none; fo=1:d: S", "p=none sp=- np=- fo=14" },
	{ "bad fo", "v=DMARC1; p=none; fo=1:z", "p=none sp=- np=- fo=1" },
	{ "empty fo", "v=DMARC1; p=none; fo=", "p=none sp=- np=- fo=1" },
	/* addresses for reports */
	{ "rua", "v=DMARC1; rua=mailto:a@example.com", "p=- sp=- np=- rua fo=1" },
	{ "rua with size", "v=DMARC1; rua=mailto:a@example.com!10m", "p=- sp=- np=- rua fo=1" },
	{ "rua in upper case", "v=DMARC1; RUA=MailTo:A@EXAMPLE.COM", "p=- sp=- np=- rua fo=1" },
	{ "second of two is good", "v=DMARC1; rua=a@example.com, mailto:a@example.com", "p=- sp=- np=- rua fo=1" },
	{ "another scheme", "v=DMARC1; rua=https://example.com/x?y", "p=- sp=- np=- rua fo=1" },
	{ "ruf", "v=DMARC1; ruf=mailto:a@example.com", "p=- sp=- np=- ruf fo=1" },
	{ "no scheme", "v=DMARC1; rua=a@example.com", "p=- sp=- np=- fo=1" },
	{ "scheme alone", "v=DMARC1; rua=mailto:", "p=- sp=- np=- fo=1" },
	{ "no local part", "v=DMARC1; rua=mailto:@example.com", "p=- sp=- np=- fo=1" },
	{ "no domain", "v=DMARC1; rua=mailto:a@", "p=- sp=- np=- fo=1" },
	{ "no at", "v=DMARC1; rua=mailto:example.com", "p=- sp=- np=- fo=1" },
	{ "size that is none", "v=DMARC1; rua=mailto:a@example.com!1 m", "p=- sp=- np=- fo=1" },
	{ "blank inside", "v=DMARC1; rua=mailto:a b@example.com", "p=- sp=- np=- fo=1" },
	{ "angles", "v=DMARC1; rua=<mailto:a@example.com>", "p=- sp=- np=- fo=1" },
	{ "digit first in scheme", "v=DMARC1; rua=1s:a", "p=- sp=- np=- fo=1" },
	{ "commas alone", "v=DMARC1; rua=,,,", "p=- sp=- np=- fo=1" },
	{ "rua twice", "v=DMARC1; p=none; rua=mailto:a@b.c; rua=mailto:a@b.c", "-" },
	{ "8-bit in a value", "v=DMARC1; p=none; rua=mailto:\xc3\xa9@b.c", "p=none sp=- np=- fo=1" },
	{ "control in a value", "v=DMARC1; p=rej\x01" "ect; sp=none", "p=- sp=none np=- fo=1" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len = strlen(rows[i].in);
		char *exact = malloc(len ? len : 1), text[128];  /* of its very size, so that a read past the end is seen */
		struct dmarc_record r;
		int rc;

		print_message("    %s\n", rows[i].name);
		memcpy(exact, rows[i].in, len);
		rc = dmarc_record_parse(exact, len, &r);
		assert_string_equal(rc == 0 ? shown(&r, text, sizeof text) : "-", rows[i].want);
		assert_true(rc == 0 || rc == -EBADMSG);
		for (size_t cut = 0; cut < len; cut++) {        /* every beginning is read without harm */
			char *part = malloc(cut ? cut : 1);

			memcpy(part, exact, cut);
			dmarc_record_parse(part, cut, &r);
			free(part);
		}
		free(exact);
	}
}

static void test_nul(void **state)
{
	struct dmarc_record r;

	assert_int_equal(dmarc_record_parse("v=DMARC1\0; p=reject", 19, &r), -EBADMSG);
	assert_int_equal(dmarc_record_parse("v=DMARC1; p=reject\0; sp=none", 28, &r), 0);
	assert_false(r.has_p);
	assert_true(r.has_sp);
}

static void test_long(void **state)
{
	size_t len = 60000;
	char *text = malloc(len);
	struct dmarc_record r;

	memset(text, ';', len);
	memcpy(text, "v=DMARC1", 8);
	memcpy(text + len - 9, ";p=reject", 9);
	assert_int_equal(dmarc_record_parse(text, len, &r), 0);
	assert_true(r.has_p && r.p == DMARC_P_REJECT);
	free(text);
}

static const struct { const char *record; bool own, exists; enum dmarc_policy want; } policies[] = {
	{ "v=DMARC1; p=reject", true, true, DMARC_P_REJECT },
	{ "v=DMARC1; p=reject; sp=none; np=none", true, true, DMARC_P_REJECT },
	{ "v=DMARC1; p=none; sp=reject", false, true, DMARC_P_REJECT },
	{ "v=DMARC1; p=quarantine", false, true, DMARC_P_QUARANTINE },
	{ "v=DMARC1; p=quarantine", false, false, DMARC_P_QUARANTINE },
	{ "v=DMARC1; p=none; sp=quarantine", false, false, DMARC_P_QUARANTINE },
	{ "v=DMARC1; p=none; np=reject", false, false, DMARC_P_REJECT },
	{ "v=DMARC1; p=none; np=reject", false, true, DMARC_P_NONE },
	{ "v=DMARC1; p=none; sp=none; np=reject", false, true, DMARC_P_NONE },
	{ "v=DMARC1; p=reject; sp=reject; np=none", false, false, DMARC_P_NONE },
	{ "v=DMARC1; p=bogus; sp=reject; np=reject; rua=mailto:a@b.c", false, true, DMARC_P_NONE },
	{ "v=DMARC1; sp=reject; rua=mailto:a@b.c", false, false, DMARC_P_NONE },
};

static void test_policy(void **state)
{
	for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
		struct dmarc_record r;

		assert_int_equal(dmarc_record_parse(policies[i].record, strlen(policies[i].record), &r), 0);
		assert_true(dmarc_record_applies(&r));
		assert_int_equal(dmarc_record_policy(&r, policies[i].own, policies[i].exists), policies[i].want);
	}
	assert_int_equal(dmarc_policy_milder(DMARC_P_REJECT), DMARC_P_QUARANTINE);
	assert_int_equal(dmarc_policy_milder(DMARC_P_QUARANTINE), DMARC_P_NONE);
	assert_int_equal(dmarc_policy_milder(DMARC_P_NONE), DMARC_P_NONE);
}

static void test_applies(void **state)
{
	struct dmarc_record r;

	assert_int_equal(dmarc_record_parse("v=DMARC1; sp=reject; rua=nonsense", 33, &r), 0);
	assert_false(dmarc_record_applies(&r));
}

static void test_text(void **state)
{
	char text[DMARC_RECORD_TEXT_MAX];
	struct dmarc_record r;

	assert_int_equal(dmarc_record_parse("v=DMARC1;aspf=s;np=none;sp=quarantine;t=y;p=reject;adkim=s;x=y", 62, &r), 0);
	assert_string_equal(dmarc_record_text(&r, text), "v=DMARC1; p=reject; sp=quarantine");
	assert_int_equal(dmarc_record_parse("v=DMARC1; sp=reject; rua=mailto:a@b.c", 37, &r), 0);
	assert_string_equal(dmarc_record_text(&r, text), "v=DMARC1; p=none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),   cmocka_unit_test(test_nul),     cmocka_unit_test(test_long),
		cmocka_unit_test(test_policy), cmocka_unit_test(test_applies), cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
