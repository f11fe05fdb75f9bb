/*
 * link - where a link leads to: the host of an address of the web
 *
 * Of http, https and ftp, and of what begins with "//" or, in text, with "www.". Read as browsers do (WHATWG URL): a backslash is a slash, what stands before the last "@" is no host,
 * %xx in a host is undone, and a host whose last label is a number is an IPv4 address in whatever form (inet_aton(3)). Names become canonical (domain.h). What was made unreadable on
 * purpose ("hxxp", "example[.]com") leads nowhere by itself and is not chased. Pure parsers.
 */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/net.h"
#include "filters/domain.h"

struct link_host {
	char domain[DOMAIN_MAX];        /* "": it is an address */
	struct net_addr addr;           /* family 0: it is a name */
};

/* The value of an attribute, p[0..len). False: it leads to no host. */
bool link_parse(const char *p, size_t len, struct link_host *out);

/* Every link in a text, in its order; on: 0 to go on. 0, or what on gave. */
int link_scan(const char *p, size_t len, int (*on)(void *arg, const struct link_host *h), void *arg);

#endif
