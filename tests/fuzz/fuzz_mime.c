/* Any bytes as a message: bounds are kept, and in chunks it has the same parts as at once. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"
#include "filters/mime.h"

struct seen {
	size_t parts, leaves;
	uint64_t hash;
};

static void hash(struct seen *s, const char *text)
{
	do
		s->hash = (s->hash ^ (unsigned char)*text) * 1099511628211u;
	while (*text++);
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct seen *s = arg;
	char extension[MIME_EXTENSION_MAX + 1];

	s->parts++;
	s->leaves += !part->container;
	assert(part->depth <= MIME_DEPTH_MAX && part->name_count <= MIME_NAMES_MAX);
	assert(strchr(part->type, '/'));
	hash(s, part->type);
	for (size_t i = 0; i < part->name_count; i++) {
		size_t len = strlen(part->names[i]), n;

		assert(len > 0);
		for (size_t k = 0; k < len; k += n) {
			n = utf8_len(part->names[i] + k, len - k);
			assert(n > 0);
		}
		hash(s, part->names[i]);
		if (mime_extension(part->names[i], extension))
			assert(extension[0] && !strchr(extension, '.'));
	}
	return 0;
}

/* The content of a part, whichever pieces it comes in. */
static int on_content(void *arg, const char *p, size_t len)
{
	struct seen *s = arg;

	assert(len > 0);
	while (len--)
		s->hash = (s->hash ^ (unsigned char)*p++) * 1099511628211u;
	return 0;
}

static struct seen parse(const char *p, size_t len, size_t chunk, const char **broken)
{
	struct seen s = { .parts = 0 };
	AUTO(mime) struct mime *m = mime_new(on_part, &s);

	assert(m);
	mime_want_content(m, on_content);
	for (size_t at = 0; at < len; at += chunk)
		assert(mime_add(m, p + at, len - at < chunk ? len - at : chunk) == 0);
	assert(mime_end(m) == 0);
	assert(s.parts >= 1 && s.parts <= MIME_PARTS_MAX && mime_parts(m) == s.leaves);
	assert(mime_depth(m) <= MIME_DEPTH_MAX);
	*broken = mime_broken(m);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *missing, *broken, *again;
	struct seen whole, pieces;

	charset_setup(&missing);
	whole = parse((const char *)data, size, size ? size : 1, &broken);
	pieces = parse((const char *)data, size, 3, &again);
	assert(whole.parts == pieces.parts && whole.hash == pieces.hash && broken == again);
	return 0;
}
