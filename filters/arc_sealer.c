#include "filters/arc_sealer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "filters/crlf.h"
#include "filters/dkim_header.h"
#include "filters/turn.h"

enum { FOLD = 76 };                     /* RFC 5322 section 2.1.1: 78 at most, better */

struct sealer {
	const struct arc_seal_order *order;
	struct buf header;              /* all line ends CRLF */
	struct dkim_header *fields;
	struct arc_sets chain;          /* that came */
	unsigned instance;
	enum arc_cv cv;                 /* that we say of it */
	struct buf aar, ams, as;        /* the new fields, each with its CRLF */
	struct turn turn;
};

static void sealer_free(struct sealer *s)
{
	if (!s)
		return;
	dkim_header_free(s->fields);
	buf_release(&s->header);
	buf_release(&s->aar);
	buf_release(&s->ams);
	buf_release(&s->as);
	free(s);
}
AUTO_DEFINE(sealer)

/* ---- the header that is there ---- */

static int header_put(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

/* 0 or -errno: a line that is no field would be the body's first, and nothing that stands behind it signed. */
static int header_read(struct sealer *s)
{
	struct crlf lines = { .put = header_put, .arg = &s->header };
	int rc;

	buf_init(&s->header, s->order->len * 2 + 2);
	if (crlf_add(&lines, s->order->header, s->order->len) < 0 || crlf_end(&lines) < 0 || !(s->fields = dkim_header_new()))
		return -ENOMEM;
	rc = dkim_header_add_text(s->fields, s->header.data, s->header.len);
	for (size_t i = 0; rc == 0 && i < dkim_header_count(s->fields); i++) {
		const struct dkim_field *f = dkim_header_at(s->fields, i);

		if (f->name_len == 0)
			return -EPROTO;
		(void)arc_sets_field(&s->chain, f->raw, f->len);
	}
	if (rc < 0)
		return rc;
	arc_sets_end(&s->chain);
	return dkim_header_count(s->fields) ? dkim_header_ready(s->fields) : -EPROTO;
}

/* Instance and cv= of the new set. NULL; or why there is to be none. */
static const char *place_find(struct sealer *s)
{
	const struct arc_sets *c = &s->chain;

	s->instance = (unsigned)c->count + 1;
	s->cv = c->fields == 0 ? ARC_CV_NONE : c->why[0] ? ARC_CV_FAIL : s->order->found;
	if (c->fields == 0)
		return NULL;
	if (c->count == 0)
		return "the message has fields of ARC whose number cannot be read";
	if (c->cv == ARC_CV_FAIL)
		return "its newest seal says cv=fail";
	if (c->count >= ARC_SETS_MAX)
		return "it has as many seals as there can be";
	return s->cv == ARC_CV_PASS || s->cv == ARC_CV_FAIL ? NULL : "it is not known whether the chain that came with it is whole";
}

/* ---- the new fields ---- */

static const char *cv_word(enum arc_cv cv)
{
	return cv == ARC_CV_NONE ? "none" : cv == ARC_CV_PASS ? "pass" : "fail";
}

/* Section 4.1.1: i= comes first. */
static int aar_make(struct sealer *s)
{
	buf_init(&s->aar, s->order->results_len + 128);
	buf_addf(&s->aar, "ARC-Authentication-Results: i=%u; ", s->instance);
	buf_add(&s->aar, s->order->results, s->order->results_len);
	return buf_adds(&s->aar, "\r\n");
}

static size_t count_named(const struct sealer *s, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < dkim_header_count(s->fields); i++)
		n += dkim_field_is(dkim_header_at(s->fields, i), name);
	return n;
}

static void cover(struct sealer *s, struct dkim_hash *h, const char *raw, size_t len)
{
	dkim_canon_field(h, raw, len, true, 0);
	turn_took(&s->turn, len * TURN_HEADER);
}

/* The field of that name which is next from below, and the name in h=. *line: how long its line is, 0 before the first. may wait */
static void name_cover(struct sealer *s, const char *name, struct dkim_hash *h, struct buf *out, size_t *line)
{
	const struct dkim_field *f = dkim_header_up(s->fields, name, strlen(name));
	size_t n = strlen(name) + 1;

	buf_adds(out, *line ? ":" : "");
	if (*line + n > FOLD) {
		buf_adds(out, "\r\n  ");
		*line = 2;
	}
	buf_adds(out, name);
	*line += n;
	if (f)
		cover(s, h, f->raw, f->len);
}

static void names_cover(struct sealer *s, struct dkim_hash *h, struct buf *out)
{
	const struct arc_seal_conf *conf = s->order->conf;
	size_t line = 0;

	dkim_header_rewind(s->fields, SIZE_MAX);
	for (size_t i = 0; i <= conf->field_count; i++) {
		const char *name = i == 0 ? "From" : conf->field[i - 1];
		bool from = strcasecmp(name, "From") == 0;
		size_t n = count_named(s, name);

		if (i == 0 ? conf->as_listed : from && !conf->as_listed)
			continue;
		n = i == 0 ? n + 1 : n > ARC_SEAL_SAME_MAX && !from ? ARC_SEAL_SAME_MAX : n;
		for (size_t k = 0; k < n; k++)
			name_cover(s, name, h, out, &line);
	}
}

