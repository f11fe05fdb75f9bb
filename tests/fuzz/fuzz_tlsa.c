/*
 * fuzz_tlsa - TLSA records, the length of each in two octets before it: those that are called usable are taken by OpenSSL, and nothing else counts
 */
#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/dns.h"
#include "base/tls_dane.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ssl_ctx_st *ctx;
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct dns_rr rr[DNS_RR_MAX];
	struct dns_answer a = { .status = DNS_OK, .rr = rr, .secure = true, .why = "" };
	struct tls_dane *d;
	size_t usable = 0;
	int count;

	if (!ctx)
		assert(tls_dane_ctx(&ctx, &err) == 0);
	while (size >= 2 && a.count < DNS_RR_MAX) {
		size_t n = (size_t)data[0] << 8 | data[1];
		struct tls_tlsa t;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		rr[a.count++] = (struct dns_rr){ data, n };
		usable += tls_tlsa_read(data, n, &t) == 0 && tls_tlsa_usable(&t);
		data += n;
		size -= n;
	}
	count = tls_dane_new(&a, "mx.example.com", &d);
	assert(count >= 0 && (size_t)count == (usable < TLS_DANE_RR_MAX ? usable : TLS_DANE_RR_MAX) && (d != NULL) == (count > 0));
	assert(ERR_peek_error() == 0);
	if (d) {
		SSL *ssl = SSL_new(ctx);

		assert(ssl && tls_dane_count(d) == (size_t)count && tls_dane_name(d, "example.com") == 0);
		assert(tls_dane_apply(d, ssl) == 0);
		SSL_free(ssl);
		tls_dane_free(d);
	}
	return 0;
}
