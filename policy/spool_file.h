/*
 * spool_file - the files of one entry, and what a crash or a person left in the directory (spool.h has the layout)
 *
 * dir_fd: of the spool. A link, or what is no plain file, is as if it were not there.
 */
#ifndef SPOOL_FILE_H
#define SPOOL_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/spool.h"

/* For reading; end: ".eml", ".json". A descriptor; -EINVAL: no id; -errno. */
int spool_file_open(int dir_fd, const char *id, const char *end);

/*
 * The envelope; with the message beside it, of the size that it says. 0; -ENOENT: there is no entry; -EINVAL: it cannot be used, *why (may be NULL);
 * another -errno: it could not be looked at now.
 */
int spool_file_read(int dir_fd, const char *id, struct spool_envelope **out, const char **why);

/* Update: ID.json in place of the former one. The directory is the caller's to sync. */
int spool_file_write(int dir_fd, const struct spool_envelope *e);

/* What there is of an entry goes to broken/, under its name. Said in the log. */
void spool_file_aside(int dir_fd, const char *id, const char *why);

/*
 * All ids of the directory, in order; *count. Files under a temporary name, which were never acknowledged, are removed when keeper is set; a message without
 * a record is moved aside then. NULL: no memory, or it cannot be read (errno).
 */
char (*spool_file_list(int dir_fd, bool keeper, size_t *count))[STORE_ID_MAX];

enum { SPOOL_LIST_MAX = 2000000 };

#endif
