/*
 * dkim_diff - the hash of one header by both engines of DKIM, and what explains it where they differ
 *
 * The header is a text as a message has it; its first DKIM-Signature field that can be read is the one signature. The engines may differ only where
 * libopendkim is known to depart from RFC 6376: dkim_diff_known says what it does.
 */
#ifndef TESTS_DKIM_DIFF_H
#define TESTS_DKIM_DIFF_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/dkim_engine.h"

enum { DKIM_DIFF_KNOWN = 8 };

extern const struct dkim_diff_reason {
	const char *name, *what;
} dkim_diff_known[DKIM_DIFF_KNOWN];

struct dkim_diff {
	bool signature;                 /* there is one that can be read; else nothing was compared */
	int rc[2];                      /* native, libopendkim: 0, or what it could not do */
	const char *why[2];
	unsigned char hash[2][DKIM_HASH_MAX];
	bool same;
	const char *known;              /* not the same, and that is why: a name in dkim_diff_known; NULL: nobody knows */
};

void dkim_diff(const char *header, size_t len, struct dkim_diff *out);

#endif
