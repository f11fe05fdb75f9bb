#include "imap/imap_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/stream.h"
#include "base/stream_raw.h"

enum {
	DIRECT_BYTES = 4 * 1024,                /* longer ones are not copied, if they can go */
	OUT_MAX = 4 * 1024 * 1024,              /* far beyond what one round of reading makes */
	SMALL_REST = 4 * 1024,                  /* of what waits so much lies in memory of its size */
};

void imap_wire_init(struct imap_wire *w, struct stream *stream, uint64_t *came, uint64_t *went)
{
	*w = (struct imap_wire){ .stream = stream, .came = came, .went = went };
	buf_init(&w->out, OUT_MAX);
}

void imap_wire_release(struct imap_wire *w)
{
	free(w->in);
	w->in = NULL;
	w->at = w->have = w->cap = 0;
	buf_release(&w->out);
}

/* Room behind what is there. */
static bool make_room(struct imap_wire *w)
{
	char *grown;

	if (w->at) {
		memmove(w->in, w->in + w->at, w->have);
		w->at = 0;
	}
	if (w->cap == STREAM_CHUNK)
		return true;
	grown = realloc(w->in, STREAM_CHUNK);
	if (!grown)
		return false;
	w->in = grown;
	w->cap = STREAM_CHUNK;
	return true;
}

int imap_wire_read(struct imap_wire *w)
{
	ssize_t n;

	if (w->ended || w->have == STREAM_CHUNK)
		return 0;
	if (!make_room(w))
		return -ENOMEM;
	n = stream_raw_read(w->stream, w->in + w->have, w->cap - w->have);
	if (n == -EPIPE) {
		w->ended = true;
		return 1;
	}
	if (n <= 0)
		return (int)n;
	w->have += (size_t)n;
	if (w->came)
		*w->came += (uint64_t)n;
	return 1;
}

void imap_wire_eat(struct imap_wire *w, size_t len)
{
	w->at += len;
	w->have -= len;
	if (w->have == 0)
		w->at = 0;
}

size_t imap_wire_queued(const struct imap_wire *w)
{
	return w->out.len - w->out_at;
}

/* Octets that go at once, or less than 0. */
static ssize_t send_now(struct imap_wire *w, const char *p, size_t len)
{
	ssize_t n = stream_raw_write(w->stream, p, len);

	if (n > 0 && w->went)
		*w->went += (uint64_t)n;
	return n;
}

int imap_wire_flush(struct imap_wire *w)
{
	int moved = 0;

	while (imap_wire_queued(w)) {
		ssize_t n = send_now(w, w->out.data + w->out_at, imap_wire_queued(w));

		if (n <= 0)
			return n < 0 ? (int)n : moved;
		w->out_at += (size_t)n;
		moved = 1;
	}
	buf_clear(&w->out);
	w->out_at = 0;
	return moved;
}

int imap_wire_put(struct imap_wire *w, const char *p, size_t len)
{
	ssize_t n;

	if (len >= DIRECT_BYTES) {
		int rc = imap_wire_flush(w);

		while (rc >= 0 && len > 0 && !imap_wire_queued(w)) {
			n = send_now(w, p, len);
			if (n < 0)
				return (int)n;
			if (n == 0)
				break;
			p += n;
			len -= (size_t)n;
		}
		if (rc < 0)
			return rc;
	}
	return len ? buf_add(&w->out, p, len) : 0;
}

int imap_wire_puts(struct imap_wire *w, const char *text)
{
	return imap_wire_put(w, text, strlen(text));
}

void imap_wire_shut(struct imap_wire *w)
{
	if (w->shut || imap_wire_queued(w))
		return;
	w->shut = true;
	stream_raw_shut(w->stream);
}

void imap_wire_rest(struct imap_wire *w)
{
	char *small;

	if (!imap_wire_queued(w))
		buf_release(&w->out);
	if (w->have > SMALL_REST || w->cap <= SMALL_REST)
		return;
	small = w->have ? malloc(w->have) : NULL;
	if (w->have && !small)
		return;
	if (w->have)
		memcpy(small, w->in + w->at, w->have);
	free(w->in);
	w->in = small;
	w->cap = w->have;
	w->at = 0;
}
