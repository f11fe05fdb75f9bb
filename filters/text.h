/*
 * text - what the parts of a message say, as UTF-8
 *
 * Text parts are those of type text, and attachments that are called .txt, .htm, .html, .xhtml or .shtml whatever their type. Their content is decoded
 * (parts.h, charset.h), of HTML what a person sees, then what is hidden (html.h). Then it is tidied: characters that show nothing (soft hyphen, zero
 * width, direction) and NUL go, runs of blanks are one blank, of line ends one line end.
 *
 * Bounds: TEXT_OCTETS_MAX of a part are read, TEXT_OCTETS_IN_ALL of a message, TEXT_PART_MAX octets of what comes of it are kept, TEXT_MESSAGE_MAX of a message. Past
 * them it is cut, which fact text.cut says. The content of a part is in memory while it is read, and its text for a moment.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

#include "base/buf.h"
#include "filters/filter.h"
#include "filters/message.h"

enum {
	TEXT_OCTETS_MAX = 256 * 1024,
	TEXT_OCTETS_IN_ALL = 4 * 1024 * 1024,
	TEXT_PART_MAX = 64 * 1024,
	TEXT_MESSAGE_MAX = 256 * 1024,
};

/* Facts text, text.cut and text.unread, in a box (unpack.h). */
extern const struct filter filter_text;

/* Tells each text part that is not empty, in their order; *cut: what was left out first, in words, or NULL. 0, or the first error. */
int text_parts(struct message *m, int (*on_text)(void *arg, const char *p, size_t len), void *arg, const char **cut);

/* The same; and where links in HTML lead to, a line each, is appended to links (html_text_links); NULL: not wanted. */
int text_parts_links(struct message *m, int (*on_text)(void *arg, const char *p, size_t len), void *arg, struct buf *links, const char **cut);

/*
 * Appends to out at most max octets to search in: From, To and Subject decoded, names of attachments, then the text parts; a line end behind each.
 * charset_setup() must have been called. 0, -ENOMEM, or an error of reading the message. It takes its time: unpack_text() does it in a box.
 */
int text_extract(struct message *m, size_t max, struct buf *out);

#endif
