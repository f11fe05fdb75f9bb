/*
 * from_parse - the authors in the body of a From field, RFC 5322 3.6.2 with RFC 6854 (groups) and
 * RFC 6532 (UTF-8)
 *
 * The whole grammar with its obsolete forms: comments, folds, quoted strings, routes, empty list
 * elements, blanks around dots. A field that does not follow it (valid is false) is not guessed at:
 * every address that some reader might see in it is counted, wherever it stands, so that
 * "<a@evil.example> b@example.com" has two domains, and "Smith, Ltd. <a@example.com>" has one.
 * Encoded words are never decoded: nothing in them is an address. No I/O here.
 */
#ifndef FROM_PARSE_H
#define FROM_PARSE_H

#include <stdbool.h>
#include <stddef.h>

enum { FROM_ADDRESSES_MAX = 64, FROM_ADDRESS_BYTES = 512 };

struct from_authors {                   /* zeroed to begin; several fields may be read into one */
	char **address;                 /* local part as written, domain canonical if it is one */
	size_t address_count;
	char **domain;                  /* distinct; canonical, or "[192.0.2.1]" in lower case */
	size_t domain_count;
	bool overflow;                  /* there were more than fit: not all are here */
};

/*
 * Read p[0..len), the body of one field, and add its authors to out. 0: it follows the grammar, and
 * every domain in it is one. -EBADMSG: it does not, and *why (a literal) says what is wrong.
 * -ENOMEM.
 */
int from_parse(const char *p, size_t len, struct from_authors *out, const char **why);
void from_authors_release(struct from_authors *a);

#endif
