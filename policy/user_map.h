/*
 * user_map - which servers a user's mail lies on: the file of user_map in gatepost.conf
 *
 *     # users and domains, then the names of backends
 *     alice@example.com     store-1
 *     EXAMPLE\bob           store-2
 *     @example.com          store-2 store-2-pop3
 *
 * A user's own line counts before that of his domain (what stands behind his last "@"). Case plays no part; domains are compared as A-labels. A map is
 * read once and never changed; a lookup is a binary search. No I/O here.
 */
#ifndef USER_MAP_H
#define USER_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "base/buf.h"

enum {
	USER_MAP_BYTES_MAX = 32 * 1024 * 1024,
	USER_MAP_USER_MAX = 320,        /* bytes of a name */
	USER_MAP_BACKENDS_MAX = 16,     /* of a line */
	USER_MAP_LISTS_MAX = 1024,      /* different lists of backends */
	USER_MAP_ERRORS_MAX = 20,       /* that are said */
};

struct user_map;

/* Backends, by the numbers that find has given. */
struct user_map_backends {
	size_t count;
	unsigned short number[USER_MAP_BACKENDS_MAX];
};

/* The number of the backend of that name; or -1, with what is wrong with it ("there is no such backend"). */
typedef int user_map_find_fn(const void *arg, const char *name, const char **why);

/* Read text[0..len). NULL: what is wrong is in errors, lines that begin with "path:line: ". */
struct user_map *user_map_parse(const char *path, const char *text, size_t len, user_map_find_fn *find, const void *arg, struct buf *errors);
void user_map_free(struct user_map *m);
AUTO_DEFINE(user_map)

/* The line for a user who logs in under that name; NULL: there is none. */
const struct user_map_backends *user_map_lookup(const struct user_map *m, const char *user);

/* The different lists of all lines. */
size_t user_map_list_count(const struct user_map *m);
const struct user_map_backends *user_map_list(const struct user_map *m, size_t i);

#endif
