/* fuzz_dkim_key - a key record, and the same bytes as a signature field: parsers of what strangers publish */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "filters/dkim_crypto.h"
#include "filters/dkim_key.h"
#include "filters/dkim_sig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dkim_key key;
	static struct dkim_sig sig;
	const char *why = NULL;
	enum dkim_key_state state = dkim_key_parse((const char *)data, size, &key, &why);

	assert(state == DKIM_KEY_GOOD ? key.len > 0 && key.len <= DKIM_KEY_BYTES_MAX && !why : why != NULL);
	assert(state != DKIM_KEY_GOOD || key.type != DKIM_KEY_RSA || (key.bits >= 1024 && key.bits <= 8192));
	if (state == DKIM_KEY_GOOD && key.type == DKIM_KEY_RSA)
		assert(key.modulus.at + key.modulus.len < key.exponent.at && key.exponent.at + key.exponent.len == key.len);
	if (state == DKIM_KEY_GOOD)
		assert(dkim_crypto_check(&key, key.bytes, data, key.bits / 8 < size ? key.bits / 8 : size) == 0);
	if (dkim_sig_parse((const char *)data, size, 1700000000, &sig, &why) == DKIM_SIG_GOOD) {
		assert(sig.domain[0] && sig.selector[0] && strchr(sig.identity, '@') && sig.from_count > 0);
		assert(strlen(sig.domain) + strlen(sig.selector) + 12 < DKIM_NAME_MAX);
	}
	return 0;
}
