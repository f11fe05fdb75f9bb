/*
 * search_feed - the full-text index is brought up to date with the store, a little at a time
 *
 * A message is acknowledged when it is in the store; words are made of it afterwards, in the order of ids. What has been done is
 * noted in the index together with the words themselves: whoever is killed goes on from there. Once after each start (and when asked to) it is also
 * compared with the store, so that what was missed (a clock that went back, a crash in the midst of a deletion) is made good.
 *
 * Whatever fails here (a full disk, an index that is damaged) costs nobody else anything: the log says so, and it is tried again later.
 */
#ifndef SEARCH_FEED_H
#define SEARCH_FEED_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "policy/store_id.h"

#define SEARCH_DB "search.db"

struct search_feed;
struct search_index;
struct store_index;

/* dir: the quarantine's, dir_fd the same, the caller's. Opens nothing yet. NULL: no memory. */
struct search_feed *search_feed_new(const char *dir, int dir_fd);
void search_feed_free(struct search_feed *f);
AUTO_DEFINE(search_feed)

/* Compare the two once more, from the beginning. */
void search_feed_compare(struct search_feed *f);

/* A message was kept. What is older than those that were added last (the clock went back) is found by comparing. */
void search_feed_kept(struct search_feed *f, const char *id);

/*
 * Messages that wait are added, and one commit made, for about budget_ms (one long message may take more). 1: there is more to do; 0: not now, or all is done;
 * -errno of what went wrong (said in the log): again in a while, of itself.
 */
int search_feed_step(struct search_feed *f, struct store_index *index, int budget_ms);

/* Messages of the store that are not yet in the index. -errno. */
int64_t search_pending(struct search_index *x, struct store_index *index);

/*
 * The index is made again from the messages, by a command: all leaves it (whatever it was, if it is damaged), then all is added, by us and by the
 * keeper where one runs. progress is told about every two seconds how many are left. 0 or -errno.
 */
int search_rebuild(const char *dir, int dir_fd, struct store_index *index, void (*progress)(void *arg, int64_t left), void *arg);

/*
 * Messages that are about to be unlinked, or have been, leave the index; in one transaction, so not many at once. Their words are
 * known from ID.json: it should still be there. After they have left the store's index, so that nobody adds them again. 0 or -errno.
 */
int search_remove(struct search_index *x, int dir_fd, const char (*ids)[STORE_ID_MAX], size_t count);

#endif
