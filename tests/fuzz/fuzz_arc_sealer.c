/*
 * fuzz_arc_sealer - whatever is sealed verifies as it is on the wire, and a second seal above the first does
 *
 * Input: a message. What is found of its chain is what our own verifier finds. It is sealed, put together as DATA sends it, and verified; then once
 * more. A header is no other than itself for signed_change, and is with a seal above it.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/arc_sealer.h"
#include "filters/arc_verify.h"
#include "filters/crlf.h"
#include "filters/dkim_signer.h"
#include "filters/message.h"
#include "filters/signed_change.h"
#include "support/dns_table.h"

enum { NOW_S = 1700000000, WIRE_MAX = 4 << 20 };

static char *fields[] = { "To", "Subject", "Date", "X-A", "DKIM-Signature" };
static struct arc_seal_conf conf = { .domain = "example.com", .selector = "s", .field = fields, .field_count = 5 };
static struct dns_table *dns;

/* Always the same key and time: an input does the same in each run. */
static const char pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBALiLq94WW+aSEheW\n"
	"zqLByBnFmWqRrBr18DdyszbQ5nhu6VPe30gVDe9TDr6+P12ksz4Xa6kyF9s0oWr+\n"
	"Eq1r7UCVpODYB9wm/lyisuFyLQ9mcx2dY7H0zyg2vf/GORkwZlmkn11jvdUvfQcp\n"
	"90WVCSEVTckzE055n+Oc2eFRkxp7AgMBAAECgYARikzyleN0Pcv0bAQF2i8/q9VS\n"
	"GLhn85o6Wu+HtUFCjyAkNZm5Sy8A4T8UiBaTuvTCYQ19jmJQFmeFONLjos9w259P\n"
	"prXPbtRTy8DqkDjgpBM2f2Te90OzanVJeZaaHkWcDk9YW1crSD12+5zsrOovl2bY\n"
	"eeNHaVkr7eqosxyUuQJBAOhZsVcPcxkgopf+wD9DsFitENb0R+0R2UfGbvXoauYg\n"
	"M7Leqf4Q6COZkJ7Tnyvd5NbExeKLAJntVyvWOJIJm68CQQDLVFbVcvWASwWeLOdo\n"
	"xejGg/tTGUyEKDe03ddNVRci9E72qwPBwTPsf/8b+QT775TJWLpLUrMyKEiAsIiT\n"
	"66T1AkEAhy/gecoYaq9NSuhDDMwiZ4XSfW7GBo5TAGrZFqSyxdBIpDLfb16A4m2v\n"
	"8mkofEpvofH9PNEpeWXZST0rzvReKwJBAMkgbSCIrZWxICZ9ro4yLnanuSRTAyA7\n"
	"FBeB1WY2hENcPPu84GN5NF59oiDOa4K2U4vzi5vUe1NjC4zYktEXKD0CQBgmK5lP\n"
	"aPi5sQN/BzAGCHH7U30ToGAHjAlUy9C3QuI8E2TTfu9VoNUH3yBdn2ltFz5KBWbR\n"
	"ZkQjsIVGBEgnGkI=\n"
	"-----END PRIVATE KEY-----\n";

static void begin(void)
{
	AUTO(buf) struct buf record = BUF_INIT(4096);
	const char *why;

	conf.key = dkim_private_read(pem, sizeof(pem) - 1, &why);
	assert(conf.key && dkim_private_record(conf.key, &record) == 0);
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

static struct arc_result verify(struct message *m, const char *p, size_t len)
{
	AUTO(arc_verify) struct arc_verify *v = arc_verify_new(dns_table_dns(dns));
	size_t off = message_body_offset(m);
	struct arc_result r;
	int rc = 0;

	assert(v);
	for (size_t i = 0; i < message_field_count(m) && rc == 0; i++)
		rc = arc_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len);
	assert(rc == 0 && arc_verify_header_end(v) == 0 && arc_verify_body(v, p + off, len - off) == 0 && arc_verify_finish(v, &r) == 0);
	dns_table_forget(dns);
	return r;
}

static enum arc_cv found(const struct arc_result *r)
{
	return r->state == ARC_PASS ? ARC_CV_PASS : r->state == ARC_FAIL ? ARC_CV_FAIL : r->state == ARC_NONE ? ARC_CV_NONE : ARC_CV_UNREAD;
}

/* The message on the wire, sealed; what our verifier says of it. false: it is not sealed. */
static bool seal(const char *p, size_t len, struct buf *wire, struct arc_result *came, struct arc_result *sealed)
{
	static const char results[] = "mx.example.com; spf=pass";
	AUTO(message) struct message *m = message_of(p, len), *after = NULL;
	AUTO(buf) struct buf set = BUF_INIT(ARC_SEAL_MAX);
	struct arc_seal_order order = { .conf = &conf, .header = p, .results = results, .results_len = sizeof(results) - 1, .now_s = NOW_S };
	struct crlf lines = { .put = put, .arg = wire };
	const char *why = NULL;
	int rc;

	/* What a session refuses, or sets right before anything is made of it. */
	if (!m || message_header_broken(m) || message_header_has_bare_cr(m) || message_field_count(m) == 0)
		return false;
	order.len = message_body_offset(m);
	*came = verify(m, p, len);
	order.found = found(came);
	rc = signed_change(m, p, order.len, fields, 5);
	assert(rc == 0 || rc == 1);             /* 1: more names than are looked at */
	assert(dkim_signer_body(m, true, order.body_hash) == 0);
	rc = arc_sealer_seal(&order, &set, &why);
	if (rc != 0) {
		assert(why && (rc < 0 || came->state != ARC_NONE));
		return false;
	}
	buf_add(wire, set.data, set.len);
	assert(crlf_add(&lines, p, len) == 0 && crlf_end(&lines) == 0);
	if (memcmp(wire->data + wire->len - 2, "\r\n", 2) != 0)
		buf_adds(wire, "\r\n");
	after = message_of(wire->data, wire->len);
	assert(after);
	*sealed = verify(after, wire->data, wire->len);
	assert(signed_change(m, wire->data, message_body_offset(after), fields, 5) == 1);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf once = BUF_INIT(WIRE_MAX), twice = BUF_INIT(WIRE_MAX);
	struct arc_result came, sealed, again;

	if (size == 0 || size > 100000)
		return 0;
	if (!dns)
		begin();
	if (!seal((const char *)data, size, &once, &came, &sealed))
		return 0;
	if (came.state == ARC_FAIL)
		assert(sealed.state == ARC_FAIL && !seal(once.data, once.len, &twice, &came, &again));
	else
		assert(sealed.state == ARC_PASS && sealed.count == came.count + 1);
	if (sealed.state == ARC_PASS && sealed.count < ARC_SETS_MAX)
		assert(seal(once.data, once.len, &twice, &came, &again) && again.state == ARC_PASS && again.count == sealed.count + 1);
	return 0;
}
