/* What one record of the history says for an aggregate report: which count, and what row they make. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/rua_message.h"

/* A record in a few words: facts as "name=value", lists with one after the other; "name!" could not be established. */
struct row {
	const char *name, *verdict, *from, *facts[16];
	const char *want;               /* NULL: it does not count */
	const char *client, *notes;
};

#define P(p) "dmarc.policy=" p, "dmarc.published=p=" p
#define AT "from.domain=a.example", "dmarc.record_domain=a.example", "dmarc.org_domain=a.example", "dmarc.rua=mailto:r@a.example"
#define SUB "from.domain=m.a.example", "dmarc.record_domain=a.example", "dmarc.org_domain=a.example", "dmarc.rua=mailto:r@a.example"

static const struct row rows[] = {
	/* passed: none, or pass under a policy that asks for something, whatever was done */
	{ "passed, p=none", "accept", "x@a.example", { "dmarc=pass", P("none"), AT, "dmarc.aligned=spf", "spf=pass", "spf.domain=a.example" },
	  .want = "none dkim=fail spf=pass hf=a.example ef=a.example spf:a.example=pass" },
	{ "passed, p=reject", "accept", "x@a.example", { "dmarc=pass", P("reject"), AT, "dmarc.aligned=dkim", "dkim.results=pass d=a.example s=k1 a=rsa-sha256; fine" },
	  .want = "pass dkim=pass spf=fail hf=a.example ef=a.example dkim:a.example/k1=pass" },
	{ "passed both", "accept", "x@a.example", { "dmarc=pass", P("quarantine"), AT, "dmarc.aligned=spf", "dmarc.aligned=dkim" },
	  .want = "pass dkim=pass spf=pass hf=a.example ef=a.example" },
	{ "passed, a virus", "reject", "x@a.example", { "dmarc=pass", P("reject"), AT, "dmarc.aligned=spf" }, .want = "pass dkim=fail spf=pass hf=a.example ef=a.example" },
	{ "passed, held", "quarantine", "x@a.example", { "dmarc=pass", P("none"), AT, "dmarc.aligned=spf" }, .want = "none dkim=fail spf=pass hf=a.example ef=a.example" },
	{ "passed, tested policy", "accept", "x@a.example", { "dmarc=pass", "dmarc.policy=none", "dmarc.published=p=quarantine", "dmarc.published=t=y", AT, "dmarc.aligned=spf" },
	  .want = "none dkim=fail spf=pass hf=a.example ef=a.example" },
	/* failed: what was really done, and why if it is not what was asked for */
	{ "failed, p=none", "accept", "x@b.example", { "dmarc=fail", P("none"), AT, "spf=pass", "spf.domain=b.example" },
	  .want = "none dkim=fail spf=fail hf=a.example ef=b.example spf:b.example=pass" },
	{ "refused as asked", "reject", "x@b.example", { "dmarc=fail", P("reject"), AT }, .want = "reject dkim=fail spf=fail hf=a.example ef=b.example" },
	{ "held as asked", "quarantine", "x@b.example", { "dmarc=fail", P("quarantine"), AT }, .want = "quarantine dkim=fail spf=fail hf=a.example ef=b.example" },
	{ "held, asked to refuse", "quarantine", "x@b.example", { "dmarc=fail", P("reject"), AT },
	  .want = "quarantine dkim=fail spf=fail local_policy(held by rules here) hf=a.example ef=b.example" },
	{ "taken, asked to refuse", "accept", "x@b.example", { "dmarc=fail", P("reject"), AT },
	  .want = "none dkim=fail spf=fail local_policy(accepted by rules here) hf=a.example ef=b.example" },
	{ "into the spool", "spool", "x@b.example", { "dmarc=fail", P("quarantine"), AT },
	  .want = "none dkim=fail spf=fail local_policy(accepted by rules here) hf=a.example ef=b.example" },
	{ "refused, nothing asked", "reject", "x@b.example", { "dmarc=fail", P("none"), AT },
	  .want = "reject dkim=fail spf=fail local_policy(refused by other rules here) hf=a.example ef=b.example" },
	{ "thrown away", "discard", "x@b.example", { "dmarc=fail", P("reject"), AT }, .want = "reject dkim=fail spf=fail hf=a.example ef=b.example" },
	{ "the server behind refuses", "backend-refused", "x@b.example", { "dmarc=fail", P("reject"), AT }, .want = "reject dkim=fail spf=fail hf=a.example ef=b.example" },
	/* ARC */
	{ "a trusted sealer", "accept", "x@b.example", { "dmarc=fail", P("reject"), AT, "arc=pass", "arc.sealers=l2.example", "arc.sealers=l1.example" },
	  .want = "none dkim=fail spf=fail local_policy(arc=pass as[2].d=l2.example as[1].d=l1.example) hf=a.example ef=b.example" },
	{ "sealed, and refused", "reject", "x@b.example", { "dmarc=fail", P("quarantine"), AT, "arc=pass", "arc.sealers=l2.example" },
	  .want = "reject dkim=fail spf=fail local_policy(refused by other rules here) hf=a.example ef=b.example" },
	{ "a chain that fails", "accept", "x@b.example", { "dmarc=fail", P("reject"), AT, "arc=fail" },
	  .want = "none dkim=fail spf=fail local_policy(accepted by rules here) hf=a.example ef=b.example" },
	/* t=y */
	{ "tested, softened", "quarantine", "x@b.example", { "dmarc=fail", "dmarc.policy=quarantine", "dmarc.published=p=reject", "dmarc.published=t=y", AT },
	  .want = "quarantine dkim=fail spf=fail policy_test_mode hf=a.example ef=b.example" },
	{ "tested, to nothing", "accept", "x@b.example", { "dmarc=fail", "dmarc.policy=none", "dmarc.published=p=quarantine", "dmarc.published=t=y", AT },
	  .want = "none dkim=fail spf=fail policy_test_mode hf=a.example ef=b.example" },
	{ "tested, refused all the same", "reject", "x@b.example", { "dmarc=fail", "dmarc.policy=quarantine", "dmarc.published=p=reject", "dmarc.published=t=y", AT },
	  .want = "reject dkim=fail spf=fail hf=a.example ef=b.example" },
	{ "tested, nothing to soften", "accept", "x@b.example", { "dmarc=fail", "dmarc.policy=none", "dmarc.published=p=none", "dmarc.published=t=y", AT },
	  .want = "none dkim=fail spf=fail hf=a.example ef=b.example" },
	{ "tested, by sp", "quarantine", "x@b.example", { "dmarc=fail", "dmarc.policy=quarantine", "dmarc.published=p=none", "dmarc.published=sp=reject", "dmarc.published=t=y", SUB },
	  .want = "quarantine dkim=fail spf=fail policy_test_mode hf=m.a.example ef=b.example" },
	{ "tested, by np", "accept", "x@b.example", { "dmarc=fail", "dmarc.policy=none", "dmarc.published=p=reject", "dmarc.published=np=quarantine", "dmarc.published=t=y", SUB },
	  .want = "none dkim=fail spf=fail policy_test_mode hf=m.a.example ef=b.example" },
	{ "a subdomain by sp", "reject", "x@b.example", { "dmarc=fail", "dmarc.policy=reject", "dmarc.published=p=none", "dmarc.published=sp=reject", SUB },
	  .want = "reject dkim=fail spf=fail hf=m.a.example ef=b.example" },
	/* what could not be established */
	{ "no result", "accept", "x@b.example", { "dmarc!", P("reject"), AT, "spf!" },
	  .want = "none dkim=fail spf=fail other(temporary error of a lookup) hf=a.example ef=b.example spf:b.example=temperror" },
	{ "no policy", "accept", "x@b.example", { "dmarc=fail", "dmarc.policy!", "dmarc.published=p=none", AT },
	  .want = "none dkim=fail spf=fail other(temporary error of a lookup) hf=a.example ef=b.example" },
	/* names */
	{ "null sender", "accept", "", { "dmarc=pass", P("none"), AT, "dmarc.aligned=spf", "spf=pass" },
	  .want = "none dkim=fail spf=pass hf=a.example ef= spf:mx.example=pass" },
	{ "upper case", "accept", "X@B.Example", { "dmarc=fail", P("none"), AT, "spf=fail" }, .want = "none dkim=fail spf=fail hf=a.example ef=b.example spf:b.example=fail" },
	{ "a literal as sender", "accept", "x@[192.0.2.9]", { "dmarc=fail", P("none"), AT }, .want = "none dkim=fail spf=fail hf=a.example ef=" },
	{ "IPv6", "accept", "x@b.example", { "dmarc=fail", P("none"), AT }, .want = "none dkim=fail spf=fail hf=a.example ef=b.example", .client = "2001:db8::1" },
	/* signatures: in the order of RFC 9990 */
	{ "several signatures", "accept", "x@a.example",
	  { "dmarc=pass", P("none"), AT, "dmarc.aligned=dkim", "dkim.results=fail d=z.example s=s1; body", "dkim.results=pass d=esp.example s=s2 a=x k=1024; y",
	    "dkim.results=pass d=m.a.example s=s3", "dkim.results=pass d=a.example s=s4; d=evil.example s=no" },
	  .want = "none dkim=pass spf=fail hf=a.example ef=a.example dkim:a.example/s4=pass dkim:m.a.example/s3=pass dkim:esp.example/s2=pass dkim:z.example/s1=fail" },
	{ "broken signatures", "accept", "x@a.example",
	  { "dmarc=fail", P("none"), AT, "dkim.results=permerror; no d", "dkim.results=permerror d=q.example; no s", "dkim.results=nonsense d=q.example s=s",
	    "dkim.results=temperror d=t.example s=s" }, .want = "none dkim=fail spf=fail hf=a.example ef=a.example dkim:t.example/s=temperror" },
	/* those that do not count */
	{ "greylisted", "greylist", "x@b.example", { "dmarc=fail", P("reject"), AT }, .want = NULL },
	{ "deferred", "defer", "x@b.example", { "dmarc=fail", P("reject"), AT }, .want = NULL },
	{ "deferred behind", "backend-deferred", "x@b.example", { "dmarc=pass", P("reject"), AT }, .want = NULL },
	{ "perhaps delivered: told to come again", "perhaps-delivered", "x@b.example", { "dmarc=pass", P("reject"), AT }, .want = NULL },
	{ "delivered from the spool: counted before", "spool-delivered", "x@b.example", { "dmarc=pass", P("reject"), AT }, .want = NULL },
	{ "fetched", "pass", "x@b.example", { "dmarc=pass", P("reject"), AT }, .want = NULL },
	{ "gone", "client-gone", "x@b.example", { "dmarc=pass", P("reject"), AT }, .want = NULL },
	{ "a retry", "accept", "x@b.example", { "dmarc=fail", P("reject"), AT }, .want = NULL, .notes = "tag x: y\nretry of 5f3c-1" },
	{ "a note that is none", "accept", "x@b.example", { "dmarc=fail", P("none"), AT }, .want = "none dkim=fail spf=fail hf=a.example ef=b.example",
	  .notes = "log x: retry of 5f3c-1" },
	{ "no record", "accept", "x@b.example", { "dmarc=none", "from.domain=a.example" }, .want = NULL },
	{ "no author", "accept", "x@b.example", { "dmarc=fail", P("none"), "dmarc.record_domain=a.example" }, .want = NULL },
	{ "an author that is no domain", "accept", "x@b.example", { "dmarc=fail", P("none"), "from.domain=a..example", "dmarc.record_domain=a.example" }, .want = NULL },
	{ "ours, or never asked for", "accept", "x@b.example", { "from.domain=a.example" }, .want = NULL },
	{ "who the client was is not known", "accept", "x@b.example", { P("none"), AT }, .want = NULL, .client = "unknown" },
	{ "no address", "accept", "x@b.example", { "dmarc=fail", P("none"), AT }, .want = NULL, .client = "unknown" },
};

