/*
 * parts - the parts of a message, with their content decoded
 *
 * The message is read once, from front to back: mime.h finds the parts, transfer.h undoes the encoding of those whose content is wanted. Nothing
 * is kept but a block of PARTS_BLOCK octets. It takes its time: filters do it in a box (unpack.h).
 */
#ifndef PARTS_H
#define PARTS_H

#include "filters/message.h"
#include "filters/mime.h"

enum { PARTS_BLOCK = 8 * 1024 };

/* Each gives 0, or -errno, which ends the reading; or 1, where that means something. content and end may be NULL. */
struct parts_reader {
	/* A part begins. 1: its content is wanted. */
	int (*part)(void *arg, const struct mime_part *part);
	/* Decoded octets of it, at most PARTS_BLOCK + TRANSFER_SPARE. 1: no more of this part is wanted. */
	int (*content)(void *arg, const char *p, size_t len);
	/* A part whose content was wanted has ended. */
	int (*end)(void *arg);
	void *arg;
};

struct parts;

struct parts *parts_new(const struct parts_reader *r);
void parts_free(struct parts *ps);
AUTO_DEFINE(parts)

/* 0 or the first error. Once for each ps. */
int parts_read(struct parts *ps, struct message *m);

/* The structure that was found: mime_parts(), mime_depth(), mime_broken(). */
struct mime *parts_mime(struct parts *ps);

#endif