/* The signature of what h has, as base64. may wait */
static int sign(const struct sealer *s, struct dkim_hash *h, unsigned char text[DKIM_PRIVATE_SIGNATURE_MAX * 4 / 3 + 8], const char **why)
{
	unsigned char hash[DKIM_HASH_BYTES], signature[DKIM_PRIVATE_SIGNATURE_MAX];
	size_t len = 0;
	int rc = dkim_hash_end(h, hash);

	if (rc < 0)
		return rc;
	rc = dkim_private_sign(s->order->conf->key, hash, signature, &len);
	if (rc < 0) {
		*why = "the private key did not sign";
		return rc;
	}
	EVP_EncodeBlock(text, signature, (int)len);
	return 0;
}

/*
 * The field: name, "a=rsa-sha256; b=", its signature and the tags behind that; h has what else is covered. May wait
 */
static int field_make(const struct sealer *s, const char *name, const struct buf *tags, struct dkim_hash *h, struct buf *out, const char **why)
{
	unsigned char text[DKIM_PRIVATE_SIGNATURE_MAX * 4 / 3 + 8];
	int rc;

	buf_init(out, tags->len + sizeof(text) + 128);
	buf_addf(out, "%s: a=rsa-sha256;\r\n b=%s", name, buf_str(tags));
	if (out->failed || tags->failed)
		return -ENOMEM;
	dkim_canon_field(h, out->data, out->len, true, DKIM_CANON_NO_B | DKIM_CANON_LAST);
	rc = sign(s, h, text, why);
	out->len = 0;
	return rc < 0 ? rc : buf_addf(out, "%s: a=rsa-sha256;\r\n b=%s%s\r\n", name, (const char *)text, buf_str(tags));
}

/* Section 4.1.2. may wait */
static int ams_make(struct sealer *s, const char **why)
{
	const struct arc_seal_conf *conf = s->order->conf;
	__attribute__((cleanup(dkim_hash_cleanup))) struct dkim_hash h = { .ctx = NULL };
	AUTO(buf) struct buf tags = BUF_INIT(ARC_SEAL_MAX / 2);
	unsigned char bh[DKIM_HASH_BYTES * 2];
	int rc = dkim_hash_begin(&h);

	if (rc < 0)
		return rc;
	EVP_EncodeBlock(bh, s->order->body_hash, DKIM_HASH_BYTES);
	buf_addf(&tags, ";\r\n bh=%s; c=relaxed/relaxed;\r\n d=%s;\r\n h=", (const char *)bh, conf->domain);
	names_cover(s, &h, &tags);
	buf_addf(&tags, ";\r\n i=%u; s=%s; t=%" PRId64, s->instance, conf->selector, s->order->now_s);
	return field_make(s, "ARC-Message-Signature", &tags, &h, &s->ams, why);
}

static void cover_field(struct sealer *s, struct dkim_hash *h, const struct arc_field *f)
{
	cover(s, h, f->raw, f->len);
}

/* Sections 4.1.3, 5.1.1: over all sets in order of instances, the new one included. may wait */
static int as_make(struct sealer *s, const char **why)
{
	const struct arc_seal_conf *conf = s->order->conf;
	__attribute__((cleanup(dkim_hash_cleanup))) struct dkim_hash h = { .ctx = NULL };
	AUTO(buf) struct buf tags = BUF_INIT(4096);
	int rc = dkim_hash_begin(&h);

	if (rc < 0)
		return rc;
	for (size_t i = 0; s->cv == ARC_CV_PASS && i < s->chain.count; i++) {
		cover_field(s, &h, &s->chain.set[i].aar);
		cover_field(s, &h, &s->chain.set[i].ams);
		cover_field(s, &h, &s->chain.set[i].as);
	}
	cover(s, &h, s->aar.data, s->aar.len - 2);
	cover(s, &h, s->ams.data, s->ams.len - 2);
	buf_addf(&tags, ";\r\n cv=%s; d=%s;\r\n i=%u; s=%s; t=%" PRId64, cv_word(s->cv), conf->domain, s->instance, conf->selector, s->order->now_s);
	return field_make(s, "ARC-Seal", &tags, &h, &s->as, why);
}

int arc_sealer_seal(const struct arc_seal_order *order, struct buf *out, const char **why)
{
	AUTO(sealer) struct sealer *s = NULL;
	int rc;

	*why = "there is no key";               /* its file could not be read by this user */
	if (!order->conf->key)
		return -ENOKEY;
	*why = "no memory, or a header that cannot be sealed";
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->order = order;
	rc = header_read(s);
	if (rc < 0)
		return rc;
	*why = place_find(s);
	if (*why)
		return 1;
	*why = "no memory, or a header that is too large";
	rc = aar_make(s);
	if (rc == 0)
		rc = ams_make(s, why);
	if (rc == 0)
		rc = as_make(s, why);
	if (rc < 0)
		return rc;
	buf_add(out, s->as.data, s->as.len);
	buf_add(out, s->ams.data, s->ams.len);
	return buf_add(out, s->aar.data, s->aar.len);
}
