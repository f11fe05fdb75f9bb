/*
 * regdomain - the registrable domain of a name, without the DNS: keys for greylist and rates
 *
 * From the public suffix list of libpsl: Debian's newest at start, the one built into the library
 * where there is none. DMARC does not use it (RFC 9989 walks the tree). Read once, before any
 * chroot; workers only look into memory.
 */
#ifndef REGDOMAIN_H
#define REGDOMAIN_H

#include "filters/domain.h"

/* Once per process, before the file system is out of sight. file NULL: the system's list. 0, or
 * -ENOENT when there is none at all. */
int regdomain_init(const char *file);
void regdomain_release(void);

/* The date of the list or the like, for `version`; never NULL. */
const char *regdomain_source(void);

/*
 * The registrable domain of a canonical name: "a.b.example.co.uk" gives "example.co.uk". A tail of
 * name; NULL when name is a public suffix, or above one.
 */
const char *regdomain_of(const char *name);

/* That, or the name itself where it has none: what is counted as one. */
static inline const char *regdomain_or_name(const char *name)
{
	const char *domain = regdomain_of(name);

	return domain ? domain : name;
}

#endif
