/*
 * fuzz_dkim - a message and a key record through the whole verification
 *
 * Input: a byte that chooses the chunk size and, if it is odd, libopendkim as the engine, the key record up to a NUL, the message. The same message in one piece must have the same results.
 * The canonical body hashed by us and by the library must agree: a message that passes in one way passes in the other.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/dkim_verify.h"
#include "filters/message.h"
#include "support/dns_table.h"

/* Any name has the same record here. */
struct answer {
	struct dns_lookup lookup;
	struct dns_rr rr;
	uint8_t data[65536];
};

static const char *record;
static size_t record_len;

static int start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	struct answer *a = calloc(1, sizeof(*a));
	size_t n = 0;

	assert(a && dns_name_ok(name));
	for (size_t at = 0; at < record_len && n + 256 < sizeof(a->data); at += 255) {
		size_t part = record_len - at < 255 ? record_len - at : 255;

		a->data[n++] = (uint8_t)part;
		memcpy(a->data + n, record + at, part);
		n += part;
	}
	a->rr = (struct dns_rr){ .data = a->data, .len = n };
	a->lookup.answer = (struct dns_answer){ .status = DNS_OK, .count = 1, .rr = &a->rr, .why = "" };
	a->lookup.ops = d->ops;
	future_resolve(&a->lookup.future, 0);
	*out = &a->lookup;
	return 0;
}

static void drop(struct dns_lookup *l)
{
	free(l);
}

static const struct dns_ops ops = { .start = start, .drop = drop };
static struct dns dns = { .ops = &ops, .timeout_ms = 1000 };

static void feed(struct dkim_verify *v, const char *p, size_t len, size_t chunk)
{
	for (size_t at = 0; at < len; at += chunk)
		assert(dkim_verify_body(v, p + at, len - at < chunk ? len - at : chunk) == 0);
}

static size_t verify(struct message *m, const struct dkim_engine *engine, const char *body, size_t len, size_t chunk, struct dkim_result out[DKIM_RESULTS_MAX])
{
	struct dkim_limits lim = { .signatures = 8, .body_hashes = 3, .engine = engine };
	AUTO(dkim_verify) struct dkim_verify *v = dkim_verify_new(&dns, &lim);
	const struct dkim_result *r;
	size_t count;

	assert(v);
	for (size_t i = 0; i < message_field_count(m); i++)
		assert(dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len) == 0);
	assert(dkim_verify_header_end(v) == 0);
	feed(v, body, len, chunk);
	assert(dkim_verify_finish(v, &r, &count) == 0);
	assert(count <= DKIM_RESULTS_MAX);
	if (count > 0)
		memcpy(out, r, count * sizeof(*r));
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dkim_result whole[DKIM_RESULTS_MAX], pieces[DKIM_RESULTS_MAX];
	struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 18, .header_fields = 2000 };
	const uint8_t *nul;
	const struct dkim_engine *engine;
	struct message *m;
	const char *mail;
	size_t len, off, n;

	if (size < 2 || size > 1 << 18)
		return 0;
	nul = memchr(data + 1, 0, size - 1);
	if (!nul || nul + 1 == data + size)
		return 0;
	record = (const char *)data + 1;
	record_len = (size_t)(nul - data) - 1;
	mail = (const char *)nul + 1;
	len = size - (size_t)(nul - data) - 1;
	engine = data[0] % 2 ? &dkim_engine_opendkim : &dkim_engine_native;
	m = message_new(&lim, NULL, NULL);
	assert(m);
	if (message_add(m, mail, len) == 0) {
		message_end(m);
		off = message_body_offset(m);
		n = verify(m, engine, mail + off, len - off, len + 1, whole);
		assert(verify(m, engine, mail + off, len - off, data[0] ? data[0] : 1, pieces) == n);
		for (size_t i = 0; i < n; i++) {
			assert(whole[i].word == pieces[i].word && strcmp(whole[i].why, pieces[i].why) == 0);
			assert(whole[i].partial == pieces[i].partial);
		}
	}
	message_free(m);
	return 0;
}
