/*
 * arc - what verifying an Authenticated Received Chain costs
 *
 *     arc [SECONDS]
 *
 * A message of some 20 fields and a body of 4 KB, with chains of 0, 1, 3, 10 and 50 sets under RSA keys of 2048 bits, is judged by the filter again and again, each case for
 * SECONDS (1) of processor time: from the header to the facts, the key records at hand. One line each, in microseconds of the processor.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/task.h"
#include "filters/arc.h"
#include "filters/arc_sealer.h"
#include "filters/dkim_body.h"
#include "support/dns_any.h"

enum { BODY = 4096, SETS_MAX = 50 };

static char *fields[] = { "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Reply-To" };
static struct arc_seal_conf conf = {
	.selector = (char *)"s", .number = -1, .field = fields, .field_count = sizeof(fields) / sizeof(*fields),
};

static void message_make(struct buf *out)
{
	for (int i = 0; i < 12; i++)
		buf_addf(out, "Received: from mail%d.example.net (mail%d.example.net [192.0.2.%d])\r\n\tby mx.example.com with ESMTPS id 4XyZ%08d (version=TLS1.3\r\n"
			 "\tcipher=TLS_AES_256_GCM_SHA384 bits=256/256);\r\n\tSun, 22 Nov 2026 10:00:%02d +0000\r\n", i, i, i, i * 7919, i);
	buf_adds(out, "From: A Sender <a.sender@example.com>\r\nTo: A Recipient <a.recipient@example.net>,\r\n\tAnother <another@example.net>\r\n"
		 "Subject: =?utf-8?Q?What_this_message_is_about=2C_in_some_words?=\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
		 "Message-ID: <0123456789abcdef0123456789abcdef@mail.example.com>\r\nMIME-Version: 1.0\r\nReply-To: <reply@example.com>\r\n"
		 "Content-Type: text/plain; charset=utf-8\r\n\r\n");
	for (size_t end = out->len + BODY; out->len < end;)
		buf_adds(out, "The quick brown fox jumps over the lazy dog, and so on and so forth.\r\n");
}

static struct message *message_of(const struct buf *text)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 18, .header_fields = 1000 };
	struct message *m = message_new(&lim, NULL, NULL);

	if (!m || message_add(m, text->data, text->len) < 0 || message_end(m) < 0)
		abort();
	return m;
}

/* One set more above text; each hop a domain, and so a key to ask for, of its own. */
static void seal(struct buf *text, unsigned instance)
{
	static const char results[] = "mx.example.org; spf=pass smtp.mailfrom=example.com; dkim=pass header.d=example.com; dmarc=pass header.from=example.com";
	AUTO(message) struct message *m = message_of(text);
	struct dkim_body *body = dkim_body_new(true, false, 0);
	AUTO(buf) struct buf out = BUF_INIT(1 << 20);
	struct arc_seal_order order = { .conf = &conf, .header = text->data, .len = message_body_offset(m), .results = results, .results_len = strlen(results),
					.found = ARC_CV_PASS, .now_s = 1700000000 };
	char domain[40];
	const char *why;
	uint64_t octets;

	snprintf(domain, sizeof(domain), "hop%u.example", instance);
	conf.domain = domain;
	if (!body || dkim_body_add(body, text->data + order.len, text->len - order.len) < 0 || dkim_body_end(body, order.body_hash, &octets) < 0)
		abort();
	dkim_body_free(body);
	if (arc_sealer_seal(&order, &out, &why) != 0 || buf_add(&out, text->data, text->len) < 0)
		abort();
	buf_release(text);
	*text = out;
	out = (struct buf)BUF_INIT(0);
}

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void judge(struct message *m, const struct buf *text, int self, const char *want)
{
	struct client client = { .listener = NULL };
	size_t off = message_body_offset(m);
	const struct fact *f;
	struct txn t;

	txn_init(&t, NULL, &dns_any, &client);
	t.message = m;
	t.stage = STAGE_HEADER;
	filters_start(&t, STAGE_HEADER, 1u << self);
	filters_body(&t, 1u << self, text->data + off, text->len - off);
	t.stage = STAGE_DATA;
	f = filters_fact(&t, fact_find("arc", 3));
	if (!f || f->state != FACT_KNOWN || strcmp(f->text[0], want) != 0)
		abort();
	t.message = NULL;
	txn_release(&t);
	client_release(&client);
}

int main(int argc, char **argv)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	double seconds = argc > 1 ? atof(argv[1]) : 1, from;
	int self = 0;

	fact_register_all();
	while (filters[self] != &filter_arc)
		self++;
	conf.key = dkim_private_make(DKIM_KEY_RSA, 2048);
	if (loop_init() < 0 || !conf.key || dkim_private_record(conf.key, &dns_any_record) < 0)
		return 1;
	message_make(&text);
	for (unsigned sets = 0; sets <= SETS_MAX; sets++) {
		AUTO(message) struct message *m = NULL;
		size_t n = 0;

		if (sets > 0)
			seal(&text, sets);
		if (sets > 1 && sets != 3 && sets != 10 && sets != SETS_MAX)
			continue;
		m = message_of(&text);
		for (from = cpu_us(); n < 20 || cpu_us() - from < seconds * 1e6; n++)
			judge(m, &text, self, sets ? "pass" : "none");
		printf("%2u sets %10.2f us of CPU; message of %zu octets\n", sets, (cpu_us() - from) / (double)n, text.len);
	}
	dkim_private_free(conf.key);
	buf_release(&dns_any_record);
	loop_release();
	return 0;
}
