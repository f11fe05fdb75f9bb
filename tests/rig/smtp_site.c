#include "rig/smtp_site.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "support/dns_table.h"

/*
 * What is said back to a client: a greeting, extensions and a refusal are said for a few octets. FACTOR is for the shortest command with the longest
 * answer (EHLO), and commands of one octet are bounded by the limit on errors.
 */
enum { FACTOR = 80, FACTOR_ROOM = 8192, SERVER_FACTOR = 24, SERVER_ROOM = 65536, KEPT_MAX = 4096 };

static const char conf[] =
	"hostname = gate.example\n"
	"domains = { \"example.com\" }\n"
	"relay_networks = { \"10.9.0.0/16\" }\n"
	"policy = policy.conf\n"
	"listener in { address = \"192.0.2.25:25\" }\n"
	"listener ins { address = \"192.0.2.25:2465\" tls = implicit }\n"
	"listener sub { address = \"192.0.2.25:587\" direction = submission }\n"
	"listener own { address = \"192.0.2.26:25\" }\n"
	"backend b0 { address = \"10.0.0.5:25\" tls = opportunistic }\n"
	"auth { plaintext = yes }\n"
	"dns { dnssec = no }\n"
	"outbound { tls_ca = ca.pem }\n";

/* Facts of each stage, and each verdict. */
static const char policy[] =
	"reject listed: if sender = \"listed@bad.example\"\n"
	"defer soon: if sender.domain = \"soon.example\"\n"
	"reject forged: if spf = fail and sender.domain = \"forged.example\"\n"
	"quarantine odd: if header.subject ~ /hold/\n"
	"reject word: if header.subject ~ /refuse/\n"
	"discard none: if header.subject ~ /discard/\n"
	"accept\n";

void smtp_site_open(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	rig_open(conf, policy);
	dns_table_zone(rig.dns, "forged.example TXT v=spf1 -all\n" "example.org TXT v=spf1 +all\n" "example.org MX 10 mx.example.org\n"
				"mx.example.org A 203.0.113.25\n" "example.org A 203.0.113.25\n");
}

/* --- what the client heard --- */

struct heard {
	int data;                       /* it was told to go on with a message */
	int taken;                      /* messages that somebody behind is said to have, by the name that he gave them */
	int otherwise;                  /* and those that are in the quarantine, or thrown away */
	bool named[KEPT_MAX];
};

static bool starts(const char *p, size_t len, const char *with)
{
	return len >= strlen(with) && memcmp(p, with, strlen(with)) == 0;
}

/* A 2xx that is not about a message. */
static bool is_small(const char *p, size_t len)
{
	static const char *const small[] = { "220 ", "221 ", "214 ", "235 ", "252 ", "250 gate.example\r\n", "250 2.1.0 ", "250 2.0.0 ok\r\n", "250 2.1.5 ok\r\n",
		"250 2.0.0 taken for " };         /* PRDR: each recipient's own came before */

	for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++)
		if (starts(p, len, small[i]))
			return true;
	return starts(p, len, "250 2.0.0 ") && len > 18 && memcmp(p + len - 18, " octets received\r\n", 18) == 0;
}

static void note_taken(struct heard *h, const char *p, size_t len)
{
	const char *name = memmem(p, len, "kept-", 5);
	int n = name ? atoi(name + 5) : 0;

	if (!name) {
		h->otherwise++;
		return;
	}
	if (n < 1 || n >= KEPT_MAX)
		rig_wrong("a message is said to be taken that has no name", &rig.client.end);
	h->taken += !h->named[n];
	h->named[n] = true;
}

