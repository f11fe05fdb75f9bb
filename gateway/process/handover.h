/*
 * handover - what a parent leaves to the program that takes its place
 *
 * At an upgrade the parent executes the new program in its own process: descriptors and children stay as they are, but nobody knows any
 * more what they are. This is the list: JSON, in a sealed memfd whose descriptor is in the environment (HANDOVER_ENV).
 *
 *     {"gatepost": "handover", "version": 1, "pid": 812, "program": "0.5.0", "generation": 3, "state_dir": "/var/lib/gatepost",
 *      "control": "/run/gatepost/control", "lock": 5, "shared": 6, "control_fd": 7, "spool_fd": 8, "transparent": false,
 *      "drain_stop_s": 30, "drain_reload_s": 3600,
 *      "listeners": [{"address": "[::]:25", "fd": 9}, ...],
 *      "children": [{"role": "worker", "number": 1, "slot": 0, "generation": 3, "channel": 1, "pid": 815, "fd": 12, "ready": true,
 *                    "draining": false, "started_ms": 1234, "kill_ms": 0, "failures": 0}, ...]}
 *
 * Times are of CLOCK_MONOTONIC, in ms. Members that are not known are ignored, so that a later program may tell more; a role that is not
 * known is a process that somebody must tell to end. All else is refused: a program that cannot read it must say so while the one before can
 * still go on. Pure; both sides bound everything.
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/net.h"
#include "process/channel.h"

#define HANDOVER_ENV "GATEPOST_HANDOVER"

enum {
	HANDOVER_VERSION = 1,
	HANDOVER_TEXT_MAX = 1024 * 1024,
	HANDOVER_LISTENERS_MAX = 256,
	HANDOVER_CHILDREN_MAX = 1024,
	HANDOVER_PATH_MAX = 4096,
	HANDOVER_FD_MAX = 1 << 24,
};

struct handover_listener {
	struct net_addr address;
	int fd;
};

struct handover_child {
	enum channel_role role;         /* ROLE_PARENT: one that is not known here */
	int number, slot;               /* slot: -1 none */
	unsigned generation;
	uint32_t channel;               /* its CHANNEL_VERSION */
	int pid, fd;                    /* fd -1: it has closed it, and dies */
	bool ready, draining;
	int64_t started_ms, kill_ms;    /* 0: never */
	int failures;
};

struct handover {
	int pid;                        /* of the parent: whoever else finds this, it is not for him */
	char *program;                  /* its version */
	unsigned generation;
	char *state_dir, *control;      /* control: NULL none */
	int lock_fd, shared_fd, control_fd, spool_fd;   /* the last two: -1 none */
	bool transparent;
	int drain_stop_s, drain_reload_s;
	struct handover_listener *listener;
	size_t listener_count;
	struct handover_child *child;
	size_t child_count;
};

/* Into out, which bounds it to HANDOVER_TEXT_MAX. 0, -ENOMEM, -ENOSPC. */
int handover_write(const struct handover *h, struct buf *out);

/* 0 and *h, to be released; or -EBADMSG with a sentence in err, -ENOMEM. No descriptor stands twice. */
int handover_read(const char *p, size_t len, struct handover *h, struct buf *err);
void handover_release(struct handover *h);      /* the text; descriptors are the caller's */
static inline void handover_cleanup(struct handover *h)
{
	handover_release(h);
}

#endif
