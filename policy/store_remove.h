/*
 * store_remove - messages leave the quarantine: by a command, or because their time is over
 *
 * In this order, so that a crash at any point leaves a whole message or none:
 *
 *     1. the message's lock (store_event_lock): no release is under way, and none begins
 *     2. one commit: its row leaves the index, and `deleted` says who, when and why, its files to be unlinked
 *        then the words leave the full-text index, where there is one (what fails there is made good by search_feed)
 *     3. ID.eml, ID.json and ID.events are unlinked; the day's directory is fsynced
 *     4. one commit: its files have gone
 *
 * After a crash before 2 it is as if nobody had asked. After 2 it is deleted: the keeper finds it in `deleted` and does 3 and 4, at
 * its start and whenever it looks (store_remove_pending); whoever rebuilds rows from files passes it over. Files first would be worse: a
 * message that nobody can say anything about any more. Only where the index itself is lost between 2 and 3, with what it
 * says about deletions, does the message come back.
 *
 * A day's directory that is empty goes, too, when it is older than yesterday: new messages go into that of today.
 */
#ifndef STORE_REMOVE_H
#define STORE_REMOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/store_id.h"

enum { STORE_REMOVE_MAX = 64 };

struct search_index;
struct store_index;

struct store_removal {
	char id[STORE_ID_MAX];
	int rc;                         /* 0; -ENOENT: there is none; -EWOULDBLOCK: somebody is at it; or another -errno */
	int lock;                       /* its own */
};

/*
 * At most STORE_REMOVE_MAX of them, each with its result. words: or NULL. wait: for whoever begins the index afresh. 0, or -errno for all: -ESTALE: the
 * index has been replaced, open it again; -EWOULDBLOCK: it is being begun afresh.
 */
int store_remove(int dir_fd, struct store_index *index, struct search_index *words, struct store_removal *list, size_t count, const char *who, const char *why, int64_t now_s,
		 bool wait);

/* Of those whose files a crash may have left, a few; not those that somebody is at. How many, 0: none are left; or -errno. The keeper's. */
int store_remove_pending(int dir_fd, struct store_index *index);

/* Directories of days before yesterday that are empty. */
void store_remove_empty_days(int dir_fd, int64_t now_s);

#endif
