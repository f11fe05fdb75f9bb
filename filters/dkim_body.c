#include "filters/dkim_body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

struct dkim_body {
	EVP_MD_CTX *hash;
	char out[4096];                 /* collected for the hash: relaxed bodies come word by word */
	size_t out_len;
	uint64_t limit, total;          /* canonical bytes to hash at most; seen so far */
	uint64_t crlfs;                 /* line ends held back: the last ones of a body do not count */
	bool relaxed;
	bool blank;                     /* relaxed: blanks held back: those at the end of a line do not count */
	bool cr;                        /* a CR held back: an LF may follow */
	bool failed;
};

struct dkim_body *dkim_body_new(bool relaxed, bool limited, uint64_t limit)
{
	struct dkim_body *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->relaxed = relaxed;
	b->limit = limited ? limit : UINT64_MAX;
	b->hash = EVP_MD_CTX_new();
	if (!b->hash || EVP_DigestInit_ex(b->hash, EVP_sha256(), NULL) != 1) {
		ERR_clear_error();
		dkim_body_free(b);
		return NULL;
	}
	return b;
}

void dkim_body_free(struct dkim_body *b)
{
	if (!b)
		return;
	EVP_MD_CTX_free(b->hash);
	free(b);
}

static void flush(struct dkim_body *b)
{
	if (b->out_len > 0 && EVP_DigestUpdate(b->hash, b->out, b->out_len) != 1)
		b->failed = true;
	b->out_len = 0;
}

static void emit(struct dkim_body *b, const char *p, size_t len)
{
	uint64_t room = b->limit > b->total ? b->limit - b->total : 0;
	size_t n = len < room ? len : (size_t)room;

	b->total += len;
	if (n > sizeof(b->out) - b->out_len)
		flush(b);
	if (n > sizeof(b->out)) {
		if (EVP_DigestUpdate(b->hash, p, n) != 1)
			b->failed = true;
		return;
	}
	memcpy(b->out + b->out_len, p, n);
	b->out_len += n;
}

/* Something follows: what was held back is part of the body. */
static void release(struct dkim_body *b)
{
	static const char lines[] = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";

	while (b->crlfs > 0) {
		uint64_t n = b->crlfs < 16 ? b->crlfs : 16;

		emit(b, lines, (size_t)n * 2);
		b->crlfs -= n;
	}
	if (b->blank)
		emit(b, " ", 1);
	b->blank = false;
	if (b->cr)
		emit(b, "\r", 1);
	b->cr = false;
}

/* The bytes at p that go on as they are. */
static size_t plain(const struct dkim_body *b, const char *p, size_t len)
{
	const char *cr = memchr(p, '\r', len);
	size_t n = cr ? (size_t)(cr - p) : len, i = 0;

	if (!b->relaxed)
		return n;
	while (i < n && p[i] != ' ' && p[i] != '\t')
		i++;
	return i;
}

int dkim_body_add(struct dkim_body *b, const char *p, size_t len)
{
	const char *end = p + len;

	while (p < end) {
		size_t n;

		if (b->cr && *p == '\n') {
			b->crlfs++;
			b->blank = b->cr = false;
			p++;
			continue;
		}
		if (b->cr)
			release(b);
		n = plain(b, p, (size_t)(end - p));
		if (n > 0) {
			release(b);
			emit(b, p, n);
			p += n;
		} else {
			b->cr = *p == '\r';
			b->blank = b->blank || !b->cr;
			p++;
		}
	}
	return b->failed ? -ENOMEM : 0;
}

int dkim_body_end(struct dkim_body *b, unsigned char hash[DKIM_BODY_HASH], uint64_t *canonical_bytes)
{
	if (b->cr)
		release(b);
	/* Section 3.4.3: an empty body is one CRLF in simple form; 3.4.4: in relaxed form it stays empty. */
	if (b->total > 0 || !b->relaxed)
		emit(b, "\r\n", 2);
	*canonical_bytes = b->total;
	flush(b);
	if (b->failed || EVP_DigestFinal_ex(b->hash, hash, NULL) != 1) {
		ERR_clear_error();
		return -ENOMEM;
	}
	return 0;
}
