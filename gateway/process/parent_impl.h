/*
 * parent_impl - what the files of the parent share
 *
 * parent.c begins, waits and ends; parent_workers.c starts and ends processes; parent_reload.c
 * makes configurations into generations of workers, one after the other; parent_beside.c sees to the processes beside these, parent_keys.c to those that have their keys and
 * parent_directory.c to those that ask directories; parent_lists.c watches
 * the list files of the policy; parent_sockets.c makes transparent sockets; parent_daemons.c connects to unix sockets of daemons; parent_upgrade.c executes a new program, parent_succession.c
 * is what that does first.
 */
#ifndef PARENT_IMPL_H
#define PARENT_IMPL_H

#include "base/log.h"
#include "policy/conf.h"
#include "process/confine.h"
#include "policy/key_list.h"
#include "process/child.h"
#include "process/keeper.h"
#include "process/listen.h"
#include "process/parent.h"

enum {
	STATE = 0, STORE = 1, HISTORY = 2, SPOOL = 3, KEEPERS = 4, /* places in parent.child; KEEPERS: how many of them */
	KEYS = KEEPERS, KEYS_MAX = 8, DIRECTORY = KEYS + KEYS_MAX, /* a key process for each generation of workers, and one that asks directories */
	WORKERS = DIRECTORY + KEYS_MAX,
	CHILDREN_MAX = WORKERS + SHARED_SLOTS,
	STATUS_MS = 10 * 1000,
	CLOCK_LOOK_MS = 1000,
	CLOCK_STEP_MS = 60 * 1000,      /* NTP steps by less, while we run */
	KEEPERS_END_S = 30,
	KILL_AFTER_S = 10,              /* after its deadline a worker should be gone by itself */
	REPLACE_AFTER_MS = 2000,        /* the age at which a worker may ask for a successor */
	PATH_BYTES = 1024,
	REWIRE_MS = 400,                /* not more often for one worker */
};

enum phase {
	PHASE_KEEPERS,                  /* first start: waiting for the keepers, then */
	PHASE_WORKERS,                  /* for the workers */
	PHASE_RUNNING,
	PHASE_RELOADING,                /* a new generation is coming up beside the present one */
	PHASE_HEIR,                     /* after an upgrade: all goes on as it was inherited, without a configuration of our own; then */
	PHASE_SUCCESSION,               /* there is one, and our keepers take the place of the former ones; then RELOADING */
	PHASE_STOPPING,
};

/* A configuration and what has been opened for it. */
struct generation {
	unsigned number;                /* 0: none */
	struct site *site;
	struct listen_set listen;
};

struct parent_list;
struct parent_daemon;

/* A new program that is tried, and executed when it has said that it can take over. */
struct parent_upgrade {
	char *program;                  /* where ours was when it was started: what is there now is the new one */
	int binary_fd;                  /* it; -1: none */
	pid_t trial;                    /* the process that tries it; 0: none */
	int trial_fd;                   /* what that says */
	struct buf said;
	int64_t deadline_ms;
	bool approved, waits;           /* approved: to be executed as soon as may be; waits: for places of workers that still drain */
	bool heir;                      /* we are that program, and have not finished taking over */
};

/* What the key process of a place holds, as long as there are workers that ask it. */
struct parent_keys {
	struct key_list list;
	bool served;                    /* it was ready once: the next one follows it */
};

struct parent {
	const struct parent_options *opt;
	enum phase phase;
	struct generation now, next;
	unsigned last_number;
	struct confine confine[ROLE_COUNT];     /* of each role */
	struct shared *shared;
	struct child child[CHILDREN_MAX];       /* role 0: the place is free */
	struct parent_keys keys[KEYS_MAX];      /* of child[KEYS] and so on */
	/* Of the first start: a reload does not change them. */
	char *state_dir, *user, *keeper_user, *key_user, *directory_user, *control_path, *spool_path;      /* spool_path: of the spool's own control socket */
	int signal_fd, command_fd, spool_fd, lock_fd, shared_fd, statm_fd;
	struct drain_times drain;
	struct keeper_settings settings;        /* that a keeper starts with; have_settings: they are known */
	bool have_settings;
	struct parent_upgrade upgrade;
	int64_t phase_deadline_ms, status_ms, watchdog_ms;
	int64_t wall_off_ms;                    /* by how much the wall clock is ahead of the one that is never set, at the last look; first at the start, before any resolver */
	struct parent_list *list;               /* parent_lists.c */
	size_t list_count;
	struct parent_daemon *daemon;           /* parent_daemons.c */
	size_t daemon_count;
	int64_t lists_ms;                       /* when they are looked at next; 0: never */
	bool reload_again, failed, done;
	bool reload_waits;                      /* for places of workers that still drain */
	bool transparent;                       /* there are or were transparent listeners: workers may have such sockets */
	pid_t pid;
};

/*
 * Start the process of this place, and wire it to all those that it talks to. 0 or -errno (said in
 * the log; tried again later).
 */
int parent_start(struct parent *p, struct child *c);

/*
 * Of a generation: how many there are to be; start them all, 0 or -errno; whether all have said
 * that they serve.
 */
int parent_workers_wanted(const struct site *s);
int parent_workers_start(struct parent *p, const struct generation *g);
bool parent_workers_ready(const struct parent *p, unsigned generation);

/*
 * Processes beside the workers, role: ROLE_KEYS or ROLE_DIRECTORY; parent_beside.c. There are places for KEYS_MAX of each; place: a free one, now of this role
 * and generation, or NULL; find: that of a generation, or NULL. ready: it has said that it serves, or there is none. look: those whose workers have all gone
 * get to end.
 */
