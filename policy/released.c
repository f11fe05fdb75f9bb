#include "policy/released.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "filters/body_feed.h"
#include "filters/message.h"
#include "policy/state.h"

enum { LINE_ENDS_MAX = 64 };

struct hashing {
	EVP_MD_CTX *ctx;
	char ends[LINE_ENDS_MAX];       /* line ends that count when something follows */
	size_t end_count;
};

static void hash(struct hashing *h, const char *p, size_t len)
{
	if (len)
		EVP_DigestUpdate(h->ctx, p, len);
}

static void flush_ends(struct hashing *h)
{
	hash(h, h->ends, h->end_count);
	h->end_count = 0;
}

static void hash_body(struct hashing *h, const char *p, size_t len)
{
	size_t text = len;

	while (text && (p[text - 1] == '\r' || p[text - 1] == '\n'))
		text--;
	if (text) {
		flush_ends(h);
		hash(h, p, text);
	}
	for (; text < len; text++) {
		if (h->end_count == LINE_ENDS_MAX)
			flush_ends(h);
		h->ends[h->end_count++] = p[text];
	}
}

/* Some programs see another field behind it. */
static bool has_bare_cr(const char *p, size_t len)
{
	for (const char *cr = memchr(p, '\r', len); cr; cr = memchr(cr + 1, '\r', (size_t)(p + len - cr - 1)))
		if (cr + 1 == p + len || cr[1] != '\n')
			return true;
	return false;
}

/* Each with its length, so that no field can be taken for another's end. */
static void hash_header(struct hashing *h, struct message *m)
{
	static const char *const names[] = { "From", "Sender", "Reply-To", "To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding",
					     "Content-Disposition", "MIME-Version" };
	static const uint64_t end[2] = { UINT64_MAX, 0 };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const struct header_field *f;

		for (size_t nth = 0; (f = message_find(m, names[i], nth)); nth++) {
			const uint64_t head[2] = { i, f->body_len };

			hash(h, (const char *)head, sizeof(head));
			hash(h, f->body, f->body_len);
		}
	}
	for (size_t i = 0; message_header_has_bare_cr(m) && i < message_field_count(m); i++) {
		const struct header_field *f = message_field(m, i);
		const uint64_t head[2] = { sizeof(names) / sizeof(*names), f->raw_len };

		if (!has_bare_cr(f->raw, f->raw_len))
			continue;
		hash(h, (const char *)head, sizeof(head));
		hash(h, f->raw, f->raw_len);
	}
	hash(h, (const char *)end, sizeof(end));        /* the body cannot be taken for fields, nor they for it */
}

static int hash_piece(void *arg, const char *p, size_t len)
{
	hash_body(arg, p, len);
	return 0;
}

static int hash_message(struct hashing *h, struct message *m)
{
	hash_header(h, m);
	return body_feed(m, hash_piece, h);
}

int released_content(struct message *m, char out[RELEASED_CONTENT_MAX])
{
	struct hashing h = { .ctx = EVP_MD_CTX_new() };
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int rc = -ENOMEM;

	if (h.ctx && EVP_DigestInit_ex(h.ctx, EVP_sha256(), NULL) == 1)
		rc = hash_message(&h, m);
	if (rc == 0 && EVP_DigestFinal_ex(h.ctx, md, &len) != 1)
		rc = -ENOMEM;
	EVP_MD_CTX_free(h.ctx);
	for (size_t i = 0; rc == 0 && i < (RELEASED_CONTENT_MAX - 1) / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", md[i]);
	return rc;
}

bool released_content_ok(const char *text)
{
	return strlen(text) == RELEASED_CONTENT_MAX - 1 && strspn(text, "0123456789abcdef") == RELEASED_CONTENT_MAX - 1;
}

void released_mark_op(struct state_op *op, const char *content)
{
	*op = (struct state_op){ .verb = STATE_PUT, .ttl_s = RELEASED_LIFE_S };
	state_key(op, "fetch", "released", content, NULL);
}

void released_ask_op(struct state_op *op, const char *content)
{
	*op = (struct state_op){ .verb = STATE_GET };
	state_key(op, "fetch", "released", content, NULL);
}
