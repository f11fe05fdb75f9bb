/*
 * body_feed - the body of a message, read from its beginning and handed on piece by piece
 */
#ifndef BODY_FEED_H
#define BODY_FEED_H

#include <stddef.h>

#include "filters/message.h"

/* What takes the next octets. 0, or -errno: enough. */
typedef int body_feed_fn(void *arg, const char *p, size_t len);

/* All of it from message_body_offset() on; others get their turn every 256 KiB, as hashing takes time. 0, what fn returned, or that of message_read. may wait */
int body_feed(struct message *m, body_feed_fn *fn, void *arg);

#endif
