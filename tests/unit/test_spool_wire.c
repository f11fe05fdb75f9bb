/* What workers and the spool's keeper say to each other: there and back, and what is not as it should be. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/spool_wire.h"
#include "support/scarce.h"

#define ID "01kabcdef123"
#define RECORD                                                                                                                  \
	"{\"spool\":1,\"created\":5,\"bytes\":7,\"direction\":\"inbound\",\"credible\":false,\"sender\":\"\",\"params\":\"\",\"rcpt\":[{\"address\":" \
	"\"b@y\",\"params\":\"\",\"route\":\"mx y\",\"state\":\"waiting\",\"attempts\":0,\"tried\":0,\"reply\":\"\",\"remote\":\"\",\"told\":false}]"
#define REPORT "{\"id\":\"" ID "\",\"lease\":7,\"down\":true,\"duty\":\"deliver\",\"outcome\":"

static char *exactly(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	return copy;
}

static const struct { const char *name, *text; int rc; size_t count; bool dsn; } reports[] = {
	{ "nothing tried", REPORT "[]}", 0, 0, false },
	{ "one", REPORT "[{\"rcpt\":0,\"kind\":\"taken\",\"told\":false}]}", 0, 1, false },
	{ "with a DSN", REPORT "[{\"rcpt\":0,\"kind\":\"for-good\",\"told\":true,\"reply\":\"550 no\"}],\"dsn\":" RECORD "}}", 0, 1, true },
	{ "empty", "", -EBADMSG, 0, false },
	{ "no object", "[]", -EBADMSG, 0, false },
	{ "no outcomes", "{\"id\":\"" ID "\",\"lease\":7,\"down\":true,\"duty\":\"deliver\"}", -EBADMSG, 0, false },
	{ "outcomes as an object", REPORT "{}}", -EBADMSG, 0, false },
	{ "a bad id", "{\"id\":\"../../../etc\",\"lease\":7,\"down\":true,\"duty\":\"deliver\",\"outcome\":[]}", -EBADMSG, 0, false },
	{ "lease 0", "{\"id\":\"" ID "\",\"lease\":0,\"down\":true,\"duty\":\"deliver\",\"outcome\":[]}", -EBADMSG, 0, false },
	{ "no duty", "{\"id\":\"" ID "\",\"lease\":7,\"down\":true,\"duty\":\"sleep\",\"outcome\":[]}", -EBADMSG, 0, false },
	{ "down as a number", "{\"id\":\"" ID "\",\"lease\":7,\"down\":1,\"duty\":\"tell\",\"outcome\":[]}", -EBADMSG, 0, false },
	{ "recipient below 0", REPORT "[{\"rcpt\":-1,\"kind\":\"taken\",\"told\":false}]}", -EBADMSG, 0, false },
	{ "recipient beyond all", REPORT "[{\"rcpt\":2000,\"kind\":\"taken\",\"told\":false}]}", -EBADMSG, 0, false },
	{ "an unknown kind", REPORT "[{\"rcpt\":0,\"kind\":\"lost\",\"told\":false}]}", -EBADMSG, 0, false },
	{ "second one bad", REPORT "[{\"rcpt\":0,\"kind\":\"taken\",\"told\":false,\"reply\":\"x\"},{}]}", -EBADMSG, 0, false },
	{ "a reply of two lines", REPORT "[{\"rcpt\":0,\"kind\":\"taken\",\"told\":false,\"reply\":\"a\\r\\nb\"}]}", -EBADMSG, 0, false },
	{ "an empty route", REPORT "[{\"rcpt\":0,\"kind\":\"later\",\"told\":false,\"route\":\"\"}]}", -EBADMSG, 0, false },
	{ "a DSN that is none", REPORT "[],\"dsn\":{}}", -EBADMSG, 0, false },
	{ "a DSN with an id", REPORT "[],\"dsn\":" RECORD ",\"id\":\"" ID "\"}}", -EBADMSG, 0, false },
};

static void test_reports(void **state)
{
	for (size_t i = 0; i < sizeof(reports) / sizeof(*reports); i++) {
		size_t len = strlen(reports[i].text);
		char *text = exactly(reports[i].text, len);
		struct spool_told t;
		int rc = spool_wire_report_read(text, len, &t);

		if (rc != reports[i].rc || (rc == 0 && (t.count != reports[i].count || (t.dsn != NULL) != reports[i].dsn)))
			fail_msg("%s: %d", reports[i].name, rc);
		spool_told_release(&t);
		for (size_t n = 0; n < len; n++) {
			assert_int_equal(spool_wire_report_read(text, n, &t), -EBADMSG);
			spool_told_release(&t);
		}
		free(text);
	}
}

static struct spool_envelope *example(void)
{
	struct spool_envelope *e = spool_envelope_new();

	e->sender = strdup("a@x");
	e->created_s = 5;
	memcpy(e->id, ID, sizeof(ID));
	assert_non_null(spool_envelope_add(e, "b@y", "NOTIFY=NEVER", "mx y"));
	assert_non_null(spool_envelope_add(e, "c@z", "", "mx z"));
	assert_non_null(spool_envelope_add(e, "d@y", "", "mx y"));
	e->rcpt[2].state = SPOOL_DELIVERED;
	return e;
}

/* As the keeper says it and the worker reads it; what the worker reports, and what it holds. */
static void count_held(void *arg, const struct spool_held *h)
{
	assert_string_equal(h->id, ID);
	assert_string_equal(h->route, "mx y");
	assert_int_equal(h->number, 77);
	assert_int_equal(h->left_ms, 4000);
	++*(int *)arg;
}

