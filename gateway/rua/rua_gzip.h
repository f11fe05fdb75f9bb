/*
 * rua_gzip - text as it comes, compressed into memory (RFC 1952), by zlib
 *
 * The same text makes the same octets: there is neither time nor name in it. Each piece is compressed when it is added, so who adds small pieces
 * decides how often others get their turn.
 */
#ifndef RUA_GZIP_H
#define RUA_GZIP_H

#include <stddef.h>

#include "base/auto.h"
#include "base/buf.h"

struct rua_gzip;

/* out: empty, with its bound; it outlives the result. NULL: no memory. */
struct rua_gzip *rua_gzip_new(struct buf *out);
void rua_gzip_free(struct rua_gzip *g);
AUTO_DEFINE(rua_gzip)

/* 0, -ENOSPC: more than out holds, or -ENOMEM. After an error it is given up. */
int rua_gzip_add(struct rua_gzip *g, const char *p, size_t len);
int rua_gzip_end(struct rua_gzip *g);

#endif
