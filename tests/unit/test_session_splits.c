/*
 * Recorded sessions, both legs, played whole, one octet at a time, and cut in two at every place: what client and servers hear is the same each time, to
 * the octet. Under TLS the cuts are between any two octets of the records, those of the handshake included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rig/smtp_site.h"

#define HELLO "~?220 ~EHLO c.example\r\n~?LIMITS~"
#define TLS "STARTTLS\r\n~?220 2~~tEHLO c.example\r\n~?LIMITS~"
#define ENVELOPE "MAIL FROM:<a@example.org>\r\n~?250 2.1.0~RCPT TO:<b@example.com>\r\n~?250 2.1.5~"
#define TEXT "From: a@example.org\r\nSubject: hi\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n..\r\n.\r\n"
#define QUIT "QUIT\r\n~?221 ~"

enum { TRANSCRIPT_MAX = 1 << 20 };

static const struct session {
	const char *name;
	char kind;                      /* of smtp_site_client */
	const char *client;
	int taken;                      /* messages that the server has in the end */
	const char *hears;              /* what the client hears, among other things */
} sessions[] = {
	{ "DATA", 0, HELLO ENVELOPE "DATA\r\n~?354~" TEXT "~?kept~" QUIT, 1, "250 2.0.0 kept-1" },
	{ "DATA, server without extensions", 8, HELLO ENVELOPE "DATA\r\n~?354~" TEXT "~?kept~" QUIT, 1, "250 2.0.0 kept-1" },
	{ "DATA, TLS on both legs", 4, HELLO TLS ENVELOPE "DATA\r\n~?354~" TEXT "~?kept~" QUIT, 1, "250 2.0.0 kept-1" },
	{ "pipelined, two messages", 0,
	  HELLO "MAIL FROM:<a@example.org> SIZE=90\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<no@example.com>\r\nDATA\r\n~?354~" TEXT
	  "MAIL FROM:<>\r\nRCPT TO:<c@example.com>\r\nRCPT TO:<later@example.com>\r\nDATA\r\n~?354~Subject: two\r\n\r\n\r\n.\r\nQUIT\r\n~?221~", 2,
	  "250 2.0.0 kept-2" },
	{ "BDAT", 0, HELLO ENVELOPE "BDAT 10\r\nSubject: t~?250 2~BDAT 12 LAST\r\nwo\r\n\r\nhi\r\n\r\n~?kept~" QUIT, 1, "250 2.0.0 kept-1" },
	{ "BDAT with LF alone, pipelined", 0,
	  HELLO "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT 10\r\nSubject: tBDAT 13 LAST\r\nwo\r\n\r\nhi\n.\nx\nQUIT\r\n~?221~", 1,
	  "250 2.0.0 kept-1" },
	{ "BDAT under TLS that ends in mid-chunk", 1, HELLO ENVELOPE "BDAT 10\r\nSubject: t~?250 2~BDAT 30 LAST\r\nwo\r\n\r\n~nQUIT\r\n", 0, "10 octets" },
	{ "PRDR", 0,
	  HELLO "MAIL FROM:<a@example.org> PRDR\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n~?354~" TEXT "~?taken for~" QUIT, 1,
	  "353 " },
	{ "AUTH and submission", 2,
	  HELLO "AUTH PLAIN\r\n~?334~AHVzZXIAc2VjcmV0\r\n~?235~MAIL FROM:<u@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n~?354~" TEXT "~?kept~" QUIT, 1,
	  "235 2.7.0" },
	{ "AUTH, refused and broken off", 2,
	  HELLO "AUTH PLAIN AHVzZXIAbm8=\r\n~?535~AUTH LOGIN dXNlcg==\r\n~?334~*\r\n~?501~AUTH PLAIN AHVzZXIAc2VjcmV0\r\n~?235~" QUIT, 0, "535 5.7.8" },
	{ "AUTH under TLS", 2, HELLO TLS "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n~?235~" QUIT, 0, "235 2.7.0" },
	{ "smuggling", 0, HELLO ENVELOPE "DATA\r\n~?354~Subject: x\r\n\r\nhi\n.\r\nMAIL FROM:<evil@example.org>\r\n", 0, "550 5.5.2" },
	{ "LF alone in DATA", 0, HELLO ENVELOPE "DATA\r\n~?354~Subject: x\r\n\r\na\nb\n\n..c\r\n.\r\n~?kept~" QUIT, 1, "250 2.0.0 kept-1" },
	{ "quarantine and refusal", 0,
	  HELLO ENVELOPE "DATA\r\n~?354~Subject: hold\r\n\r\n.\r\n~?250 2~MAIL FROM:<listed@bad.example>\r\nRCPT TO:<b@example.com>\r\n~?550~" QUIT, 0,
	  "550 5.7.1 " },
};

