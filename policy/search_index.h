/*
 * search_index - the full-text index of the kept messages (search.db)
 *
 *     doc        (num, id)      the messages that are in it
 *     words      FTS5, by num   their words, search_doc.h; nothing of the text itself
 *     vocabulary (num, word)    distinct words of letters alone, and pairs of characters
 *     parts      FTS5, by num   each four letters that follow each other in a word of the vocabulary
 *     note       (key, value)   how far the feeding has come
 *
 * A word that is asked for is looked up in the vocabulary first, so that "gebühr" finds "Versandgebühren"; then the words
 * that were found are looked up as such.
 *
 * Derived from the files of the store. WAL, synchronous=NORMAL: the last changes may be lost with the power, and are then made again
 * (search_feed.h). Several processes have it open: the keeper, and commands beside it.
 */
#ifndef SEARCH_INDEX_H
#define SEARCH_INDEX_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/store_id.h"

struct search_query;
struct search_index;

/*
 * The keeper's (or, while there is none, that of who indexes in its place): made when there is none, begun afresh when it is damaged
 * or has other words than this version makes. 0 or -errno: -EPROTONOSUPPORT, written by a newer gatepost (said in the log).
 */
int search_index_open(const char *path, struct search_index **out);

/* A command's, beside the keeper: as it is. -ENOENT: there is none; -EBADMSG: damaged, or of another version; or another -errno. Says nothing. */
int search_index_join(const char *path, struct search_index **out);

/* Whoever writes is waited for no longer than the keeper may: begin says -EBUSY then. */
void search_index_impatient(struct search_index *x);

/* Damage has shown while it was used: an empty one takes its place. Close the old one before. */
int search_index_afresh(const char *path, struct search_index **out);

void search_index_close(struct search_index *x);

/* Whether the name is no longer that of the file that is open. */
bool search_index_replaced(const struct search_index *x, const char *path);

/* All leaves it, in one transaction: a keeper that has it open begins anew by itself. 0 or -errno. */
int search_index_clear(struct search_index *x);

/* Changes are made between begin and commit; after a failure roll back. -EBADMSG: damaged; -EBUSY: somebody else writes. */
int search_index_begin(struct search_index *x);
int search_index_commit(struct search_index *x);
void search_index_rollback(struct search_index *x);

bool search_index_has(struct search_index *x, const char *id);

/* A message that is there already stays as it is. record: as in ID.json. */
int search_index_add(struct search_index *x, const char *id, json_t *record);

/* record: the same as was added; NULL: not known any more; then its words stay until the index is made again, but are not found. */
int search_index_remove(struct search_index *x, const char *id, json_t *record);

/* Up to max ids of messages that are in it, in order, after the id `after`. How many, or -errno. */
int search_index_ids(struct search_index *x, const char *after, char (*ids)[STORE_ID_MAX], size_t max);

/* The id up to which all is in. "" at first. 0 or -errno. */
int search_index_cursor(struct search_index *x, char id[STORE_ID_MAX]);
int search_index_set_cursor(struct search_index *x, const char *id);

/*
 * What came in many pieces is put together, about so many pages of it: a search then looks into fewer. 1: there is more to do; 0; -errno.
 * Within a transaction.
 */
int search_index_merge(struct search_index *x, int pages);

/* Copy what the WAL holds to the database, which may take a fsync or two. */
void search_index_checkpoint(struct search_index *x);

/*
 * Tell the ids of messages that q finds, those indexed last first, until on_id returns other than 0, which is given back; else 0 or
 * -errno. *many (may be NULL): some word of q is part of more words than were looked for.
 */
int search_index_find(struct search_index *x, const struct search_query *q, int (*on_id)(void *arg, const char *id), void *arg,
		      bool *many);

#endif
