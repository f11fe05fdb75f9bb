/* fuzz_authres - incoming Authentication-Results fields, and odd values in those that we write */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/authres.h"

/* What we write is one field, in printable ASCII, whatever the values; and we recognise it as ours. */
static void written(const char *value)
{
	struct client client = { .helo = strdup(value) };
	AUTO(buf) struct buf out = BUF_INIT(32768);
	struct txn t;

	fact_register_all();
	txn_init(&t, NULL, NULL, &client);
	t.env.from = strdup(value);
	snprintf(client.ip, sizeof(client.ip), "2001:db8::1");
	facts_set_why(&t.evidence.facts, "spf", "fail", "%s", value);
	facts_set_why(&t.evidence.facts, "dmarc", "fail", "%s", value);
	facts_set(&t.evidence.facts, "from.domain", value);
	facts_add(&t.evidence.facts, "dkim.results", value);
	assert(authres_make(&t, "mx.example.com", &out) == 0);
	assert(authres_claims(out.data + 23, out.len - 23, "mx.example.com"));
	assert(!authres_claims(out.data + 23, out.len - 23, "other.example"));
	assert(authres_received_spf(&t, "mx.example.com", &out) == 0);
	for (size_t i = 0; i < out.len; i++) {
		unsigned char c = (unsigned char)out.data[i];

		assert(c == '\t' || c == '\r' || c == '\n' || (c >= ' ' && c < 0x7f));
		assert(c != '\n' || out.data[i - 1] == '\r');
		assert(c != '\r' || (out.data[i + 1] == '\n' && (i + 2 == out.len || out.data[i + 2] == '\t' || out.data[i + 2] == 'R')));
	}
	txn_release(&t);
	client_release(&client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size > 8192)
		return 0;
	authres_claims((const char *)data, size, "mx.example.com");
	text = malloc(size + 1);
	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	authres_claims((const char *)data, size, text);
	written(text);
	free(text);
	return 0;
}
