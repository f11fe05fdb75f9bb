/*
 * unpack - content is unpacked in a box: parts within parts, their encodings, charsets, HTML, archives
 *
 * What a message contains was chosen by whoever sent it, and it takes the most intricate code of all to see it. That code runs in disposable processes
 * without network and files (box.h), one for each message and kind of look; what comes back is read as if the sender had written it (fact_wire.h).
 *
 * A filter with an `unpack` looks at nothing but the message; those that are needed are looked at in one box. When that
 * ends before its work is done, by a limit or a crash, its facts say so: `unread` of the filter sets those that a policy can go by.
 */
#ifndef UNPACK_H
#define UNPACK_H

#include "filters/filter.h"

enum { UNPACK_TIME_MS = 30 * 1000 };

/* The run of filters with an unpack: establishes the facts of all of them that are needed. 0, or -errno: it could not be tried. may wait */
int unpack_run(struct txn *t, int self, struct facts *out);

/* text_extract() of text.h, in a box: appends at most max octets to out, fewer where it was ended. 0 or -errno. may wait */
int unpack_text(struct message *m, size_t max, struct buf *out);

/* A descriptor, the caller's, of a file with the whole message. -errno. Within a task others run meanwhile. */
int unpack_file(struct message *m);

/* In a box: the message that lies in the file in, which becomes its own. NULL: it cannot be read. */
struct message *unpack_message(int in);

/* In a box: p[0..len) is the answer, or a piece of it. false: nobody wants more. */
bool unpack_answer(int out, const char *p, size_t len);

/* CPU seconds for a look at the message whose time grows with its size. */
int unpack_cpu_s(const struct message *m);

#endif
