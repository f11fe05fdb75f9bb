/*
 * imap_runs - the messages that a FETCH is about: their numbers in the mailbox and their UIDs
 *
 * Both ascend together; messages that follow each other in both are one run, so that a mailbox is a few of them. When one is expunged, those behind it
 * are renumbered. No I/O.
 */
#ifndef IMAP_RUNS_H
#define IMAP_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAP_RUNS_MAX = 100000, IMAP_MESSAGES_MAX = 1000000 };

struct imap_run {
	uint32_t seq, uid, count;
};

struct imap_runs {
	struct imap_run *run;
	size_t count, cap;
	size_t messages;
};

void imap_runs_release(struct imap_runs *r);

/* One more, in any order, until imap_runs_sort. 0; -EPROTO: no message has the number 0, or that UID; -ENOSPC: more than the bounds; -ENOMEM. */
int imap_runs_add(struct imap_runs *r, uint32_t seq, uint32_t uid);
/* 0; -EPROTO: they do not ascend together, what no mailbox has. */
int imap_runs_sort(struct imap_runs *r);

/* false: there is none. */
bool imap_runs_uid(const struct imap_runs *r, uint32_t seq, uint32_t *uid);
bool imap_runs_seq(const struct imap_runs *r, uint32_t uid, uint32_t *seq);
/* The first with a UID above; 0 at the beginning. */
bool imap_runs_next(const struct imap_runs *r, uint32_t above, uint32_t *seq, uint32_t *uid);
/* The last one's number and UID; 0 if there is none. */
void imap_runs_top(const struct imap_runs *r, uint32_t *seq, uint32_t *uid);

/* The message is none of these, though it is there. -ENOMEM: as below. */
int imap_runs_forget(struct imap_runs *r, uint32_t uid);
/* Message seq is gone, whether it is one of these or not. -ENOMEM: all are forgotten. */
int imap_runs_expunge(struct imap_runs *r, uint32_t seq);

#endif
