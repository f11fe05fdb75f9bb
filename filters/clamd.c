#include "filters/clamd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "filters/clamd_reply.h"
#include "filters/scan.h"
#include "policy/conf.h"

enum { REPLY_MAX = 1024, HEAD = sizeof(uint32_t) };

static const struct fact_def clamd_facts[] = {
	{ "virus", FACT_BOOL, false, STAGE_DATA, NULL, "clamd has found something in the message" },
	{ "virus.name", FACT_TEXT, false, STAGE_DATA, NULL, "what it has found, by the name of the signature" },
	{ "clamd.away", FACT_BOOL, false, STAGE_DATA, NULL, "clamd could not be asked, or did not answer" },
	{ "clamd.skipped", FACT_BOOL, false, STAGE_DATA, NULL, "the message was not looked at: it is longer than max_size, or than clamd takes" },
	{ 0 },
};

struct clamd_scan {
	struct scan scan;
	enum clamd_result result;
	char name[CLAMD_NAME_MAX + 1];
};

static const struct daemon_conf *clamd_conf(const struct site *site)
{
	return &site->clamd.daemon;
}

/* Chunks, each behind its length in four octets, an empty one last (clamd(8), INSTREAM). may wait */
static int send_message(struct scan *s, struct daemon_line *l)
{
	size_t off = 0;
	ssize_t n;

	do {
		uint32_t head;
		int rc;

		n = scan_read(s, &off, HEAD);
		if (n < 0)
			return (int)n;
		head = htonl((uint32_t)n);
		memcpy(s->chunk, &head, HEAD);
		rc = daemon_write(l, s->chunk, HEAD + (size_t)n);
		if (rc < 0)
			return rc;
	} while (n > 0);
	return 0;
}

/*
 * In a session (IDSESSION), so that the connection serves for more than one message. Past its StreamMaxLength clamd says so and closes without
 * having read what still comes: writing fails then, and its words are to be read all the same (Cisco-Talos/clamav issue 1210).
 */
static int clamd_talk(struct daemon_line *l, void *arg)
{
	struct clamd_scan *c = arg;
	AUTO(buf) struct buf reply = BUF_INIT(REPLY_MAX);
	int sent = 0, rc;

	if (l->uses == 0)
		sent = daemon_write(l, "zIDSESSION", sizeof("zIDSESSION"));
	if (sent == 0)
		sent = daemon_write(l, "zINSTREAM", sizeof("zINSTREAM"));
	if (sent == 0)
		sent = send_message(&c->scan, l);
	if (sent < 0 && sent != -EPIPE)
		return sent;
	rc = daemon_read_to(l, '\0', &reply);
	if (rc < 0)
		return rc;
	c->result = clamd_reply(buf_str(&reply), reply.len, l->uses + 1, c->name);
	/* What it finds in a part is there; that there is nothing it cannot know. */
	if (c->result == CLAMD_NONSENSE || (sent < 0 && c->result == CLAMD_CLEAN))
		return -EPROTO;
	return sent == 0 && c->result != CLAMD_TOO_LARGE ? DAEMON_AGAIN : DAEMON_DONE;
}

static int clamd_found(struct scan *s, struct facts *out)
{
	const struct clamd_scan *c = (const struct clamd_scan *)s;
	int rc;

	if (c->result == CLAMD_TOO_LARGE) {
		s->skipped = "longer than StreamMaxLength of clamd.conf";
		return 0;
	}
	if (c->result == CLAMD_ERROR) {
		s->failed = c->name;
		return 0;
	}
	rc = facts_set_bool(out, "virus", c->result == CLAMD_FOUND);
	if (rc == 0 && c->result == CLAMD_FOUND)
		rc = facts_set(out, "virus.name", c->name);
	return rc;
}

static const struct scan_kind kind = {
	.conf = clamd_conf, .size = sizeof(struct clamd_scan), .talk = clamd_talk, .found = clamd_found, .away = "clamd.away", .skipped = "clamd.skipped",
};

static void clamd_begin(struct txn *t, int self)
{
	scan_begin(&kind, t, self);
}

static int clamd_run(struct txn *t, int self, struct facts *out)
{
	return scan_run(&kind, t, self, out);
}

static bool clamd_ready(struct txn *t, int self)
{
	return scan_ready(&kind, t, self);
}

const struct filter filter_clamd = {
	.name = "clamd", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = clamd_facts, .begin = clamd_begin, .run = clamd_run, .ready = clamd_ready,
	.release = scan_release,
};
