/*
 * crlf - bytes as they are once every line ends with CRLF: what a message is that is sent by DATA, RFC 5321 section 2.3.8
 *
 * A CR or LF alone becomes CRLF. A CR at the end of a piece is held back until the next piece, or the end.
 */
#ifndef CRLF_H
#define CRLF_H

#include <stdbool.h>
#include <stddef.h>

struct crlf {
	bool cr;                        /* private; zeroed to begin */
	int (*put)(void *arg, const char *p, size_t len);
	void *arg;
};

/* Each returns 0, or what put returned that was less. */
int crlf_add(struct crlf *c, const char *p, size_t len);
int crlf_end(struct crlf *c);

#endif
