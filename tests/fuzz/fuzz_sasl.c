/*
 * fuzz_sasl - a client's lines in a dialogue of SASL: whatever they are, the name that is kept is one that can be shown, and can
 * be counted by
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>

#include "base/sasl.h"
#include "base/utf8.h"
#include "policy/login_account.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void name_ok(const char *user)
{
	size_t len = strlen(user);
	char account[LOGIN_ACCOUNT_MAX];

	assert(len <= SASL_USER_MAX);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(user + i, len - i);

		assert(n > 0 && (unsigned char)user[i] >= 0x20 && user[i] != 0x7f);
		i += n;
	}
	assert(!login_account(user, "example.com", account)[0] == !user[0] && strlen(account) < sizeof(account));
}

/* The first octet says which mechanism, and whether what follows is lines as they come or one message to be encoded. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char line[16384], names[SASL_NAMES_MAX];
	struct sasl_login l = { 0 };
	const char *p = (const char *)data + 1;

	if (size == 0 || size > 8192)
		return 0;
	l.mechanism = 1u << (data[0] % 10);
	assert(sasl_name(l.mechanism)[0]);
	size--;
	if (data[0] & 0x80) {
		size_t n = (size_t)EVP_EncodeBlock((unsigned char *)line, (const unsigned char *)p, (int)size);

		if (sasl_client_line(&l, true, line, n) == SASL_BAD)
			assert((size > 0 || l.mechanism == SASL_LOGIN) && !l.user[0] && l.step == 0);
		name_ok(l.user);
		assert(sasl_list(sasl_names(sasl_list(p, size), names), strlen(names)) == sasl_list(p, size));
		return 0;
	}
	for (int step = 0; size > 0 && step < 8; step++) {
		const char *end = memchr(p, '\n', size);
		size_t n = end ? (size_t)(end - p) : size, used = end ? n + 1 : n;

		if (sasl_client_line(&l, step == 0, p, n) == SASL_DATA)
			assert(l.step > 0);
		name_ok(l.user);
		p += used;
		size -= used;
	}
	return 0;
}
