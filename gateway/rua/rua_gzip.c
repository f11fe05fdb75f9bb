#include "rua/rua_gzip.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

enum { WINDOW_GZIP = 15 + 16, MEMORY_LEVEL = 8, PIECE = 64 * 1024, ROOM = 16 * 1024 };

struct rua_gzip {
	z_stream z;
	struct buf *out;
};

struct rua_gzip *rua_gzip_new(struct buf *out)
{
	struct rua_gzip *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->out = out;
	if (deflateInit2(&g->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_GZIP, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(g);
		return NULL;
	}
	return g;
}

void rua_gzip_free(struct rua_gzip *g)
{
	if (!g)
		return;
	deflateEnd(&g->z);
	free(g);
}

/* As long as there is something to be had. */
static int run(struct rua_gzip *g, int flush)
{
	int rc;

	do {
		size_t left = g->out->max - g->out->len, room = left > 0 && left < ROOM ? left : ROOM;

		rc = buf_reserve(g->out, room);
		if (rc < 0)
			return rc;
		g->z.next_out = (unsigned char *)g->out->data + g->out->len;
		g->z.avail_out = (unsigned)room;
		rc = deflate(&g->z, flush);
		g->out->len += room - g->z.avail_out;
		g->out->data[g->out->len] = '\0';
	} while (rc == Z_OK && g->z.avail_out == 0);
	/* Z_BUF_ERROR: there was nothing to do, as the last round ended with full room. */
	return rc == Z_OK || rc == Z_BUF_ERROR || rc == Z_STREAM_END ? 0 : -ENOMEM;
}

int rua_gzip_add(struct rua_gzip *g, const char *p, size_t len)
{
	int rc = 0;

	for (size_t n; rc == 0 && len > 0; p += n, len -= n) {
		n = len < PIECE ? len : PIECE;
		g->z.next_in = (unsigned char *)(uintptr_t)p;
		g->z.avail_in = (unsigned)n;
		rc = run(g, Z_NO_FLUSH);
	}
	return rc;
}

int rua_gzip_end(struct rua_gzip *g)
{
	g->z.avail_in = 0;
	return run(g, Z_FINISH);
}
