#include "filters/dkim_key.h"

#include <string.h>

#include "filters/dkim_tag.h"

enum { RSA_BITS_MIN = 1024, RSA_BITS_MAX = 8192 };      /* RFC 8301 section 3.2: up to 4096 is a must */
/* OpenSSL's own bound from 3,073 bits of modulus on. Below, one as long as the modulus takes 7 ms for a signature, a hundred times that of an honest key. */
enum { EXPONENT_BITS_MAX = 64 };
enum { ED25519_BYTES = 32 };                            /* RFC 8463 section 4 */

/* DER, as much of it as a public key has (X.690; RFC 8017 A.1.1, RFC 5280 4.1.2.7). */
struct der {
	const unsigned char *p, *end;
};

/* The element with this tag that comes next: its content in *in, and p moves past it. */
static bool der_next(struct der *d, unsigned char tag, struct der *in)
{
	size_t len, have = (size_t)(d->end - d->p), head = 2;

	if (have < 2 || d->p[0] != tag)
		return false;
	len = d->p[1];
	if (len & 0x80) {               /* the long form; 80 alone, without end, is not DER */
		size_t bytes = len & 0x7f;

		if (bytes == 0 || bytes > 2 || have < 2 + bytes)
			return false;
		len = 0;
		for (size_t i = 0; i < bytes; i++)
			len = len << 8 | d->p[2 + i];
		head += bytes;
	}
	if (len > have - head)
		return false;
	in->p = d->p + head;
	in->end = in->p + len;
	d->p = in->end;
	return true;
}

/* A positive INTEGER without its leading zeros. */
static bool der_number(struct der *d, struct der *in)
{
	if (!der_next(d, 0x02, in) || in->p == in->end || in->p[0] & 0x80)
		return false;
	while (in->p < in->end && in->p[0] == 0)
		in->p++;
	return in->p < in->end;
}

static unsigned bits_of(const struct der *n)
{
	unsigned bits = (unsigned)(n->end - n->p) * 8;

	for (unsigned char top = n->p[0]; !(top & 0x80); top = (unsigned char)(top << 1))
		bits--;
	return bits;
}

/* RSAPublicKey, the whole of d: modulus and exponent. Both odd, and the exponent no 1, or anybody could sign. */
static bool rsa_numbers(struct der d, struct der *n, struct der *e)
{
	struct der seq;

	return der_next(&d, 0x30, &seq) && d.p == d.end && der_number(&seq, n) && der_number(&seq, e) && seq.p == seq.end &&
	       n->end[-1] & 1 && e->end[-1] & 1 && bits_of(e) > 1;
}

/* rsaEncryption with its NULL: what stands before the BIT STRING of a SubjectPublicKeyInfo. */
static const unsigned char RSA_ALGORITHM[] = { 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00 };

/* The RSAPublicKey inside a SubjectPublicKeyInfo, or d itself if it is none. */
static struct der rsa_unwrap(struct der d)
{
	struct der whole = d, seq, bits;
	size_t n = sizeof(RSA_ALGORITHM);

	if (!der_next(&d, 0x30, &seq) || d.p != d.end || (size_t)(seq.end - seq.p) < n || memcmp(seq.p, RSA_ALGORITHM, n) != 0)
		return whole;
	seq.p += n;
	if (!der_next(&seq, 0x03, &bits) || seq.p != seq.end || bits.p == bits.end || bits.p[0] != 0)
		return whole;
	bits.p++;               /* the number of unused bits */
	return bits;
}

/* Tag and length in the shortest form. */
static unsigned char *der_head(unsigned char *out, unsigned char tag, size_t len)
{
	*out++ = tag;
	if (len >= 0x100) {
		*out++ = 0x82;
		*out++ = (unsigned char)(len >> 8);
	} else if (len >= 0x80) {
		*out++ = 0x81;
	}
	*out++ = (unsigned char)len;
	return out;
}

static size_t der_head_len(size_t len)
{
	return len >= 0x100 ? 4 : len >= 0x80 ? 3 : 2;
}

/* RSAPublicKey as a SubjectPublicKeyInfo; its length. */
static size_t rsa_wrap(const struct der *key, unsigned char out[DKIM_KEY_BYTES_MAX])
{
	size_t len = (size_t)(key->end - key->p), bits = len + 1, all = sizeof(RSA_ALGORITHM) + der_head_len(bits) + bits;
	unsigned char *p;

	if (all + 4 > DKIM_KEY_BYTES_MAX)
		return 0;
	p = der_head(out, 0x30, all);
	memcpy(p, RSA_ALGORITHM, sizeof(RSA_ALGORITHM));
	p = der_head(p + sizeof(RSA_ALGORITHM), 0x03, bits);
	*p++ = 0;
	memcpy(p, key->p, len);
	return (size_t)(p - out) + len;
}