/* Of a filter that this program may not have. */
static const char *const arc_words[] = { "none", "pass", "fail", NULL };
static const struct fact_def arc_stand_in[] = {
	{ "arc", FACT_WORD, false, STAGE_DATA, arc_words, "" },
	{ "arc.sealers", FACT_DOMAIN, true, STAGE_DATA, NULL, "" },
	{ 0 },
};

static int setup(void **state)
{
	fact_register_all();
	if (fact_find("arc", 3) == FACT_NONE)
		fact_register(arc_stand_in, 0);
	return 0;
}

static void set(struct facts *f, const char *text)
{
	char name[64];
	const char *value = text + strcspn(text, "=!");
	const struct fact_def *d;
	int id;

	snprintf(name, sizeof(name), "%.*s", (int)(value - text), text);
	id = fact_find(name, strlen(name));
	assert_int_not_equal(id, FACT_NONE);
	d = fact_def(id);
	if (*value == '!')
		assert_int_equal(facts_temperror(f, name, "why"), 0);
	else if (d->list)
		assert_int_equal(facts_add(f, name, value + 1), 0);
	else
		assert_int_equal(facts_set(f, name, value + 1), 0);
}

/* The message on one line. */
static void show(const struct rua_message *m, char *out, size_t room)
{
	size_t n = (size_t)snprintf(out, room, "%s dkim=%s spf=%s", dmarc_report_word(&dmarc_report_disposition_words, m->disposition),
				    dmarc_report_word(&dmarc_report_aligned_words, m->dkim), dmarc_report_word(&dmarc_report_aligned_words, m->spf));

	if (m->reason)
		n += (size_t)snprintf(out + n, room - n, " %s", dmarc_report_word(&dmarc_report_override_words, m->reason));
	if (m->comment[0])
		n += (size_t)snprintf(out + n, room - n, "(%s)", m->comment);
	n += (size_t)snprintf(out + n, room - n, " hf=%s ef=%s", m->header_from, m->envelope_from);
	for (size_t i = 0; i < m->signature_count; i++)
		n += (size_t)snprintf(out + n, room - n, " dkim:%s/%s=%s", m->signature[i].domain, m->signature[i].selector,
				      dmarc_report_word(&dmarc_report_dkim_words, m->signature[i].result));
	if (m->spf_result)
		snprintf(out + n, room - n, " spf:%s=%s", m->spf_domain, dmarc_report_word(&dmarc_report_spf_words, m->spf_result));
}

