/* Reports of a day as octets, from the disk or from a keeper: a head after its length in two octets, then rows. What is read is within its bounds. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/rua_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dmarc_report *r)
{
	assert(r->policy.domain && r->policy.p);
	for (size_t i = 0; i < r->record_count; i++) {
		const struct dmarc_report_record *rec = &r->records[i];

		assert(rec->source_ip && rec->count && rec->disposition && rec->dkim_aligned && rec->spf_aligned && rec->header_from);
		assert(rec->dkim_count <= RUA_SIGNATURES_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(rua_domains) struct rua_domains *d = calloc(1, sizeof(*d));
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	struct rua_reader in;
	size_t head;

	if (size < 2)
		return 0;
	head = (size_t)data[0] << 8 | data[1];
	data += 2, size -= 2;
	head = head < size ? head : size;
	assert(d && r);
	in = rua_reader(data, head);
	for (int rc = 0; rc == 0;) {
		rc = rua_get_domain(&in, d);
		assert(rc == 0 || rc == -ENOENT || rc == -EBADMSG);
	}
	for (size_t i = 0; i < d->count; i++) {
		assert(strlen(d->domain[i].name) < DOMAIN_MAX && d->domain[i].rua_count <= RUA_ADDRESSES_MAX);
		for (size_t k = 0; k < d->domain[i].rua_count; k++)
			assert(strlen(d->domain[i].rua[k]) <= RUA_URI_MAX);
	}
	if (rua_get_report(data, head, data + head, size - head, r) == 0)
		check(r);
	return 0;
}
