/*
 * proxy_header - the PROXY protocol, versions 1 and 2: what a load balancer says of a connection's real ends before anything else
 *
 *     PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n
 *
 * The specification is HAProxy's doc/proxy-protocol.txt. Version 1 is a line of at most 107 octets; version 2 is binary and may carry
 * further values (TLVs): these are skipped, but each must lie within the header, and a checksum (CRC32C) must be right. No I/O here.
 */
#ifndef PROXY_HEADER_H
#define PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/net.h"

enum {
	PROXY_V1_MAX = 107,             /* CRLF included */
	PROXY_V2_FIXED = 16,            /* what stands before its addresses */
	PROXY_HEADER_MAX = 4096,        /* a longer one, which its length field could announce, is refused */
};

enum proxy_version { PROXY_NO, PROXY_V1, PROXY_V2 };

enum proxy_parse { PROXY_OK, PROXY_MORE, PROXY_BAD };

struct proxy_header {
	/*
	 * false: UNKNOWN, LOCAL, or addresses of another family: the balancer speaks for itself (a health check), or does not know.
	 * The connection's own ends count then.
	 */
	bool told;
	struct net_addr source, destination;    /* with ports; family 0 unless told */
};

/*
 * Read a header of either version at p[0..len). PROXY_OK: it is *used bytes long. PROXY_MORE: all of p belongs to it, and it goes on.
 * PROXY_BAD: this is none, as soon as that is certain. Outputs are written on PROXY_OK only.
 */
enum proxy_parse proxy_header_parse(const void *p, size_t len, struct proxy_header *out, size_t *used);

/*
 * The header that says h, in this version; not told: UNKNOWN (1), LOCAL (2). Ends of two families are both written as IPv6. 0, or what
 * buf says.
 */
int proxy_header_write(enum proxy_version version, const struct proxy_header *h, struct buf *out);

#endif
