/*
 * store_keeper - the store on disk: what the store keeper does, without its channel
 *
 *     quarantine/2026-11-22/ID.eml    the message, byte for byte
 *     quarantine/2026-11-22/ID.json   envelope, facts and rule (policy/record.h),
 *                                     and "kept": {id, at, bytes}
 *     quarantine/quarantine.db        the index
 *
 * The directory is the day (UTC) of the id (store_id.h).
 *
 * A message is kept, and acknowledged, only after: file and metadata fsynced; both names linked,
 * the metadata's first; the day's directory fsynced (and the one above, when the day is new); the
 * index committed. Messages that come together share the later steps. Whatever fails, nothing is
 * left behind; a crash leaves at most a whole message that nobody was told about (indexed at the
 * next start) or half of one (removed then).
 */
#ifndef STORE_KEEPER_H
#define STORE_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/store_id.h"

enum { STORE_META_MAX = 1024 * 1024, STORE_BATCH_MAX = 64 };

struct store_item {
	int fd;                         /* the message; stays the caller's */
	const char *meta;               /* a JSON object, at most STORE_META_MAX */
	size_t meta_len;
	int rc;                         /* the result, and then the id */
	char id[STORE_ID_MAX];
	/* while it is being kept */
	char day[STORE_DAY_MAX];
	char *json;
	uint64_t bytes;
	int json_fd;
	bool linked;
};

struct store_keeper;

/*
 * dir is made if it is not there. proc_fd: this process's own /proc/self/fd, opened before a chroot
 * (the way to give a name to a nameless file; taken over); -1: opened here. 0 or -errno (said in
 * the log). An index that cannot be opened now (a full disk) is no error: it is tried again by whatever needs it.
 */
int store_keeper_open(const char *dir, int proc_fd, struct store_keeper **out);
void store_keeper_close(struct store_keeper *k);

/* A descriptor of an empty file without a name, or -errno. */
int store_keeper_temp(struct store_keeper *k);

/*
 * Keep count <= STORE_BATCH_MAX messages; each has its own result. The moment now_ms is that of the
 * wall clock.
 */
void store_keeper_keep(struct store_keeper *k, struct store_item *items, size_t count,
		       int64_t now_ms);

/*
 * Look through the last two days (all, when the index is fresh) for what a crash left: a little at
 * each call. true: there is more to do.
 */
bool store_keeper_tidy(struct store_keeper *k);

/*
 * Give messages that wait for it to the full-text index (search_feed.h), for about budget_ms. true: there is more to do.
 */
bool store_keeper_search(struct store_keeper *k, int budget_ms);

/*
 * Delete a few messages whose time is over, or that are too many; and the files of those that were being deleted when somebody was
 * killed. true: there is more to do. It says in the log, once a minute, how many it were.
 */
struct store_retention;
bool store_keeper_retain(struct store_keeper *k, const struct store_retention *r, int64_t now_s);
/*
 * What time it is for the quarantine (store_clock.h), before messages are kept and before they are deleted. run_ms: of the clock that is never set. false:
 * nothing is to be deleted because it is old.
 */
bool store_keeper_clock(struct store_keeper *k, int64_t wall_ms, int64_t run_ms, int64_t *now_ms);

int64_t store_keeper_count(struct store_keeper *k);

#endif
