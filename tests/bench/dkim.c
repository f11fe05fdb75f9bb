/*
 * dkim - what DKIM costs with each engine
 *
 *     dkim [SECONDS]
 *
 * A message of 22 fields, 3 KB, and a body of 4 KB is signed and verified again and again, each case for SECONDS (1) of processor time. One line each: microseconds of
 * the processor for a verification, from the first field to the results (the key record is at hand), and for a signature. "header" is the engine's part alone: the
 * canonical header and its hash.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/task.h"
#include "filters/dkim_signer.h"
#include "filters/dkim_verify.h"
#include "support/dns_any.h"

enum { ENGINES = 2, KEYS = 4, BODY = 4096 };

static const struct dkim_engine *const engines[ENGINES] = { &dkim_engine_native, &dkim_engine_opendkim };
static char *fields[] = { "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Reply-To", "List-Unsubscribe" };
static char *oversigned[] = { "From", "Subject" };
static struct dkim_sign_key keys[2];
static struct dkim_sign_conf conf = {
	.domain = (char *)"example.com", .key = keys, .key_count = 1, .field = fields, .field_count = sizeof(fields) / sizeof(*fields),
	.oversign = oversigned, .oversign_count = 2, .form = DKIM_FORM_RELAXED,
};

static void message_make(struct buf *out)
{
	for (int i = 0; i < 6; i++)
		buf_addf(out, "Received: from mail%d.example.net (mail%d.example.net [192.0.2.%d])\r\n\tby mx.example.com with ESMTPS id 4XyZ%08d (version=TLS1.3\r\n"
			 "\tcipher=TLS_AES_256_GCM_SHA384 bits=256/256);\r\n\tSun, 22 Nov 2026 10:00:%02d +0000\r\n", i, i, i, i * 7919, i);
	for (int i = 0; i < 6; i++)
		buf_addf(out, "X-Header-%d: some value that nobody reads, 0123456789abcdef0123456789abcdef %d\r\n", i, i);
	buf_adds(out, "From: A Sender <a.sender@example.com>\r\nTo: A Recipient <a.recipient@example.net>,\r\n\tAnother <another@example.net>\r\n"
		 "Subject: =?utf-8?Q?What_this_message_is_about=2C_in_some_words?=\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
		 "Message-ID: <0123456789abcdef0123456789abcdef@mail.example.com>\r\nMIME-Version: 1.0\r\nReply-To: <reply@example.com>\r\n"
		 "List-Unsubscribe: <https://example.com/u/0123456789abcdef0123456789abcdef>,\r\n <mailto:u@example.com>\r\n"
		 "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	for (size_t end = out->len + BODY; out->len < end;)
		buf_adds(out, "The quick brown fox jumps over the lazy dog, and so on and so forth.\r\n");
}

static struct message *message_of(const char *p, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 18, .header_fields = 1000 };
	struct message *m = message_new(&lim, NULL, NULL);

	if (!m || message_add(m, p, len) < 0 || message_end(m) < 0)
		abort();
	return m;
}

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void verify(const struct dkim_engine *engine, struct message *m, const struct buf *wire)
{
	struct dkim_limits lim = { .engine = engine };
	struct dkim_verify *v = dkim_verify_new(&dns_any, &lim);
	size_t off = message_body_offset(m), count;
	const struct dkim_result *r;
	int rc = 0;

	for (size_t i = 0; i < message_field_count(m); i++)
		rc |= dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len);
	rc |= dkim_verify_header_end(v);
	rc |= dkim_verify_body(v, wire->data + off, wire->len - off);
	rc |= dkim_verify_finish(v, &r, &count);
	if (rc || count != 1 || r[0].word != DKIM_RESULT_PASS)
		abort();
	dkim_verify_free(v);
}

static void header(const struct dkim_engine *engine, struct message *m)
{
	AUTO(dkim_header) struct dkim_header *h = dkim_header_new();
	const struct header_field *f = message_field(m, 0);
	unsigned char hash[DKIM_HASH_MAX];
	struct dkim_sig sig;
	const char *why;
	int rc = dkim_sig_parse(f->body, f->body_len, clock_wall_s(), &sig, &why) != DKIM_SIG_GOOD;

	for (size_t i = 0; i < message_field_count(m); i++)
		rc |= dkim_header_add(h, message_field(m, i)->raw, message_field(m, i)->raw_len);
	rc |= dkim_header_ready(h);
	rc |= engine->hash(h, 0, &sig, hash, &why);
	if (rc)
		abort();
}

static void sign(const struct dkim_engine *engine, struct message *m, const struct buf *text, struct buf *wire)
{
	struct dkim_signer *s = dkim_signer_new(text->data, message_body_offset(m));
	const char *why;

	if (!s || dkim_signer_sign(s, &conf, engine, m, clock_wall_s(), wire, &why) < 0)
		abort();
	dkim_signer_free(s);
}

static void measure(const char *name, const struct dkim_engine *engine, const struct buf *text, double seconds)
{
	AUTO(message) struct message *m = message_of(text->data, text->len), *signed_m = NULL;
	AUTO(buf) struct buf wire = BUF_INIT(1 << 20);
	double from, us[3];

	sign(engine, m, text, &wire);
	buf_add(&wire, text->data, text->len);
	signed_m = message_of(wire.data, wire.len);
	for (int what = 0; what < 3; what++) {
		size_t n = 0;

		for (from = cpu_us(); n < 20 || cpu_us() - from < seconds * 1e6; n++) {
			AUTO(buf) struct buf out = BUF_INIT(1 << 16);

			if (what == 0)
				verify(engine, signed_m, &wire);
			else if (what == 1)
				header(engine, signed_m);
			else
				sign(engine, m, text, &out);
		}
		us[what] = (cpu_us() - from) / (double)n;
	}
	printf("%-10s %-12s %8.1f %8.1f %8.1f\n", name, engine->name, us[0], us[1], us[2]);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum dkim_key_type type;
		unsigned bits;
	} cases[KEYS] = { { "rsa-1024", DKIM_KEY_RSA, 1024 }, { "rsa-2048", DKIM_KEY_RSA, 2048 }, { "rsa-4096", DKIM_KEY_RSA, 4096 }, { "ed25519", DKIM_KEY_ED25519, 0 } };
	AUTO(buf) struct buf text = BUF_INIT(1 << 16);
	double seconds = argc > 1 ? atof(argv[1]) : 1;

	if (loop_init() < 0)
		return 1;
	message_make(&text);
	printf("%-10s %-12s %8s %8s %8s   us of CPU; message of %zu octets\n", "key", "engine", "verify", "header", "sign", text.len);
	for (size_t i = 0; i < KEYS; i++) {
		keys[0] = (struct dkim_sign_key){ .selector = (char *)"s", .key = dkim_private_make(cases[i].type, cases[i].bits) };
		dns_any_record.len = 0;
		if (!keys[0].key || dkim_private_record(keys[0].key, &dns_any_record) < 0)
			return 1;
		for (size_t k = 0; k < ENGINES; k++)
			measure(cases[i].name, engines[k], &text, seconds);
		dkim_private_free(keys[0].key);
	}
	buf_release(&dns_any_record);
	loop_release();
	return 0;
}
