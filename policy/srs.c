#include "policy/srs.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { DAY_S = 86400, DAYS = 1024, STAMP = 2, DIGEST = 20 };

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

struct part {
	const char *p;
	size_t len;
};

/* The beginning of HMAC-SHA1(parts in lower case), in base64. */
static int hash(const char *secret, const struct part *part, size_t count, char out[SRS_HASH + 1])
{
	unsigned char text[SRS_ADDRESS_MAX], digest[EVP_MAX_MD_SIZE], base64[EVP_MAX_MD_SIZE * 2];
	unsigned len = 0;
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < part[i].len; k++) {
			if (n == sizeof(text))
				return -ENAMETOOLONG;
			text[n++] = (unsigned char)tolower((unsigned char)part[i].p[k]);
		}
	if (!HMAC(EVP_sha1(), secret, (int)strlen(secret), text, n, digest, &len)) {
		ERR_clear_error();
		return -ENOMEM;
	}
	EVP_EncodeBlock(base64, digest, DIGEST);
	memcpy(out, base64, SRS_HASH);
	out[SRS_HASH] = '\0';
	return 0;
}

/* Whether one of the secrets has made it. A hash with fewer letters than ours is none. */
static bool hash_ok(const struct srs_conf *c, const struct part *given, const struct part *part, size_t count)
{
	bool good = false;
	char want[SRS_HASH + 1];

	if (given->len != SRS_HASH)
		return false;
	for (size_t i = 0; i < c->secret_count; i++)
		good |= hash(c->secret[i], part, count, want) == 0 && strncasecmp(want, given->p, SRS_HASH) == 0;
	return good;
}

static void stamp_make(int64_t now_s, char out[STAMP + 1])
{
	int day = (int)(now_s / DAY_S % DAYS);

	out[0] = base32[day >> 5];
	out[1] = base32[day & 31];
	out[2] = '\0';
}

/* The day, or -1. */
static int stamp_read(const struct part *p)
{
	int day = 0;

	if (p->len != STAMP)
		return -1;
	for (size_t i = 0; i < STAMP; i++) {
		const char *at = p->p[i] ? strchr(base32, toupper((unsigned char)p->p[i])) : NULL;

		if (!at)
			return -1;
		day = day << 5 | (int)(at - base32);
	}
	return day;
}

/* "SRS0" or "SRS1" and one of = + - behind it. */
static bool is_tagged(const char *local, char digit)
{
	return strncasecmp(local, "SRS", 3) == 0 && local[3] == digit && local[4] && strchr("=+-", local[4]);
}

bool srs_is(const char *local)
{
	return is_tagged(local, '0') || is_tagged(local, '1');
}

/* The part up to the next "=", which *rest is put behind. */
static bool cut(const char **rest, struct part *out)
{
	const char *at = strchr(*rest, '=');

	if (!at || at == *rest)
		return false;
	*out = (struct part){ *rest, (size_t)(at - *rest) };
	*rest = at + 1;
	return true;
}

static int fit(int n)
{
	return n < 0 || n >= SRS_ADDRESS_MAX ? -ENAMETOOLONG : 0;
}

/* host: whose SRS0 it is; user: what stands behind "SRS0" there, its separator included. */
static int forward_again(const struct srs_conf *c, const struct part *host, const char *user, char *out)
{
	const struct part parts[] = { *host, { user, strlen(user) } };
	char h[SRS_HASH + 1];
	int rc = hash(c->secret[0], parts, 2, h);

	return rc < 0 ? rc : fit(snprintf(out, SRS_ADDRESS_MAX, "SRS1=%s=%.*s=%s@%s", h, (int)host->len, host->p, user, c->domain));
}

int srs_forward(const struct srs_conf *c, const char *sender, int64_t now_s, char out[SRS_ADDRESS_MAX])
{
	char local[SRS_ADDRESS_MAX], stamp[STAMP + 1], h[SRS_HASH + 1];
	const char *at = strrchr(sender, '@'), *rest = local + 5;
	struct part host, theirs;
	int rc;

	if (!at || at == sender || !at[1] || *sender == '"' || strchr(at, '=') || !c->secret_count)
		return -EINVAL;
	if ((size_t)(at - sender) >= sizeof(local))
		return -ENAMETOOLONG;
	memcpy(local, sender, (size_t)(at - sender));
	local[at - sender] = '\0';
	host = (struct part){ at + 1, strlen(at + 1) };
	if (is_tagged(local, '0'))
		return forward_again(c, &host, local + 4, out);
	/* Another one's SRS1: the first forwarder stays, the hash becomes ours. What is not well-formed is somebody's ordinary address. */
	if (is_tagged(local, '1') && cut(&rest, &theirs) && cut(&rest, &host) && *rest && strchr("=+-", *rest))
		return forward_again(c, &host, rest, out);
	host = (struct part){ at + 1, strlen(at + 1) };
	stamp_make(now_s, stamp);
	rc = hash(c->secret[0], (const struct part[]){ { stamp, STAMP }, host, { local, strlen(local) } }, 3, h);
	return rc < 0 ? rc : fit(snprintf(out, SRS_ADDRESS_MAX, "SRS0=%s=%s=%s=%s@%s", h, stamp, at + 1, local, c->domain));
}

static int reverse_first(const struct srs_conf *c, const char *rest, int64_t now_s, char *out)
{
	struct part given, stamp, host;
	int day, age;

	if (!cut(&rest, &given) || !cut(&rest, &stamp) || !cut(&rest, &host) || !*rest)
		return -EINVAL;
	if (!hash_ok(c, &given, (const struct part[]){ stamp, host, { rest, strlen(rest) } }, 3))
		return -EACCES;
	day = stamp_read(&stamp);
	if (day < 0)
		return -EINVAL;
	age = ((int)(now_s / DAY_S % DAYS) - day + DAYS) % DAYS;
	/* A day more: it was made at some hour of its day. */
	if (age > c->life_s / DAY_S)
		return -ETIMEDOUT;
	return fit(snprintf(out, SRS_ADDRESS_MAX, "%s@%.*s", rest, (int)host.len, host.p));
}

static int reverse_again(const struct srs_conf *c, const char *rest, char *out)
{
	struct part given, host;

	if (!cut(&rest, &given) || !cut(&rest, &host) || !*rest || !strchr("=+-", *rest))
		return -EINVAL;
	if (!hash_ok(c, &given, (const struct part[]){ host, { rest, strlen(rest) } }, 2))
		return -EACCES;
	return fit(snprintf(out, SRS_ADDRESS_MAX, "SRS0%s@%.*s", rest, (int)host.len, host.p));
}

int srs_reverse(const struct srs_conf *c, const char *local, int64_t now_s, char out[SRS_ADDRESS_MAX])
{
	if (is_tagged(local, '0'))
		return reverse_first(c, local + 5, now_s, out);
	return is_tagged(local, '1') ? reverse_again(c, local + 5, out) : -EINVAL;
}
