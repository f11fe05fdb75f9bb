/*
 * etrn - the argument of ETRN, RFC 1985 section 5
 *
 * "example.com" asks for the mail of that domain, "@example.com" for that of all below it, too, "#backend" for a queue by its name: the first word of
 * a route (policy/spool.h). Pure: no I/O.
 */
#ifndef ETRN_H
#define ETRN_H

#include <stdbool.h>
#include <stddef.h>

#include "smtp/smtp_address.h"

enum etrn_kind { ETRN_DOMAIN, ETRN_BELOW, ETRN_QUEUE };

struct site;

struct etrn {
	enum etrn_kind kind;
	char name[SMTP_DOMAIN_MAX + 1];         /* lower-case */
};

/* 0, or -EINVAL. */
int etrn_parse(const char *arg, size_t len, struct etrn *out);

/* Whether it asks for mail of the site's domains (which go to the servers behind). */
bool etrn_is_ours(const struct etrn *e, const struct site *site);

#endif
