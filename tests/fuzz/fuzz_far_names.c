/*
 * fuzz_far_names - a certificate of another server, DER: the names that one of the site's own CA gets for it are a list that the key process takes
 */
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <string.h>

#include "base/tls_ca.h"
#include "base/tls_mint.h"
#include "support/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf asked = BUF_INIT(TLS_CA_LIST_BYTES + 1);

/* There is no certificate, and it says so: what is asked for is what matters. */
static int mint(void *arg, const unsigned char *point, const unsigned char *names, size_t len, struct buf *der)
{
	assert(point[0] == 4 && tls_ca_names_good(names, len) && len <= TLS_CA_LIST_BYTES);
	buf_clear(&asked);
	assert(buf_add(&asked, names, len) == 0);
	return -ENOKEY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tls_minter by = { .mint = mint };
	static struct tls_mint *m;
	static SSL *ssl;
	AUTO(buf) struct buf err = BUF_INIT(1000);
	unsigned char digest[2][32];
	X509 *far;
	int rc;

	if (!m) {
		struct certificate *ca = certificate_new("ca", NULL, -1000, 1000000);

		assert(tls_mint_new(certificate_pem(ca), &by, &m, &err) == 0);
		certificate_free(ca);
		ssl = SSL_new(tls_mint_ctx(m));
	}
	far = d2i_X509(NULL, &data, (long)size);
	ERR_clear_error();
	if (!far)
		return 0;
	rc = tls_mint_use(m, far, ssl);
	assert(rc == -ENOKEY || rc == -EINVAL);
	assert(tls_names_digest(far, digest[0]) == (rc == -ENOKEY ? 0 : -EINVAL));
	if (rc == -ENOKEY)
		assert(tls_names_digest(far, digest[1]) == 0 && memcmp(digest[0], digest[1], sizeof(digest[0])) == 0);
	assert(ERR_peek_error() == 0);
	X509_free(far);
	return 0;
}
