#include "filters/dkim_body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

/* Whether the canonical form may differ at p[i]: at a line's end, and at a blank that is not a single space inside a line. */
static bool matters(const char *p, size_t i, size_t len, bool relaxed)
{
	if (p[i] == '\r')
		return true;
	if (!relaxed || (p[i] != ' ' && p[i] != '\t'))
		return false;
	return p[i] == '\t' || i + 1 == len || p[i + 1] == ' ' || p[i + 1] == '\t' || p[i + 1] == '\r';
}

/* The first i from at on where it may differ; len if there is none. */
static size_t scan(const char *p, size_t at, size_t len, bool relaxed)
{
#ifdef __SSE2__
	const __m128i cr = _mm_set1_epi8('\r'), tab = _mm_set1_epi8('\t'), space = _mm_set1_epi8(' ');

	for (; relaxed && len - at > 16; at += 16) {
		__m128i here = _mm_loadu_si128((const void *)(p + at)), next = _mm_loadu_si128((const void *)(p + at + 1));
		__m128i hit = _mm_or_si128(_mm_cmpeq_epi8(next, space), _mm_or_si128(_mm_cmpeq_epi8(next, tab), _mm_cmpeq_epi8(next, cr)));
		unsigned bits;

		hit = _mm_and_si128(hit, _mm_cmpeq_epi8(here, space));
		hit = _mm_or_si128(hit, _mm_or_si128(_mm_cmpeq_epi8(here, cr), _mm_cmpeq_epi8(here, tab)));
		bits = (unsigned)_mm_movemask_epi8(hit);
		if (bits)
			return at + (size_t)__builtin_ctz(bits);
	}
#endif
	if (!relaxed) {
		const char *cr_at = memchr(p + at, '\r', len - at);

		return cr_at ? (size_t)(cr_at - p) : len;
	}
	while (at < len && !matters(p, at, len, relaxed))
		at++;
	return at;
}

/* How many bytes at p go on as they are: with the line ends after which a line with something in it begins. */
static size_t plain(const struct dkim_body *b, const char *p, size_t len)
{
	size_t i = 0;

	if (b->blank && (p[0] == ' ' || p[0] == '\t' || p[0] == '\r'))
		return 0;
	for (;;) {
		i = scan(p, i, len, b->relaxed);
		if (len - i < 3 || p[i] != '\r' || p[i + 1] != '\n' || p[i + 2] == '\r')
			return i;
		if (b->relaxed && (p[i + 2] == ' ' || p[i + 2] == '\t'))
			return i;
		i += 2;
	}
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
