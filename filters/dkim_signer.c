#include "filters/dkim_signer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "filters/body_feed.h"
#include "filters/crlf.h"
#include "filters/dkim_body.h"
#include "filters/dkim_engine.h"
#include "filters/dkim_header.h"
#include "filters/domain.h"
#include "filters/from_parse.h"

enum {
	FOLD = 76,                      /* RFC 5322 section 2.1.1: 78 at most, better */
	SIGNATURE_TEXT_MAX = 128 * 1024,/* one field; its h= is bounded by names and their counts */
	LIBRARY_TEXT_MAX = 4000,        /* libopendkim leaves out the names of h= beyond 4,095 octets (DKIM_MAXHEADER) */
};

struct dkim_signer {
	struct buf header;              /* as it leaves */
	struct dkim_header *fields;     /* in header */
	struct from_authors authors;
};

const struct dkim_sign_conf *dkim_sign_find(const struct dkim_sign_conf *all, size_t count, const char *domain)
{
	const struct dkim_sign_conf *best = NULL;

	for (size_t i = 0; i < count; i++) {
		bool fits = all[i].subdomains ? domain_within(domain, all[i].domain) : strcmp(domain, all[i].domain) == 0;

		if (fits && (!best || strlen(all[i].domain) > strlen(best->domain)))
			best = &all[i];
	}
	return best;
}

/* The header. */

static int header_put(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

/* Every field of the header, up to its empty line, behind which nothing may be. 0 or -errno. */
static int fields_index(struct dkim_signer *s)
{
	const char *empty = memmem(s->header.data, s->header.len, "\r\n\r\n", 4);
	int rc;

	if (empty && empty + 4 < s->header.data + s->header.len)
		return -EPROTO;
	s->fields = dkim_header_new();
	rc = s->fields ? dkim_header_add_text(s->fields, s->header.data, s->header.len) : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < dkim_header_count(s->fields); i++)
		if (dkim_header_at(s->fields, i)->name_len == 0)
			rc = -EPROTO;
	return rc < 0 || dkim_header_count(s->fields) > 0 ? rc : -EPROTO;
}