/* One line, CRLF included; in: the code of the reply that it goes on with, 0: it begins one. Which one goes on behind it. */
static int reply_line(struct heard *h, const char *p, size_t len, int in)
{
	int code = len < 6 ? 0 : atoi((char[]){ p[0], p[1], p[2], '\0' });

	if (code < 200 || code > 559 || (p[3] != ' ' && p[3] != '-') || len > 512 || p[len - 2] != '\r')
		rig_wrong("a reply that is malformed", &rig.client.end);
	for (size_t i = 4; i < len - 2; i++)
		if ((unsigned char)p[i] < 0x20 || (unsigned char)p[i] > 0x7e)
			rig_wrong("a reply with other octets than printable ASCII", &rig.client.end);
	if (in && in != code)
		rig_wrong("a reply whose codes differ", &rig.client.end);
	if (p[3] == '-')
		return code;
	h->data += code == 354;
	if (code / 100 == 2 && !in && !is_small(p, len))
		note_taken(h, p, len);
	return 0;
}

static void client_hears(const struct end *e, struct heard *h)
{
	const char *p = e->heard.data, *end = p ? p + e->heard.len : p, *lf;
	int in = 0;

	for (; p && p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1)
		in = reply_line(h, p, (size_t)(lf - p) + 1, in);
}

/* What the client has said, steps left out. */
static struct buf spoken = BUF_INIT(1 << 20);

static void client_said(struct end *e, const char *p, size_t len)
{
	buf_add(&spoken, p, len);
}

/* How often a text has this word, in capitals or not. */
static int words(const char *p, size_t len, const char *word)
{
	size_t n = strlen(word);
	int count = 0;

	for (size_t i = 0; i + n <= len; i++)
		count += strncasecmp(p + i, word, n) == 0;
	return count;
}

static void check_sizes(size_t len)
{
	uint64_t to_servers = 0;

	if (rig.client.end.heard.len > len * FACTOR + FACTOR_ROOM)
		rig_wrong("more was said to the client than its words are worth", &rig.client.end);
	for (size_t i = 0; i < rig.servers; i++)
		to_servers += rig.server[i].end.heard.len;
	if (to_servers > len * SERVER_FACTOR + SERVER_ROOM)
		rig_wrong("more was said to the servers than the client's words are worth", &rig.client.end);
}

static void check_client(size_t len)
{
	struct heard *h = calloc(1, sizeof(*h));

	client_hears(&rig.client.end, h);
	if (h->taken > rig.host.taken)
		rig_wrong("the client was told of a message that no server has", &rig.client.end);
	/* Whoever has not left before has heard all that was said. */
	if (rig.client.end.w && rig.host.messages > h->data + words(buf_str(&spoken), spoken.len, "last"))
		rig_wrong("the server got more messages than the client has ended", &rig.client.end);
	if (h->otherwise > rig.kept + words(kernel_log()->data, kernel_log()->len, "verdict=discard"))
		rig_wrong("the client was told of a message that nobody has", &rig.client.end);
	check_sizes(len);
	free(h);
}

/* --- sessions --- */

static const struct {
	const char *listener, *client;
} ways[] = { { "in", "203.0.113.25" }, { "ins", "203.0.113.25" }, { "sub", "198.51.100.7" }, { "own", "10.9.0.7" } };

static void begin(char kind, bool scripted, struct pace client, struct pace server)
{
	int way = kind & 3;
	struct end *e;

	rig.host.starttls = kind & 4;
	rig.host.plain = kind & 8;
	rig.server_pace = (struct pace){ 0 };
	rig.unasked = scripted;
	rig_begin();
	rig.server_pace = server;
	e = rig_connect(ways[way].listener, ways[way].client);
	e->pace = client;
	if (way == 1)
		end_tls(e, end_client_ctx(), false);
}

void smtp_site_run(char kind, const char *script, size_t len, struct pace client, struct pace server)
{
	begin(kind, false, client, server);
	script_begin(&rig.client.script, script, len, false);
	buf_clear(&spoken);
	rig.client.script.said = client_said;
	rig_run();
}

void smtp_site_client(char kind, const char *script, size_t len)
{
	smtp_site_run(kind, script, len, (struct pace){ 0 }, (struct pace){ 0 });
	check_client(len);
	rig_finish();
}

