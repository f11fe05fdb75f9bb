/* The record of a spooled message: what is written is read again; what is not as it should be is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/spool_record.h"
#include "support/scarce.h"

#define RCPT "{\"address\":\"b@y\",\"params\":\"\",\"route\":\"mx y\",\"state\":\"waiting\",\"attempts\":0,\"tried\":0,\"reply\":\"\",\"remote\":\"\",\"told\":false}"
#define HEAD "\"spool\":1,\"id\":\"01kabcdef123\",\"created\":5,\"bytes\":7,\"direction\":\"outbound\",\"credible\":true,\"sender\":\"a@x\",\"params\":\"\""

static int parse(const char *text, size_t len, enum spool_record_kind kind, struct spool_envelope **out)
{
	const char *why = NULL;
	char *copy = malloc(len ? len : 1);     /* exactly as long, for the sanitizer */
	int rc;

	memcpy(copy, text, len);
	rc = spool_record_parse(copy, len, kind, out, &why);
	if (rc < 0)
		assert_non_null(why);
	free(copy);
	return rc;
}

static const struct { const char *name, *text; int rc; } rows[] = {
	{ "good", "{" HEAD ",\"rcpt\":[" RCPT "]}", 0 },
	{ "with a member of a later version", "{" HEAD ",\"colour\":3,\"rcpt\":[" RCPT "," RCPT "]}", 0 },
	{ "empty", "", -EINVAL },
	{ "cut", "{" HEAD ",\"rcpt\":[" RCPT, -EINVAL },
	{ "more behind it", "{" HEAD ",\"rcpt\":[" RCPT "]} x", -EINVAL },
	{ "an array", "[" RCPT "]", -EINVAL },
	{ "a member twice", "{" HEAD ",\"sender\":\"c@x\",\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "another version", "{\"spool\":2,\"id\":\"01kabcdef123\",\"created\":5,\"bytes\":7,\"direction\":\"outbound\",\"credible\":true,\"sender\":\"\","
			     "\"params\":\"\",\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "no version", "{\"id\":\"01kabcdef123\",\"created\":5,\"bytes\":7,\"direction\":\"outbound\",\"credible\":true,\"sender\":\"\",\"params\":\"\","
			"\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "an id that is a path", "{\"spool\":1,\"id\":\"../etc/passw\",\"created\":5,\"bytes\":7,\"direction\":\"outbound\",\"credible\":true,"
				  "\"sender\":\"\",\"params\":\"\",\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "no recipients", "{" HEAD ",\"rcpt\":[]}", -EINVAL },
	{ "no list", "{" HEAD "}", -EINVAL },
	{ "recipients as text", "{" HEAD ",\"rcpt\":\"b@y\"}", -EINVAL },
	{ "a recipient as text", "{" HEAD ",\"rcpt\":[\"b@y\"]}", -EINVAL },
	{ "second recipient bad", "{" HEAD ",\"rcpt\":[" RCPT ",{}]}", -EINVAL },
	{ "listener of another kind", "{" HEAD ",\"listener\":5,\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "listener null", "{" HEAD ",\"listener\":null,\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "a line end in the user", "{" HEAD ",\"user\":\"a\\r\\nRCPT\",\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "a NUL in the user", "{" HEAD ",\"user\":\"a\\u0000b\",\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "base64 of nothing good", "{" HEAD ",\"user\":{\"base64\":\"%%%%\"},\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "base64 with padding only", "{" HEAD ",\"user\":{\"base64\":\"====\"},\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "base64 of a line end", "{" HEAD ",\"user\":{\"base64\":\"Cg==\"},\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "base64 of a NUL", "{" HEAD ",\"user\":{\"base64\":\"YQBi\"},\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "base64 and more", "{" HEAD ",\"user\":{\"base64\":\"YWFh\",\"x\":1},\"rcpt\":[" RCPT "]}", -EINVAL },
	{ "base64", "{" HEAD ",\"user\":{\"base64\":\"YWE=\"},\"rcpt\":[" RCPT "]}", 0 },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct spool_envelope *e = NULL;
		int rc = parse(rows[i].text, strlen(rows[i].text), RECORD_KEPT, &e);

		if (rc != rows[i].rc)
			fail_msg("%s: %d, expected %d", rows[i].name, rc, rows[i].rc);
		assert_true((e != NULL) == (rc == 0));
		spool_envelope_free(e);
	}
}

/* Each member of a recipient must be there, and of its kind. */
static void test_recipient(void **state)
{
	static const char *const members[] = { "address", "params", "route", "state", "attempts", "tried", "reply", "remote", "told" };
	static const char *const values[] = { NULL, "{}", "[]", "-1", "1e3", "\"x\\ny\"", "null", "99999999999999999" };

	for (size_t m = 0; m < sizeof(members) / sizeof(*members); m++)
		for (size_t v = 0; v < sizeof(values) / sizeof(*values); v++) {
			json_t *r = json_loads(RCPT, 0, NULL), *value = values[v] ? json_loads(values[v], JSON_DECODE_ANY, NULL) : NULL;
			struct spool_envelope *e = NULL;
			char *text, whole[4096];

			if (value)
				json_object_set_new(r, members[m], value);
			else
				json_object_del(r, members[m]);
			text = json_dumps(r, 0);
			snprintf(whole, sizeof(whole), "{" HEAD ",\"rcpt\":[%s]}", text);
			if (parse(whole, strlen(whole), RECORD_KEPT, &e) != -EINVAL)
				fail_msg("taken: %s", whole);
			free(text);
			json_decref(r);
		}
}

static void test_cut_anywhere(void **state)
{
	static const char text[] = "{" HEAD ",\"rcpt\":[" RCPT "]}";

	for (size_t n = 0; n + 1 < sizeof(text); n++) {
		struct spool_envelope *e = NULL;

		if (n < sizeof(text) - 1)
			assert_int_equal(parse(text, n, RECORD_KEPT, &e), -EINVAL);
	}
}

static struct spool_envelope *example(void)
{
	struct spool_envelope *e = spool_envelope_new();
	struct spool_recipient *r;

	e->sender = strdup("a\xff@x.example");
	e->params = strdup("BODY=8BITMIME RET=HDRS ENVID=q1");
	e->direction = SPOOL_SUBMISSION;
	e->listener = strdup("smarthost");
	e->user = strdup("müller");
	e->client = strdup("192.0.2.7");
	e->txn = strdup("5f3c.1");
	e->created_s = 1795310000;
	e->bytes = 18233;
	e->credible = true;
	store_id_make(1795310000123, 7, e->id);
	r = spool_envelope_add(e, "b@y.example", "NOTIFY=FAILURE,DELAY ORCPT=rfc822;b+40y", "mx y.example");
	r->attempts = 3;
	r->tried_s = 1795310500;
	r->delay_told = true;
	free(r->reply);
	r->reply = strdup("451 4.7.1 one\r\n451 two");
	r = spool_envelope_add(e, "\"odd local\"@y.example", "", "backend");
	r->state = SPOOL_FAILED;
	for (int i = 0; i < 30; i++)
		assert_non_null(spool_envelope_add(e, "c@z.example", "", "upstream"));
	return e;
}

static void test_there_and_back(void **state)
{
	AUTO(spool_envelope) struct spool_envelope *e = example(), *got = NULL;
	char *text = spool_record_text(e), *again;

	assert_non_null(text);
	assert_null(strstr(text, "minor"));
	free(text);
	e->minor = true;
	text = spool_record_text(e);
	assert_int_equal(parse(text, strlen(text), RECORD_KEPT, &got), 0);
	assert_true(got->minor);
	assert_string_equal(got->sender, e->sender);
	assert_string_equal(got->user, "müller");
	assert_null(got->helo);
	assert_int_equal(got->direction, SPOOL_SUBMISSION);
	assert_int_equal(got->created_s, 1795310000);
	assert_int_equal(got->bytes, 18233);
	assert_string_equal(got->id, e->id);
	assert_int_equal(got->rcpt_count, 32);
	assert_string_equal(got->rcpt[0].reply, "451 4.7.1 one  451 two");
	assert_int_equal(got->rcpt[0].attempts, 3);
	assert_int_equal(got->rcpt[0].tried_s, 1795310500);
	assert_true(got->rcpt[0].delay_told);
	assert_int_equal(got->rcpt[1].state, SPOOL_FAILED);
	assert_int_equal(spool_envelope_waiting(got), 31);
	/* One more goes where there is room, or room is made. */
	assert_non_null(spool_envelope_add(got, "d@z.example", "", "upstream"));
	spool_envelope_free(got);
	got = NULL;
	assert_int_equal(parse(text, strlen(text), RECORD_NEW, &got), -EINVAL);         /* it has an id */
	e->id[0] = 0;
	e->created_s = 0;
	again = spool_record_text(e);
	assert_int_equal(parse(again, strlen(again), RECORD_KEPT, &got), -EINVAL);
	assert_int_equal(parse(again, strlen(again), RECORD_NEW, &got), 0);
	free(text);
	free(again);
}

static void test_long_reply_is_cut(void **state)
{
	AUTO(spool_envelope) struct spool_envelope *e = example(), *got = NULL;
	char *text;

	free(e->rcpt[0].reply);
	e->rcpt[0].reply = malloc(5001);
	for (int i = 0; i < 5000; i += 2)
		memcpy(e->rcpt[0].reply + i, "\xc3\xa4", 2);
	e->rcpt[0].reply[5000] = 0;
	e->rcpt[0].reply[0] = 'x';
	e->rcpt[0].reply[1] = 'y';
	memmove(e->rcpt[0].reply, e->rcpt[0].reply + 1, 5000);  /* a character across the bound */
	text = spool_record_text(e);
	assert_int_equal(parse(text, strlen(text), RECORD_KEPT, &got), 0);
	assert_int_equal(strlen(got->rcpt[0].reply), SPOOL_REPLY_MAX - 1);
	free(text);
}

static void test_bounds(void **state)
{
	AUTO(spool_envelope) struct spool_envelope *e = example(), *got = NULL;
	char *text, *address = malloc(SPOOL_ADDRESS_MAX + 2);
	struct spool_recipient *r = NULL;
	char big[3000];

	while ((r = spool_envelope_add(e, "c@z.example", "", "upstream")))
		;
	assert_int_equal(e->rcpt_count, SPOOL_RECIPIENTS_MAX);
	text = spool_record_text(e);
	assert_int_equal(parse(text, strlen(text), RECORD_KEPT, &got), 0);
	free(text);
	memset(address, 'a', SPOOL_ADDRESS_MAX + 1);
	address[SPOOL_ADDRESS_MAX + 1] = 0;
	snprintf(big, sizeof(big), "{" HEAD ",\"user\":\"%s\",\"rcpt\":[" RCPT "]}", address);
	spool_envelope_free(got);
	got = NULL;
	assert_int_equal(parse(big, strlen(big), RECORD_KEPT, &got), -EINVAL);
	address[SPOOL_ADDRESS_MAX] = 0;
	snprintf(big, sizeof(big), "{" HEAD ",\"user\":\"%s\",\"rcpt\":[" RCPT "]}", address);
	assert_int_equal(parse(big, strlen(big), RECORD_KEPT, &got), 0);
	free(address);
}

static const struct { const char *params, *name, *want; } params[] = {
	{ "NOTIFY=FAILURE,DELAY ORCPT=rfc822;b", "NOTIFY", "FAILURE,DELAY" },
	{ "NOTIFY=FAILURE,DELAY ORCPT=rfc822;b", "orcpt", "rfc822;b" },
	{ "  BODY=8BITMIME   SMTPUTF8 ", "SMTPUTF8", "" },
	{ "smtputf8 RET=HDRS", "SMTPUTF8", "" },
	{ "XRET=HDRS", "RET", NULL },
	{ "RETX=HDRS", "RET", NULL },
	{ "ENVID=RET=HDRS", "RET", NULL },
	{ "ENVID=a=b", "ENVID", "a=b" },
	{ "RET=", "RET", "" },
	{ "", "RET", NULL },
	{ "   ", "RET", NULL },
};

static void test_params(void **state)
{
	for (size_t i = 0; i < sizeof(params) / sizeof(*params); i++) {
		size_t len = 99;
		const char *p = spool_param(params[i].params, params[i].name, &len);

		if ((p == NULL) != (params[i].want == NULL) || (p && (len != strlen(params[i].want) || memcmp(p, params[i].want, len) != 0)))
			fail_msg("%s of \"%s\"", params[i].name, params[i].params);
	}
}

/* A record that is as it should be is never taken for a broken one: that would be put aside, and its message delivered to nobody. */
static void test_no_memory(void **state)
{
	static const char text[] = "{" HEAD ",\"listener\":\"a name that is longer than what jansson begins with\",\"user\":{\"base64\":\"YWE=\"},\"rcpt\":[" RCPT "," RCPT "]}";
	int n;

	json_set_alloc_funcs(malloc, free);     /* jansson's count, too */
	for (n = 1; scarce_begin(n); n++) {
		struct spool_envelope *e = NULL;
		const char *why;
		int rc = spool_record_parse(text, strlen(text), RECORD_KEPT, &e, &why);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			spool_envelope_free(e);
			break;
		}
		assert_int_equal(rc, -ENOMEM);
		assert_null(e);
	}
	assert_true(n > 50);
}

/* Nor is one written that has lost something on the way. */
static void test_no_memory_to_write(void **state)
{
	static const char text[] = "{" HEAD ",\"listener\":\"smtp\",\"rcpt\":[" RCPT "," RCPT "]}";
	struct spool_envelope *e = NULL;
	char *whole;

	json_set_alloc_funcs(malloc, free);
	assert_int_equal(parse(text, strlen(text), RECORD_KEPT, &e), 0);
	whole = spool_record_text(e);
	for (int n = 1; scarce_begin(n); n++) {
		char *t = spool_record_text(e);
		bool failed = scarce_end();

		if (failed)
			assert_null(t);
		else
			assert_string_equal(t, whole);
		free(t);
		if (!failed)
			break;
	}
	free(whole);
	spool_envelope_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_recipient), cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_long_reply_is_cut), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_params), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_no_memory_to_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