static int authors_read(struct dkim_signer *s)
{
	for (size_t i = 0; i < dkim_header_count(s->fields); i++) {
		const struct dkim_field *f = dkim_header_at(s->fields, i);
		const char *why, *body;
		size_t len;

		if (!dkim_field_is(f, "From"))
			continue;
		body = dkim_field_body(f, &len);
		if (from_parse(body, len, &s->authors, &why) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

struct dkim_signer *dkim_signer_new(const char *header, size_t len)
{
	struct dkim_signer *s = calloc(1, sizeof(*s));
	struct crlf lines = { .put = header_put };

	if (!s)
		return NULL;
	buf_init(&s->header, len * 2 + 2);
	lines.arg = &s->header;
	if (crlf_add(&lines, header, len) == 0 && crlf_end(&lines) == 0 && s->header.len > 0 && fields_index(s) == 0 && authors_read(s) == 0)
		return s;
	dkim_signer_free(s);
	return NULL;
}

void dkim_signer_free(struct dkim_signer *s)
{
	if (!s)
		return;
	from_authors_release(&s->authors);
	buf_release(&s->header);
	dkim_header_free(s->fields);
	free(s);
}

const char *dkim_signer_author(const struct dkim_signer *s)
{
	char canonical[DOMAIN_MAX];

	if (s->authors.domain_count != 1 || s->authors.overflow)
		return NULL;
	/* A literal, "[192.0.2.1]", is nobody's domain. */
	return domain_canonical(s->authors.domain[0], strlen(s->authors.domain[0]), canonical) == 0 ? s->authors.domain[0] : NULL;
}

/* The body. */

static int body_put(void *arg, const char *p, size_t len)
{
	return dkim_body_add(arg, p, len);
}

static int lines_put(void *arg, const char *p, size_t len)
{
	return crlf_add(arg, p, len);
}

int dkim_signer_body(struct message *m, bool relaxed, unsigned char hash[DKIM_HASH_MAX])
{
	AUTO(dkim_body) struct dkim_body *b = dkim_body_new(relaxed, false, 0);
	struct crlf lines = { .put = body_put, .arg = b };
	uint64_t canonical;
	int rc;

	if (!b)
		return -ENOMEM;
	rc = message_has_bare(m) ? body_feed(m, lines_put, &lines) : body_feed(m, body_put, b);
	if (rc < 0)
		return rc;
	rc = crlf_end(&lines);
	return rc < 0 ? rc : dkim_body_end(b, hash, &canonical);
}

/* The field. */

static size_t count_named(const struct dkim_signer *s, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < dkim_header_count(s->fields); i++)
		n += dkim_field_is(dkim_header_at(s->fields, i), name);
	return n;
}

static bool is_listed(char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(list[i], name) == 0)
			return true;
	return false;
}

/* One more word of the field, on a line of its own where it does not fit. line: how long the present line is. */
static void put_word(struct buf *out, size_t *line, const char *separator, const char *word)
{
	size_t n = strlen(separator) + strlen(word);

	buf_adds(out, separator);
	if (*line + n > FOLD) {
		buf_adds(out, "\r\n\t ");
		*line = 9;
	}
	buf_adds(out, word);
	*line += n;
}

/*
 * h=: each name as often as there are fields of it, and once more where none may be added. Of a name that stands there more often than
 * DKIM_SIGN_SAME_MAX times the lower ones only, except From.
 */
static void put_names(const struct dkim_signer *s, const struct dkim_sign_conf *conf, struct buf *out)
{
	size_t line = 10;

	buf_adds(out, "\r\n\th=");
	for (size_t i = 0; i <= conf->field_count; i++) {
		const char *name = i == 0 ? "From" : conf->field[i - 1];
		size_t n = count_named(s, name);

		if (i > 0 && (strcasecmp(name, "From") == 0 || n == 0))
			continue;
		if (i > 0 && n > DKIM_SIGN_SAME_MAX)
			n = DKIM_SIGN_SAME_MAX;
		else if (i == 0 || is_listed(conf->oversign, conf->oversign_count, name))
			n++;
		for (size_t k = 0; k < n; k++)
			put_word(out, &line, i + k == 0 ? "" : ":", name);
	}
	buf_adds(out, ";");
}

static const char *form_name(enum dkim_sign_form form)
{
	static const char *const names[] = {
		[DKIM_FORM_RELAXED] = "relaxed/relaxed",
		[DKIM_FORM_RELAXED_SIMPLE] = "relaxed/simple",
		[DKIM_FORM_SIMPLE_RELAXED] = "simple/relaxed",
		[DKIM_FORM_SIMPLE] = "simple/simple",
	};

	return names[form];
}

/* The field up to "b=". */
static void put_field(const struct dkim_signer *s, const struct dkim_sign_conf *conf, const struct dkim_sign_key *key, const char *bh, int64_t now_s,
		      struct buf *out)
{
	buf_addf(out, "DKIM-Signature: v=1; a=%s-sha256; c=%s;\r\n\td=%s;\r\n\ts=%s;\r\n\tt=%" PRId64 ";",
		 dkim_private_type(key->key) == DKIM_KEY_RSA ? "rsa" : "ed25519", form_name(conf->form), conf->domain, key->selector, now_s);
	if (conf->expire_s)
		buf_addf(out, " x=%" PRId64 ";", now_s + conf->expire_s);
	put_names(s, conf, out);
	buf_addf(out, "\r\n\tbh=%s;\r\n\tb=", bh);
}

/* The signature behind "b=", in lines. may wait */
static int put_signature(const struct dkim_sign_key *key, const unsigned char hash[DKIM_HASH_MAX], struct buf *out, const char **why)
{
	unsigned char signature[DKIM_PRIVATE_SIGNATURE_MAX], text[DKIM_PRIVATE_SIGNATURE_MAX * 4 / 3 + 8];
	size_t len = 0, at = 0;
	int rc = dkim_private_sign(key->key, hash, signature, &len), n;

	if (rc < 0) {
		*why = "the private key did not sign";
		return rc;
	}
	n = EVP_EncodeBlock(text, signature, (int)len);
	while (at < (size_t)n) {
		size_t room = at ? FOLD - 9 : FOLD - 10, part = (size_t)n - at < room ? (size_t)n - at : room;

		if (at)
			buf_adds(out, "\r\n\t ");
		buf_add(out, text + at, part);
		at += part;
	}
	return buf_adds(out, "\r\n");
}

/* The hash that is to be signed of the field that is unfinished in text. may wait */
static int header_hash(const struct dkim_signer *s, const struct dkim_engine *ops, bool relaxed, const struct buf *text, unsigned char hash[DKIM_HASH_MAX],
		       const char **why)
{
	AUTO(dkim_header) struct dkim_header *h = dkim_header_new();
	AUTO(buf) struct buf field = BUF_INIT(SIGNATURE_TEXT_MAX);
	const struct dkim_sig sig = { .header_relaxed = relaxed };
	int rc;

	buf_add(&field, text->data, text->len);
	rc = buf_adds(&field, "AAAA");                  /* what stands behind b= does not count, but something must */
	if (rc == 0)
		rc = h ? dkim_header_add(h, field.data, field.len) : -ENOMEM;
	for (size_t i = 0; i < dkim_header_count(s->fields) && rc == 0; i++) {
		const struct dkim_field *f = dkim_header_at(s->fields, i);

		if (!dkim_field_is(f, "DKIM-Signature"))        /* others are not signed: who verifies may leave them out */
			rc = dkim_header_add(h, f->raw, f->len);
	}
	if (rc == 0)
		rc = dkim_header_ready(h);
	return rc < 0 ? rc : ops->hash(h, 0, &sig, hash, why);
}

int dkim_signer_sign(struct dkim_signer *s, const struct dkim_sign_conf *conf, const struct dkim_engine *engine, struct message *m, int64_t now_s,
		     struct buf *out, const char **why)
{
	bool header_relaxed = conf->form == DKIM_FORM_RELAXED || conf->form == DKIM_FORM_RELAXED_SIMPLE;
	bool relaxed = conf->form == DKIM_FORM_RELAXED || conf->form == DKIM_FORM_SIMPLE_RELAXED;
	unsigned char hash[DKIM_BODY_HASH];
	unsigned char bh[DKIM_BODY_HASH * 2];
	int rc;

	*why = "there is no key";               /* its file could not be read by this user */
	if (conf->key_count == 0)
		return -ENOKEY;
	*why = "the body could not be read";
	rc = dkim_signer_body(m, relaxed, hash);
	if (rc < 0)
		return rc;
	EVP_EncodeBlock(bh, hash, sizeof(hash));
	*why = "no memory, or a header that is too large";
	for (size_t i = 0; i < conf->key_count && rc == 0; i++) {
		bool ed25519 = dkim_private_type(conf->key[i].key) == DKIM_KEY_ED25519;
		const struct dkim_engine *by = engine && !ed25519 ? engine : &dkim_engine_native;
		AUTO(buf) struct buf text = BUF_INIT(SIGNATURE_TEXT_MAX);

		put_field(s, conf, &conf->key[i], (const char *)bh, now_s, &text);
		if (text.len > LIBRARY_TEXT_MAX || s->header.len + dkim_header_count(s->fields) * DKIM_LIBRARY_FIELD > DKIM_LIBRARY_OCTETS)
			by = &dkim_engine_native;
		rc = text.failed ? -EMSGSIZE : header_hash(s, by, header_relaxed, &text, hash, why);
		if (rc == 0)
			rc = put_signature(&conf->key[i], hash, &text, why);
		if (rc == 0)
			rc = buf_add(out, text.data, text.len);
	}
	return rc;
}
