/*
 * fuzz_message - the header reader and what is made of a header: pieces of any size give the same fields, octets come back as they were,
 * trace and outgoing headers stay well-formed
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "policy/conf.h"
#include "smtp/outgoing.h"
#include "smtp/trace.h"

static const struct message_limits limits = { .memory_bytes = 600, .header_bytes = 4096, .header_fields = 40 };

static void check(int truth)
{
	if (!truth)
		abort();
}

static int open_memfd(void *arg)
{
	return memfd_create("fuzz", MFD_CLOEXEC);
}

/* NULL: refused. */
static struct message *feed(const char *p, size_t len, size_t step)
{
	struct message *m = message_new(&limits, open_memfd, NULL);
	int rc = 0;

	check(m != NULL);
	for (size_t i = 0; i < len && rc == 0; i += step)
		rc = message_add(m, p + i, len - i < step ? len - i : step);
	if (rc == 0)
		rc = message_end(m);
	if (rc == 0)
		return m;
	message_free(m);
	return NULL;
}

static void check_octets(struct message *m, const char *want, size_t len)
{
	check(message_size(m) == len);
	for (size_t off = 0; off < len;) {
		const char *p;
		size_t n;

		check(message_read(m, off, &p, &n) == 0 && n > 0 && n <= len - off);
		check(memcmp(p, want + off, n) == 0);
		off += n;
	}
}

/* Fields lie one behind the other, from the start to the empty line. */
static void check_fields(const struct message *m)
{
	const char *at = NULL;

	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *h = message_field(m, i);

		check(!at || h->raw == at);
		check(h->name == h->raw && h->name_len > 0 && h->name_len < h->raw_len);
		check(h->body > h->raw && h->body + h->body_len <= h->raw + h->raw_len && h->body[-1] == ':');
		at = h->raw + h->raw_len;
	}
}

static void check_same(const struct message *a, const struct message *b)
{
	check(message_field_count(a) == message_field_count(b));
	check(message_body_offset(a) == message_body_offset(b));
	check(message_has_bare(a) == message_has_bare(b) && message_has_nul(a) == message_has_nul(b));
	check(message_has_8bit(a) == message_has_8bit(b) && message_header_broken(a) == message_header_broken(b));
}

static void make_outgoing(struct message *m)
{
	static struct site site = { .hostname = (char *)"gate.example", .authserv_id = (char *)"gate.example", .add_received_spf = true };
	static struct client client = { .ip = "192.0.2.7", .helo = (char *)"x.example" };
	static const struct rule tag = { .action = ACTION_TAG, .argument = (char *)"[X] " };
	static const struct rule *const tags[] = { &tag };
	struct txn t = { .site = &site, .client = &client, .message = m, .id = "1-1",
			 .env = { .from = (char *)"a@b.example", .from_domain = (char *)"b.example", .params = (char *)"" } };
	AUTO(buf) struct buf out = BUF_INIT(outgoing_bound(m));

	trace_check(m, "gate.example", 10, 1);
	check(outgoing_header(&t, false, tags, 1, &out) == 0 && out.len > 0);
	check(memcmp(out.data, "Authentication-Results: ", 24) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int ready;
	struct message *whole, *pieces;

	if (!ready)
		fact_register_all();
	ready = 1;
	if (size < 1)
		return 0;
	whole = feed((const char *)data + 1, size - 1, size);
	pieces = feed((const char *)data + 1, size - 1, 1 + data[0] % 61);
	check(!whole == !pieces);
	if (whole) {
		check_octets(whole, (const char *)data + 1, size - 1);
		check_octets(pieces, (const char *)data + 1, size - 1);
		check_fields(whole);
		check_fields(pieces);
		check_same(whole, pieces);
		make_outgoing(whole);
	}
	message_free(whole);
	message_free(pieces);
	return 0;
}
