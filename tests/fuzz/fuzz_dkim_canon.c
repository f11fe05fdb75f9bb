/*
 * fuzz_dkim_canon - canonical header fields against a second, slow way to make them; fields are chosen from the bottom up, each once
 *
 * Input: a list of names with colons up to the first LF, the header behind it. Every field is canonical in both forms as the slow way has it, with and without
 * b=; what the value of b= says makes no difference; relaxed form is the same when it is made of itself.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "filters/dkim_canon.h"
#include "filters/dkim_header.h"
#include "filters/dkim_tag.h"
#include "filters/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Section 3.4.2, step by step, each over the whole. */
static void slow_relaxed(const char *p, size_t len, struct buf *out)
{
	const char *colon = len ? memchr(p, ':', len) : NULL;
	size_t name = colon ? (size_t)(colon - p) : len, at = 0;
	AUTO(buf) struct buf flat = BUF_INIT(len + 8), one = BUF_INIT(len + 8);

	assert(buf_reserve(&flat, len) == 0 && buf_reserve(&one, len) == 0 && buf_reserve(out, len) == 0);     /* an octet then costs no call */
	for (size_t i = 0; i < len; i++) {      /* lower case, unfolded */
		if (len - i > 2 && p[i] == '\r' && p[i + 1] == '\n' && (p[i + 2] == ' ' || p[i + 2] == '\t')) {
			i++;
			continue;
		}
		flat.data[flat.len++] = (char)(i < name && p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
	}
	for (size_t i = 0; i < flat.len; i++) { /* each run of blanks a space */
		bool blank = flat.data[i] == ' ' || flat.data[i] == '\t';

		if (blank && one.len > 0 && one.data[one.len - 1] == ' ')
			continue;
		one.data[one.len++] = blank ? ' ' : flat.data[i];
	}
	while (one.len > 0 && one.data[one.len - 1] == ' ')
		one.len--;
	while (at < one.len && one.data[at] == ' ')
		at++;
	colon = colon && one.len > at ? memchr(one.data + at, ':', one.len - at) : NULL;
	for (; at < one.len; at++) {
		if (colon && one.data[at] == ' ' && (one.data + at + 1 == colon || one.data + at - 1 == colon))
			continue;
		out->data[out->len++] = one.data[at];
	}
}

/* The field without the value of its first tag b=. */
static void slow_without_b(const char *p, size_t len, struct buf *out)
{
	const char *colon = len ? memchr(p, ':', len) : NULL;
	size_t i = colon ? (size_t)(colon - p) + 1 : len;

	buf_add(out, p, i);
	while (i < len) {
		size_t end = i, k = i;

		while (end < len && p[end] != ';')
			end++;
		while (k < end && (p[k] == ' ' || p[k] == '\t' || p[k] == '\r' || p[k] == '\n'))
			k++;
		if (k < end && p[k] == 'b') {
			k++;
			while (k < end && (p[k] == ' ' || p[k] == '\t' || p[k] == '\r' || p[k] == '\n'))
				k++;
			if (k < end && p[k] == '=') {
				buf_add(out, p + i, k + 1 - i);
				buf_add(out, p + end, len - end);
				return;
			}
		}
		if (end < len)
			end++;
		buf_add(out, p + i, end - i);
		i = end;
	}
}

static void hash_field(const char *p, size_t len, bool relaxed, int flags, unsigned char out[DKIM_HASH_BYTES])
{
	char *exact = malloc(len ? len : 1);
	struct dkim_hash h;

	assert(exact && dkim_hash_begin(&h) == 0);
	memcpy(exact, p, len);
	dkim_canon_field(&h, exact, len, relaxed, flags);
	assert(dkim_hash_end(&h, out) == 0);
	free(exact);
}

static void judge(const char *p, size_t len, int flags)
{
	AUTO(buf) struct buf text = BUF_INIT(len + 8), relaxed = BUF_INIT(len + 8);
	unsigned char have[DKIM_HASH_BYTES], want[DKIM_HASH_BYTES];
	size_t own = len >= 2 && memcmp(p + len - 2, "\r\n", 2) == 0 ? len - 2 : len;        /* without its end, where it has one */
	unsigned n = 0;

	if (flags & DKIM_CANON_NO_B)
		slow_without_b(p, own, &text);
	else
		buf_add(&text, p, own);
	slow_relaxed(text.data, text.len, &relaxed);
	if (!(flags & DKIM_CANON_LAST))
		buf_adds(&relaxed, "\r\n");
	hash_field(p, len, true, flags, have);
	EVP_Digest(relaxed.data ? relaxed.data : "", relaxed.len, want, &n, EVP_sha256(), NULL);
	assert(memcmp(have, want, sizeof(have)) == 0);
	if (!(flags & DKIM_CANON_LAST)) {
		hash_field(relaxed.data, relaxed.len, true, flags, have);
		assert(memcmp(have, want, sizeof(have)) == 0 || memchr(relaxed.data, '\r', relaxed.len - 2));
		buf_adds(&text, "\r\n");
	}
	hash_field(p, len, false, flags, have);
	EVP_Digest(text.data ? text.data : "", text.len, want, &n, EVP_sha256(), NULL);
	assert(memcmp(have, want, sizeof(have)) == 0);
}

/* Whatever order names come in: what is given is of that name, lies above what was given of it before, and is never the one left out. */
static void choose(struct dkim_header *h, const char *names, size_t len, size_t but)
{
	struct dkim_tag list = { .value = names, .len = len };
	const char *name;
	size_t pos = 0, n, given = 0;

	dkim_header_rewind(h, but);
	while (dkim_tag_item(&list, &pos, &name, &n)) {
		const struct dkim_field *f = dkim_header_up(h, name, n);
		size_t before = 0, all = 0, p = 0, k;
		const char *other;

		/* How many fields of that name there are, and how often it has been asked for. */
		for (size_t i = 0; i < dkim_header_count(h); i++) {
			const struct dkim_field *x = dkim_header_at(h, i);

			all += i != but && n > 0 && x->name_len == n && strncasecmp(x->raw, name, n) == 0;
		}
		while (dkim_tag_item(&list, &p, &other, &k) && other != name)
			before += k == n && strncasecmp(other, name, n) == 0;
		assert((f != NULL) == (before < all));
		if (f)
			assert(f->name_len == n && (but >= dkim_header_count(h) || f->raw != dkim_header_at(h, but)->raw));
		given += f != NULL;
	}
	assert(given <= dkim_header_count(h));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 18, .header_fields = 2000 };
	const char *p = (const char *)data, *lf = size ? memchr(p, '\n', size) : NULL;
	AUTO(message) struct message *m = message_new(&lim, NULL, NULL);
	AUTO(dkim_header) struct dkim_header *h = dkim_header_new();
	size_t names = lf ? (size_t)(lf - p) : 0;

	if (size > 4000)
		return 0;
	/* Names that hold a NUL, as h= cannot have them, would end early in what compares here. */
	if (names > 400 || (names && memchr(p, '\0', names)))
		names = 0;
	judge(p, size, 0);
	judge(p, size, DKIM_CANON_NO_B);
	judge(p, size, DKIM_CANON_NO_B | DKIM_CANON_LAST);
	if (!lf || message_add(m, lf + 1, size - (size_t)(lf + 1 - p)) < 0 || message_end(m) < 0)
		return 0;
	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *f = message_field(m, i);

		assert(dkim_header_add(h, f->raw, f->raw_len) == 0);
		judge(dkim_header_at(h, i)->raw, dkim_header_at(h, i)->len, (int)(i % 4));
	}
	assert(dkim_header_ready(h) == 0);
	choose(h, p, names, SIZE_MAX);
	choose(h, p, names, 0);
	return 0;
}
