/* Any bytes as what a mail filter says, from the first negotiation to the end of a message: whatever comes, the message that leaves is one, within its bounds. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "filters/milter_mail.h"
#include "filters/milter_talk.h"
#include "policy/conf.h"

enum { HEADER_MAX = 20000, FIELDS_MAX = 100, BODY_MAX = 100000 };

static const char text[] = "Received: one\r\n\tfolded\r\nSubject: hi\r\nX: 1\r\n\r\nbody\r\n";

struct source {
	const char *p;
	size_t len;
	struct milter_mail *mail;
	bool space;
};

static int say(void *arg, const char *p, size_t len, int64_t deadline_ms)
{
	return 0;
}

static int hear(void *arg, char *p, size_t max, int64_t deadline_ms)
{
	struct source *s = arg;
	size_t n = s->len < 37 ? s->len : 37;   /* in pieces */

	if (n > max)
		n = max;
	if (!n)
		return -EPIPE;
	memcpy(p, s->p, n);
	s->p += n;
	s->len -= n;
	return (int)n;
}

static int change(void *arg, const struct milter_reply *r)
{
	struct source *s = arg;
	int rc = milter_mail_change(s->mail, r, s->space);

	return rc < 0 ? rc : 0;
}

static void check(const struct milter_mail *m)
{
	AUTO(message) struct message *out = milter_mail_message(m, NULL, NULL);
	size_t off;

	assert(out);
	assert(message_field_count(out) == m->count && !message_header_broken(out));
	milter_mail_body(m, &off);
	for (size_t i = 0; i < m->count; i++)
		assert(message_field(out, i)->raw_len == m->field[i].len);
	for (size_t i = 0; i < m->added_count; i++)
		assert(!strpbrk(m->added[i].address, " \r\n<>") && !strpbrk(m->added[i].params, "\r\n"));
	assert(!m->from || !strpbrk(m->from, " \r\n<>"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char address[] = "a@b", params[] = "";
	static struct recipient rcpt = { .address = address, .params = params };
	static struct site site = { .limits = { .recipients = 5, .message = { .memory_bytes = BODY_MAX * 2, .header_bytes = HEADER_MAX, .header_fields = FIELDS_MAX } } };
	struct txn txn = { .site = &site, .env = { .rcpt = &rcpt, .rcpt_count = 1 } };
	struct milter_mail mail;
	struct source s = { .p = (const char *)data, .len = size, .mail = &mail };
	struct milter_io io = { .write = say, .read = hear, .arg = &s };
	struct milter_talk talk;
	struct milter_said said;
	int rc;

	txn.message = message_new(&site.limits.message, NULL, NULL);
	assert(txn.message && message_add(txn.message, text, sizeof(text) - 1) == 0 && message_end(txn.message) == 0);
	assert(milter_mail_init(&mail, &txn, BODY_MAX) == 0);
	milter_talk_init(&talk, &io, 1000, 1000);
	rc = milter_talk_negotiate(&talk, MILTER_VERSION);
	s.space = talk.terms.steps & MILTER_LEADING_SPACE;
	for (int i = 0; rc == 0 && i < 3; i++)
		rc = milter_talk_ask(&talk, MILTER_QUIET_MAIL, false, &said);
	if (rc == 0)
		rc = milter_talk_end(&talk, change, &s, &said);
	assert((rc < 0) == talk.failed && (talk.failed == (talk.why[0] != '\0')));
	if (rc == 0)
		assert((said.verdict == MILTER_SAYS_REJECT || said.verdict == MILTER_SAYS_TEMPFAIL) == (said.reply[0] != '\0'));
	assert(milter_mail_settle(&mail) == 0);
	check(&mail);
	milter_talk_release(&talk);
	milter_mail_release(&mail);
	message_free(txn.message);
	return 0;
}
