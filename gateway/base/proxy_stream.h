/*
 * proxy_stream - a PROXY header at the beginning of a connection
 */
#ifndef PROXY_STREAM_H
#define PROXY_STREAM_H

#include "base/proxy_header.h"

struct stream;

/*
 * Read the header, the very first thing on a connection, before its greeting and before TLS. Not one octet behind it is taken from the
 * socket. 0 and *out; -EBADMSG: something else came; -ETIMEDOUT: it was not complete in that time; or an error of the stream. may wait
 */
int proxy_stream_read(struct stream *s, int timeout_ms, struct proxy_header *out);

/*
 * Send the header that says h and nothing else, in one segment. Not told: LOCAL in version 2; in version 1 the ends of this connection, since Postfix
 * takes no UNKNOWN. 0 or an error of the stream. may wait
 */
int proxy_stream_write(struct stream *s, enum proxy_version version, const struct proxy_header *h, int timeout_ms);

#endif
