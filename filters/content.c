#include "filters/content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "filters/charset.h"
#include "filters/rfc2047.h"

static const struct fact_def header_facts[] = {
	{ "rcpt.count", FACT_NUMBER, false, STAGE_HEADER, NULL, "recipients of the message" },
	{ "message.header_broken", FACT_BOOL, false, STAGE_HEADER, NULL, "a line of the header is no field" },
	{ "message.id", FACT_TEXT, false, STAGE_HEADER, NULL, "Message-ID" },
	{ "header.subject", FACT_TEXT, false, STAGE_HEADER, NULL, "Subject, its encoded words decoded (RFC 2047)" },
	{ "header.subject.raw", FACT_TEXT, false, STAGE_HEADER, NULL, "Subject as it was sent, unfolded" },
	{ "header.to", FACT_TEXT, false, STAGE_HEADER, NULL, "To, its encoded words decoded" },
	{ "header.list_id", FACT_TEXT, false, STAGE_HEADER, NULL, "List-Id, its encoded words decoded" },
	{ "received.count", FACT_NUMBER, false, STAGE_HEADER, NULL, "Received fields" },
	{ 0 },
};

static const struct fact_def message_facts[] = {
	{ "message.size", FACT_NUMBER, false, STAGE_DATA, NULL, "octets of the message" },
	{ "message.8bit", FACT_BOOL, false, STAGE_DATA, NULL, "it has octets above 127" },
	{ "message.bare", FACT_BOOL, false, STAGE_DATA, NULL, "it has a CR or LF alone" },
	{ "message.nul", FACT_BOOL, false, STAGE_DATA, NULL, "it has a NUL" },
	{ 0 },
};

/* The field's body as it was sent; a field that is not there leaves the fact unknown. */
static int set_raw(struct txn *t, struct facts *out, const char *fact, const char *field)
{
	const struct header_field *h = message_find(t->message, field, 0);
	char *text;
	size_t n = 0;
	int rc;

	if (!h)
		return 0;
	text = malloc(h->body_len + 1);
	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < h->body_len; i++)        /* unfold: CRLF goes, NUL too */
		if (h->body[i] != '\r' && h->body[i] != '\n' && h->body[i] != '\0')
			text[n++] = h->body[i];
	while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
		n--;
	text[n] = '\0';
	rc = facts_set(out, fact, text + strspn(text, " \t"));
	free(text);
	return rc;
}

/* The field's body as a person reads it. */
static int set_decoded(struct txn *t, struct facts *out, const char *fact, const char *field)
{
	const struct header_field *h = message_find(t->message, field, 0);
	AUTO(buf) struct buf text = BUF_INIT(RFC2047_TEXT_MAX);
	int rc;

	if (!h)
		return 0;
	rc = rfc2047_decode(h->body, h->body_len, &text);
	return rc < 0 ? rc : facts_set(out, fact, buf_str(&text));
}

static int64_t count_received(const struct message *m)
{
	int64_t n = 0;

	while (message_find(m, "Received", (size_t)n))
		n++;
	return n;
}

/* Without a converter text in that charset is not read, but mail goes on. */
static int header_setup(const struct site *site, struct buf *err)
{
	const char *missing = NULL;
	int lost = charset_setup(&missing);

	if (lost > 0)
		log_warning("charset", "missing", missing, "why", "iconv has no converter for it", NULL);
	return 0;
}

static int header_run(struct txn *t, int self, struct facts *out)
{
	static const struct {
		const char *fact, *field;
		int (*set)(struct txn *t, struct facts *out, const char *fact, const char *field);
	} texts[] = {
		{ "message.id", "Message-ID", set_raw },
		{ "header.subject", "Subject", set_decoded },
		{ "header.subject.raw", "Subject", set_raw },
		{ "header.to", "To", set_decoded },
		{ "header.list_id", "List-Id", set_decoded },
	};
	int rc = facts_set_num(out, "rcpt.count", (int64_t)t->env.rcpt_count);

	if (rc == 0)
		rc = facts_set_bool(out, "message.header_broken", message_header_broken(t->message));
	for (size_t i = 0; rc == 0 && i < sizeof(texts) / sizeof(*texts); i++)
		rc = texts[i].set(t, out, texts[i].fact, texts[i].field);
	return rc < 0 ? rc : facts_set_num(out, "received.count", count_received(t->message));
}

static int message_run(struct txn *t, int self, struct facts *out)
{
	const struct message *m = t->message;
	int rc = facts_set_num(out, "message.size", (int64_t)message_size(m));

	if (rc == 0)
		rc = facts_set_bool(out, "message.8bit", message_has_8bit(m));
	if (rc == 0)
		rc = facts_set_bool(out, "message.bare", message_has_bare(m));
	return rc < 0 ? rc : facts_set_bool(out, "message.nul", message_has_nul(m));
}

const struct filter filter_header = {
	.name = "header", .scope = SCOPE_TXN, .stage = STAGE_HEADER, .facts = header_facts, .setup = header_setup,
	.run = header_run,
};

const struct filter filter_message = {
	.name = "message", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = message_facts, .run = message_run,
};
