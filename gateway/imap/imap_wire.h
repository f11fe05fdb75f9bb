/*
 * imap_wire - one leg of a session whose bytes are read on the way: what came and was not eaten, what goes and was not sent
 *
 * Nothing here waits; one task serves two of them, as a pump does. At most STREAM_CHUNK octets are held of what came, as many and what one call adds
 * of what goes, and memory only while there are any.
 */
#ifndef IMAP_WIRE_H
#define IMAP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct stream;

struct imap_wire {
	struct stream *stream;          /* the caller's; flushed, and used by nobody else */
	char *in;
	size_t at, have, cap;           /* in + at: have octets */
	struct buf out;
	size_t out_at;                  /* so many of out have gone */
	uint64_t *came, *went;          /* octets are added there; NULL: nowhere */
	bool ended;                     /* it has ended its side: no more comes */
	bool shut;                      /* ours */
};

void imap_wire_init(struct imap_wire *w, struct stream *stream, uint64_t *came, uint64_t *went);
void imap_wire_release(struct imap_wire *w);

/* One try. 1: something moved; 0: nothing to be had, or no room; -ECONNRESET, -EPROTO, -ENOMEM. */
int imap_wire_read(struct imap_wire *w);
int imap_wire_flush(struct imap_wire *w);
void imap_wire_eat(struct imap_wire *w, size_t len);
static inline char *imap_wire_in(struct imap_wire *w)
{
	return w->in + w->at;
}

/* Long pieces leave at once, if they can. 0 or -errno. */
int imap_wire_put(struct imap_wire *w, const char *p, size_t len);
int imap_wire_puts(struct imap_wire *w, const char *text);
size_t imap_wire_queued(const struct imap_wire *w);

/* When all has gone: our side ends. */
void imap_wire_shut(struct imap_wire *w);
/* Before a wait: memory that is not needed is given back. */
void imap_wire_rest(struct imap_wire *w);

#endif
