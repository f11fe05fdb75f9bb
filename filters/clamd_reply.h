/*
 * clamd_reply - what clamd says of a message, clamd(8)
 *
 * No I/O. A reply is the text before its NUL: "stream: OK", "stream: Eicar-Signature FOUND", "INSTREAM size limit exceeded. ERROR"; within a session
 * (IDSESSION) with the number of its question in front: "2: stream: OK".
 */
#ifndef CLAMD_REPLY_H
#define CLAMD_REPLY_H

#include <stddef.h>

/* Of a name; longer ones are cut. */
enum { CLAMD_NAME_MAX = 200 };

enum clamd_result {
	CLAMD_CLEAN,
	CLAMD_FOUND,            /* name is the signature's */
	CLAMD_TOO_LARGE,        /* longer than its StreamMaxLength; it ends the connection */
	CLAMD_ERROR,            /* it says that it failed; name is why */
	CLAMD_NONSENSE,         /* no reply, or to another question */
};

/* number: of the question in its session, from 1. Octets of a name that are not printable ASCII become '?'. */
enum clamd_result clamd_reply(const char *p, size_t len, unsigned number, char name[CLAMD_NAME_MAX + 1]);

#endif
