/*
 * trace - the Received field that this gateway adds, and the loops that earlier ones show, RFC 5321 4.4 and 6.3
 */
#ifndef TRACE_H
#define TRACE_H

#include "base/buf.h"
#include "filters/txn.h"

/*
 * "Received: from HELO (RDNS [IP]) ... ; date", folded, with its final CRLF. utf8: SMTPUTF8 was used (RFC 6531 4.3). What the client said is
 * written only as far as it is harmless in a comment. The reverse name is written if it is known
 * already, and confirmed; "for" if there is one recipient. 0 or -ENOSPC.
 */
int trace_received(const struct txn *t, bool utf8, struct buf *out);

/* "X-Client-Address: 192.0.2.7" with CRLF, in the name that the site has given; nothing if it has not. */
void trace_client(const struct site *site, const char *ip, struct buf *out);

enum trace_loop { TRACE_OK, TRACE_TOO_MANY_HOPS, TRACE_LOOP };

/*
 * Judge the Received fields of m: more than max_hops, or more than max_ours of ours. One is what a message has that the server behind has passed on to
 * another of the site's names; where what goes out passes here, too, one that was forwarded there and back again has three.
 */
enum trace_loop trace_check(const struct message *m, const char *hostname, int max_hops, int max_ours);

/* Whether a Received field is one that this gateway has added before. */
bool trace_is_ours(const struct header_field *h, const char *hostname);

/* "Sun, 22 Nov 2026 00:12:17 +0000" of seconds since 1970, UTC. out: 40 bytes. Returns out. */
const char *trace_date(int64_t wall_s, char *out);

#endif