static void test_there_and_back(void **state)
{
	AUTO(spool_envelope) struct spool_envelope *e = example(), *dsn = example();
	struct spool_grant g = { .route = "mx y", .number = 77, .duty = SPOOL_DELIVER, .tell = true, .until_ms = 6000 };
	struct spool_outcome outcome[] = { { .rcpt = 0, .kind = SPOOL_LATER, .reply = "451 a\r\n451 b", .remote = "mx", .route = "upstream", .delay_told = true } };
	struct spool_report r = { .outcome = outcome, .count = 1, .route_down = true, .met = true, .dsn_fd = 0, .dsn = dsn };
	AUTO(spool_lease) struct spool_lease *l = NULL;
	struct spool_told t;
	int count = 0;
	char *text;

	text = spool_wire_lease(&g, e, 1000);
	assert_int_equal(spool_wire_lease_read(text, strlen(text), 2000, &l), 0);
	for (size_t n = 0; n < strlen(text); n++) {
		struct spool_lease *none = NULL;

		assert_int_equal(spool_wire_lease_read(text, n, 2000, &none), -EBADMSG);
	}
	free(text);
	assert_true(l->number == 77 && l->tell && !l->last && l->duty == SPOOL_DELIVER && l->until_ms == 7000 && l->fd == -1);
	assert_true(l->envelope->rcpt[0].due && !l->envelope->rcpt[1].due && !l->envelope->rcpt[2].due);
	dsn->id[0] = 0;
	text = spool_wire_report(l, &r);
	assert_int_equal(spool_wire_report_read(text, strlen(text), &t), 0);
	free(text);
	assert_true(t.number == 77 && t.route_down && t.met && t.count == 1 && t.dsn && t.dsn->rcpt_count == 3);
	assert_true(t.outcome[0].kind == SPOOL_LATER && t.outcome[0].delay_told && t.outcome[0].rcpt == 0);
	assert_string_equal(t.outcome[0].reply, "451 a  451 b");
	assert_string_equal(t.outcome[0].route, "upstream");
	spool_told_release(&t);
	text = spool_wire_report(l, NULL);
	assert_int_equal(spool_wire_report_read(text, strlen(text), &t), 0);
	assert_true(t.count == 0 && !t.dsn);
	spool_told_release(&t);
	free(text);
	text = spool_wire_hold(l, 3000);
	assert_int_equal(spool_wire_hold_read(text, strlen(text), count_held, &count), 0);
	assert_int_equal(count, 1);
	free(text);
	text = spool_wire_hold(l, 7000);        /* its time is over: it is nobody's */
	assert_int_equal(spool_wire_hold_read(text, strlen(text), count_held, &count), 0);
	assert_int_equal(count, 1);
	free(text);
}

static const struct { const char *text; int rc; } asks[] = {
	{ "{\"serial\":1,\"wait\":0}", 0 }, { "{\"serial\":1,\"wait\":86400000}", 0 }, { "{\"serial\":1,\"wait\":86400001}", -EBADMSG },
	{ "{\"serial\":0,\"wait\":5}", -EBADMSG }, { "{\"serial\":1,\"wait\":-1}", -EBADMSG }, { "{\"serial\":1}", -EBADMSG },
	{ "{\"wait\":5}", -EBADMSG }, { "{\"serial\":\"1\",\"wait\":5}", -EBADMSG }, { "", -EBADMSG }, { "1", -EBADMSG },
};

static void test_asks(void **state)
{
	int64_t n = 0, wait_ms;
	uint64_t serial;
	char *text = spool_wire_number("parts", 12);

	for (size_t i = 0; i < sizeof(asks) / sizeof(*asks); i++)
		assert_int_equal(spool_wire_ask_read(asks[i].text, strlen(asks[i].text), &serial, &wait_ms), asks[i].rc);
	assert_int_equal(spool_wire_number_read(text, strlen(text), "parts", 100, &n), 0);
	assert_int_equal(n, 12);
	assert_int_equal(spool_wire_number_read(text, strlen(text), "parts", 11, &n), -EBADMSG);
	assert_int_equal(spool_wire_number_read(text, strlen(text), "other", 100, &n), -EBADMSG);
	assert_int_equal(spool_wire_hold_read("{\"held\":[{}]}", 13, count_held, NULL), -EBADMSG);
	assert_int_equal(spool_wire_hold_read("{\"held\":{}}", 11, count_held, NULL), -EBADMSG);
	assert_int_equal(spool_wire_hold_read("{\"held\":[]}", 11, count_held, NULL), 0);
	free(text);
}

/* What could not be read for lack of memory may be said again. */
static void test_no_memory(void **state)
{
	static const char text[] = REPORT "[{\"rcpt\":0,\"kind\":\"for-good\",\"told\":true,\"reply\":\"550 no\"}],\"dsn\":" RECORD "}}";

	json_set_alloc_funcs(malloc, free);     /* jansson's count, too */
	for (int n = 1; scarce_begin(n); n++) {
		struct spool_told t;
		int rc = spool_wire_report_read(text, strlen(text), &t);
		bool failed = scarce_end();

		assert_int_equal(rc, failed ? -ENOMEM : 0);
		spool_told_release(&t);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_reports), cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_asks), cmocka_unit_test(test_no_memory) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
