/*
 * authres - the Authentication-Results header field, RFC 8601
 *
 * Made from facts; and recognised in incoming messages, so that those that claim our authserv-id are removed (section 5).
 */
#ifndef AUTHRES_H
#define AUTHRES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "filters/txn.h"

/* The whole field with folds and final CRLF, from the facts of t that are known (spf, dkim, dmarc, arc, iprev; "none" when nothing). 0 or -ENOSPC. */
int authres_make(const struct txn *t, const char *authserv_id, struct buf *out);

/* The Received-SPF field, RFC 7208 9.1, with its final CRLF. */
int authres_received_spf(const struct txn *t, const char *receiver, struct buf *out);

/* Whether the body of an Authentication-Results field names authserv_id, after comments, folding, quoting and case (RFC 8601 section 5). A body that cannot be parsed but
   contains the id counts as claiming it. */
bool authres_claims(const char *body, size_t len, const char *authserv_id);  /* authres_claims.c */

/*
 * What our Authentication-Results fields of one message say, as one list for an ARC-Authentication-Results (RFC 8617 section 4.1.1): to be called with the body of
 * each field. False: it is not ours, or cannot be read. out begins empty, and is the authserv-id and the results of each, folded; the id alone when none
 * says anything.
 */
bool authres_gather(const char *body, size_t len, const char *authserv_id, struct buf *out);

#endif
