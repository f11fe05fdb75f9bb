/* outbound_tls: what is demanded of a host, by what DNS, policies and configuration say */
#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "hop/outbound_tls.h"
#include "policy/conf.h"
#include "policy/state.h"
#include "tests/support/certificate.h"
#include "tests/support/dns_table.h"

/* A state that knows one policy. */
static char stored_key[STATE_KEY_MAX], stored_text[STATE_TEXT_MAX];

static int state_answer(struct state *s, struct state_op *ops, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		ops[i].found = ops[i].verb == STATE_GET && strcmp(ops[i].space, "sts") == 0 && strcmp(ops[i].key, stored_key) == 0;
		if (ops[i].found) {
			ops[i].count = 1;
			snprintf(ops[i].text, sizeof(ops[i].text), "%s", stored_text);
		}
	}
	return 0;
}

static struct state state = { state_answer };

#define EE " TLSA 03010100112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define PKIX " TLSA 01010100112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"

enum { ANY_RC = 1 };

static const struct {
	const char *name, *zone;        /* of the DNS; domain d.example, host mx.d.example; secure unless it says otherwise */
	const char *sts;                /* lines of the stored policy behind max_age; NULL: none */
	const char *conf;               /* "tls" letter of the mode, then - for no dane, no mta_sts: "o", "r", "v", "x" (off), "o-d", "o-s" */
	bool mx_insecure, host_insecure;
	const char *canon;
	int rc;
	enum tls_mode mode;
	enum tls_proof proof;           /* that a good certificate gives */
	bool dane;
	const char *tls_name, *why;
} rows[] = {
	/* nothing published */
	{ .name = "plain", .zone = "", .conf = "o", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX, .tls_name = "mx.d.example" },
	{ .name = "off", .zone = "_25._tcp.mx.d.example" EE, .sts = "mode: enforce\nmx: a.example\n", .conf = "x", .mode = TLS_OFF, .proof = TLS_PROOF_PKIX, .tls_name = "mx.d.example" },
	{ .name = "required", .zone = "", .conf = "r", .mode = TLS_REQUIRED, .proof = TLS_PROOF_PKIX, .tls_name = "mx.d.example" },
	{ .name = "verified", .zone = "", .conf = "v", .mode = TLS_REQUIRED, .proof = TLS_PROOF_PKIX, .tls_name = "mx.d.example" },
	{ .name = "policy of the domain", .zone = "", .conf = "p", .mode = TLS_REQUIRED, .proof = TLS_PROOF_PKIX, .tls_name = "other.example" },
	/* DANE */
	{ .name = "EE", .zone = "_25._tcp.mx.d.example" EE, .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_DANE, .dane = true },
	{ .name = "EE, switched off", .zone = "_25._tcp.mx.d.example" EE, .conf = "o-d", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "MX not secure", .zone = "_25._tcp.mx.d.example" EE, .conf = "o", .mx_insecure = true, .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "host not secure", .zone = "_25._tcp.mx.d.example" EE, .conf = "o", .host_insecure = true, .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "records not secure", .zone = "_25._tcp.mx.d.example" EE "_25._tcp.mx.d.example INSECURE", .conf = "o", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "unusable", .zone = "_25._tcp.mx.d.example" PKIX, .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_PKIX },
	{ .name = "one usable", .zone = "_25._tcp.mx.d.example" PKIX "_25._tcp.mx.d.example" EE, .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_DANE, .dane = true },
	{ .name = "malformed", .zone = "_25._tcp.mx.d.example TLSA 03", .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_PKIX },
	{ .name = "unusable, MTA-STS", .zone = "_25._tcp.mx.d.example" PKIX, .sts = "mode: enforce\nmx: mx.d.example\n", .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_MTA_STS },
	{ .name = "bogus", .zone = "_25._tcp.mx.d.example BOGUS", .conf = "o", .rc = -EAGAIN, .why = "bogus" },
	{ .name = "SERVFAIL", .zone = "_25._tcp.mx.d.example SERVFAIL", .conf = "o", .rc = -EAGAIN, .why = "SERVFAIL" },
	{ .name = "timeout", .zone = "_25._tcp.mx.d.example TIMEOUT", .conf = "o", .rc = -EAGAIN, .why = "timeout" },
	{ .name = "SERVFAIL, switched off", .zone = "_25._tcp.mx.d.example SERVFAIL", .conf = "o-d", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "SERVFAIL, host not secure", .zone = "_25._tcp.mx.d.example SERVFAIL", .conf = "o", .host_insecure = true, .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "before MTA-STS", .zone = "_25._tcp.mx.d.example" EE, .sts = "mode: enforce\nmx: a.example\n", .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_DANE, .dane = true },
	/* CNAMEs */
	{ .name = "alias, at its end", .zone = "_25._tcp.real.example" EE, .conf = "o", .canon = "real.example", .mode = TLS_REQUIRED, .proof = TLS_PROOF_DANE, .dane = true },
	{ .name = "alias, at the name", .zone = "_25._tcp.mx.d.example" EE, .conf = "o", .canon = "real.example", .mode = TLS_REQUIRED, .proof = TLS_PROOF_DANE, .dane = true },
	{ .name = "alias, failure at its end", .zone = "_25._tcp.real.example SERVFAIL\n_25._tcp.mx.d.example" EE, .conf = "o", .canon = "real.example", .rc = -EAGAIN },
	{ .name = "secure alias to what is not", .zone = "mx.d.example CNAME real.example\n_25._tcp.mx.d.example" EE, .conf = "o", .canon = "real.example", .host_insecure = true,
	  .mode = TLS_REQUIRED, .proof = TLS_PROOF_DANE, .dane = true },
	{ .name = "records beyond what is secure", .zone = "mx.d.example CNAME real.example\n_25._tcp.real.example" EE, .conf = "o", .canon = "real.example", .host_insecure = true,
	  .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "alias not secure", .zone = "mx.d.example CNAME real.example\nmx.d.example INSECURE\n_25._tcp.mx.d.example" EE, .conf = "o", .canon = "real.example", .host_insecure = true,
	  .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "alias, failure", .zone = "mx.d.example SERVFAIL\n_25._tcp.mx.d.example" EE, .conf = "o", .canon = "real.example", .host_insecure = true, .rc = -EAGAIN },
	/* MTA-STS */
	{ .name = "enforce", .zone = "", .sts = "mode: enforce\nmx: mx.d.example\n", .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_MTA_STS, .tls_name = "mx.d.example" },
	{ .name = "enforce, wildcard", .zone = "", .sts = "mode: enforce\nmx: *.d.example\n", .conf = "o", .mode = TLS_REQUIRED, .proof = TLS_PROOF_MTA_STS },
	{ .name = "enforce, not named", .zone = "", .sts = "mode: enforce\nmx: *.mx.d.example\n", .conf = "o", .rc = -EACCES, .why = "does not name the host mx.d.example" },
	{ .name = "enforce, switched off", .zone = "", .sts = "mode: enforce\nmx: a.example\n", .conf = "o-s", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "testing", .zone = "", .sts = "mode: testing\nmx: a.example\n", .conf = "o", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
	{ .name = "testing, required", .zone = "", .sts = "mode: testing\nmx: a.example\n", .conf = "r", .mode = TLS_REQUIRED, .proof = TLS_PROOF_PKIX },
	{ .name = "none", .zone = "", .sts = "mode: none\n", .conf = "o", .mode = TLS_OPPORTUNISTIC, .proof = TLS_PROOF_PKIX },
};

static void configure(struct outbound_conf *c, struct outbound_tls_policy policy[2], const char *how)
{
	c->tls.mode = *how == 'x' ? OUTBOUND_TLS_OFF : *how == 'r' ? OUTBOUND_TLS_REQUIRED : *how == 'v' ? OUTBOUND_TLS_VERIFIED : OUTBOUND_TLS_OPPORTUNISTIC;
	c->tls.dane = !strstr(how, "-d");
	c->tls.mta_sts = !strstr(how, "-s");
	c->tls.policy = policy;
	c->tls.policy_count = *how == 'p' ? 2 : 0;
	policy[0] = (struct outbound_tls_policy){ .domain = (char *)(uintptr_t)"d.example", .mode = OUTBOUND_TLS_VERIFIED, .name = (char *)(uintptr_t)"other.example" };
	policy[1] = (struct outbound_tls_policy){ .domain = (char *)(uintptr_t)".example", .mode = OUTBOUND_TLS_OFF };
}

static void test_demands(void **unused)
{
	struct certificate *ca = certificate_new("Lab CA", NULL, 0, 86400);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(dns_table) struct dns_table *t = dns_table_new();
		AUTO(outbound_tls) struct outbound_tls *o = NULL;
		AUTO(outbound_tls_domain) struct outbound_tls_domain *d = NULL;
		AUTO(outbound_tls_demand) struct outbound_tls_demand *m = NULL;
		AUTO(buf) struct buf err = BUF_INIT(1024);
		struct outbound_tls_policy policy[2];
		struct site site = { .outbound.tls.ca_pem = (char *)(uintptr_t)certificate_pem(ca) };
		struct outbound_host host = { .name = "mx.d.example", .canon = rows[i].canon, .secure = !rows[i].host_insecure };
		struct smtp_client_conf cf = { 0 };
		char why[SMTP_WHY_MAX] = "";
		int rc;

		dns_table_secure(t, true);
		dns_table_zone(t, rows[i].zone);
		stored_key[0] = '\0';
		if (rows[i].sts) {
			strcpy(stored_key, "d.example 0");
			snprintf(stored_text, sizeof(stored_text), "%lld 7 %lld %lld\nversion: STSv1\nmax_age: 86400\n%s", (long long)clock_wall_s(),
				 (long long)clock_wall_s(), (long long)clock_wall_s() + 86400, rows[i].sts);
			dns_table_add(t, "_mta-sts.d.example", "TXT", "v=STSv1; id=7");
		}
		configure(&site.outbound, policy, rows[i].conf);
		assert_int_equal(outbound_tls_new(&site, dns_table_dns(t), &state, &o, &err), 0);
		assert_int_equal(outbound_tls_domain(o, &(struct outbound_dest){ "d.example", true, !rows[i].mx_insecure }, 0, &d), 0);
		rc = outbound_tls_host(d, &host, 0, &m, why);
		if (rc != rows[i].rc || (rows[i].why && !strstr(why, rows[i].why)))
			fail_msg("%s: %d %s", rows[i].name, rc, why);
		if (rc < 0) {
			assert_true(*why);
			continue;
		}
		cf.tls_any = true;      /* as it is inline before */
		outbound_tls_apply(m, &cf);
		if (cf.tls != rows[i].mode || cf.tls_any || cf.tls_proof != rows[i].proof || (cf.tls_dane != NULL) != rows[i].dane ||
		    outbound_tls_demanded(m) != (rows[i].mode == TLS_REQUIRED) || (rows[i].tls_name && strcmp(cf.tls_name, rows[i].tls_name) != 0))
			fail_msg("%s: mode %d, proof %d, name %s", rows[i].name, cf.tls, cf.tls_proof, cf.tls_name);
		assert_int_equal(ERR_peek_error(), 0);
	}
	certificate_free(ca);
}

