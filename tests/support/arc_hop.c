#include "support/arc_hop.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "filters/arc_set.h"
#include "filters/dkim_body.h"
#include "filters/dkim_canon.h"
#include "filters/dkim_header.h"
#include "filters/dkim_tag.h"

struct arc_key {
	EVP_PKEY *pkey;
	char domain[100], selector[60];
	bool rsa;
};

static struct arc_key *key_new(const char *domain, const char *selector)
{
	struct arc_key *k = calloc(1, sizeof(*k));

	assert(k);
	snprintf(k->domain, sizeof(k->domain), "%s", domain);
	snprintf(k->selector, sizeof(k->selector), "%s", selector);
	return k;
}

struct arc_key *arc_key_fixed(const char *domain, const char *selector, unsigned char octet)
{
	struct arc_key *k = key_new(domain, selector);
	unsigned char raw[32];

	memset(raw, octet, sizeof(raw));
	k->pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
	assert(k->pkey);
	return k;
}

struct arc_key *arc_key_new(const char *domain, const char *selector, int rsa_bits)
{
	struct arc_key *k = key_new(domain, selector);

	k->rsa = rsa_bits > 0;
	k->pkey = k->rsa ? EVP_RSA_gen((unsigned)rsa_bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert(k->pkey);
	return k;
}

void arc_key_free(struct arc_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

static void base64(const unsigned char *p, size_t len, struct buf *out)
{
	char *text = malloc(len / 3 * 4 + 8);

	assert(text);
	EVP_EncodeBlock((unsigned char *)text, p, (int)len);
	buf_adds(out, text);
	free(text);
}

void arc_key_publish(const struct arc_key *k, struct dns_table *t)
{
	AUTO(buf) struct buf record = BUF_INIT(4000);
	unsigned char raw[32], *der = NULL;
	size_t n = sizeof(raw);
	char name[200];

	buf_addf(&record, "v=DKIM1; k=%s; p=", k->rsa ? "rsa" : "ed25519");
	if (k->rsa) {
		int len = i2d_PUBKEY(k->pkey, &der);

		assert(len > 0);
		base64(der, (size_t)len, &record);
		OPENSSL_free(der);
	} else {
		int ok = EVP_PKEY_get_raw_public_key(k->pkey, raw, &n);

		assert(ok == 1);
		base64(raw, n, &record);
	}
	snprintf(name, sizeof(name), "%s._domainkey.%s", k->selector, k->domain);
	dns_table_add(t, name, "TXT", buf_str(&record));
}

/* Behind "b=" at the end of out: the signature of the hash. */
static void sign(const struct arc_key *k, const unsigned char hash[DKIM_HASH_BYTES], struct buf *out)
{
	unsigned char raw[1024];
	size_t n = sizeof(raw);
	int ok;

	if (k->rsa) {
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->pkey, NULL);

		ok = ctx && EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 && EVP_PKEY_sign(ctx, raw, &n, hash, DKIM_HASH_BYTES) == 1;
		EVP_PKEY_CTX_free(ctx);
	} else {
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();

		ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 && EVP_DigestSign(ctx, raw, &n, hash, DKIM_HASH_BYTES) == 1;
		EVP_MD_CTX_free(ctx);
	}
	assert(ok);
	base64(raw, n, out);
}

struct fields {
	struct dkim_header *header;
	struct arc_sets sets;
	size_t body_at;
};

static void fields_read(struct fields *x, const char *p, size_t len)
{
	size_t at = 0;

	memset(x, 0, sizeof(*x));
	x->header = dkim_header_new();
	assert(x->header);
	while (at < len && strncmp(p + at, "\r\n", 2) != 0) {
		const char *end = p + at;

		do {
			end = strstr(end, "\r\n");
			assert(end);
			end += 2;
		} while (*end == ' ' || *end == '\t');
		dkim_header_add(x->header, p + at, (size_t)(end - p) - at);
		arc_sets_field(&x->sets, p + at, (size_t)(end - p) - at);
		at = (size_t)(end - p);
	}
	arc_sets_end(&x->sets);
	x->body_at = at + 2 <= len ? at + 2 : len;
	dkim_header_ready(x->header);
}

static void ams_make(const struct arc_hop *hop, struct fields *x, const char *p, size_t len, struct buf *out)
{
	const struct arc_key *k = hop->ams_key ? hop->ams_key : hop->key;
	const char *c = hop->c ? hop->c : "relaxed/relaxed", *slash = strchr(c, '/'), *names = hop->h ? hop->h : "from:to:subject", *item;
	struct dkim_tag h = { .value = names, .len = strlen(names) };
	struct dkim_body *body = dkim_body_new(slash && strcmp(slash, "/relaxed") == 0, false, 0);
	unsigned char hash[DKIM_HASH_BYTES];
	struct dkim_hash running;
	bool relaxed = strncmp(c, "relaxed", 7) == 0;
	uint64_t octets;
	size_t pos = 0, n;
	int rc;

	assert(body);
	dkim_body_add(body, p + x->body_at, len - x->body_at);
	rc = dkim_body_end(body, hash, &octets);
	assert(rc == 0);
	dkim_body_free(body);
	buf_addf(out, "ARC-Message-Signature: i=%u; a=%s; c=%s; d=%s; s=%s; %sh=%s; bh=", hop->instance, k->rsa ? "rsa-sha256" : "ed25519-sha256", c,
		 k->domain, k->selector, hop->more ? hop->more : "", names);
	base64(hash, sizeof(hash), out);
	buf_adds(out, "; b=");
	rc = dkim_hash_begin(&running);
	assert(rc == 0);
	dkim_header_rewind(x->header, SIZE_MAX);
	while (dkim_tag_item(&h, &pos, &item, &n)) {
		const struct dkim_field *f = n ? dkim_header_up(x->header, item, n) : NULL;

		if (f)
			dkim_canon_field(&running, f->raw, f->len, relaxed, 0);
	}
	dkim_canon_field(&running, out->data, out->len, relaxed, DKIM_CANON_LAST);
	rc = dkim_hash_end(&running, hash);
	assert(rc == 0);
	sign(k, hash, out);
}

static void add(struct dkim_hash *h, const struct arc_field *f)
{
	if (f->raw)
		dkim_canon_field(h, f->raw, f->len, true, 0);
}

static void seal_make(const struct arc_hop *hop, const struct fields *x, const struct buf *aar, const struct buf *ams, struct buf *out)
{
	bool alone = strcmp(hop->cv, "fail") == 0;      /* RFC 8617 section 5.1.2 */
	unsigned char hash[DKIM_HASH_BYTES];
	struct dkim_hash running;
	int rc = dkim_hash_begin(&running);

	assert(rc == 0);
	for (unsigned i = 1; i < hop->instance && !alone; i++) {
		add(&running, &x->sets.set[i - 1].aar);
		add(&running, &x->sets.set[i - 1].ams);
		add(&running, &x->sets.set[i - 1].as);
	}
	buf_addf(out, "ARC-Seal: i=%u; a=%s; cv=%s; d=%s; s=%s; b=", hop->instance, hop->key->rsa ? "rsa-sha256" : "ed25519-sha256", hop->cv,
		 hop->key->domain, hop->key->selector);
	dkim_canon_field(&running, aar->data, aar->len, true, 0);
	dkim_canon_field(&running, ams->data, ams->len, true, 0);
	dkim_canon_field(&running, out->data, out->len, true, DKIM_CANON_LAST);
	rc = dkim_hash_end(&running, hash);
	assert(rc == 0);
	sign(hop->key, hash, out);
}

char *arc_hop_seal(const struct arc_hop *hop, const char *message, size_t len, size_t *out_len)
{
	AUTO(buf) struct buf aar = BUF_INIT(1 << 20), ams = BUF_INIT(1 << 20), as = BUF_INIT(1 << 20);
	struct buf out = BUF_INIT(SIZE_MAX / 2);
	struct fields x;

	fields_read(&x, message, len);
	buf_addf(&aar, "ARC-Authentication-Results: i=%u; %s", hop->instance, hop->results);
	ams_make(hop, &x, message, len, &ams);
	seal_make(hop, &x, &aar, &ams, &as);
	dkim_header_free(x.header);
	buf_addf(&out, "%s\r\n%s\r\n%s\r\n", buf_str(&as), buf_str(&ams), buf_str(&aar));
	buf_add(&out, message, len);
	*out_len = out.len;
	return buf_steal(&out);
}