static void test_rows(void **state)
{
	struct rua_message *m = calloc(1, sizeof(*m));
	char got[2048];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		struct facts f = { 0 };
		struct history_record r = { .at_ms = 1, .code = "5f3c-2", .client = row->client ? row->client : "192.0.2.1", .helo = "mx.example", .from = row->from,
					    .verdict = row->verdict, .notes = row->notes, .stage = STAGE_DATA, .facts = { &f } };

		for (size_t k = 0; k < 16 && row->facts[k]; k++)
			set(&f, row->facts[k]);
		if (!rua_message_read(&r, m))
			snprintf(got, sizeof(got), "-");
		else
			show(m, got, sizeof(got));
		if (strcmp(got, row->want ? row->want : "-") != 0)
			fail_msg("%s: %s, expected %s", row->name, got, row->want ? row->want : "-");
		facts_release(&f);
	}
	free(m);
}

/* The policy as it was published; with what no fact says of it, what applied. */
static void test_published(void **state)
{
	struct rua_message *m = calloc(1, sizeof(*m));
	struct facts f = { 0 };
	struct history_record r = { .code = "1-1", .client = "192.0.2.1", .from = "x@a.example", .verdict = "accept", .facts = { &f } };
	static const char *const all[] = { "dmarc=pass", "dmarc.policy=quarantine", AT, "dmarc.published=p=reject", "dmarc.published=sp=quarantine",
					   "dmarc.published=np=none", "dmarc.published=adkim=s", "dmarc.published=aspf=s", "dmarc.published=t=y",
					   "dmarc.published=fo=1:d:s", "dmarc.published=new=1", "dmarc.published=p", "dmarc.published==" };
	static const char *const old[] = { "dmarc=pass", "dmarc.policy=quarantine", AT };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		set(&f, all[i]);
	assert_true(rua_message_read(&r, m));
	assert_int_equal(m->published.p, DMARC_REPORT_POLICY_REJECT);
	assert_int_equal(m->published.sp, DMARC_REPORT_POLICY_QUARANTINE);
	assert_int_equal(m->published.np, DMARC_REPORT_POLICY_NONE);
	assert_int_equal(m->published.adkim, DMARC_REPORT_MODE_STRICT);
	assert_int_equal(m->published.aspf, DMARC_REPORT_MODE_STRICT);
	assert_int_equal(m->published.testing, DMARC_REPORT_TESTING_YES);
	assert_string_equal(m->published.fo, "1:d:s");
	assert_int_equal(m->rua->count, 1);
	facts_release(&f);
	f = (struct facts){ 0 };
	for (size_t i = 0; i < sizeof(old) / sizeof(*old); i++)
		set(&f, old[i]);
	assert_true(rua_message_read(&r, m));
	assert_int_equal(m->published.p, DMARC_REPORT_POLICY_QUARANTINE);
	assert_int_equal(m->published.sp, 0);
	assert_int_equal(m->published.adkim, DMARC_REPORT_MODE_RELAXED);
	assert_int_equal(m->published.testing, DMARC_REPORT_TESTING_NO);
	assert_string_equal(m->published.fo, "");
	facts_release(&f);
	free(m);
}

/* Of more signatures than are told, those that matter most. */
static void test_many_signatures(void **state)
{
	struct rua_message *m = calloc(1, sizeof(*m));
	struct facts f = { 0 };
	struct history_record r = { .code = "1-1", .client = "192.0.2.1", .from = "x@a.example", .verdict = "accept", .facts = { &f } };
	static const char *const all[] = { "dmarc=pass", "dmarc.policy=none", AT };
	char text[128];

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		set(&f, all[i]);
	for (int i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "dkim.results=%s d=%s s=s%03d", i % 7 ? "fail" : "pass", i == 199 ? "z.a.example" : i == 196 ? "a.example" : "b.example", i);
		set(&f, text);
	}
	set(&f, "dkim.results=pass d=a.example s=last");
	assert_true(rua_message_read(&r, m));
	assert_int_equal(m->signature_count, RUA_SIGNATURES_MAX);
	assert_string_equal(m->signature[0].selector, "last");
	assert_string_equal(m->signature[1].selector, "s196");
	for (int i = 0; i < RUA_SIGNATURES_MAX; i++)
		assert_int_equal(m->signature[i].result, DMARC_REPORT_DKIM_PASS);
	facts_release(&f);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_published), cmocka_unit_test(test_many_signatures),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
