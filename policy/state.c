#include "policy/state.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { RANDOM_BYTES = 16 };

int state_run(struct state *s, struct state_op *ops, size_t count)
{
	return s->run(s, ops, count);
}

/*
 * "#" and the hash in hex: no key of text begins so, since parts are addresses, networks and
 * domains.
 */
static void key_hash(const EVP_MD_CTX *ctx, char *out)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	EVP_MD_CTX *copy = ctx ? EVP_MD_CTX_new() : NULL;

	if (!copy || EVP_MD_CTX_copy_ex(copy, ctx) != 1 || EVP_DigestFinal_ex(copy, md, &len) != 1) {
		/* Without memory: a key that nobody else has, rather than one for all. */
		len = RANDOM_BYTES;
		(void)!getrandom(md, len, 0);
	}
	EVP_MD_CTX_free(copy);
	ERR_clear_error();
	*out++ = '#';
	for (unsigned i = 0; i < len; i++, out += 2)
		snprintf(out, 3, "%02x", md[i]);
	*out = 0;
}

void state_key(struct state_op *op, const char *space, const char *part, ...)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool first = true, fits = true;
	size_t used = 0;
	va_list ap;

	memset(op->key, 0, sizeof(op->key));
	snprintf(op->space, sizeof(op->space), "%s", space);
	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	va_start(ap, part);
	for (const char *p = part; p; p = va_arg(ap, const char *), first = false) {
		size_t len = strlen(p);

		if (ctx) {
			if (!first)
				EVP_DigestUpdate(ctx, " ", 1);
			EVP_DigestUpdate(ctx, p, len);
		}
		if (!fits || used + !first + len >= sizeof(op->key)) {
			fits = false;
			continue;
		}
		if (!first)
			op->key[used++] = ' ';
		memcpy(op->key + used, p, len);
		used += len;
	}
	va_end(ap);
	if (!fits)
		key_hash(ctx, op->key);
	EVP_MD_CTX_free(ctx);
}

int state_key_recipient(struct state_op *op, const char *address)
{
	char low[STATE_KEY_MAX * 2];
	size_t n = 0;

	if (!*address || strlen(address) >= sizeof(low))
		return -EINVAL;
	for (; address[n]; n++)
		low[n] = address[n] >= 'A' && address[n] <= 'Z' ? (char)(address[n] | 0x20) : address[n];
	low[n] = 0;
	state_key(op, "rcpt", low, NULL);
	return 0;
}
