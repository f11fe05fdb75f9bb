/*
 * message - the bytes of one message as they were sent, and an index of its header
 *
 * Bytes lie in memory up to memory_bytes (and message_memory_bound), beyond that in a file without a name whose descriptor comes from the opener given
 * at message_new (the keeper's store, or memfd in tests). Where the disk is full, when that file is opened or later, a file in memory takes its place: up to
 * MESSAGE_SPARE_MAX for all messages of the process together, past which there is no space. CRLF as received; dot-stuffing is already undone. The header is
 * indexed while it arrives: message_add finds its end by itself. Bounds: header_bytes and header_fields, past which
 * message_add says -EMSGSIZE.
 *
 * Header fields are given as they stand, folds included: name (without colon) and body (after the colon, without the final CRLF).
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/auto.h"

/* FIELDS_MAX: the most that header_fields may allow; what reads a header of ours, to which we have added, takes some more. */
enum { MESSAGE_SPARE_MAX = 64 * 1024 * 1024, MESSAGE_FIELDS_MAX = 10000 };

/*
 * What all messages of this process together may hold in memory (0: no bound, the default). Beyond it a message goes to its file from MESSAGE_TIGHT octets
 * of body on, and a header of more is -ENOSPC.
 */
enum { MESSAGE_TIGHT = 16 * 1024 };
void message_memory_bound(uint64_t bytes);
uint64_t message_spare_bytes(void);     /* in files in memory, which are not the process's own for /proc */

struct message_limits {
	size_t memory_bytes;            /* kept in memory up to here (256 KiB) */
	size_t header_bytes;            /* the whole header at most (256 KiB) */
	size_t header_fields;           /* at most (2,000; MESSAGE_FIELDS_MAX for what strangers send) */
};

struct header_field {
	const char *raw;                /* the whole field with its final CRLF */
	size_t raw_len;
	const char *name;               /* = raw; may be followed by blanks before the colon (obsolete syntax) */
	size_t name_len;                /* without such blanks */
	const char *body;
	size_t body_len;
};

struct message;

/* open_fd(arg): a read-write descriptor that the message then owns, or -errno; may wait. Called at most once. */
struct message *message_new(const struct message_limits *lim, int (*open_fd)(void *arg), void *arg);
void message_free(struct message *m);
AUTO_DEFINE(message)

/* Append bytes. 0, -EMSGSIZE (header bounds), or -errno of the file: -ENOSPC past MESSAGE_SPARE_MAX. may wait (when the file is opened or changed) */
int message_add(struct message *m, const char *p, size_t len);
/*
 * Instead of message_add and message_end: the whole message lies in fd, which the message owns from now on, whatever the result. It is read once, for its
 * header and what kinds of octets it has. The limits of the header count. 0, -EMSGSIZE, or -errno. may wait
 */
int message_adopt(struct message *m, int fd);
/*
 * An empty one with the bounds and the opener of m, which must outlive its first file. And one with another header, with its empty line, above the body of m,
 * which is not copied: m must outlive it. NULL: no memory, or the header is beyond the bounds of m, or not one with an empty line.
 */
struct message *message_new_like(const struct message *m);
struct message *message_derive(struct message *m, const char *header, size_t len);
/* No more comes: a message without an empty line is all header (or all body when its first line is no field). 0 or -errno. */
int message_end(struct message *m);

bool message_header_done(const struct message *m);      /* the end of the header has been seen */
size_t message_size(const struct message *m);           /* bytes added */
size_t message_body_offset(const struct message *m);    /* of the first byte after the empty line */
bool message_has_bare(const struct message *m);         /* a CR or LF alone, anywhere */
bool message_has_8bit(const struct message *m);
bool message_has_nul(const struct message *m);
bool message_header_has_bare_cr(const struct message *m);       /* once the header is done */

/* Header: fields in order of arrival; none before message_header_done. A line that is no field ends the header (RFC 5322: the
   rest is body) and message_header_broken says so. */
size_t message_field_count(const struct message *m);
const struct header_field *message_field(const struct message *m, size_t i);
/* The nth (0 = first from the top) field of that name, case ignored; NULL when there are fewer. */
const struct header_field *message_find(const struct message *m, const char *name, size_t nth);
/* What it says: the body without the blanks and folds before the first word. */
const char *header_field_text(const struct header_field *f, size_t *len);
bool message_header_broken(const struct message *m);

/* Bytes from off on: *p points at *len contiguous ones (at most 64 KiB), 0 at the end; valid until the next call. 0 or -errno. */
int message_read(struct message *m, size_t off, const char **p, size_t *len);

/* The same into out[0..size), which is the caller's: for who reads on while others read, too. How many, 0 at the end, or -errno. Never waits. */
ssize_t message_copy(struct message *m, size_t off, char *out, size_t size);

/* Of the file that open_fd gave, -1 while all is in memory, for want of room on the disk too; still owned by m. */
int message_fd(const struct message *m);

#endif
