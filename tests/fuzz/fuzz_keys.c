/*
 * fuzz_keys - what a worker sends to the key process: whatever it is, only keys for that purpose sign, and only what a TLS server, a DKIM signer or the site's CA
 * would have signed
 *
 * The first octet is the kind of request, the rest its payload, with the number of the key in front.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/key_scheme.h"
#include "process/channel.h"
#include "process/keys_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(unsigned type, const struct keys_request *r, const uint8_t *p, size_t len)
{
	AUTO(buf) struct buf again = BUF_INIT(KEYS_REQUEST_MAX + 64);
	int rc = type == CHANNEL_KEYS_SIGN ? keys_sign_write(&again, r->number, r->scheme, r->p, r->len) :
		 type == CHANNEL_KEYS_DKIM ? keys_dkim_write(&again, r->number, r->p) : keys_mint_write(&again, r->number, r->point, r->p, r->len);

	assert(rc == 0 && again.len == len && memcmp(again.data, p, len) == 0);
}

static void names(const struct keys_request *r)
{
	const unsigned char *p;
	size_t at = 0, n, count = 0;
	int kind;

	while (tls_ca_name_next(r->p, r->len, &at, &kind, &p, &n)) {
		assert(p >= r->p && p + n <= r->p + r->len && n > 0 && n <= TLS_CA_NAME_BYTES);
		assert(!memchr(p, 0, n) || kind == TLS_CA_ADDRESS);
		count++;
	}
	assert(at == r->len && count > 0 && count <= TLS_CA_NAMES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct keys_request r;
	unsigned type;
	uint8_t *copy;

	if (size == 0)
		return 0;
	type = CHANNEL_KEYS_SIGN + data[0] % 4;
	copy = malloc(size);                    /* so that a read behind its end is seen */
	assert(copy);
	memcpy(copy, data + 1, size - 1);
	if (keys_request_read(type, copy, size - 1, &r)) {
		assert(type <= CHANNEL_KEYS_MINT);
		same(type, &r, copy, size - 1);
		if (type == CHANNEL_KEYS_SIGN)
			assert(key_scheme_known(r.scheme) && r.len <= KEYS_SIGNED_MAX && keys_is_handshake(r.scheme, r.p, r.len));
		else if (type == CHANNEL_KEYS_DKIM)
			assert(r.len == KEYS_HASH_BYTES);
		else
			names(&r);
	}
	free(copy);
	return 0;
}
