#include "filters/dkim_engine.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/task.h"
#include "filters/dkim_canon.h"
#include "filters/dkim_crypto.h"
#include "filters/dkim_header.h"
#include "filters/dkim_tag.h"

/*
 * The fields are kept as they are until the end; what a signature covers is chosen, brought into canonical form and hashed only then, and
 * only where there is a key. So nothing is done for a signature that cannot pass, and where headers are large a task can yield.
 */

enum { YIELD_BYTES = 256 * 1024, HEADER_MAX = 256 << 20 };

struct part {                           /* a field; they lie one behind the other in text */
	size_t len;
	const struct dkim_sig *sig;     /* NULL: none of those that are verified */
};

struct signature {
	const struct dkim_sig *sig;
	size_t place;                   /* of its field */
	bool hashed;
	unsigned char hash[DKIM_HASH_BYTES];
};

struct engine {
	struct buf text;
	struct part *part;
	size_t count, cap;
	struct dkim_header *header;     /* of the fields in text */
	struct signature *signature;
	size_t signatures;
	size_t since;                   /* bytes hashed since others had their turn */
};

static void engine_free(void *arg)
{
	struct engine *e = arg;

	if (!e)
		return;
	dkim_header_free(e->header);
	buf_release(&e->text);
	free(e->part);
	free(e->signature);
	free(e);
}

static void *engine_start(void)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	buf_init(&e->text, HEADER_MAX);
	e->header = dkim_header_new();
	if (!e->header) {
		engine_free(e);
		return NULL;
	}
	return e;
}

static int engine_field(void *arg, const char *p, size_t len, const struct dkim_sig *sig)
{
	struct engine *e = arg;

	if (e->count == DKIM_HEADER_FIELDS_MAX)
		return -EMSGSIZE;
	if (e->count == e->cap) {
		size_t cap = e->cap ? e->cap * 2 : 32;
		struct part *grown = reallocarray(e->part, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		e->part = grown;
		e->cap = cap;
	}
	if (buf_add(&e->text, p, len) < 0)
		return -ENOMEM;
	e->part[e->count++] = (struct part){ .len = len, .sig = sig };
	e->signatures += sig != NULL;
	return 0;
}

static int engine_header_end(void *arg, size_t jobs)
{
	struct engine *e = arg;
	size_t at = 0, n = 0;

	if (e->signatures != jobs)
		return -EPROTO;
	e->signature = calloc(jobs ? jobs : 1, sizeof(*e->signature));
	if (!e->signature)
		return -ENOMEM;
	for (size_t i = 0; i < e->count; i++) {
		if (dkim_header_add(e->header, e->text.data + at, e->part[i].len) < 0)
			return -ENOMEM;
		if (e->part[i].sig)
			e->signature[n++] = (struct signature){ .sig = e->part[i].sig, .place = i };
		at += e->part[i].len;
	}
	free(e->part);
	e->part = NULL;
	e->count = e->cap = 0;
	return dkim_header_ready(e->header);
}

static void turn(struct engine *e, size_t hashed)
{
	e->since += hashed;
	if (e->since < YIELD_BYTES || !task_self())
		return;
	e->since = 0;
	task_yield();
}

/* The fields that h= names, then the signature's own without what b= says: section 3.7. */
static int hash_make(struct engine *e, struct signature *s, const struct dkim_tag *h)
{
	const struct dkim_field *own = dkim_header_at(e->header, s->place);
	AUTO(dkim_hash) struct dkim_hash hash = { 0 };
	const char *name;
	size_t pos = 0, len;
	int rc = dkim_hash_begin(&hash);

	if (rc < 0)
		return rc;
	dkim_header_rewind(e->header, s->place);
	while (dkim_tag_item(h, &pos, &name, &len)) {
		const struct dkim_field *f = dkim_header_up(e->header, name, len);

		if (!f)
			continue;
		dkim_canon_field(&hash, f->raw, f->len, s->sig->header_relaxed, 0);
		turn(e, f->len);
	}
	dkim_canon_field(&hash, own->raw, own->len, s->sig->header_relaxed, DKIM_CANON_NO_B | DKIM_CANON_LAST);
	rc = dkim_hash_end(&hash, s->hash);
	s->hashed = rc == 0;
	return rc;
}

/* 0: there is a hash. -EPROTO: the field is no list of tags with h= and b=, which who calls has seen to. */
static int hash_of(struct engine *e, struct signature *s, struct dkim_tags *tags)
{
	const struct dkim_field *own = dkim_header_at(e->header, s->place);
	const struct dkim_tag *h;
	const char *body;
	size_t len;

	if (own->name_len == 0)
		return -EPROTO;
	body = dkim_field_body(own, &len);
	if (dkim_tags_parse(body, len, tags) || !dkim_tags_find(tags, "b"))
		return -EPROTO;
	h = dkim_tags_find(tags, "h");
	if (!h)
		return -EPROTO;
	return s->hashed ? 0 : hash_make(e, s, h);
}

static int engine_hash(void *arg, size_t i, unsigned char out[DKIM_HASH_MAX], const char **why)
{
	struct engine *e = arg;
	struct dkim_tags tags;
	int rc = hash_of(e, &e->signature[i], &tags);

	*why = "there is no hash of the header";
	if (rc < 0)
		return rc;
	memcpy(out, e->signature[i].hash, DKIM_HASH_BYTES);
	return 0;
}

static int answer(struct engine *e, struct signature *s, struct dkim_job *job)
{
	unsigned char signature[DKIM_KEY_BYTES_MAX];
	struct dkim_tags tags;
	const struct dkim_tag *b;
	ptrdiff_t n;
	int rc = hash_of(e, s, &tags);

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
	rc = dkim_crypto_check(job->key, s->hash, signature, (size_t)n);
	job->header_ok = rc == 1;
	return rc < 0 ? rc : 0;
}

static int engine_finish(void *arg, struct dkim_job *jobs, size_t count)
{
	struct engine *e = arg;
	int rc = 0;

	if (count != e->signatures)
		return -EPROTO;
	for (size_t i = 0; i < count && rc == 0; i++)
		if (jobs[i].key)
			rc = answer(e, &e->signature[i], &jobs[i]);
	return rc;
}

const struct dkim_engine dkim_engine_native = {
	.name = "native",
	.start = engine_start,
	.field = engine_field,
	.header_end = engine_header_end,
	.finish = engine_finish,
	.hash = engine_hash,
	.free = engine_free,
};
