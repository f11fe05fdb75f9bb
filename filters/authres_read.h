/*
 * authres_read - what an Authentication-Results body says, RFC 8601 section 2.2, result by result
 *
 *     struct authres_read r;
 *     struct authres_result one;
 *     if (authres_read_begin(&r, p, len))
 *             while (authres_read_next(&r, &one)) ...
 *     if (r.broken) ...                               // nothing of it can be relied on
 *
 * Quoting and comments hide what looks like a result in them: "x; dmarc=pass" stands for itself. Methods and results come out in lower case, values
 * unquoted; text that does not fit in its place makes the body broken, as does what is no result. More is let through than the grammar has where it
 * cannot change who says what: a base64 value without quotes, a property without its type (action=none). Nothing is allocated, no I/O. The same body
 * stands, after its instance, in ARC-Authentication-Results.
 */
#ifndef AUTHRES_READ_H
#define AUTHRES_READ_H

#include <stdbool.h>
#include <stddef.h>

enum { AUTHRES_WORD_MAX = 40, AUTHRES_VALUE_MAX = 512, AUTHRES_PROPERTIES_MAX = 12, AUTHRES_RESULTS_MAX = 64 };

struct authres_read {
	const char *p, *end;
	size_t count;                   /* results read */
	bool broken;
	char id[AUTHRES_VALUE_MAX];     /* the authserv-id */
};

struct authres_property {
	char name[2 * AUTHRES_WORD_MAX];        /* "header.from", lower-case; without a type "from" */
	char value[AUTHRES_VALUE_MAX];
};

struct authres_result {
	char method[AUTHRES_WORD_MAX];  /* "dmarc", without a version */
	char word[AUTHRES_WORD_MAX];    /* "pass" */
	size_t count;
	struct authres_property property[AUTHRES_PROPERTIES_MAX];       /* those behind are passed over */
};

/* The authserv-id and its version. False: broken. */
bool authres_read_begin(struct authres_read *r, const char *p, size_t len);
/* The next result; false at the end ("none" has no result), or broken. More than AUTHRES_RESULTS_MAX are broken. */
bool authres_read_next(struct authres_read *r, struct authres_result *out);

/* The value of a property, NULL: there is none. */
const char *authres_result_value(const struct authres_result *r, const char *name);

#endif
