/*
 * notice - what a user is shown instead of a message that is kept from him
 *
 * It takes the place of the message octet for octet, so that sizes, structures and partial ranges stay true. The header
 * stays, but for the fields that say what the body is (Content-Type, Content-Transfer-Encoding, Content-Disposition,
 * MIME-Version): the first two letters of their names become "X-", in place, and a message without them is plain text. Every
 * octet of the body becomes one of the notice's text, which then is padded with lines of blanks without end. Where only a
 * part of the message is asked for, the text comes in the encoding of that part.
 *
 * The text is printable ASCII in lines of at most 76 octets that end with CRLF, and none begins with a dot. It holds nothing
 * that HTML, quoted-printable, RTF or UTF-7 would take for its own: what it tells of reason and id is cleaned to that. It
 * begins with an empty line, for headers that have no end. Pure: no I/O, no clock.
 */
#ifndef NOTICE_H
#define NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filters/transfer.h"

enum { NOTICE_TEXT_MAX = 2048, NOTICE_REASON_MAX = 200 };

#define NOTICE_ENDLESS UINT64_MAX

struct notice {
	uint16_t len;
	char text[NOTICE_TEXT_MAX];     /* whole lines */
};

/*
 * reason: why, in words of the policy; may be "" or NULL. id: of the copy in the quarantine; "" or NULL: there is none, and
 * the text says so. About 2 KiB: on the heap, or for a moment on a stack.
 */
void notice_init(struct notice *n, const char *reason, const char *id);

/*
 * Octets [off, off + len) of the notice to out. encoding: TRANSFER_BASE64 gives base64, all others the text as it is. total:
 * how many octets are replaced, so that the last two are CRLF, as POP3 needs it (the last line may have one octet more for
 * it); or NOTICE_ENDLESS where nobody knows or needs it (who gives parts of a whole says the same each time). The same octets
 * for the same offset, however they are asked for.
 */
void notice_read(const struct notice *n, enum transfer_encoding encoding, uint64_t total, uint64_t off, char *out, size_t len);

/*
 * p[0..len): a whole header, with or without the empty line at its end, and nothing of the body; lines end with CRLF, LF or
 * CR. In place, the length stays. A line that is neither a field nor goes on with one becomes blanks: some programs would
 * take it, and what follows, for the body. How many fields were changed.
 */
size_t notice_header_fix(char *p, size_t len);

#endif
