/*
 * directory_address - addresses as directories write them, and as they are compared
 *
 * The normal form is "local@domain": the local part in lower case (ASCII) and without quotes, the domain a lower-case A-label (filters/domain.h). A name without a
 * domain, as Domino has them, is "local" alone, with "_" in place of blanks, as the router takes "First_Last@example.com" for First Last. Pure; no I/O.
 */
#ifndef DIRECTORY_ADDRESS_H
#define DIRECTORY_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "policy/directory_conf.h"

enum { DIRECTORY_ADDRESS_MAX = 320, DIRECTORY_FORMS_MAX = 10 };        /* 64 + "@" + 253 and a NUL; a form is never longer */

/* Of a recipient in an envelope: local is unquoted. 0, or -EINVAL: no directory has such a one. */
int directory_address(const char *local, const char *domain, char out[DIRECTORY_ADDRESS_MAX]);

/*
 * A value of an attribute that holds addresses. "smtp:" before it is dropped, other kinds ("X400:", "SIP:", "x500:") are none. 0 and the normal form (of a name
 * alone with schema DOMINO), or -EINVAL: no address.
 */
int directory_value(enum directory_schema schema, const char *p, size_t len, char out[DIRECTORY_ADDRESS_MAX]);

/* The forms in which a recipient (normal form) may stand in this directory, itself first; how many. */
struct directory_forms {
	size_t count;
	char text[DIRECTORY_FORMS_MAX][DIRECTORY_ADDRESS_MAX];
};
void directory_forms(const struct directory_conf *c, const char *address, struct directory_forms *out);

/* Whether this directory is asked for recipients of that domain; whether all of them are known without a question. */
bool directory_covers(const struct directory_conf *c, const char *address);
bool directory_catches(const struct directory_conf *c, const char *address);

/*
 * The filter (RFC 4515) that finds any of the forms: the site's own, and one of the attributes with one of them. 0, or -ENOMEM, -ENOSPC. Whatever a recipient
 * is called, he is a value there and nothing else.
 */
int directory_filter(const struct directory_conf *c, const struct directory_forms *f, struct buf *out);

/*
 * "proxyAddresses;range=0-1499": Active Directory has more values than it gives at once ([MS-ADTS] 3.1.1.3.1.3.3). name: of the attribute alone, *next: where the rest
 * begins; -1: there is none. False: another attribute than `attribute`.
 */
bool directory_attribute_is(const char *name, const char *attribute, long *next);

#endif
