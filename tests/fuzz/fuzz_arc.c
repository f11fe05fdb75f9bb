/*
 * fuzz_arc - chains in whole messages; and that one more hop, which seals as it should, makes a chain that holds
 *
 * Input: a byte that chooses canonicalization and cuts, the message. Seals of lists.example and forward.example (selector s) have keys. What a chain comes to does
 * not hang on how the body comes in pieces. Where there is none, or one that holds, the next set on top of it holds as well, for all that the
 * message may contain; and the filter's reading of what the sets say ends.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/arc_claims.h"
#include "filters/arc_verify.h"
#include "filters/message.h"
#include "support/arc_hop.h"

static struct dns_table *dns;
static struct arc_key *lists, *forward;

static void begin(void)
{
	dns = dns_table_new();
	lists = arc_key_fixed("lists.example", "s", 1);
	forward = arc_key_fixed("forward.example", "s", 2);
	arc_key_publish(lists, dns);
	arc_key_publish(forward, dns);
	dns_table_add(dns, "away._domainkey.lists.example", "SERVFAIL", "");
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

static void said(const struct arc_sets *sets)
{
	for (size_t i = 0; i < sets->count; i++) {
		const struct arc_field *f = &sets->set[i].aar;
		struct arc_claims claims;
		const char *results;
		unsigned instance;
		size_t len;

		if (!f->raw)
			continue;
		results = arc_field_body(f, &len);
		assert(arc_aar_parse(results, len, &instance, &results, &len) == NULL && instance == i + 1);
		assert(arc_claims_read(results, len, &claims) == 0 && claims.spf && claims.dkim && claims.dmarc);
	}
}

static void verify(const struct message *m, const char *p, size_t len, size_t cut, struct arc_result *r)
{
	AUTO(arc_verify) struct arc_verify *v = arc_verify_new(dns_table_dns(dns));
	size_t off = message_body_offset(m);

	assert(v);
	for (size_t i = 0; i < message_field_count(m); i++)
		assert(arc_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len) == 0);
	said(arc_verify_sets(v));
	assert(arc_verify_header_end(v) == 0);
	for (; off < len; off += cut < len - off ? cut : len - off)
		assert(arc_verify_body(v, p + off, cut < len - off ? cut : len - off) == 0);
	assert(arc_verify_finish(v, r) == 0);
	assert(r->count <= ARC_SETS_MAX && r->oldest_pass <= r->count && (r->state != ARC_PASS || (r->count > 0 && arc_verify_domain(v, 1)[0])));
	assert(!r->why[0] == (r->state == ARC_NONE || (r->state == ARC_PASS && r->oldest_pass == 0)));
	dns_table_forget(dns);
}

/* A header that every reader takes for the same fields. */
static bool plain(const struct message *m, const char *p)
{
	size_t end = message_body_offset(m);

	if (message_header_broken(m) || message_field_count(m) == 0 || end < 4 || memcmp(p + end - 4, "\r\n\r\n", 4) != 0)
		return false;
	for (size_t i = 0; i < end; i++)
		if (p[i] == '\0' || (p[i] == '\r' && p[i + 1] != '\n') || (p[i] == '\n' && (i == 0 || p[i - 1] != '\r')))
			return false;
	return p[0] != ' ' && p[0] != '\t' && p[0] != '\r';
}

static void one_more(const char *p, size_t len, unsigned char choice, const struct arc_result *before)
{
	static const char *const forms[] = { "relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed" };
	struct arc_hop hop = { .key = choice & 4 ? forward : lists, .instance = (unsigned)before->count + 1, .cv = before->count ? "pass" : "none",
			       .results = "x; none", .c = forms[choice & 3] };
	size_t sealed_len;
	char *sealed = arc_hop_seal(&hop, p, len, &sealed_len);
	AUTO(message) struct message *m = message_of(sealed, sealed_len);
	struct arc_result r;

	if (m) {
		verify(m, sealed, sealed_len, 4096, &r);
		assert(r.state == ARC_PASS && r.count == before->count + 1);
	}
	free(sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(message) struct message *m = NULL;
	struct arc_result whole, cut;
	char *text;

	if (size < 2 || size > 100000)
		return 0;
	if (!dns)
		begin();
	text = malloc(size);
	assert(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	m = message_of(text, size - 1);
	if (m) {
		verify(m, text, size - 1, SIZE_MAX / 2, &whole);
		verify(m, text, size - 1, 1 + data[0] % 7, &cut);
		assert(whole.state == cut.state && whole.oldest_pass == cut.oldest_pass && strcmp(whole.why, cut.why) == 0);
		if ((whole.state == ARC_NONE || whole.state == ARC_PASS) && whole.count < ARC_SETS_MAX && plain(m, text))
			one_more(text, size - 1, data[0], &whole);
	}
	free(text);
	return 0;
}
