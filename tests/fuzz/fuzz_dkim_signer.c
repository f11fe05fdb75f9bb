/*
 * fuzz_dkim_signer - whatever is signed verifies as it is on the wire
 *
 * Input: a byte that chooses the canonical forms and the engine that verifies, the message. What the signer takes as a header is signed, put together as DATA sends it,
 * and verified: it must pass, unless a verifier sees another message than ours (no From).
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/crlf.h"
#include "filters/dkim_signer.h"
#include "filters/dkim_verify.h"
#include "support/dns_table.h"

static char *fields[] = { "From", "To", "Subject", "Date", "X-A", "Content-Type" };
static char *oversigned[] = { "From", "Subject" };
static struct dkim_sign_key key = { .selector = "s" };
static struct dkim_sign_conf conf = {
	.domain = "example.com", .key = &key, .key_count = 1, .field = fields, .field_count = 6, .oversign = oversigned, .oversign_count = 2,
};
static struct dns_table *dns;

/* Always the same key and time: an input does the same in each run. */
enum { NOW_S = 1700000000 };
static const char pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIIKVFCoJxm1s1QEF18Rg5zijmCqTnkiBVrmi7MBriKht\n"
	"-----END PRIVATE KEY-----\n";

static void begin(void)
{
	AUTO(buf) struct buf record = BUF_INIT(4096);
	const char *why;

	key.key = dkim_private_read(pem, sizeof(pem) - 1, &why);
	assert(key.key && dkim_private_record(key.key, &record) == 0);
	dns = dns_table_new();
	dns_table_add(dns, "s._domainkey.example.com", "TXT", buf_str(&record));
}

static struct message *message_of(const char *p, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 8 << 20, .header_bytes = 1 << 20, .header_fields = 3000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert(m);
	if (message_add(m, p, len) == 0 && message_end(m) == 0)
		return m;
	message_free(m);
	return NULL;
}

static int put(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

static void verify(const struct buf *wire, const struct dkim_engine *engine)
{
	struct dkim_limits lim = { .engine = engine };
	AUTO(message) struct message *m = message_of(wire->data, wire->len);
	AUTO(dkim_verify) struct dkim_verify *v = dkim_verify_new(dns_table_dns(dns), &lim);
	const struct dkim_result *r;
	size_t count, off;
	bool from = false;

	if (!m)
		return;
	off = message_body_offset(m);
	for (size_t i = 0; i < message_field_count(m); i++)
		assert(dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len) == 0);
	assert(dkim_verify_header_end(v) == 0);
	assert(dkim_verify_body(v, wire->data + off, wire->len - off) == 0);
	assert(dkim_verify_finish(v, &r, &count) == 0 && count >= 1);
	from = message_find(m, "From", 0) != NULL;
	assert(strcmp(r[0].selector, "s") == 0 && (!from || r[0].word == DKIM_RESULT_PASS));
	dns_table_forget(dns);
}

/* Where libopendkim is known to see something else (support/dkim_diff.h). */
static bool odd(const struct message *m)
{
	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *f = message_field(m, i);

		for (size_t k = 0; k < f->raw_len; k++)
			if (memchr("\0\v\f", f->raw[k], 3) || ((f->raw[k] == '\t' || f->raw[k] & 0x80 || f->raw[k] == '\r' || f->raw[k] == '\n' || f->raw[k] < ' ' || f->raw[k] == 0x7f) && f->raw + k < f->body))
				return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(message) struct message *m = NULL;
	AUTO(dkim_signer) struct dkim_signer *s = NULL;
	AUTO(buf) struct buf signatures = BUF_INIT(1 << 20), wire = BUF_INIT(4 << 20);
	struct crlf lines = { .put = put, .arg = &wire };
	const char *text = (const char *)data + 1, *why = NULL;

	if (size < 2 || size > 100000)
		return 0;
	if (!dns)
		begin();
	m = message_of(text, size - 1);
	/* What a session refuses, or sets right before anything is made of it. */
	if (!m || message_header_broken(m) || message_header_has_bare_cr(m) || message_field_count(m) == 0)
		return 0;
	s = dkim_signer_new(text, message_body_offset(m));
	if (!s)
		return 0;
	(void)dkim_signer_author(s);
	conf.form = (enum dkim_sign_form)(data[0] % 4);
	if (dkim_signer_sign(s, &conf, NULL, m, NOW_S, &signatures, &why) < 0) {
		assert(why);
		return 0;
	}
	buf_add(&wire, signatures.data, signatures.len);
	assert(crlf_add(&lines, text, size - 1) == 0 && crlf_end(&lines) == 0);
	if (memcmp(wire.data + wire.len - 2, "\r\n", 2) != 0)
		buf_adds(&wire, "\r\n");
	verify(&wire, data[0] & 4 && !odd(m) ? &dkim_engine_opendkim : &dkim_engine_native);
	return 0;
}
