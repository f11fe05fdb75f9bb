#include "command/dkim_published.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/dkim_key.h"
#include "filters/domain.h"

enum { RECORDS_MAX = 8, STRING_MAX = 255, RECORD_MAX = 4096 };

int dkim_published_name(const char *selector, const char *domain, char *out)
{
	int n = snprintf(out, DOMAIN_MAX, "%s._domainkey.%s", selector, domain);

	return n < DOMAIN_MAX ? 0 : -EINVAL;
}

int dkim_published_zone(const char *name, const char *record, struct buf *out)
{
	size_t len = strlen(record);

	buf_addf(out, "%s. IN TXT (", name);
	for (size_t at = 0; at < len; at += STRING_MAX)
		buf_addf(out, "%s\"%.*s\"", at ? "\n\t" : " ", STRING_MAX, record + at);
	return buf_adds(out, " )\n");
}

static bool same_key(const struct dkim_key *published, const struct dkim_private *key)
{
	AUTO(buf) struct buf record = BUF_INIT(RECORD_MAX);
	struct dkim_key ours;
	const char *why;

	if (dkim_private_record(key, &record) < 0 || dkim_key_parse(record.data, record.len, &ours, &why) != DKIM_KEY_GOOD)
		return false;
	return ours.type == published->type && ours.len == published->len && memcmp(ours.bytes, published->bytes, ours.len) == 0;
}

static enum dkim_published one(const struct dns_rr *rr, const struct dkim_private *key, char *why, size_t size)
{
	struct dkim_key published;
	enum dkim_key_state state;
	const char *wrong = "it cannot be read";
	char *text = NULL;
	size_t len = 0;

	if (dns_txt(rr, &text, &len) < 0) {
		snprintf(why, size, "the record cannot be read");
		return DKIM_PUBLISHED_BAD;
	}
	state = dkim_key_parse(text, len, &published, &wrong);
	free(text);
	if (state == DKIM_KEY_REVOKED) {
		snprintf(why, size, "the key is revoked (p= is empty)");
		return DKIM_PUBLISHED_REVOKED;
	}
	if (state != DKIM_KEY_GOOD) {
		snprintf(why, size, "the record is no key that can be used: %s", wrong);
		return DKIM_PUBLISHED_BAD;
	}
	if (key && !same_key(&published, key)) {
		snprintf(why, size, "another key is published, of %u bits%s", published.bits, published.type == DKIM_KEY_RSA ? "" : " (Ed25519)");
		return DKIM_PUBLISHED_OTHER;
	}
	snprintf(why, size, published.testing ? "the record says that the domain is only trying (t=y): signatures count nothing" :
		 "%s key of %u bits", published.type == DKIM_KEY_RSA ? "RSA" : "Ed25519", published.bits);
	return published.testing ? DKIM_PUBLISHED_TESTING : DKIM_PUBLISHED_GOOD;
}

enum dkim_published dkim_published_judge(const struct dns_answer *a, const struct dkim_private *key, char *why, size_t size)
{
	enum dkim_published first = DKIM_PUBLISHED_BAD, best = DKIM_PUBLISHED_BAD;
	char first_why[200] = "";

	if (a->status == DNS_TEMPFAIL) {
		snprintf(why, size, "the DNS gave no answer");
		return DKIM_PUBLISHED_UNKNOWN;
	}
	if (a->status != DNS_OK) {
		snprintf(why, size, "there is no such record");
		return DKIM_PUBLISHED_MISSING;
	}
	for (size_t i = 0; i < a->count && i < RECORDS_MAX; i++) {
		best = one(&a->rr[i], key, why, size);
		if (i == 0) {
			first = best;
			snprintf(first_why, sizeof(first_why), "%s", why);
		}
		if (best == DKIM_PUBLISHED_GOOD || best == DKIM_PUBLISHED_TESTING)
			break;
	}
	if (best != DKIM_PUBLISHED_GOOD && best != DKIM_PUBLISHED_TESTING) {
		snprintf(why, size, "%s", first_why);
		return first;
	}
	if (a->count > 1 && best == DKIM_PUBLISHED_GOOD) {
		snprintf(why, size, "there are %zu records of this name: expected one, verifiers may take any of them", a->count);
		return DKIM_PUBLISHED_SEVERAL;
	}
	return best;
}
