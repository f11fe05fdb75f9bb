#include "rig/access_site.h"

#include <assert.h>
#include <string.h>

/* What is said to the one side for what the other says: a capability list for a short command, a message for a FETCH, a notice in place of it. */
enum { FACTOR = 120, FACTOR_ROOM = 65536 };

static const char conf[] =
	"hostname = gate.example\n"
	"domains = { \"example.com\" }\n"
	"policy = policy.conf\n"
	"listener in { address = \"192.0.2.25:25\" }\n"
	"listener imap { address = \"192.0.2.25:143\" protocol = imap backends = { \"to_imap\" } }\n"
	"listener imaps { address = \"192.0.2.25:993\" protocol = imap backends = { \"to_imap\" } tls = implicit }\n"
	"listener imapscan { address = \"192.0.2.26:143\" protocol = imap backends = { \"to_imap\" } scan = yes }\n"
	"listener pop3 { address = \"192.0.2.25:110\" protocol = pop3 backends = { \"to_pop3\" } }\n"
	"listener pop3s { address = \"192.0.2.25:995\" protocol = pop3 backends = { \"to_pop3\" } tls = implicit }\n"
	"listener pop3scan { address = \"192.0.2.26:110\" protocol = pop3 backends = { \"to_pop3\" } scan = yes }\n"
	"backend main { address = \"10.0.0.5:25\" }\n"
	"backend to_imap { address = \"10.0.0.6:143\" protocol = imap }\n"
	"backend to_pop3 { address = \"10.0.0.6:110\" protocol = pop3 }\n"
	"dns { dnssec = no }\n"
	"outbound { tls_ca = ca.pem }\n";

static const char policy[] =
	"reject odd: if header.subject ~ /hold/\n"
	"accept\n";

void access_site_open(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	rig_open(conf, policy);
}

/* What a good client says: each step waits for what the one before has led to, or for a while. */
static const char imap_good[] =
	"~wa CAPABILITY\r\n~wb LOGIN user secret\r\n~wc SELECT INBOX\r\n~wd FETCH 1:* (FLAGS UID)\r\n~we UID FETCH 101:102 (BODY.PEEK[])\r\n~wf LOGOUT\r\n~w";
static const char imap_good_scan[] =
	"~wa AUTHENTICATE PLAIN AHVzZXIAc2VjcmV0\r\n~wc SELECT INBOX\r\n~wd FETCH 1:* (UID BODY[])\r\n~we FETCH 2 (RFC822.SIZE BODY[HEADER] BODY[TEXT]<0.100>)\r\n"
	"~wf IDLE\r\n~wDONE\r\n~wg LOGOUT\r\n~w";
static const char pop3_good[] =
	"~wCAPA\r\n~wUSER user\r\n~wPASS secret\r\n~wSTAT\r\n~wUIDL\r\n~wLIST\r\n~wRETR 1\r\n~wTOP 2 5\r\n~wRETR 2\r\n~wDELE 1\r\n~wQUIT\r\n~w";

static const char *listener_of(bool imap, int way)
{
	static const char *const names[2][3] = { { "pop3", "pop3s", "pop3scan" }, { "imap", "imaps", "imapscan" } };

	return names[imap][way];
}

void access_site_run(bool imap, char kind, const char *client, size_t len, const char *server, size_t server_len, struct pace to_client, struct pace to_server)
{
	int way = (kind & 3) % 3;
	struct end *e;

	rig.host.starttls = kind & 4;
	rig.server_pace = (struct pace){ 0 };
	rig_begin();
	rig.server_pace = to_server;
	rig.scripted = server != NULL;
	script_begin(&rig.answers, server, server_len, true);
	e = rig_connect(listener_of(imap, way), "203.0.113.25");
	e->pace = to_client;
	if (way == 1)
		end_tls(e, end_client_ctx(), false);
	if (!client)
		client = !imap ? pop3_good : way == 2 ? imap_good_scan : imap_good, len = strlen(client);
	script_begin(&rig.client.script, client, len, false);
	rig_run();
}

/* Before the login what the gateway says is a line; what it passes on may be anything. */
static void check(size_t len)
{
	uint64_t to_servers = 0;

	for (size_t i = 0; i < rig.servers; i++)
		to_servers += rig.server[i].end.heard.len;
	if (rig.client.end.heard.len > len * FACTOR + FACTOR_ROOM || to_servers > len * FACTOR + FACTOR_ROOM)
		rig_wrong("more was said than what came is worth", &rig.client.end);
}

void access_site_session(bool imap, char kind, const char *client, size_t len, const char *server, size_t server_len)
{
	access_site_run(imap, kind, client, len, server, server_len, (struct pace){ 0 }, (struct pace){ 0 });
	check(len + server_len);
	rig_finish();
}
