/*
 * file - the little that is done with plain descriptors
 */
#ifndef FILE_H
#define FILE_H

#include <stddef.h>

/* All of p[0..len) to fd, however often write(2) takes less. 0 or -errno. */
int file_write_all(int fd, const void *p, size_t len);

struct stat;

/*
 * Open to read, or look at, a file that an administrator has named. Where we are root without the capability to read everything (as a service: see
 * capabilities.h), what others keep to themselves is read as its owner: so a key may be its user's alone. A descriptor (O_CLOEXEC, O_NONBLOCK) or 0, or
 * -errno. One thread.
 */
int file_open(const char *path);
int file_stat(const char *path, struct stat *out);

/*
 * A connection to the unix socket of that name, as its owner if it is not for us: a daemon's may be for its user and group alone. A descriptor (O_CLOEXEC,
 * O_NONBLOCK), or -errno; -EAGAIN: its queue is full. Never waits. One thread.
 */
int file_connect(const char *path);

#endif
