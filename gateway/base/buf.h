/*
 * buf - bytes that grow up to a bound
 *
 * A struct buf is embedded or local. Its data is always followed by a NUL that is not counted, so
 * that text can be printed, but the bytes may hold NULs themselves. Adding past the bound or out of
 * memory sets `failed`, which sticks, and adds nothing: a builder adds freely and checks once.
 */
#ifndef BUF_H
#define BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"

struct buf {
	char *data;             /* NULL until the first byte */
	size_t len, cap;        /* bytes used and allocated */
	size_t max;             /* the bound on len */
	bool failed;            /* an addition did not fit: what is here is incomplete */
};

#define BUF_INIT(bound) { .max = (bound) }

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);                /* b may be reused afterwards, same bound */
static inline void buf_cleanup(struct buf *b)
{
	buf_release(b);
}

/* Each returns 0, or -ENOSPC past the bound, or -ENOMEM; failed is set then. */
int buf_add(struct buf *b, const void *p, size_t len);
int buf_adds(struct buf *b, const char *s);
int buf_addc(struct buf *b, char c);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Make room for len more bytes after b->len; the caller writes there and then adds to b->len. */
int buf_reserve(struct buf *b, size_t len);

/* Drop the first len bytes (all, if there are fewer). */
void buf_eat(struct buf *b, size_t len);

/* len = 0, failed = false; the memory stays. */
void buf_clear(struct buf *b);

/* The text, never NULL. */
const char *buf_str(const struct buf *b);

/* The text as a heap string that the caller frees; b is empty afterwards. NULL if failed or no memory. */
char *buf_steal(struct buf *b);

#endif
