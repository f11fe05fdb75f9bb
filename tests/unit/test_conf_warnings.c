/* gatepost.conf: what is no error, and hardly meant */
#include "base/sasl.h"
#include "filters/filter.h"
#include "policy/conf_table.h"
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	dir_make();
	put("password", "s3cret word\n");
	return 0;
}

static void test_auth(void **state)
{
	static const struct {
		const char *text, *warnings;
	} rows[] = {
		{ "listener a {\n address = \"0.0.0.0:587\"\n}\nauth {\n mechanisms = { \"plain\", \"NTLM\" }\n}\n",
		  "@:7: auth: NTLM may be bound to the TLS connection, which ends here; a server that insists on it (Exchange: extended protection) "
		  "refuses every such login\n" },
		{ "listener a {\n address = \"0.0.0.0:587\"\n}\nauth {\n offer = no\n}\n",
		  "@:7: auth: offer = no, and at listener a nobody can send without a login\n" },
		{ "listener a {\n address = \"0.0.0.0:587\"\n tls = off\n}\n",
		  "@:4: listener a: has no TLS, and a login is offered in clear text with auth { plaintext = yes } alone: nobody can send there\n" },
		{ "listener a {\n address = \"0.0.0.0:587\"\n}\ntls {\n offer = no\n}\n",
		  "@:4: listener a: has no TLS, and a login is offered in clear text with auth { plaintext = yes } alone: nobody can send there\n" },
		{ "listener a {\n address = \"0.0.0.0:465\"\n backends = { \"b\", \"main\" }\n}\nbackend b {\n address = \"h\"\n tls = off\n}\n",
		  "@:8: backend b: has tls = off: passwords from listener a go there in clear text\n" },
		{ "listener a {\n address = \"0.0.0.0:25\"\n}\nauth {\n inbound = yes\n plaintext = yes\n}\n",
		  "@:7: auth: plaintext = yes: whoever listens on the way reads the passwords\n" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, &warnings);

		if (!s || !as_wanted(buf_str(&warnings), rows[i].warnings))
			fail_msg("row %zu: %s%s", i, buf_str(&errors), buf_str(&warnings));
		assert_int_equal(s->auth.mechanisms, i == 0 ? SASL_PLAIN | SASL_NTLM : SASL_DEFAULT);
		assert_int_equal(site_offers_auth(s, &s->listener[0]), i != 1);
		site_free(s);
	}
}

static void test_others(void **state)
{
	static const struct {
		const char *text, *warnings;
	} rows[] = {
		{ "recipients {\n callout = \"10.0.0.5:2525\"\n}\nbackend b { address = \"h\" tls_name = \"x\" spool = yes }\n",
		  "@:7: backend b: tls_ca and tls_name play no part without tls = required\n"
		  "@:4: recipients: callout plays no part without verify = callout\n"
		  "@:7: backend b: spool = yes with verify = backend: while it is away nobody can say who exists, and new mail is deferred\n" },
		{ "relay_networks = { \"10.0.0.5\" }\ndns {\n dnssec = no\n}\n", "@: outbound: dane plays no part with dnssec = no in section dns\n" },
		{ "relay_networks = { \"10.0.0.5\" }\n", "" },
		{ "limits {\n sessions = 10\n sessions_per_client = 11\n}\n",
		  "@:4: limits: sessions_per_client plays no part, it is larger than sessions\n" },
		{ "spool {\n delay_notice = 2d\n life = 1d\n}\n", "@:4: spool: delay_notice is not shorter than life: nobody is told of a delay\n" },
		{ "timeouts {\n backend_dot_budget = 10m\n}\n",
		  "@:4: timeouts: backend_dot_budget is more than 9m: a client waits for 10 minutes and sends again then, which can deliver twice\n" },
		{ "timeouts {\n backend_dot_budget = 9m\n}\n", "" },
		{ "quarantine_class money {\n}\n", "@:4: quarantine_class money: says nothing, expected keep or max_size\n" },
		{ "dns {\n dnssec = no\n}\n", "" },
		{ "relay_networks = { \"10.0.0.5\" }\ndns {\n dnssec = no\n}\noutbound {\n dane = no\n}\n", "" },
		{ "tls_policy a.example { name = b.example }\n", "@:4: tls_policy a.example: name plays no part without tls = verified\n" },
		{ "outbound { via = { mx.a.example } username = x password_file = password }\ntls_policy mx.a.example { dane = no }\n",
		  "@:5: tls_policy mx.a.example: the password for mx.a.example is said to whoever answers there, expected tls = verified\n" },
		{ "tls_policy .example { tls = required }\noutbound { via = { mx.a.example } username = x password_file = password }\n",
		  "@:4: tls_policy .example: the password for mx.a.example is said to whoever answers there, expected tls = verified\n" },
		{ "outbound { via = { mx.a.example } username = x password_file = password }\ntls_policy mx.a.example { tls = verified dane = no }\n"
		  "tls_policy a.example { tls = off }\n", "" },
		{ "outbound { via = { mx.a.example } }\ntls_policy mx.a.example { dane = no }\n", "" },
		{ "listener out {\n address = \"[::]:25\" direction = outbound\n}\n",
		  "@:4: listener out: direction = outbound serves relay_networks alone, and there are none\n" },
		{ "backend b { address = \"10.0.0.6:587\" }\nlistener l { address = \"0.0.0.0:587\" backends = { b } }\n",
		  "@:3: backend main: no listener leads to it, expected one that does, such as listener smtp { address = \"0.0.0.0:25\" }\n" },
		{ "backend b { address = \"10.0.0.6:587\" }\nlistener l { address = \"0.0.0.0:587\" backends = { b } }\n"
		  "listener smtp { address = \"0.0.0.0:25\" }\n", "" },
		{ "listener l { address = \"0.0.0.0:587\" backends = { main } }\n", "" },
		{ "listener l { address = \"0.0.0.0:25\" backends = { main } }\nbackend b { address = \"10.0.0.6:143\" }\nbackend t { address = \"10.0.0.6:80\" protocol = tcp }\n",
		  "@:5: backend b: no listener leads to it, expected one that does, such as listener imap { address = \"0.0.0.0:143\" }\n"
		  "@:6: backend t: no listener leads to it, expected one with backends = { \"t\" }\n" },
		{ "listener l { address = \"0.0.0.0:25\" backends = { main } }\nlistener m { address = \"0.0.0.0:1143\" protocol = imap }\nbackend b { address = \"10.0.0.6:143\" }\n",
		  "@:5: listener m: passwords may come in clear text, as the server behind allows it, and whoever listens on the way reads them; when all clients use "
		  "TLS, say plaintext = refuse\n" },
		{ "backend i { address = \"10.0.0.6:993\" }\nlistener l { address = \"0.0.0.0:993\" }\nlistener m { address = \"0.0.0.0:25\" backends = { main } }\n", "" },
		{ "backend i { address = \"10.0.0.6:993\" tls = off }\nlistener l { address = \"0.0.0.0:993\" tls = starttls plaintext = refuse }\nlistener m { address = \"0.0.0.0:25\" backends = { main } }\n",
		  "@:5: listener l: clients begin with TLS on port 993, and do not get it, expected tls = implicit\n"
		  "@:4: backend i: port 993 begins with TLS, expected tls = required, or opportunistic\n" },
		{ "backend i { address = \"10.0.0.6:995\" implicit_tls = no protocol = imap }\nlistener l { address = \"0.0.0.0:143\" tls = off plaintext = refuse }\nlistener m { address = \"0.0.0.0:25\" backends = { main } }\n",
		  "@:5: listener l: plaintext = refuse wants TLS, and tls = off offers none: no password is taken there, expected tls = starttls or implicit\n"
		  "@:4: backend i: speaks imap, and port 995 is for pop3, expected another port or protocol\n"
		  "@:4: backend i: port 995 begins with TLS, expected implicit_tls = yes\n" },
		{ "listener l { address = \"0.0.0.0:587\" }\n", "" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, &warnings);

		if (!s || !as_wanted(buf_str(&warnings), rows[i].warnings))
			fail_msg("row %zu: %s%s", i, buf_str(&errors), buf_str(&warnings));
		site_free(s);
	}
}

