/* Whether what leaves is other than what came, in what a signature may cover. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/buf.h"
#include "filters/signed_change.h"
#include "support/scarce.h"

static char *names[] = { "Subject", "DKIM-Signature" };

static struct message *message_of(const char *text)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 20000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert_non_null(m);
	assert_int_equal(message_add(m, text, strlen(text)), 0);
	assert_int_equal(message_end(m), 0);
	return m;
}

#define SIG(h) "DKIM-Signature: v=1; h=" h "; b=a\r\n"

static const struct {
	const char *name, *came, *sent;
	int want;
} rows[] = {
	{ "the same", "From: a\r\nSubject: s\r\n\r\nx", "From: a\r\nSubject: s\r\n\r\n", 0 },
	{ "without an empty line", "From: a\r\n\r\n", "From: a\r\n", 0 },
	{ "ours above", "From: a\r\n\r\n", "Authentication-Results: x\r\nReceived: y\r\nFrom: a\r\n\r\n", 0 },
	{ "the order of names", "From: a\r\nSubject: s\r\n\r\n", "Subject: s\r\nFrom: a\r\n\r\n", 0 },
	{ "tagged", "From: a\r\nSubject: s\r\n\r\n", "From: a\r\nSubject: [x] s\r\n\r\n", 1 },
	{ "a blank more", "From: a\r\nSubject: s\r\n\r\n", "From: a\r\nSubject:  s\r\n\r\n", 1 },
	{ "a subject more", "From: a\r\n\r\n", "From: a\r\nSubject: [x]\r\n\r\n", 1 },
	{ "no subject any more", "From: a\r\nSubject: s\r\n\r\n", "From: a\r\n\r\n", 1 },
	{ "another From", "From: a\r\n\r\n", "From: b\r\n\r\n", 1 },
	{ "a From more", "From: a\r\n\r\n", "From: b\r\nFrom: a\r\n\r\n", 1 },
	{ "of one name in another order", "Subject: a\r\nSubject: b\r\n\r\n", "Subject: b\r\nSubject: a\r\n\r\n", 1 },
	{ "a signature less", "From: a\r\n" SIG("from") "\r\n", "From: a\r\n\r\n", 1 },
	{ "an unsigned one more", "From: a\r\n\r\n", "X-Note: n\r\nFrom: a\r\n\r\n", 0 },
	{ "an unsigned one less", "From: a\r\nX-Note: n\r\n" SIG("from") "\r\n", "From: a\r\n" SIG("from") "\r\n", 0 },
	{ "a signed one less", "From: a\r\nX-Note: n\r\n" SIG("from:x-note") "\r\n", "From: a\r\n" SIG("from:x-note") "\r\n", 1 },
	{ "a signed one changed", "X-Note: n\r\n" SIG("from : X-NOTE") "\r\n", "X-Note: m\r\n" SIG("from : X-NOTE") "\r\n", 1 },
	{ "another above a signed one", "X-Note: n\r\n" SIG("x-note") "\r\n", "X-Note: m\r\nX-Note: n\r\n" SIG("x-note") "\r\n", 0 },
	{ "another below a signed one", "X-Note: n\r\n" SIG("x-note") "\r\n", "X-Note: n\r\nX-Note: m\r\n" SIG("x-note") "\r\n", 1 },
	{ "another above an oversigned one", "X-Note: n\r\n" SIG("x-note:x-note") "\r\n", "X-Note: m\r\nX-Note: n\r\n" SIG("x-note:x-note") "\r\n", 1 },
	{ "one that is not to be there", SIG("x-note") "\r\n", "X-Note: m\r\n" SIG("x-note") "\r\n", 1 },
	{ "Received above a signed one", "Received: a\r\n" SIG("received") "\r\n", "Received: b\r\nReceived: a\r\n" SIG("received") "\r\n", 0 },
	{ "a seal's", "X-Note: n\r\nARC-Message-Signature: i=1; h=x-note; b=a\r\n\r\n", "ARC-Message-Signature: i=1; h=x-note; b=a\r\n\r\n", 1 },
	{ "h= of something else", "X-Note: n\r\nX-Signature: v=1; h=x-note; b=a\r\n\r\n", "X-Signature: v=1; h=x-note; b=a\r\n\r\n", 0 },
	{ "no list of tags", "X-Note: n\r\nDKIM-Signature: h=x-note; h=x-note\r\n\r\n", "DKIM-Signature: h=x-note; h=x-note\r\n\r\n", 0 },
	{ "no h=", "X-Note: n\r\nDKIM-Signature: v=1\r\n\r\n", "DKIM-Signature: v=1\r\n\r\n", 0 },
	{ "a chain less", "ARC-Seal: i=1\r\n\r\n", "\r\n", 1 },
	{ "a chain more", "\r\n", "ARC-Authentication-Results: i=1\r\n\r\n", 1 },
	{ "folds of a seal", "ARC-Seal: i=1;\r\n a=b\r\n\r\n", "ARC-Seal: i=1;\r\n\ta=b\r\n\r\n", 1 },
	{ "no header came", "", "Received: a\r\n\r\n", 0 },
	{ "nothing leaves", "X-Note: n\r\n\r\n", "", 0 },
	{ "a line that is no field", "X-Note: n\r\nno field\r\n", "X-Note: n\r\nno field\r\n", 0 },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct message *m = message_of(rows[i].came);

		if (signed_change(m, rows[i].sent, strlen(rows[i].sent), names, 2) != rows[i].want)
			fail_msg("%s: expected %d", rows[i].name, rows[i].want);
		message_free(m);
	}
}

static void test_chain(void **state)
{
	static const struct {
		const char *name, *came, *sent;
		int want;
		bool any;
	} chains[] = {
		{ "none", "From: a\r\n\r\n", "From: b\r\n\r\n", 0, false },
		{ "as it was", "arc-seal: i=1\r\nFrom: a\r\n\r\n", "From: b\r\narc-seal: i=1\r\n\r\n", 0, true },
		{ "gone", "ARC-Seal: i=1\r\n\r\n", "From: b\r\n\r\n", 1, false },
		{ "one of two gone", "ARC-Seal: i=2\r\nARC-Seal: i=1\r\n\r\n", "ARC-Seal: i=1\r\n\r\n", 1, true },
		{ "one more", "ARC-Seal: i=1\r\n\r\n", "ARC-Message-Signature: i=2\r\nARC-Seal: i=1\r\n\r\n", 1, true },
	};

	for (size_t i = 0; i < sizeof(chains) / sizeof(*chains); i++) {
		struct message *m = message_of(chains[i].came);
		bool any = !chains[i].any;

		if (signed_change_chain(m, chains[i].sent, strlen(chains[i].sent), &any) != chains[i].want || any != chains[i].any)
			fail_msg("%s", chains[i].name);
		message_free(m);
	}
}

/* A header full of names is not looked at for ever. */
static void test_bound(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	struct message *m;

	for (int i = 0; i < 20; i++) {
		buf_adds(&text, "DKIM-Signature: v=1; h=a");
		for (int k = 1; k < 510; k++)
			buf_adds(&text, ":a");
		buf_adds(&text, "\r\n");
	}
	buf_adds(&text, "\r\n");
	m = message_of(buf_str(&text));
	assert_int_equal(signed_change(m, text.data, text.len, names, 2), 1);
	message_free(m);
	/* Nor one field for each of many signatures. */
	buf_clear(&text);
	for (int i = 0; i < 200; i++)
		buf_adds(&text, "DKIM-Signature: v=1; h=x\r\n");
	buf_adds(&text, "X: ");
	for (int i = 0; i < 30000; i++)
		buf_addc(&text, 'x');
	buf_adds(&text, "\r\n\r\n");
	m = message_of(buf_str(&text));
	assert_int_equal(signed_change(m, text.data, text.len, names, 2), 1);
	message_free(m);
}

static void test_memory(void **state)
{
	struct message *m = message_of("From: a\r\n" SIG("from") "\r\n");
	static const char sent[] = "From: a\r\n" SIG("from") "\r\n";
	bool any;

	for (int n = 1; scarce_begin(n); n++) {
		int rc = signed_change(m, sent, sizeof(sent) - 1, names, 2);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, -ENOMEM);
	}
	scarce_begin(1);
	assert_int_equal(signed_change_chain(m, sent, sizeof(sent) - 1, &any), -ENOMEM);
	scarce_end();
	message_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_chain), cmocka_unit_test(test_bound), cmocka_unit_test(test_memory) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
