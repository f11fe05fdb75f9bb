#include "filters/dkim_canon.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

/* The hash. */

int dkim_hash_begin(struct dkim_hash *h)
{
	h->len = 0;
	h->failed = false;
	h->ctx = EVP_MD_CTX_new();
	if (h->ctx && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1)
		return 0;
	ERR_clear_error();
	dkim_hash_release(h);
	return -ENOMEM;
}

static void digest(struct dkim_hash *h, const char *p, size_t len)
{
	if (len > 0 && EVP_DigestUpdate(h->ctx, p, len) != 1)
		h->failed = true;
}

void dkim_hash_add(struct dkim_hash *h, const char *p, size_t len)
{
	if (len == 0)
		return;
	if (len > sizeof(h->out) - h->len) {
		digest(h, h->out, h->len);
		h->len = 0;
	}
	if (len > sizeof(h->out)) {
		digest(h, p, len);
		return;
	}
	memcpy(h->out + h->len, p, len);
	h->len += len;
}

int dkim_hash_copy(struct dkim_hash *to, const struct dkim_hash *from)
{
	int rc = dkim_hash_begin(to);

	if (rc < 0)
		return rc;
	if (EVP_MD_CTX_copy_ex(to->ctx, from->ctx) != 1) {
		ERR_clear_error();
		dkim_hash_release(to);
		return -ENOMEM;
	}
	to->len = from->len;
	to->failed = from->failed;
	memcpy(to->out, from->out, from->len);
	return 0;
}

int dkim_hash_end(struct dkim_hash *h, unsigned char out[DKIM_HASH_BYTES])
{
	bool good;

	digest(h, h->out, h->len);
	h->len = 0;
	good = !h->failed && EVP_DigestFinal_ex(h->ctx, out, NULL) == 1;
	ERR_clear_error();
	dkim_hash_release(h);
	return good ? 0 : -ENOMEM;
}

void dkim_hash_release(struct dkim_hash *h)
{
	EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
}

/* The canonical form. */

struct relaxed {
	struct dkim_hash *h;
	bool blank;                     /* blanks held back: those at the end do not count */
	bool begun;                     /* something stands before: blanks at the beginning do not count either */
	bool lower;                     /* it is a name */
};

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static void lower_add(struct dkim_hash *h, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + ('a' - 'A')) : p[i];

		dkim_hash_add(h, &c, 1);
	}
}

static void word_add(struct relaxed *r, const char *p, size_t len)
{
	if (r->blank && r->begun)
		dkim_hash_add(r->h, " ", 1);
	r->blank = false;
	r->begun = true;
	if (r->lower)
		lower_add(r->h, p, len);
	else
		dkim_hash_add(r->h, p, len);
}

/* A part of a name or of a body; parts never meet inside a fold. */
static void relaxed_add(struct relaxed *r, const char *p, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t from = i;

		if (is_wsp(p[i])) {
			r->blank = true;
			i++;
		} else if (len - i > 2 && p[i] == '\r' && p[i + 1] == '\n' && is_wsp(p[i + 2])) {
			i += 2;
		} else {
			i++;            /* at least this one, which may be a CR that folds nothing */
			while (i < len && !is_wsp(p[i]) && p[i] != '\r')
				i++;
			word_add(r, p + from, i - from);
		}
	}
}

bool dkim_canon_b(const char *body, size_t len, size_t *at, size_t *end)
{
	size_t i = 0;

	while (i < len) {
		const char *semi = memchr(body + i, ';', len - i);
		size_t stop = semi ? (size_t)(semi - body) : len;

		while (i < stop && strchr(" \t\r\n", body[i]) && body[i])
			i++;
		if (i < stop && body[i] == 'b') {
			i++;
			while (i < stop && strchr(" \t\r\n", body[i]) && body[i])
				i++;
			if (i < stop && body[i] == '=') {
				*at = i + 1;
				*end = stop;
				return true;
			}
		}
		i = stop + 1;
	}
	return false;
}

void dkim_canon_field(struct dkim_hash *h, const char *raw, size_t len, bool relaxed, int flags)
{
	struct relaxed name = { .h = h, .lower = true }, body = { .h = h };
	const char *colon;
	size_t n, at, end;

	if (len >= 2 && raw[len - 2] == '\r' && raw[len - 1] == '\n')
		len -= 2;
	colon = len > 0 ? memchr(raw, ':', len) : NULL;
	n = colon ? (size_t)(colon - raw) + 1 : len;            /* the name, with its colon */
	if (!(flags & DKIM_CANON_NO_B) || !dkim_canon_b(raw + n, len - n, &at, &end))
		at = end = len - n;
	if (relaxed) {
		relaxed_add(&name, raw, colon ? n - 1 : n);
		if (colon)
			dkim_hash_add(h, ":", 1);
		relaxed_add(&body, raw + n, at);
		relaxed_add(&body, raw + n + end, len - n - end);
	} else {
		dkim_hash_add(h, raw, n + at);
		dkim_hash_add(h, raw + n + end, len - n - end);
	}
	if (!(flags & DKIM_CANON_LAST))
		dkim_hash_add(h, "\r\n", 2);
}
