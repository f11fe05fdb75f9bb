#include "support/dns_any.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct answer {
	struct dns_lookup lookup;
	struct dns_rr rr;
	uint8_t data[2048];
};

struct buf dns_any_record = BUF_INIT(1900);

static int lookup_start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	struct answer *a = calloc(1, sizeof(*a));
	size_t n = 0;

	assert(a);
	for (size_t at = 0; at < dns_any_record.len; at += 255) {
		size_t part = dns_any_record.len - at < 255 ? dns_any_record.len - at : 255;

		a->data[n++] = (uint8_t)part;
		memcpy(a->data + n, dns_any_record.data + at, part);
		n += part;
	}
	a->rr = (struct dns_rr){ .data = a->data, .len = n };
	a->lookup.answer = (struct dns_answer){ .status = DNS_OK, .count = 1, .rr = &a->rr, .why = "" };
	a->lookup.ops = d->ops;
	future_resolve(&a->lookup.future, 0);
	*out = &a->lookup;
	return 0;
}

static void lookup_drop(struct dns_lookup *l)
{
	free(l);
}

static const struct dns_ops ops = { .start = lookup_start, .drop = lookup_drop };
struct dns dns_any = { .ops = &ops, .timeout_ms = 1000 };
