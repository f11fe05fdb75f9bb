/*
 * state_reach - the state, for an administrator's command
 *
 * In Redis, where that is the state's store; through the keeper of the running gateway; in its file, where no gateway runs. After admin_open.
 */
#ifndef STATE_REACH_H
#define STATE_REACH_H

#include "base/buf.h"

struct site;
struct state;

/*
 * Calls use with the state, in a task where that is needed: on the loop, which must not run, or one of its own if there is none. What use returns of
 * state_run, 0 or -errno, is returned. < 0: why is a sentence. Not inside a task.
 */
int state_reach(const struct site *s, int (*use)(struct state *state, void *arg), void *arg, struct buf *why);

#endif
