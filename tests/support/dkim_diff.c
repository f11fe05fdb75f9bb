#include "support/dkim_diff.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "filters/dkim_tag.h"
#include "filters/message.h"

enum { NOW_S = 1700000000 };

enum { SELF, APART, NAME, NUL, BLANK, OCTET, ENDING, REFUSED };

const struct dkim_diff_reason dkim_diff_known[DKIM_DIFF_KNOWN] = {
	[SELF] = { "self", "h= names DKIM-Signature: it takes the field of the signature itself, too" },
	[APART] = { "apart", "blanks between b and =: it does not leave the value out" },
	[ENDING] = { "ending", "a tag whose name ends with b: it leaves that one's value out, too" },
	[NAME] = { "name", "a tab, a control character or one of 8 bits before the colon: it does not take the field" },
	[NUL] = { "nul", "NUL: the field ends there" },
	[BLANK] = { "blank", "CR, LF, vertical tab, form feed that fold nothing: blanks in relaxed form" },
	[OCTET] = { "octet", "8 bits in the signature's tags, which RFC 8616 allows: it does not read it" },
	[REFUSED] = { "refused", "it makes no hash: base64 without its padding, tags that it knows and finds wrong" },
};

static struct message *message_of(const char *p, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 8 << 20, .header_bytes = 1 << 20, .header_fields = 3000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert(m);
	if (message_add(m, p, len) == 0 && message_end(m) == 0)
		return m;
	message_free(m);
	return NULL;
}

static size_t without_crlf(const struct header_field *f)
{
	return f->raw_len >= 2 && memcmp(f->raw + f->raw_len - 2, "\r\n", 2) == 0 ? f->raw_len - 2 : f->raw_len;
}

static int hash_by(const struct dkim_engine *ops, const struct message *m, size_t place, const struct dkim_sig *sig, unsigned char out[DKIM_HASH_MAX],
		   const char **why)
{
	AUTO(dkim_header) struct dkim_header *h = dkim_header_new();
	int rc = 0;

	assert(h);
	*why = "";
	for (size_t i = 0; i < message_field_count(m) && rc == 0; i++)
		rc = dkim_header_add(h, message_field(m, i)->raw, message_field(m, i)->raw_len);
	if (rc == 0)
		rc = dkim_header_ready(h);
	return rc < 0 ? rc : ops->hash(h, place, sig, out, why);
}

static bool signature_find(const struct message *m, size_t *place, struct dkim_sig *sig)
{
	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *f = message_field(m, i);
		const char *why;

		size_t body = without_crlf(f) - (size_t)(f->body - f->raw);

		if (f->name_len == 14 && strncasecmp(f->name, "DKIM-Signature", 14) == 0 && dkim_sig_parse(f->body, body, NOW_S, sig, &why) == DKIM_SIG_GOOD) {
			*place = i;
			return true;
		}
	}
	return false;
}

/* A name with such an octet before its colon is none for the library: it does not take the field. */
static bool name_odd(const struct header_field *f)
{
	for (const char *p = f->raw; *p != ':'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			return true;
	return false;
}

/* Octets that are blanks for it, and for the RFC only where CRLF folds. */
static bool blank_odd(const struct header_field *f)
{
	for (size_t i = 0; i < f->raw_len; i++) {
		char c = f->raw[i];

		if (c == '\v' || c == '\f')
			return true;
		if (c == '\r' && (i + 1 == f->raw_len || f->raw[i + 1] != '\n'))
			return true;
		if (c == '\n' && (i == 0 || f->raw[i - 1] != '\r'))
			return true;
	}
	return false;
}

static bool covers_signatures(const struct header_field *f)
{
	struct dkim_tags tags;
	const struct dkim_tag *h;

	if (dkim_tags_parse(f->body, f->body_len, &tags))
		return false;
	h = dkim_tags_find(&tags, "h");
	return h && dkim_tag_has(h, "DKIM-Signature");
}

/* It knows b= by these two characters, and does not leave its value out where a blank stands between them. */
static bool b_apart(const struct header_field *f)
{
	struct dkim_tags tags;
	const struct dkim_tag *b;

	if (dkim_tags_parse(f->body, f->body_len, &tags))
		return false;
	b = dkim_tags_find(&tags, "b");
	return b && b->name[1] != '=';
}

static bool b_ending(const struct header_field *f)
{
	struct dkim_tags tags;

	if (dkim_tags_parse(f->body, f->body_len, &tags))
		return false;
	for (size_t i = 0; i < tags.count; i++)
		if (tags.tag[i].name_len > 1 && tags.tag[i].name[tags.tag[i].name_len - 1] == 'b')
			return true;
	return false;
}

static bool has_8bit(const struct header_field *f)
{
	for (size_t i = 0; i < f->raw_len; i++)
		if ((unsigned char)f->raw[i] >= 0x80)
			return true;
	return false;
}

static const char *explain(const struct message *m, size_t place, const struct dkim_sig *sig)
{
	if (covers_signatures(message_field(m, place)))
		return dkim_diff_known[SELF].name;
	if (b_apart(message_field(m, place)))
		return dkim_diff_known[APART].name;
	if (b_ending(message_field(m, place)))
		return dkim_diff_known[ENDING].name;
	if (has_8bit(message_field(m, place)))
		return dkim_diff_known[OCTET].name;
	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *f = message_field(m, i);

		if (name_odd(f))
			return dkim_diff_known[NAME].name;
		if (memchr(f->raw, '\0', f->raw_len))
			return dkim_diff_known[NUL].name;
		if (sig->header_relaxed && blank_odd(f))
			return dkim_diff_known[BLANK].name;
	}
	return NULL;
}

void dkim_diff(const char *header, size_t len, struct dkim_diff *out)
{
	static const struct dkim_engine *const engines[] = { &dkim_engine_native, &dkim_engine_opendkim };
	AUTO(message) struct message *m = message_of(header, len);
	struct dkim_sig sig;
	size_t place = 0;

	memset(out, 0, sizeof(*out));
	out->signature = m && signature_find(m, &place, &sig);
	if (!out->signature)
		return;
	for (size_t i = 0; i < 2; i++)
		out->rc[i] = hash_by(engines[i], m, place, &sig, out->hash[i], &out->why[i]);
	out->same = out->rc[0] == 0 && out->rc[1] == 0 && memcmp(out->hash[0], out->hash[1], DKIM_HASH_MAX) == 0;
	if (!out->same)
		out->known = explain(m, place, &sig);
	if (!out->same && !out->known && out->rc[0] == 0 && out->rc[1] != 0)
		out->known = dkim_diff_known[REFUSED].name;
}
