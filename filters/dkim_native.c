#include "filters/dkim_engine.h"

#include <errno.h>

#include "filters/dkim_canon.h"
#include "filters/dkim_crypto.h"
#include "filters/dkim_tag.h"
#include "filters/turn.h"

/* What a signature covers is chosen, brought into canonical form and hashed only where there is a key: nothing is done for one that cannot pass. */

static void cover(struct dkim_hash *hash, const struct dkim_field *f, bool relaxed, int flags, struct turn *turn)
{
	dkim_canon_field(hash, f->raw, f->len, relaxed, flags);
	turn_took(turn, f->len * TURN_HEADER);
}

/* The fields that h= names, then the signature's own without what b= says: section 3.7. may wait */
static int hash_make(struct dkim_header *header, size_t place, const struct dkim_tag *h, bool relaxed, struct turn *turn, unsigned char out[DKIM_HASH_BYTES])
{
	AUTO(dkim_hash) struct dkim_hash hash = { 0 };
	const char *name;
	size_t pos = 0, len;
	int rc = dkim_hash_begin(&hash);

	if (rc < 0)
		return rc;
	dkim_header_rewind(header, place);
	while (dkim_tag_item(h, &pos, &name, &len)) {
		const struct dkim_field *f = dkim_header_up(header, name, len);

		if (f)
			cover(&hash, f, relaxed, 0, turn);
	}
	cover(&hash, dkim_header_at(header, place), relaxed, DKIM_CANON_NO_B | DKIM_CANON_LAST, turn);
	return dkim_hash_end(&hash, out);
}

/* tags: those of the signature. -EPROTO: the field is no list of tags with h= and b=, which who calls has seen to. may wait */
static int hash_of(struct dkim_header *header, size_t place, const struct dkim_sig *sig, struct turn *turn, struct dkim_tags *tags,
		   unsigned char out[DKIM_HASH_BYTES])
{
	const struct dkim_field *own = dkim_header_at(header, place);
	const struct dkim_tag *h;
	const char *body;
	size_t len;

	if (own->name_len == 0)
		return -EPROTO;
	body = dkim_field_body(own, &len);
	if (dkim_tags_parse(body, len, tags) || !dkim_tags_find(tags, "b"))
		return -EPROTO;
	h = dkim_tags_find(tags, "h");
	return h ? hash_make(header, place, h, sig->header_relaxed, turn, out) : -EPROTO;
}

static int engine_hash(struct dkim_header *h, size_t place, const struct dkim_sig *sig, unsigned char out[DKIM_HASH_MAX], const char **why)
{
	struct turn turn = { 0 };
	struct dkim_tags tags;

	*why = "there is no hash of the header";
	return hash_of(h, place, sig, &turn, &tags, out);
}

static int answer(struct dkim_header *h, struct dkim_job *job, struct turn *turn)
{
	unsigned char hash[DKIM_HASH_BYTES], signature[DKIM_KEY_BYTES_MAX];
	struct dkim_tags tags;
	const struct dkim_tag *b;
	ptrdiff_t n;
	int rc = hash_of(h, job->place, job->sig, turn, &tags, hash);

	job->header_ok = false;
	job->why = "the signature does not fit the header";
	if (rc == -EPROTO)
		job->why = "there is no hash of the header";
	if (rc < 0)
		return rc == -EPROTO ? 0 : rc;
	b = dkim_tags_find(&tags, "b");
	n = dkim_tag_base64(b->value, b->len, signature, sizeof(signature));
	if (n < 0)
		return 0;
	rc = dkim_crypto_check(job->key, hash, signature, (size_t)n);
	turn_took(turn, dkim_crypto_cost(job->key));
	job->header_ok = rc == 1;
	return rc < 0 ? rc : 0;
}

static int engine_verify(struct dkim_header *h, struct dkim_job *jobs, size_t count)
{
	struct turn turn = { 0 };
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		if (jobs[i].key)
			rc = answer(h, &jobs[i], &turn);
	return rc;
}

const struct dkim_engine dkim_engine_native = { .name = "native", .verify = engine_verify, .hash = engine_hash };
