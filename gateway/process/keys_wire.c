#include "process/keys_wire.h"

#include <string.h>

#include "base/key_scheme.h"
#include "process/channel.h"

enum { RANDOMS = 64, SPACES = 64, NAMED_CURVE = 3 };

static const char TLS13[] = "TLS 1.3, server CertificateVerify";       /* with the zero octet behind it */

/* The hash of the handshake so far: of SHA-256 or SHA-384, which the suites of TLS 1.3 have. */
static bool is_tls13(const unsigned char *p, size_t len)
{
	if (len != SPACES + sizeof(TLS13) + 32 && len != SPACES + sizeof(TLS13) + 48)
		return false;
	for (int i = 0; i < SPACES; i++)
		if (p[i] != ' ')
			return false;
	return memcmp(p + SPACES, TLS13, sizeof(TLS13)) == 0;
}

/* Length and bytes, at least one. */
static bool eat_number(const unsigned char **p, size_t *len)
{
	size_t n = *len >= 2 ? (size_t)(*p)[0] << 8 | (*p)[1] : 0;

	if (n == 0 || n > *len - 2)
		return false;
	*p += 2 + n;
	*len -= 2 + n;
	return true;
}

/* The two sides' random octets, then a curve and a point, or a prime, a generator and a number. */
static bool is_tls12(const unsigned char *p, size_t len)
{
	if (len < RANDOMS + 4)
		return false;
	p += RANDOMS;
	len -= RANDOMS;
	if (p[0] == NAMED_CURVE && p[3] > 0 && len == 4 + (size_t)p[3])
		return true;
	return eat_number(&p, &len) && eat_number(&p, &len) && eat_number(&p, &len) && len == 0;
}

bool keys_is_handshake(unsigned scheme, const unsigned char *p, size_t len)
{
	if (!key_scheme_known(scheme) || len > KEYS_SIGNED_MAX)
		return false;
	return is_tls13(p, len) ? key_scheme_modern(scheme) : is_tls12(p, len);
}

static bool eat_u32(const unsigned char **p, size_t *len, uint32_t *out)
{
	if (*len < sizeof(*out))
		return false;
	memcpy(out, *p, sizeof(*out));
	*p += sizeof(*out);
	*len -= sizeof(*out);
	return true;
}

bool keys_request_read(unsigned type, const void *data, size_t len, struct keys_request *out)
{
	struct keys_request r = { .number = 0 };
	const unsigned char *p = data;
	uint32_t scheme;

	if (len > KEYS_REQUEST_MAX || !eat_u32(&p, &len, &r.number))
		return false;
	switch (type) {
	case CHANNEL_KEYS_SIGN:
		if (!eat_u32(&p, &len, &scheme) || !keys_is_handshake(scheme, p, len))
			return false;
		r.scheme = scheme;
		break;
	case CHANNEL_KEYS_DKIM:
		if (len != KEYS_HASH_BYTES)
			return false;
		break;
	case CHANNEL_KEYS_MINT:
		if (len <= TLS_CA_POINT_BYTES || !tls_ca_names_good(p + TLS_CA_POINT_BYTES, len - TLS_CA_POINT_BYTES))
			return false;
		r.point = p;
		p += TLS_CA_POINT_BYTES;
		len -= TLS_CA_POINT_BYTES;
		break;
	default:
		return false;
	}
	r.p = p;
	r.len = len;
	*out = r;
	return true;
}

int keys_sign_write(struct buf *out, uint32_t number, unsigned scheme, const unsigned char *p, size_t len)
{
	uint32_t s = scheme;

	buf_add(out, &number, sizeof(number));
	buf_add(out, &s, sizeof(s));
	return buf_add(out, p, len);
}

int keys_dkim_write(struct buf *out, uint32_t number, const unsigned char hash[KEYS_HASH_BYTES])
{
	buf_add(out, &number, sizeof(number));
	return buf_add(out, hash, KEYS_HASH_BYTES);
}

int keys_mint_write(struct buf *out, uint32_t number, const unsigned char point[TLS_CA_POINT_BYTES], const unsigned char *names, size_t len)
{
	buf_add(out, &number, sizeof(number));
	buf_add(out, point, TLS_CA_POINT_BYTES);
	return buf_add(out, names, len);
}
