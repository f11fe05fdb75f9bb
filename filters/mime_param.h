/*
 * mime_param - the body of a Content-Type or Content-Disposition field: a value and its parameters
 *
 * RFC 2045 5.1 with what is seen in mail: values with blanks that nobody quoted, quotes without end, parameters
 * given twice. RFC 2231 (segments, percent signs, charsets) and encoded words in names (RFC 2047 forbids them; everybody sends them)
 * are undone. No I/O.
 */
#ifndef MIME_PARAM_H
#define MIME_PARAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum {
	MIME_VALUE_MAX = 127,           /* octets of a value */
	MIME_PARAM_NAME_MAX = 31,       /* of a parameter's name; longer ones are of no interest */
	MIME_PARAMS_MAX = 64,
	MIME_PARAM_BYTES_MAX = 64 * 1024,
};

struct mime_param {
	char name[MIME_PARAM_NAME_MAX + 1];     /* lower case, without what RFC 2231 adds */
	int segment;                            /* name*2=: 2; -1: the whole */
	bool extended;                          /* name*=, name*2*=: percent signs, and a charset before the first */
	size_t at, len;                         /* in values; quotes are undone */
};

struct mime_params {
	char value[MIME_VALUE_MAX + 1];         /* "text/plain", lower case */
	struct mime_param v[MIME_PARAMS_MAX];
	size_t count;
	struct buf values;
	const char *broken;                     /* what is wrong with it, or NULL */
};

/* p[0..len): a field's body, folds included. out: zeroed, or parsed into before. 0 or -ENOMEM. */
int mime_params_parse(const char *p, size_t len, struct mime_params *out);
void mime_params_release(struct mime_params *ps);

/*
 * Appends to out the nth form in which name is given (filename=, filename*=, filename*0= are three). decoded: as text in UTF-8; else
 * octets as they are. 1, 0 when there are fewer, or -ENOMEM. out has room for 6 * MIME_PARAM_BYTES_MAX.
 */
int mime_params_get(const struct mime_params *ps, const char *name, size_t nth, bool decoded, struct buf *out);

#endif
