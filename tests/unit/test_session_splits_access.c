/* As test_session_splits, of IMAP and POP3: the login is a dialogue of the gateway's, behind it octets flow, or are read on the way (scan = yes). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rig/access_site.h"
#include "session_replay.h"

#define LOGIN "~?ready~a LOGIN user secret\r\n~?a OK~"
#define MAILBOX "b SELECT INBOX\r\n~?b OK~c UID FETCH 101:102 (FLAGS BODY[])\r\n~?c OK~"
#define LOGOUT "z LOGOUT\r\n~?z OK~"
#define USER "~?ready~USER user\r\n~?+OK~PASS secret\r\n~?+OK~"

static const struct session {
	const char *name;
	bool imap;
	char kind;                      /* of access_site_session */
	const char *client;
	const char *hears;              /* the client, among other things */
} sessions[] = {
	{ "IMAP, LOGIN and FETCH", true, 0, LOGIN MAILBOX LOGOUT, "hello\r\n)\r\n" },
	{ "IMAP, literals", true, 0, "~?ready~a LOGIN {4}\r\n~?+~user {6}\r\n~?+~secret\r\n~?a OK~" LOGOUT, "a OK" },
	{ "IMAP, literals that do not wait, pipelined", true, 0, "~?ready~a LOGIN {4+}\r\nuser {6+}\r\nsecret\r\nb SELECT INBOX\r\n~?b OK~" LOGOUT, "b OK" },
	{ "IMAP, AUTHENTICATE and IDLE", true, 0,
	  "~?ready~a AUTHENTICATE PLAIN\r\n~?+~AHVzZXIAc2VjcmV0\r\n~?a OK~b IDLE\r\n~?EXISTS~DONE\r\n~?b OK~" LOGOUT, "b OK idled" },
	{ "IMAP, refused and again", true, 0, "~?ready~a LOGIN user no\r\n~?a NO~b LOGIN user secret\r\n~?b OK~" LOGOUT, "b OK" },
	{ "IMAP under TLS", true, 0, "~?ready~s STARTTLS\r\n~?s OK~~ta LOGIN user secret\r\n~?a OK~" LOGOUT, "a OK" },
	{ "IMAP, messages are read on the way", true, 2, LOGIN MAILBOX "d FETCH 2 (UID RFC822.SIZE BODY[HEADER])\r\n~?d OK~" LOGOUT, "d OK" },
	{ "POP3, USER and RETR", false, 0, USER "STAT\r\n~?+OK~RETR 2\r\n~?\r\n.\r\n~QUIT\r\n~?+OK~", "...dots" },
	{ "POP3, pipelined", false, 0, "~?ready~CAPA\r\nUSER user\r\nPASS secret\r\nUIDL\r\nRETR 1\r\nQUIT\r\n~?bye~", "hello" },
	{ "POP3, AUTH", false, 0, "~?ready~AUTH PLAIN\r\n~?+~AHVzZXIAc2VjcmV0\r\n~?+OK~QUIT\r\n~?bye~", "+OK in" },
	{ "POP3 under TLS", false, 0, "~?ready~STLS\r\n~?+OK~~tUSER user\r\n~?+OK~PASS secret\r\n~?+OK~QUIT\r\n~?bye~", "+OK in" },
	{ "POP3, the server under TLS", false, 4, USER "QUIT\r\n~?bye~", "+OK in" },
	{ "POP3, messages are read on the way", false, 2, USER "UIDL\r\n~?\r\n.\r\n~RETR 2\r\n~?\r\n.\r\n~RETR 1\r\n~?\r\n.\r\n~TOP 2 1\r\n~?\r\n.\r\n~QUIT\r\n~?bye~", "hello" },
};

static void run(const void *session, struct pace client, struct pace server)
{
	const struct session *s = session;

	access_site_run(s->imap, s->kind, s->client, strlen(s->client), NULL, 0, client, server);
}

static void check(const void *session)
{
	const struct session *s = session;

	if (!strstr(buf_str(&rig.client.end.heard), s->hears))
		fail_msg("%s: the client heard\n%s", s->name, buf_str(&rig.client.end.heard));
}

static void imap_and_pop3(void **state)
{
	access_site_open();
	for (size_t i = 0; i < sizeof(sessions) / sizeof(*sessions); i++)
		replay(&(struct replay){ sessions[i].name, &sessions[i], run, check });
	rig_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(imap_and_pop3) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