static void test_nowhere(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load("hostname = \"mx.example.com\"\ndomains = { \"example.com\" }\nbackend i { address = \"10.0.0.5:143\" }\nlistener l { address = \"0.0.0.0:1143\" }\n",
			      &errors, &warnings);

	assert_non_null(s);
	assert_non_null(strstr(buf_str(&warnings), "listener l: there is no backend that speaks smtp, and mail that comes here has nowhere to go; if users fetch"));
	site_free(s);
}

/* With the rules there are, can a message that is fetched be held back? */
static void test_scan(void **state)
{
	static const struct {
		const char *policy;
		bool warned;
	} rows[] = {
		{ "accept\n", true },
		{ "accept fetched: if direction = retrieval\nquarantine if spf = fail\n", true },
		{ "quarantine if direction = inbound and attachment.extension = exe\naccept\n", true },
		{ "observe quarantine if attachment.extension = exe\naccept\n", true },
		{ "defer if direction = retrieval\ntag \"x\" if direction = retrieval\naccept\n", true },
		{ "quarantine if direction = retrieval and attachment.extension = exe\naccept fetched: if direction = retrieval\n", false },
		{ "accept if client.ip in (10.0.0.1)\nreject if attachment.extension = exe\n", false },
		{ "score +5 if attachment.extension = exe\ndiscard if score >= 5\n", false },
	};

	fact_register_all();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s;

		put("policy.conf", rows[i].policy);
		s = load("domains = { \"example.com\" }\nbackend i { address = \"10.0.0.5:143\" }\nlistener l { address = \"0.0.0.0:993\" scan = yes }\n", &errors, &warnings);
		if (!s || !strstr(buf_str(&warnings), "listener l: scan = yes, and no rule holds back") == rows[i].warned)
			fail_msg("row %zu: %s%s", i, buf_str(&errors), buf_str(&warnings));
		site_free(s);
	}
}

/* As many as there may be, and one more. */
static void test_many_classes(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(65536), errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s;

	for (int i = 0; i < STORE_RETENTION_CLASSES; i++)
		buf_addf(&text, "quarantine_class c%d { keep = 1d }\n", i);
	s = load_rest(buf_str(&text), &errors, &warnings);
	assert_non_null(s);
	assert_int_equal(s->quarantine.class_count, STORE_RETENTION_CLASSES);
	site_free(s);
	buf_adds(&text, "quarantine_class more { keep = 1d }\n");
	assert_null(load_rest(buf_str(&text), &errors, &warnings));
	assert_non_null(strstr(buf_str(&errors), ": quarantine_class: more than 16\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_many_classes), cmocka_unit_test(test_auth), cmocka_unit_test(test_others), cmocka_unit_test(test_nowhere), cmocka_unit_test(test_scan) };

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
