/*
 * dns_packet - the answer section of a DNS message, RFC 1035 section 4
 *
 * Bytes in, records out; no I/O. Used on what the resolver library hands over: the question is not compared, the CNAME chain
 * has been followed by the resolver, records of the asked type and class IN are kept. Compressed names inside the RDATA of NS, CNAME, SOA, PTR and
 * MX are expanded, so that each record stands alone.
 */
#ifndef DNS_PACKET_H
#define DNS_PACKET_H

#include "base/dns.h"

enum { DNS_RCODE_NXDOMAIN = 3 };

struct dns_packet {
	int rcode;              /* of the header */
	size_t count;           /* records, DNS_RR_MAX at most; those beyond are left out */
	struct dns_rr *rr;      /* one heap block with the data, or NULL; the caller frees it */
	const char *owner;      /* the name that the records belong to, in rr's block; NULL when there is none */
	uint32_t ttl_s;         /* the least of the answer section; of a negative answer, RFC 2308 section 5 */
};

/* 0, -EBADMSG or -ENOMEM. *out is written on 0 only. */
int dns_packet_read(const uint8_t *p, size_t len, enum dns_type type, struct dns_packet *out);

#endif
