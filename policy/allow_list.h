/*
 * allow_list - adding an entry to a list file, as `gatepost quarantine allow` does
 *
 * The file is replaced as a whole by a rename in its directory, after fsync of file and directory:
 * whoever reads it sees the former or the new one, also after a crash. It keeps its mode and owner;
 * a new one is 0644 and the caller's. A path that is a symbolic link stays one, and what it leads
 * to is replaced. Additions at the same time take turns.
 *
 * It needs the right to write the directory of the file (/etc/gatepost belongs to root): a command
 * that has given that up cannot add.
 */
#ifndef ALLOW_LIST_H
#define ALLOW_LIST_H

#include "base/buf.h"

enum { ALLOW_COMMENT_MAX = 200 };       /* bytes of a comment; the rest is left out */

/*
 * entry: a mailbox, "@domain", domain, ".domain", address or network (policy_list.h); nothing else, since it may come
 * from a message. comment: NULL, or who, when and why; any bytes. 0: it is in the file; 1: it was there before, as the same
 * entry, and nothing was done. Else -errno with err, "path: what is wrong": -EINVAL: it is none, or
 * the file has errors (err has them, one per line); -EBUSY: another addition does not end.
 */
int allow_list_add(const char *path, const char *entry, const char *comment, struct buf *err);

#endif
