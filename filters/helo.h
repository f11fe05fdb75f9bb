/*
 * helo - whether the name that the client gives itself makes sense
 *
 * Two filters, so that only helo.resolves costs lookups. The name is read as RFC 5321 4.1.3 and 2.3.5 have it: a domain or an address literal;
 * underscores and U-labels are let pass (many honest hosts have them), an address without brackets is a literal with bad syntax.
 */
#ifndef HELO_H
#define HELO_H

#include "filters/filter.h"

extern const struct filter filter_helo, filter_helo_dns;

enum helo_kind { HELO_DOMAIN, HELO_LITERAL, HELO_BARE };        /* bare: one label */

struct helo {
	enum helo_kind kind;
	bool ok;                        /* syntax */
	const char *why;                /* what is wrong, a literal, "" if nothing */
	struct net_addr addr;           /* HELO_LITERAL, family 0 when it cannot be read */
	char domain[254];               /* the others: canonical, "" when it cannot be read */
};

/* Pure. */
void helo_parse(const char *text, struct helo *out);

#endif
