/* rspamd_reply: Rspamd's answers */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "filters/rspamd_reply.h"

static const struct {
	const char *text;
	int rc;
	const char *want;               /* "action score required symbols", "skipped", "error: words" */
} rows[] = {
	{ "{\"is_skipped\":false,\"score\":5.2,\"required_score\":15.0,\"action\":\"no action\",\"symbols\":{}}", 0, "no_action 5 15" },
	{ "{\"score\":15,\"required_score\":15,\"action\":\"reject\",\"symbols\":{\"GTUBE\":{\"name\":\"GTUBE\"},\"A\":{}},\"milter\":{\"add_headers\":{}}}", 0, "reject 15 15 GTUBE A" },
	{ "{\"score\":-0.1,\"action\":\"add header\",\"symbols\":{}}", 0, "add_header -1 -" },
	{ "{\"score\":1e300,\"action\":\"rewrite subject\",\"symbols\":{}}", 0, "rewrite_subject 1000000 -" },
	{ "{\"score\":-1e300,\"action\":\"soft reject\",\"symbols\":{}}", 0, "soft_reject -1000000 -" },
	{ "{\"score\":1,\"action\":\"something of the site's own, and long\",\"symbols\":{}}", 0, "custom 1 -" },
	{ "{\"score\":1,\"action\":\"greylist\",\"symbols\":{\"\":1,\"A B\":1,\"C\\u00fc\":1,\"D\\n\":1,\"E\":1}}", 0, "greylist 1 - E" },
	{ "{\"is_skipped\":true}", 0, "skipped" },
	{ "{\"error\":\"Unauthorized\\n\",\"error_domain\":\"x\"}", 0, "error: Unauthorized?" },
	{ "", -EBADMSG, NULL },
	{ "[]", -EBADMSG, NULL },
	{ "{}", -EBADMSG, NULL },
	{ "null", -EBADMSG, NULL },
	{ "{\"score\":1,\"action\":\"reject\",\"symbols\":{}", -EBADMSG, NULL },
	{ "{\"score\":1,\"action\":\"reject\",\"symbols\":{}} x", -EBADMSG, NULL },
	{ "{\"score\":\"1\",\"action\":\"reject\",\"symbols\":{}}", -EBADMSG, NULL },
	{ "{\"score\":NaN,\"action\":\"reject\",\"symbols\":{}}", -EBADMSG, NULL },
	{ "{\"score\":1e999,\"action\":\"reject\",\"symbols\":{}}", -EBADMSG, NULL },
	{ "{\"score\":1,\"action\":5,\"symbols\":{}}", -EBADMSG, NULL },
	{ "{\"score\":1,\"symbols\":{}}", -EBADMSG, NULL },
	{ "{\"score\":1,\"action\":\"reject\"}", -EBADMSG, NULL },
	{ "{\"score\":1,\"action\":\"reject\",\"symbols\":[]}", -EBADMSG, NULL },
	{ "{\"action\":\"reject\",\"symbols\":{}}", -EBADMSG, NULL },
	{ "{\"error\":\"\",\"is_skipped\":1}", -EBADMSG, NULL },
	{ "<html>", -EBADMSG, NULL },
	{ "{\"score\":1,\"action\":\"reject\",\"symbols\":{\"\xff\":1}}", -EBADMSG, NULL },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf got = BUF_INIT(4096);
		struct rspamd_reply r = { 0 };
		int rc = rspamd_reply_read(rows[i].text, strlen(rows[i].text), &r);

		if (rc == 0 && *r.error) {
			buf_addf(&got, "error: %s", r.error);
		} else if (rc == 0 && r.skipped) {
			buf_adds(&got, "skipped");
		} else if (rc == 0) {
			buf_addf(&got, "%s %ld ", r.action, (long)r.score);
			if (r.has_required)
				buf_addf(&got, "%ld", (long)r.required);
			else
				buf_adds(&got, "-");
			for (size_t k = 0; k < r.symbol_count; k++)
				buf_addf(&got, " %s", r.symbol[k]);
		}
		if (rc != rows[i].rc || (rc == 0 && strcmp(buf_str(&got), rows[i].want) != 0))
			fail_msg("%s: %d %s", rows[i].text, rc, buf_str(&got));
		rspamd_reply_release(&r);
	}
}

/* More symbols than are taken, and deeper than any answer is. */
static void test_bounds(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20), deep = BUF_INIT(1 << 20);
	struct rspamd_reply r = { 0 };

	buf_adds(&text, "{\"score\":1,\"action\":\"reject\",\"symbols\":{");
	for (int i = 0; i < RSPAMD_SYMBOLS_MAX + 50; i++)
		buf_addf(&text, "%s\"S%d\":{}", i ? "," : "", i);
	buf_adds(&text, "}}");
	assert_int_equal(rspamd_reply_read(text.data, text.len, &r), 0);
	assert_int_equal(r.symbol_count, RSPAMD_SYMBOLS_MAX);
	rspamd_reply_release(&r);
	for (int i = 0; i < 100000; i++)
		buf_addc(&deep, '[');
	assert_int_equal(rspamd_reply_read(deep.data, deep.len, &r), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_bounds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
