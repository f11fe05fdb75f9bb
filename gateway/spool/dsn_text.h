/*
 * dsn_text - text from outside, made fit for a delivery status notification
 *
 * Whatever a server said or a message holds: what comes out is ASCII in lines of at most 76 octets (998 for an address), and holds no CR or LF but
 * those of its own line ends. Pure: no I/O.
 */
#ifndef DSN_TEXT_H
#define DSN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Printable ASCII as it is, a line end or tab as a blank, all else as '?'; cut at max octets. */
void dsn_text_clean(const char *text, size_t max, struct buf *out);

/* "Name: text" as a field, the text cleaned, folded at blanks, with its final CRLF. */
void dsn_text_field(const char *name, const char *text, struct buf *out);

/*
 * The address as a field says it: "rfc822; a@b", or "utf-8; ..." where it is not ASCII: as it is with unicode, else in the
 * form of RFC 6533 section 3 ("\x{E9}"). Octets that are no UTF-8, and controls: '?'.
 */
void dsn_text_address(const char *address, bool unicode, struct buf *out);

/* ORCPT=, "type;xtext" (RFC 3461 4.2, RFC 6533 3), the same way. false: it is none, nothing is added. */
bool dsn_text_orcpt(const char *orcpt, struct buf *out);

/* Whether p[0..len) can stand in a part that is not encoded: CRLF the only line ends, lines of at most 998, ASCII without NUL. */
bool dsn_text_plain(const char *p, size_t len);

/* quoted-printable, RFC 2045 6.7: of text, whose CRLFs are line ends; a CR or LF alone is encoded. The caller checks out. */
struct dsn_qp {
	struct buf *out;
	size_t column;
	bool cr;                /* the last octet was a CR that is not written yet */
	int blank;              /* the last octet was this blank, not written yet; 0: none */
};
void dsn_qp_add(struct dsn_qp *q, const char *p, size_t len);
void dsn_qp_end(struct dsn_qp *q);              /* ends the last line, if it is not ended */

#endif
