#include "base/tls_peer.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls.h"

/* For servers that have nothing newer: AES all the same, with the key exchanged by RSA. */
static const char OLD[] = ":kRSA+AES";
static const char NEVER[] = ":!aNULL:!eNULL";

struct pins {
	size_t count;
	struct tls_pin pin[];
};

/* --- pins --- */

bool tls_pin_parse(const char *text, struct tls_pin *out)
{
	static const char cert[] = "sha256:", key[] = "sha256-key:";
	const char *p = text;
	int high = -1;
	size_t n = 0;

	out->key = strncmp(p, key, strlen(key)) == 0;
	if (!out->key && strncmp(p, cert, strlen(cert)) != 0)
		return false;
	for (p += strlen(out->key ? key : cert); *p; p++) {
		int digit = isdigit((unsigned char)*p) ? *p - '0' : tolower((unsigned char)*p) - 'a' + 10;

		if (*p == ':' && high < 0 && n > 0 && n < TLS_PIN_BYTES && p[-1] != ':')
			continue;
		if (!isxdigit((unsigned char)*p) || n == TLS_PIN_BYTES)
			return false;
		if (high < 0) {
			high = digit;
			continue;
		}
		out->digest[n++] = (unsigned char)(high << 4 | digit);
		high = -1;
	}
	return n == TLS_PIN_BYTES && high < 0;
}

const char *tls_pin_text(const struct tls_pin *pin, char out[TLS_PIN_TEXT_MAX])
{
	int n = snprintf(out, TLS_PIN_TEXT_MAX, "%s:", pin->key ? "sha256-key" : "sha256");

	for (size_t i = 0; i < TLS_PIN_BYTES; i++)
		n += snprintf(out + n, TLS_PIN_TEXT_MAX - (size_t)n, "%02x", pin->digest[i]);
	return out;
}

bool tls_pin_of(const struct x509_st *cert, bool key, struct tls_pin *out)
{
	unsigned char *der = NULL;
	int len = key ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : i2d_X509(cert, &der);
	bool good = len > 0 && EVP_Digest(der, (size_t)len, out->digest, NULL, EVP_sha256(), NULL) == 1;

	out->key = key;
	OPENSSL_free(der);
	ERR_clear_error();
	return good;
}

static void pins_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	free(ptr);
}

/* Where a context keeps its pins. */
static int pins_place(void)
{
	static int place = -1;

	if (place < 0)
		place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, pins_free);
	return place;
}

static int pins_set(SSL_CTX *ctx, const struct tls_pin *pin, size_t count, struct buf *err)
{
	struct pins *p = malloc(sizeof(*p) + count * sizeof(*pin));

	if (p && pins_place() >= 0) {
		p->count = count;
		memcpy(p->pin, pin, count * sizeof(*pin));
		if (SSL_CTX_set_ex_data(ctx, pins_place(), p) == 1)
			return 0;
	}
	free(p);
	return tls_refuse(err, "no memory for tls_pin");
}

int tls_peer_pinned(struct ssl_st *ssl, struct buf *seen)
{
	const struct pins *p = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), pins_place());
	const X509 *cert = p ? SSL_get0_peer_certificate(ssl) : NULL;
	struct tls_pin its[2];
	char text[TLS_PIN_TEXT_MAX];
	bool keys_only = true;

	if (!p)
		return 0;
	if (!cert || !tls_pin_of(cert, false, &its[0]) || !tls_pin_of(cert, true, &its[1])) {
		buf_adds(seen, "it shows no certificate");
		return -EACCES;
	}
	for (size_t i = 0; i < p->count; i++) {
		if (memcmp(p->pin[i].digest, its[p->pin[i].key].digest, TLS_PIN_BYTES) == 0)
			return 1;
		keys_only &= p->pin[i].key;
	}
	buf_addf(seen, "its %s is %s, which is none of tls_pin", keys_only ? "key" : "certificate", tls_pin_text(&its[keys_only], text));
	return -EACCES;
}

/* --- protocols and suites --- */

static bool old(const struct tls_peer *p)
{
	return p->min < TLS_VERSION_1_2;
}

static int suites_set(SSL_CTX *ctx, const struct tls_peer *p, struct buf *err)
{
	AUTO(buf) struct buf list = BUF_INIT(4096);

	if (!p->ciphers && !old(p))
		return 0;
	buf_addf(&list, "%s%s%s", p->ciphers ? p->ciphers : tls_suites(), p->ciphers ? "" : OLD, NEVER);
	if (SSL_CTX_set_cipher_list(ctx, buf_str(&list)) != 1)
		return tls_refuse(err, "tls_ciphers: there is nothing usable in the list");
	return 0;
}

static int apply(SSL_CTX *ctx, const struct tls_peer *p, struct buf *err)
{
	static const int versions[] = { TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION };
	int rc;

	SSL_CTX_set_min_proto_version(ctx, versions[p->min]);
	if (p->level != TLS_LEVEL_DEFAULT)
		SSL_CTX_set_security_level(ctx, p->level);
	if (p->level == 0 || !(SSL_CTX_get_verify_mode(ctx) & SSL_VERIFY_PEER || p->pin_count))
		SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
	rc = suites_set(ctx, p, err);
	return rc == 0 && p->pin_count ? pins_set(ctx, p->pin, p->pin_count, err) : rc;
}

int tls_peer_ctx(const struct tls_peer *p, struct ssl_ctx_st **out, struct buf *err)
{
	SSL_CTX *ctx;
	int rc = tls_client_ctx(p->verify && !p->pin_count, p->ca_pem, &ctx, err);

	if (rc < 0)
		return rc;
	rc = apply(ctx, p, err);
	if (rc < 0) {
		SSL_CTX_free(ctx);
		return rc;
	}
	*out = ctx;
	return 0;
}

int tls_suites_look(const char *ciphers, char none[TLS_SUITE_MAX])
{
	AUTO(buf) struct buf text = BUF_INIT(4096);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	STACK_OF(SSL_CIPHER) *list = NULL;
	int rc = -EINVAL;

	none[0] = '\0';
	if (ctx && buf_addf(&text, "%s%s", ciphers, NEVER) == 0) {
		SSL_CTX_set_security_level(ctx, 0);
		/* Those of TLS 1.3 are always there, and not meant. */
		SSL_CTX_set_ciphersuites(ctx, "");
		rc = SSL_CTX_set_cipher_list(ctx, buf_str(&text)) == 1 ? 0 : -EINVAL;
	}
	if (rc == 0)
		list = SSL_CTX_get_ciphers(ctx);
	for (int i = 0; list && i < sk_SSL_CIPHER_num(list) && !none[0]; i++) {
		const SSL_CIPHER *c = sk_SSL_CIPHER_value(list, i);
		int kx = SSL_CIPHER_get_kx_nid(c);

		if (kx == NID_kx_rsa || kx == NID_kx_psk || kx == NID_kx_rsa_psk)
			snprintf(none, TLS_SUITE_MAX, "%s", SSL_CIPHER_get_name(c));
	}
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return rc;
}

int tls_level_own(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int level = ctx ? SSL_CTX_get_security_level(ctx) : 1;

	SSL_CTX_free(ctx);
	ERR_clear_error();
	return level;
}