/* --- one play --- */

static void play(const struct session *s, struct pace client, struct pace server, struct buf *out, uint64_t *said, uint64_t *answered)
{
	smtp_site_run(s->kind, s->client, strlen(s->client), client, server);
	buf_clear(out);
	rig_transcript(out);
	buf_add(out, rig.host.kept.data ? rig.host.kept.data : "", rig.host.kept.len);
	if (said) {
		assert_int_equal(rig.host.taken, s->taken);
		assert_non_null(strstr(buf_str(&rig.client.end.heard), s->hears));
		*said = rig.client.end.delivered;
		*answered = 0;
		for (size_t i = 1; i < rig.servers; i++)
			*answered = rig.server[i].end.delivered > *answered ? rig.server[i].end.delivered : *answered;
	}
	rig_finish();
}

static void same(const struct session *s, const char *how, uint64_t at, const struct buf *want, const struct buf *got)
{
	size_t first = 0;

	if (want->len == got->len && memcmp(want->data, got->data, want->len) == 0)
		return;
	while (first < want->len && first < got->len && want->data[first] == got->data[first])
		first++;
	first = first > 60 ? first - 60 : 0;
	fail_msg("%s, %s %llu: wanted\n%.300s\n---- got\n%.300s", s->name, how, (unsigned long long)at, buf_str(want) + first, buf_str(got) + first);
}

static void replay(const struct session *s)
{
	static const struct pace whole, single = { .each = 1 };
	AUTO(buf) struct buf want = BUF_INIT(TRANSCRIPT_MAX), got = BUF_INIT(TRANSCRIPT_MAX);
	uint64_t said, answered, cuts = 0;

	play(s, whole, whole, &want, &said, &answered);
	play(s, whole, whole, &got, NULL, NULL);
	same(s, "again", 0, &want, &got);
	play(s, single, whole, &got, NULL, NULL);
	same(s, "the client octet by octet", 0, &want, &got);
	play(s, whole, single, &got, NULL, NULL);
	same(s, "the server octet by octet", 0, &want, &got);
	play(s, single, single, &got, NULL, NULL);
	same(s, "both octet by octet", 0, &want, &got);
	for (uint64_t i = 1; i < said; i++, cuts++) {
		play(s, (struct pace){ .split = i }, whole, &got, NULL, NULL);
		same(s, "the client cut at", i, &want, &got);
	}
	for (uint64_t i = 1; i < answered; i++, cuts++) {
		play(s, whole, (struct pace){ .split = i }, &got, NULL, NULL);
		same(s, "the server cut at", i, &want, &got);
	}
	print_message("%-40s client %5llu octets, server %5llu: %5llu places\n", s->name, (unsigned long long)said, (unsigned long long)answered,
		      (unsigned long long)cuts);
	assert_int_equal(cuts, (said ? said - 1 : 0) + (answered ? answered - 1 : 0));
}

static void smtp(void **state)
{
	smtp_site_open();
	for (size_t i = 0; i < sizeof(sessions) / sizeof(*sessions); i++)
		replay(&sessions[i]);
	rig_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(smtp) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
