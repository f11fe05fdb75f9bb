/*
 * store_file - the files of one kept message, for reading: DAY/ID.eml, DAY/ID.json
 *
 * A link, or what is no plain file, is as if it were not there.
 */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include <jansson.h>
#include <stddef.h>

/* end: ".eml", ".json". dir_fd: of the quarantine. A descriptor; -EINVAL: no id; -errno. */
int store_file_open(int dir_fd, const char *id, const char *end);

/* ID.json as text, a NUL behind it, for free(); NULL: there is none that can be read. */
char *store_file_meta(int dir_fd, const char *id, size_t *len);

/* The same as an object (record.h). New reference, or NULL. */
json_t *store_file_record(int dir_fd, const char *id);

#endif
