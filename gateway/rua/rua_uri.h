/*
 * rua_uri - where a domain wants its aggregate reports: the addresses in rua= of a DMARC record
 *
 *     rua=mailto:dmarc@example.com!10m, mailto:a%2Bb@example.net
 *
 * Only mailto: can be served (RFC 6068; percent-encoded octets are decoded, header fields behind a question mark are passed over). The limit of
 * size behind an exclamation mark is RFC 7489's (section 6.2); RFC 9990 still has it obeyed. An address must be plain: ASCII, no quotes,
 * nothing that somebody could read as a route, and a host with a dot. Pure: no I/O.
 */
#ifndef RUA_URI_H
#define RUA_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filters/domain.h"

enum { RUA_URI_TEXT_MAX = 512, RUA_ADDRESS_MAX = 255 };

struct rua_uri {
	char address[RUA_ADDRESS_MAX];  /* "dmarc@example.com" */
	char host[DOMAIN_MAX];          /* of it, canonical */
	uint64_t max_bytes;             /* of a whole message; UINT64_MAX: no limit is named */
};

/* One URI, blanks around it aside. NULL and *out, or what is wrong with it in words (a literal). */
const char *rua_uri_parse(const char *p, size_t len, struct rua_uri *out);

/* The URIs of a list between commas. *pos begins at 0. false after the last. */
bool rua_uri_next(const char *list, size_t len, size_t *pos, const char **item, size_t *item_len);

#endif