struct child *parent_beside_place(struct parent *p, enum channel_role role, unsigned generation);
struct child *parent_beside_find(struct parent *p, enum channel_role role, unsigned generation);
bool parent_beside_room(const struct parent *p, enum channel_role role);
bool parent_beside_ready(struct parent *p, enum channel_role role, unsigned generation);
void parent_beside_look(struct parent *p, enum channel_role role);
bool parent_generation_lives(const struct parent *p, unsigned generation);      /* there are, or will be again, workers of it */

/*
 * The key process of a generation, parent_keys.c. start: before its workers; the list of keys goes from its site to the process' place; 0 (where there are
 * keys to hold), or -errno.
 */
int parent_keys_start(struct parent *p, struct generation *g);
bool parent_keys_lost(struct parent *p, struct child *c);       /* it has died, and nobody knows its keys: it was a former program's. Released, said */
struct parent_keys *parent_keys_of(struct parent *p, const struct child *c);

/*
 * The directory process of a generation, parent_directory.c: as above, but what it needs is in the site of its generation; without that it is not started
 * again. asked: whether this worker asks it, its own generation's or, where that is gone, the present one.
 */
int parent_directory_start(struct parent *p, const struct generation *g);
bool parent_directory_lost(struct parent *p, struct child *c);
bool parent_directory_asked(struct parent *p, const struct child *worker, const struct child *c);

/*
 * All running workers of a generation (0: any) get to end: within limit_s, or at once when that is
 * 0. Sessions are asked to come to an end drain_stop_s before that: after a reload they may go on
 * as they are until then.
 */
void parent_workers_end(struct parent *p, unsigned generation, int limit_s);
void parent_drain_set(struct parent *p, const struct site *s);  /* how long that is, by this configuration (NULL: none yet) */
int parent_workers_alive(const struct parent *p);
/* Another worker beside this one, which ends as after a reload. Not for one that has hardly begun. */
void parent_replace(struct parent *p, struct child *c);
void parent_place_release(struct parent *p, struct child *c);   /* its process is gone for good */

/*
 * Everything that the workers of this configuration will need. 0, or -errno with lines in err; then
 * g is empty and site is freed.
 */
int generation_make(struct parent *p, struct site *site, struct generation *g, struct buf *err);
void generation_release(struct parent *p, struct generation *g);

/* SIGHUP; then one of the others, when its workers serve or one of them has died. */
void parent_reload(struct parent *p);
bool parent_reload_room(const struct parent *p);        /* whether there are places for as many workers as there are now */
void parent_reload_give_up(struct parent *p);
void parent_reload_done(struct parent *p);
void parent_reload_refused(struct parent *p, const struct buf *errors);         /* the lines say why; all goes on as before */
/* Workers of older configurations are asked to make room, once; *asked says whether that has been done. */
void parent_room_ask(struct parent *p, bool *asked);
/* What is bound to the running processes cannot be changed under them: said. */
void parent_fixed(const char *what, const char *now, const char *want);

/* Where our program lies: on the heap, NULL if that cannot be found out. */
char *parent_upgrade_program(void);
/* SIGUSR2: the new program is tried. Then, as one or the other is over: */
void parent_upgrade(struct parent *p);
void parent_upgrade_read(struct parent *p);             /* trial_fd is readable */
bool parent_upgrade_reaped(struct parent *p, pid_t pid, int status);    /* whether that was the trial */
void parent_upgrade_late(struct parent *p);             /* deadline_ms has come */
void parent_upgrade_go(struct parent *p);               /* approved, and nothing else is going on: does not return unless that fails */
void parent_upgrade_end(struct parent *p);              /* forget it */

/*
 * Take over what the program before this one has left, if there is such a thing: 1, and all goes on in PHASE_HEIR, or 0; -errno with a
 * line in err. begin: with a configuration of our own (SIGHUP: once more, if the first time failed); step: how far it has come.
 */
int parent_succession(struct parent *p, struct buf *err);
void parent_succession_begin(struct parent *p);
void parent_succession_step(struct parent *p);

/*
 * The list files of the present generation's policy are watched from now on; none are. look: what has changed, and has been
 * quiet for a moment, is read, and if it has no errors every worker gets it, whichever its
 * generation; else the lists of before go on, and the log says why.
 */
void parent_lists_begin(struct parent *p);
void parent_lists_end(struct parent *p);
void parent_lists_look(struct parent *p);

/* A CHANNEL_WIRE of this child: a worker whose channel was lost, or could not be taken, though the keeper lives. */
void parent_rewire(struct parent *p, struct child *c, const struct channel_msg *m);

/* A CHANNEL_SOCKET of this child: answered, whatever it says. */
void parent_socket(struct parent *p, struct child *c, const struct channel_msg *m);
bool parent_socket_may(struct child *c);        /* a worker may have one more now; it is counted */

/* Unix sockets that workers of this generation may be connected to: those that its configuration names. 0 or -ENOMEM. */
int parent_daemons_add(struct parent *p, const struct site *s, unsigned generation);
void parent_daemons_release(struct parent *p);
/* A CHANNEL_DAEMON of this child: answered, whatever it says. */
void parent_daemon(struct parent *p, struct child *c, const struct channel_msg *m);

/* Each line of text as a line of the log. */
void parent_log_lines(enum log_level level, const char *event, const char *key,
		      const struct buf *text);

#endif
