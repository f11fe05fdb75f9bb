/*
 * store - messages on disk, owned by the keeper, asked for by the workers
 *
 * store_open gives a descriptor of a file that has no name yet (O_TMPFILE in the store's
 * directory): a big message lies there while it is judged. store_keep gives a message its name:
 * file, then directory, then index are on stable storage before it returns 0.
 */
#ifndef STORE_H
#define STORE_H

#include <stddef.h>

struct message;

enum { STORE_ID_MAX = 32 };

struct store {
	int (*open)(struct store *s);                                   /* fd or -errno; may wait */
	int (*keep)(struct store *s, int fd, const char *meta_json, char id[STORE_ID_MAX]);
};

int store_open(struct store *s);

/*
 * Quarantine m with its envelope, facts and rule (meta_json, an object; record.h says what it
 * holds). Writes m into a file first if it lies in memory. 0 and the id; or -errno: -ENOSPC, -EIO:
 * nothing is kept; -EPIPE, -ETIMEDOUT, -ECANCELED: perhaps it is (the client hears 4xx and keeps
 * it). may wait
 */
int store_keep(struct store *s, struct message *m, const char *meta_json, char id[STORE_ID_MAX]);

/*
 * The same in two steps, for who must know before something else is done that there is room: the message's bytes in a file without a
 * name (the descriptor is the caller's), then its name and metadata. may wait
 */
int store_draft(struct store *s, struct message *m);
int store_keep_draft(struct store *s, int fd, const char *meta_json, char id[STORE_ID_MAX]);

/* What m holds from off on, into fd. may wait */
int store_copy(struct message *m, size_t off, int fd);

#endif
