#include "filters/parts.h"

#include <errno.h>
#include <stdlib.h>

struct parts {
	const struct parts_reader *reader;
	struct mime *mime;
	struct transfer transfer;
	bool wanted;                    /* the content of the part told last */
	bool open;                      /* its end has not been told */
	char block[PARTS_BLOCK + TRANSFER_SPARE];
};

static int end(struct parts *ps)
{
	bool was_open = ps->open;

	ps->open = ps->wanted = false;
	return was_open && ps->reader->end ? ps->reader->end(ps->reader->arg) : 0;
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct parts *ps = arg;
	int rc = end(ps);

	if (rc == 0)
		rc = ps->reader->part(ps->reader->arg, part);
	if (rc <= 0)
		return rc;
	ps->open = ps->wanted = true;
	transfer_init(&ps->transfer, part->encoding);
	return 0;
}

static int on_content(void *arg, const char *p, size_t len)
{
	struct parts *ps = arg;

	while (len && ps->wanted) {
		size_t n = len < PARTS_BLOCK ? len : PARTS_BLOCK;
		size_t got = transfer_decode(&ps->transfer, p, n, ps->block);
		int rc = got ? ps->reader->content(ps->reader->arg, ps->block, got) : 0;

		if (rc < 0)
			return rc;
		if (rc > 0)
			ps->wanted = false;
		p += n;
		len -= n;
	}
	return 0;
}

struct parts *parts_new(const struct parts_reader *r)
{
	struct parts *ps = calloc(1, sizeof(*ps));

	if (!ps)
		return NULL;
	ps->reader = r;
	ps->mime = mime_new(on_part, ps);
	if (!ps->mime) {
		free(ps);
		return NULL;
	}
	if (r->content)
		mime_want_content(ps->mime, on_content);
	return ps;
}

void parts_free(struct parts *ps)
{
	if (!ps)
		return;
	mime_free(ps->mime);
	free(ps);
}

int parts_read(struct parts *ps, struct message *m)
{
	size_t off = 0, len;
	const char *p;
	int rc;

	while ((rc = message_read(m, off, &p, &len)) == 0 && len) {
		rc = mime_add(ps->mime, p, len);
		if (rc < 0)
			return rc;
		off += len;
	}
	if (rc == 0)
		rc = mime_end(ps->mime);
	return rc == 0 ? end(ps) : rc;
}

struct mime *parts_mime(struct parts *ps)
{
	return ps->mime;
}
