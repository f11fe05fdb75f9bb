/*
 * durable - files that come into being whole, and are on stable storage when that is said
 *
 * A file is written without a name (O_TMPFILE), fsynced, and then linked: nobody ever sees half of one. The name is durable after
 * durable_sync of its directory. Names are below dir_fd, of at most DURABLE_NAME_MAX bytes.
 */
#ifndef DURABLE_H
#define DURABLE_H

#include <stddef.h>
#include <stdint.h>

enum { DURABLE_NAME_MAX = 96 };

/* This process's own /proc/self/fd, the way to give a name to a file that has none: to be opened before a chroot. A descriptor or -errno. */
int durable_proc(void);

/*
 * A descriptor of an empty file without a name, or -errno. Where the file system knows no O_TMPFILE (some overlays, NFS): one whose name has
 * been taken away; linking it costs a copy.
 */
int durable_temp(int dir_fd);

/*
 * Give fd, already fsynced, the name: "ID.eml", "2026-11-22/ID.eml". What cannot be linked (a memfd, another file system) is copied, and
 * fsynced, first. -EEXIST: it is taken. 0 or -errno.
 */
int durable_link(int dir_fd, int proc_fd, int fd, uint64_t bytes, const char *name);

/* A file with this text in place of whatever has the name: written beside it as ".NAME.tmp", fsynced, renamed. 0 or -errno: the former one is there. */
int durable_replace(int dir_fd, const char *name, const void *p, size_t len);

/* fsync of a directory below dir_fd ("." itself). 0 or -errno. */
int durable_sync(int dir_fd, const char *name);

#endif
