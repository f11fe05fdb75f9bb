/*
 * Recorded sessions, both legs, played whole, one octet at a time, and cut in two at every place: what client and servers hear is the same each time, to
 * the octet. Under TLS the cuts are between any two octets of the records, those of the handshake included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rig/smtp_site.h"
#include "session_replay.h"

#define HELLO "~?220 ~EHLO c.example\r\n~?LIMITS~"
#define TLS "STARTTLS\r\n~?220 2~~tEHLO c.example\r\n~?LIMITS~"
#define ENVELOPE "MAIL FROM:<a@example.org>\r\n~?250 2.1.0~RCPT TO:<b@example.com>\r\n~?250 2.1.5~"
#define TEXT "From: a@example.org\r\nSubject: hi\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n..\r\n.\r\n"
#define QUIT "QUIT\r\n~?221 ~"

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

static void run(const void *session, struct pace client, struct pace server)
{
	const struct session *s = session;

	smtp_site_run(s->kind, s->client, strlen(s->client), client, server);
}

static void check(const void *session)
{
	const struct session *s = session;

	assert_int_equal(rig.host.taken, s->taken);
	assert_non_null(strstr(buf_str(&rig.client.end.heard), s->hears));
}

static void smtp(void **state)
{
	smtp_site_open();
	for (size_t i = 0; i < sizeof(sessions) / sizeof(*sessions); i++)
		replay(&(struct replay){ sessions[i].name, &sessions[i], run, check });
	rig_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(smtp) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
