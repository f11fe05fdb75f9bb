/*
 * file - the little that is done with plain descriptors
 */
#ifndef FILE_H
#define FILE_H

#include <stddef.h>

/* All of p[0..len) to fd, however often write(2) takes less. 0 or -errno. */
int file_write_all(int fd, const void *p, size_t len);

#endif
