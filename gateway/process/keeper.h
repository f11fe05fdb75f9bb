/*
 * keeper - a process that owns something on disk and talks to no network
 *
 * One loop for every kind of keeper: it takes requests from the workers' channels (wired by the
 * parent over the control channel), gives each to its role, and at the end of each round lets the
 * role do what many requests share (a commit, an fsync). There are four roles: the state
 * (keeper_state.c), the store (keeper_store.c), the history (keeper_history.c) and the spool
 * (keeper_spool.c); they are separate processes so that 50 MB on their way to the disk do not stall a
 * greylist answer. The process that has the private keys lives in the same way (keys.h), without anything on disk, and so does the one that asks directories
 * (directory.h), which does talk to the network.
 *
 * Nothing waits but the disk. A worker that does not take its answers is not read from until it
 * does.
 */
#ifndef KEEPER_H
#define KEEPER_H

#include <stdint.h>
#include <sys/types.h>

#include "policy/spool_schedule.h"
#include "policy/store_retention.h"
#include "process/channel.h"
#include "process/confine.h"

struct event_base;
struct keeper;
struct keeper_peer;
struct key_list;
struct shared;

/* What a keeper needs of the configuration. A reload sends it anew. */
struct keeper_settings {
	int64_t history_keep_ms;
	uint64_t history_max_bytes;
	struct store_retention quarantine;
	struct spool_settings spool;
};
struct site;
struct keeper_settings keeper_settings(const struct site *s);

struct keeper_env {
	enum channel_role role;
	const char *dir;                /* its own directory: the root after confinement */
	struct confine confine;
	pid_t parent;
	int control_fd;                 /* to the parent */
	int command_fd;                 /* the listening control socket, or -1 */
	struct shared *shared;
	struct keeper_settings settings;        /* when it was started */
	const struct key_list *keys;    /* of a key process; again: it follows one that has died */
	bool again;
	const struct site *site;        /* of a directory process, with its generation, and where it keeps what it knows */
	unsigned generation;
	const char *copy_dir;
};

struct keeper_role {
	const char *name;
	bool tasks;                     /* it lives on the loop of tasks: requests may be answered later, by one */
	int at_once;                    /* requests of one worker before others get their turn; 0: some */
	/* Before and after confinement; dir is where its files are seen. */
	int (*prepare)(struct keeper *k);
	int (*open)(struct keeper *k, const char *dir);
	/*
	 * m belongs to the keeper loop: what outlives the call is taken out of it. Answered at
	 * once, or by the end of round; with tasks, also later, unless p is gone.
	 */
	void (*request)(struct keeper *k, struct keeper_peer *p, struct channel_msg *m);
	/* Nobody waits for an answer; NULL: none are taken. */
	void (*notice)(struct keeper *k, struct keeper_peer *p, const struct channel_msg *m);
	void (*gone)(struct keeper *k, struct keeper_peer *p);  /* a worker is: p is freed behind it; NULL: nothing to do */
	void (*round)(struct keeper *k);        /* after each round of requests */
	void (*tick)(struct keeper *k);         /* about once a second */
	void (*close)(struct keeper *k);
};

extern const struct keeper_role keeper_state, keeper_store, keeper_history, keeper_spool, keeper_keys, keeper_directory;

struct keeper {
	const struct keeper_env *env;
	const struct keeper_role *role;
	struct keeper_settings settings;        /* in force now */
	struct event_base *base;
	struct keeper_peer *peers;
	void *data;                     /* the role's */
	bool stopping;
	int statm_fd;                   /* what this process has in memory, base/load.h */
	int round_in_ms;                /* the role wants its round by then, requests or not; -1: not */
	int rc;
};

/* The whole life of a keeper process; returns its exit status. */
int keeper_run(const struct keeper_env *env);

/*
 * The answer to request m of p, status 0 or -errno. fd -1: none. p is good until the end of the
 * round, even if its worker has died.
 */
void keeper_answer(struct keeper_peer *p, uint16_t type, uint32_t id, int status, const void *data,
		   size_t len, int fd);

/* Its channel is closed: it asks for what no worker of ours does. */
void keeper_refuse(struct keeper_peer *p);

#endif
