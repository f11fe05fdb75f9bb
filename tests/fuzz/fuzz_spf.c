/*
 * SPF records, DNS answers and strangers' names through both engines; macros by themselves.
 *
 * The input is lines. The first four: client address, HELO, sender, and a letter for each option. Each line after that is a record of a small
 * zone: a name's number, a letter for the type, and RDATA: "0T" text, "1t" raw bytes of a TXT, "2A", "3M", "4P" raw bytes, "5X" a failure.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "filters/spf_engine.h"
#include "filters/spf_macro.h"
#include "filters/spf_record.h"
#include "support/dns_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line, NUL-terminated on the heap. */
static char *line_take(const uint8_t **p, size_t *left, size_t *len)
{
	const uint8_t *end = memchr(*p, '\n', *left);
	size_t n = end ? (size_t)(end - *p) : *left;
	char *s = malloc(n + 1);

	assert(s);
	memcpy(s, *p, n);
	s[n] = '\0';
	*len = n;
	*p += n + (end != NULL);
	*left -= n + (end != NULL);
	return s;
}

/* As character-strings of 255. */
static void txt_add(struct dns_table *t, const char *name, const char *p, size_t len)
{
	AUTO(buf) struct buf wire = BUF_INIT(1 << 17);

	do {
		size_t n = len < 255 ? len : 255;

		buf_addc(&wire, (char)n);
		buf_add(&wire, p, n);
		p += n;
		len -= n;
	} while (len > 0);
	dns_table_add_rdata(t, name, DNS_TXT, wire.data, wire.len);
}

static void record_add(struct dns_table *t, const char *line, size_t len)
{
	static const char *const names[] = { "d0.example", "d1.example", "d2.example", "h.example", "mx.example", "why.example",
					     "1.2.0.192.in-addr.arpa", "%.example", "x.d0.example", "a.b.example" };
	const char *name;

	if (len < 2 || line[0] < '0' || line[0] > '9')
		return;
	name = names[line[0] - '0'];
	line += 2;
	len -= 2;
	switch (line[-1]) {
	case 'T':
		txt_add(t, name, line, len);
		break;
	case 't':
		dns_table_add_rdata(t, name, DNS_TXT, line, len);
		break;
	case 'A':
		dns_table_add_rdata(t, name, DNS_A, line, len);
		break;
	case 'Q':
		dns_table_add_rdata(t, name, DNS_AAAA, line, len);
		break;
	case 'M':
		dns_table_add_rdata(t, name, DNS_MX, line, len);
		break;
	case 'P':
		dns_table_add_rdata(t, name, DNS_PTR, line, len);
		break;
	case 'X':
		dns_table_add(t, name, "SERVFAIL", "");
		break;
	}
}

static void check(enum engine engine, const struct spf_query *q, struct dns_table *t)
{
	struct spf_result r;

	dns_table_forget(t);
	assert(spf_check(engine, q, dns_table_dns(t), &r) == 0);
	assert(r.why && r.domain);
	assert(r.terms <= SPF_TERMS_MAX && r.voids <= SPF_VOIDS_MAX + 1);
	assert(dns_table_asked(t) <= 2 * (2 * (2 + 2 * SPF_TERMS_MAX) + (SPF_TERMS_MAX + 1) * SPF_HOSTS_MAX));
	assert(!r.explanation || r.code == SPF_FAIL);
	for (const char *p = r.explanation; p && *p; p++)
		assert(*p >= ' ' && *p <= '~');
	for (const char *p = r.mechanism; p && *p; p++)
		assert(*p > ' ' && *p <= '~');
	spf_result_release(&r);
}

/* What the checker passes, the expander takes; the name fits. */
static void macros(const char *text, size_t len, const struct spf_query *q)
{
	struct spf_macro_context c = { .sender = q->sender, .local = q->sender, .sender_domain = "d0.example", .domain = "d1.example",
				       .client = &q->client, .helo = q->helo };
	AUTO(buf) struct buf out = BUF_INIT(4096);

	for (int use = SPF_MACRO_DOMAIN; use <= SPF_MACRO_TEXT; use++) {
		int rc;

		if (spf_macro_check(text, len, (enum spf_macro_use)use))
			continue;
		buf_clear(&out);
		rc = spf_macro_expand(text, len, &c, &out);
		assert(rc == 0 || rc == -28);
		rc = spf_macro_domain(text, len, &c, &out);
		assert(rc < 0 || out.len <= SPF_NAME_MAX || !memchr(out.data, '.', out.len));
		assert(spf_macro_count(text, len) <= len / 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_table *t = dns_table_new();
	struct spf_query q = { .receiver = "gw.example", .timeout_ms = 20000, .explain = true };
	size_t len;
	char *client = line_take(&data, &size, &len), *helo = line_take(&data, &size, &len), *sender = line_take(&data, &size, &len);

	if (net_parse(client, &q.client) < 0)
		net_parse(len % 2 ? "192.0.2.1" : "2001:db8::1", &q.client);
	q.helo = helo;
	q.sender = sender[0] == '!' ? NULL : sender;
	for (int i = 0; i < 64 && size > 0; i++) {
		char *line = line_take(&data, &size, &len);

		record_add(t, line, len);
		macros(line, len, &q);
		free(line);
	}
	check(ENGINE_NATIVE, &q, t);
	check(ENGINE_LIBRARY, &q, t);
	dns_table_free(t);
	free(client);
	free(helo);
	free(sender);
	return 0;
}
