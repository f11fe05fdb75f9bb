/*
 * mime - the parts of a message, RFC 2045 and 2046
 *
 * Bytes of a message go in, header first, in chunks of any size; each part is told when its header has been read. No I/O. It reads as mail programs
 * do, rather than as the RFC allows: lines may end in LF alone, parts after the closing delimiter count, a multipart
 * that is not closed ends with what is around it. What is wrong is named by mime_broken(). message/rfc822 is entered, unless it is encoded.
 * The content of parts is given as it was sent; transfer.h decodes it, and parts.h does all that for a message.
 *
 * Bounds: MIME_DEPTH_MAX, past which containers are parts like others; MIME_PARTS_MAX, past which parts are not told; 64 KiB of the fields read here per part;
 * MIME_NAMES_MAX names of a part. Past each of them the message is broken.
 */
#ifndef MIME_H
#define MIME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "filters/transfer.h"

enum {
	MIME_DEPTH_MAX = 20,
	MIME_PARTS_MAX = 1000,
	MIME_NAMES_MAX = 16,
	MIME_EXTENSION_MAX = 63,
	MIME_CHARSET_MAX = 80,
};

struct mime_part {
	int depth;                      /* containers around it */
	const char *type;               /* "text/plain" */
	bool container;                 /* multipart or message/rfc822, whose parts follow */
	bool attachment;                /* Content-Disposition: attachment */
	enum transfer_encoding encoding;
	const char *charset;            /* as given, cut at MIME_CHARSET_MAX; "": none */
	size_t name_count;
	const char *const *names;       /* each form of filename= and of Content-Type's name=, decoded; each once */
};

struct mime;

/* on_part: 0, or an error that mime_add and mime_end give back. */
struct mime *mime_new(int (*on_part)(void *arg, const struct mime_part *part), void *arg);
void mime_free(struct mime *m);
AUTO_DEFINE(mime)

/*
 * on_content gets the content of the part that was told last, and is no container: octets as they were sent, in pieces of any size, without the
 * line end that belongs to the delimiter behind it. Before the first mime_add. 0, or an error as on_part.
 */
void mime_want_content(struct mime *m, int (*on_content)(void *arg, const char *p, size_t len));

int mime_add(struct mime *m, const char *p, size_t len);        /* 0, -ENOMEM or on_part's error */
int mime_end(struct mime *m);

size_t mime_parts(const struct mime *m);        /* parts that are no containers */
int mime_depth(const struct mime *m);           /* of the deepest; 0: a message without containers */
const char *mime_broken(const struct mime *m);  /* what was wrong first, in words, or NULL */
void mime_set_broken(struct mime *m, const char *why);  /* why: static; the first counts */

/*
 * What the system would go by to open a file of that name: "a.TXT.Exe. " has "exe". Lower case (ASCII); of a path its last
 * component; blanks and dots at the end are not counted, as Windows leaves them out. False: it has none, or one longer than MIME_EXTENSION_MAX.
 */
bool mime_extension(const char *name, char out[MIME_EXTENSION_MAX + 1]);

#endif
