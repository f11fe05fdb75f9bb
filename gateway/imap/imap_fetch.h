/*
 * imap_fetch - what a FETCH asks for, RFC 9051 section 6.4.5, BINARY of RFC 3516; and the messages it names
 *
 * The arguments of FETCH and UID FETCH are parsed as far as it matters who sees what: items that show nothing of a message but what the server says
 * of it (flags, sizes, its structure, single fields of its header), those that show its header, and those that show what it holds, any part of it.
 * What is not known here shows what it holds. No I/O.
 */
#ifndef IMAP_FETCH_H
#define IMAP_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "imap/imap_span.h"

enum imap_show { IMAP_SHOWS_NOTHING, IMAP_SHOWS_HEADER, IMAP_SHOWS_CONTENT };

enum imap_section {
	IMAP_SECTION_NONE,              /* plain text, whatever it is */
	IMAP_SECTION_WHOLE,             /* BODY[], RFC822 */
	IMAP_SECTION_HEADER,            /* BODY[HEADER], RFC822.HEADER */
	IMAP_SECTION_TEXT,              /* BODY[TEXT], RFC822.TEXT */
	IMAP_SECTION_PART,              /* BODY[1.2]: in the encoding of that part */
};

enum { IMAP_PART_MAX = 64 };            /* octets of "1.2.3" */

/* One item, of a command or of a response. */
struct imap_item {
	enum imap_show show;
	enum imap_section section;
	bool partial;                   /* <origin>, <origin.length> */
	uint64_t origin;
	struct imap_span part;          /* "1.2", in the name */
};

/* An item's name as given: "BODY.PEEK[1.2]<0.100>". Whatever it is, out says something of it that is safe. */
void imap_item_parse(const char *p, size_t len, struct imap_item *out);

/* What all items of a command come to. */
struct imap_fetch {
	struct imap_span set;           /* the messages: in the arguments */
	struct imap_span rest;          /* what follows them, the blank before it too */
	enum imap_show show;            /* the most of any */
	bool needs_header;              /* of the header a part is asked for that can be told only by who knows all of it */
	bool needs_structure;           /* parts are asked for */
};

/* p[0..len): what stands behind "FETCH ", without line end. NULL: out is written; else what is wrong, printable. */
const char *imap_fetch_parse(const char *p, size_t len, struct imap_fetch *out);

/*
 * The set, cut down to messages up to top ("*" and what is above it is top), so that it names no message that has come since. Returns how many elements are
 * left; 0: it names none of those. "$" (RFC 5182) stays as it is. -ENOSPC or -ENOMEM: of out.
 */
int imap_set_clip(struct imap_span set, uint32_t top, struct buf *out);
/* "1:3,5,9:*", "$" */
bool imap_set_valid(struct imap_span set);

#endif