/* Upstreams and literals: no MX, so no MTA-STS; DANE by the host's own security; the host's own tls_policy. */
static void test_named_hosts(void **unused)
{
	struct certificate *ca = certificate_new("Lab CA", NULL, 0, 86400);
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(outbound_tls) struct outbound_tls *o = NULL;
	AUTO(outbound_tls_domain) struct outbound_tls_domain *d = NULL;
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct outbound_tls_policy policy[2];
	struct site site = { .outbound.tls.ca_pem = (char *)(uintptr_t)certificate_pem(ca) };
	static const struct {
		struct outbound_host host;
		enum tls_mode mode;
		bool dane;
	} hosts[] = {
		{ { .name = "a.net", .secure = true, .port = 587 }, TLS_REQUIRED, true },
		{ { .name = "a.net", .secure = true }, TLS_OPPORTUNISTIC, false },
		{ { .name = "a.net", .secure = false, .port = 587 }, TLS_OPPORTUNISTIC, false },
		{ { .name = "d.example" }, TLS_REQUIRED, false },
		{ { .name = "x.y.example" }, TLS_OFF, false },
		{ { .name = NULL, .secure = true }, TLS_OPPORTUNISTIC, false },
	};

	dns_table_secure(t, true);
	dns_table_zone(t, "_587._tcp.a.net" EE);
	configure(&site.outbound, policy, "p");
	assert_int_equal(outbound_tls_new(&site, dns_table_dns(t), NULL, &o, &err), 0);
	assert_int_equal(outbound_tls_domain(o, &(struct outbound_dest){ "", false, false }, 0, &d), 0);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		AUTO(outbound_tls_demand) struct outbound_tls_demand *m = NULL;
		struct smtp_client_conf cf = { 0 };
		char why[SMTP_WHY_MAX];

		assert_int_equal(outbound_tls_host(d, &hosts[i].host, 0, &m, why), 0);
		outbound_tls_apply(m, &cf);
		if (cf.tls != hosts[i].mode || (cf.tls_dane != NULL) != hosts[i].dane)
			fail_msg("%zu: %d", i, cf.tls);
	}
	assert_int_equal(dns_table_count(t, "_mta-sts.", 0), 0);
	certificate_free(ca);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_demands), cmocka_unit_test(test_named_hosts) };

	return cmocka_run_group_tests_name("outbound_tls", tests, NULL, NULL);
}
