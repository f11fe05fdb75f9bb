/*
 * release_mark - that a message which was fetched has been released is told to whoever remembers it
 */
#ifndef RELEASE_MARK_H
#define RELEASE_MARK_H

#include "base/buf.h"

struct site;

/*
 * content (policy/released.h) may be fetched from now on. The running gateway is told, its database where none runs, or the
 * Redis that several share. On a loop that does not run (loop_init). 0, or -errno and why in words.
 */
int release_mark(const struct site *s, const char *content, struct buf *why);

#endif
