/*
 * aside - something done by a child of its own, so that this process never has in its memory what that needs
 *
 * The child ends when it is done. It leaves no core file, and nobody may look into it.
 */
#ifndef ASIDE_H
#define ASIDE_H

#include "base/buf.h"

/*
 * fn(arg, out) runs in a copy of this process; what it adds to out comes back, and nothing else does. 0, or -errno: there was no child, it has
 * died (-ECHILD), or out is too small (-EMSGSIZE). Blocks as long as fn runs: for a process that serves nobody meanwhile.
 */
int aside_run(void (*fn)(void *arg, struct buf *out), void *arg, struct buf *out);

#endif
