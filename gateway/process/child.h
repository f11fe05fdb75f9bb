/*
 * child - one process that the parent has started: its place, its life, its control channel
 *
 * Used by parent.c only. A child is started by fork without exec; it keeps of the parent's
 * descriptors exactly those that its role needs. A place (keeper, worker number) outlives the
 * process in it: when that dies it is filled again, after a back-off that grows with each early
 * death.
 */
#ifndef CHILD_H
#define CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "process/channel.h"

struct parent;

enum {
	CHILD_STABLE_MS = 60 * 1000,    /* who lived that long did not die early */
	CHILD_BACKOFF_MS = 100,         /* doubled with each early death but the first */
	CHILD_BACKOFF_MAX_MS = 30 * 1000,
	CHILD_LOOP = 5,                 /* early deaths in a row that are called a crash loop */
};

struct child {
	enum channel_role role;
	int number;                     /* of a worker, from 1 */
	int slot;                       /* of a worker, in shared; -1: none */
	unsigned generation;            /* of a worker */
	uint32_t version;               /* the CHANNEL_VERSION that it speaks */
	pid_t pid;                      /* 0: not running */
	int fd;                         /* its control channel, or -1 */
	bool ready;                     /* it has said that it serves */
	bool draining;                  /* told to end; not started again, */
	bool followed;                  /* unless another one is to take its place */
	bool inherited;                 /* of the program before this one: parent_upgrade.c */
	int64_t started_ms, restart_ms; /* when; to be started again at (0: not) */
	int64_t kill_ms;                /* if it still lives then (0: never) */
	int failures;                   /* early deaths in a row */
	int sockets;                    /* it may still ask for, and since when that holds: parent_sockets.c */
	int64_t sockets_ms;
	int64_t wired_ms;               /* when a worker was last given channels that it asked for */
};

/* "worker 1", "state keeper". out: 32 bytes; returns out. */
const char *child_name(const struct child *c, char *out);

/*
 * keep: count descriptors that the child goes on with; run(arg) is its life, its result the exit
 * status. 0 or -errno.
 */
int child_start(struct child *c, const int *keep, int count, int (*run)(void *arg, int control_fd),
		void *arg);

/*
 * Reaped with this status: cleans up; a line in the log unless it was told to end. Sets restart_ms
 * when it is to be started again.
 */
void child_died(struct child *c, int status, int64_t now_ms);

/*
 * A notice on its control channel; one that cannot take it is killed (it will be started again, or
 * was to end anyway).
 */
void child_tell(struct child *c, enum channel_type type, const void *data, size_t len, int fd);

/* Both ends of a new channel to the two of them, if they run and speak the same version. */
void child_wire(struct child *a, struct child *b);

#endif