/* --- the good client --- */

static const struct good {
	const char *say;                /* NULL: only listens */
	char want;                      /* the first digit of the reply with which it goes on; else to `otherwise` */
	int otherwise;
	bool message;                   /* the reply is about one */
} good[] = {
	{ NULL, '2', 12, false },
	{ "EHLO client.example\r\n", '2', 12, false },
	{ "MAIL FROM:<a@example.org>\r\n", '2', 6, false },
	{ "RCPT TO:<b@example.com>\r\n", '2', 6, false },
	{ "DATA\r\n", '3', 6, false },
	{ "From: a@example.org\r\nSubject: one\r\nMessage-ID: <1@example.org>\r\n\r\nhi\r\n..\r\n.\r\n", '2', 6, true },
	{ "RSET\r\n", '2', 12, false },
	{ "MAIL FROM:<a@example.org>\r\n", '2', 12, false },
	{ "RCPT TO:<b@example.com>\r\n", '2', 12, false },
	{ "RCPT TO:<c@example.com>\r\n", '2', 10, false },
	{ "BDAT 10\r\nSubject: t", '2', 12, false },
	{ "BDAT 12 LAST\r\nwo\r\n\r\nhi\n.\r\n", '2', 12, true },
	{ "QUIT\r\n", '2', 13, false },
};

static struct {
	size_t at, heard;
	bool said;
	int taken;                      /* by servers, when the message's transaction began */
	bool outbound;
} visit;

/* Its recipients are ours, or at a domain whose server is found by MX. */
static void good_says(struct end *e, const char *text)
{
	char line[100];

	if (visit.outbound && strncmp(text, "RCPT", 4) == 0) {
		snprintf(line, sizeof(line), "RCPT TO:<%c@example.org>\r\n", text[9]);
		text = line;
	}
	end_says(e, text);
}

/* The code's first digit of the reply that is whole behind what was heard; 0: none is yet. */
static char reply_of(const struct end *e)
{
	const char *p = e->heard.data + visit.heard, *end = e->heard.data + e->heard.len, *lf;

	for (; e->heard.len > visit.heard && p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1)
		if (p[3] == ' ')
			return p[0];
	return 0;
}

static enum script_state good_step(struct end *e)
{
	const struct good *g = &good[visit.at];
	char digit;

	if (visit.at >= sizeof(good) / sizeof(*good) || e->over)
		return SCRIPT_DONE;
	if (!visit.said) {
		visit.heard = e->heard.len;
		visit.said = true;
		if (g->say && strncmp(g->say, "MAIL", 4) == 0)
			visit.taken = rig.host.taken;
		if (g->say)
			good_says(e, g->say);
		else
			visit.heard = 0;
		return SCRIPT_DID;
	}
	digit = reply_of(e);
	if (!digit)
		return SCRIPT_WAITS;
	if (g->message && digit == '2' && rig.host.taken != visit.taken + 1)
		rig_wrong("the client was told that its message is taken, and it is not exactly one that was", e);
	visit.said = false;
	visit.at = digit == g->want ? visit.at + 1 : (size_t)g->otherwise;
	return SCRIPT_DID;
}

void smtp_site_server(char kind, const char *script, size_t len)
{
	struct heard *h;

	memset(&visit, 0, sizeof(visit));
	visit.outbound = kind & 64;
	begin((char)((kind & ~3) | (visit.outbound ? 3 : 0)), true, (struct pace){ 0 }, (struct pace){ 0 });
	rig.client.step = good_step;
	rig.scripted = true;
	script_begin(&rig.answers, script, len, true);
	rig_run();
	h = calloc(1, sizeof(*h));
	client_hears(&rig.client.end, h);
	free(h);
	if (rig.host.messages > 2 * 3)
		rig_wrong("a message was sent again and again", &rig.client.end);
	check_sizes(len + 400);
	rig_finish();
}