static enum dkim_key_state rsa_parse(const unsigned char *p, size_t len, struct dkim_key *out, const char **why)
{
	struct der key = rsa_unwrap((struct der){ p, p + len }), n, e;

	out->type = DKIM_KEY_RSA;
	if (!rsa_numbers(key, &n, &e)) {
		*why = "p= is not an RSA key";
		return DKIM_KEY_BAD;
	}
	out->bits = bits_of(&n);
	if (out->bits < RSA_BITS_MIN) {
		*why = "the key has fewer than 1024 bits";
		return DKIM_KEY_WEAK;
	}
	if (bits_of(&e) > EXPONENT_BITS_MAX) {
		*why = "the exponent of the key has more than 64 bits";
		return DKIM_KEY_BAD;
	}
	out->len = out->bits > RSA_BITS_MAX ? 0 : rsa_wrap(&key, out->bytes);
	if (out->len == 0) {
		*why = "the key has more than 8192 bits";
		return DKIM_KEY_BAD;
	}
	/* The RSAPublicKey is the end of it. */
	out->modulus.at = out->len - (size_t)(key.end - n.p);
	out->modulus.len = (size_t)(n.end - n.p);
	out->exponent.at = out->len - (size_t)(key.end - e.p);
	out->exponent.len = (size_t)(e.end - e.p);
	return DKIM_KEY_GOOD;
}

static enum dkim_key_state ed25519_parse(const unsigned char *p, size_t len, struct dkim_key *out, const char **why)
{
	out->type = DKIM_KEY_ED25519;
	out->bits = 256;
	if (len != ED25519_BYTES) {
		*why = "p= is not an Ed25519 key of 32 bytes";
		return DKIM_KEY_BAD;
	}
	memcpy(out->bytes, p, len);
	out->len = len;
	return DKIM_KEY_GOOD;
}

/* What must be right before the key is looked at; NULL, or what is wrong. */
static const char *record_check(const struct dkim_tags *tags)
{
	const struct dkim_tag *v = dkim_tags_find(tags, "v"), *h = dkim_tags_find(tags, "h");
	const struct dkim_tag *s = dkim_tags_find(tags, "s");

	if (v && (v != &tags->tag[0] || v->len != 5 || memcmp(v->value, "DKIM1", 5) != 0))
		return v == &tags->tag[0] ? "v= is not DKIM1" : "v= is not the first tag";
	if (h && !dkim_tag_has(h, "sha256"))
		return "h= does not allow sha256";
	if (s && !dkim_tag_has(s, "*") && !dkim_tag_has(s, "email"))
		return "s= does not allow mail";
	if (!dkim_tags_find(tags, "p"))
		return "no p=";
	return NULL;
}

enum dkim_key_state dkim_key_parse(const char *record, size_t len, struct dkim_key *out, const char **why)
{
	unsigned char raw[DKIM_KEY_BYTES_MAX];
	const struct dkim_tag *k, *p, *t;
	struct dkim_tags tags;
	ptrdiff_t n;

	memset(out, 0, sizeof(*out));
	if (len > DKIM_KEY_TEXT_MAX) {
		*why = "the record is longer than 4096 bytes";
		return DKIM_KEY_BAD;
	}
	*why = dkim_tags_parse(record, len, &tags);
	if (!*why)
		*why = record_check(&tags);
	if (*why)
		return DKIM_KEY_BAD;
	k = dkim_tags_find(&tags, "k");
	p = dkim_tags_find(&tags, "p");
	t = dkim_tags_find(&tags, "t");
	out->testing = t && dkim_tag_has(t, "y");
	out->exact_domain = t && dkim_tag_has(t, "s");
	if (p->len == 0) {
		*why = "the key has been revoked (p= is empty)";
		return DKIM_KEY_REVOKED;
	}
	n = dkim_tag_base64(p->value, p->len, raw, sizeof(raw));
	if (n < 0) {
		*why = "p= is not base64";
		return DKIM_KEY_BAD;
	}
	if (!k || dkim_tag_is(k, "rsa"))
		return rsa_parse(raw, (size_t)n, out, why);
	if (dkim_tag_is(k, "ed25519"))
		return ed25519_parse(raw, (size_t)n, out, why);
	*why = "k= is neither rsa nor ed25519";
	return DKIM_KEY_BAD;
}
