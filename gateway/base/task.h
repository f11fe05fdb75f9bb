/*
 * task - straight-line code on an event loop: stackful coroutines, one thread
 *
 * Each process that talks to others has one loop (libevent) and any number of tasks. A task runs
 * until it waits; what it waits for resumes it from the loop's own queue, never inside a callback.
 * There are no locks: between two waits nobody else runs.
 *
 * Stacks are TASK_STACK_BYTES of address space plus a guard page; only touched pages cost memory,
 * and free stacks are kept for the next task with their deep pages given back (MADV_DONTNEED).
 * Under AddressSanitizer stacks are four times as large and switches are announced; so they are to
 * valgrind.
 *
 * No task may wait with a non-empty OpenSSL error queue: checked at the switch, which ends the
 * process under AddressSanitizer, and elsewhere clears the queue and logs that once.
 *
 * Words used everywhere: "may wait" marks a function that may park the task; timeouts are relative
 * milliseconds, -1 for none; a wait returns 0 (or what the waker said), -ETIMEDOUT, or -ECANCELED
 * once the task has been cancelled (from then on every wait returns -ECANCELED at once, so that it
 * unwinds).
 */
#ifndef TASK_H
#define TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TASK_STACK_BYTES = 64 * 1024 };

struct event_base;
struct task;
typedef void task_fn(void *arg);

/*
 * The loop. loop_init once per process (after fork): 0 or -errno. loop_run returns when loop_stop
 * has been called. loop_defer: fn(arg) runs on the loop's own stack, soon, in order; safe from
 * tasks and callbacks (what must not run on a small stack, such as ub_resolve_event, goes here). 0
 * or -ENOMEM. loop_release cancels the tasks that are left and lets them unwind first. SIGPIPE is
 * ignored from loop_init on.
 */
int loop_init(void);
void loop_release(void);
/* Cancel every task and let it unwind; the loop goes on to exist (what tasks used can be freed then). loop_release does it too. */
void loop_unwind(void);
struct event_base *loop_base(void);
void loop_run(void);
void loop_stop(void);
void loop_turn(void);          /* one round of it, for who has a loop of his own around it: waits for something to happen */
int loop_defer(void (*fn)(void *), void *arg);

/*
 * Start fn(arg) in a task of its own; it first runs from the loop's queue. name is a literal, for
 * debugging. The task frees itself when fn returns. 0, -ENOMEM, or -EAGAIN when task_limit tasks
 * exist. *out, if not NULL, is valid until fn returns: whoever keeps it must be told by fn that it
 * ends.
 */
int task_spawn(const char *name, task_fn *fn, void *arg, struct task **out);
void task_set_limit(size_t max_tasks); /* default 30,000 */
size_t task_count(void);
size_t loop_ready(void);        /* how many are to go on in this round or the next */

struct task *task_self(void);     /* NULL on the loop's own stack */
/*
 * Its present and later waits return -ECANCELED; a wait that has already been answered still
 * returns the answer. From the outside only, and not of a task that has ended.
 */
void task_cancel(struct task *t);
bool task_cancelled(void);        /* of the running task */

/*
 * Park until task_wake(t, rc), which makes it return rc (<= 0, or a positive word of the waker).
 * One waker at a time. may wait
 */
int task_park(int timeout_ms);
void task_wake(struct task *t, int rc); /* no effect unless t is parked */

int task_sleep(int ms); /* may wait. 0 or -ECANCELED */
void task_yield(void);  /* may wait: let others run, come back */

/*
 * Give back the pages of this task's stack below the present depth (after a deep use, before a long
 * wait).
 */
void task_stack_trim(void);

/*
 * future - something that will be known, waited for by at most one task
 *
 * Embedded in what carries the answer. Resolving it before anybody waits is fine; so is resolving
 * it inside the call that started it.
 */
struct future {
	bool done;
	int rc; /* valid when done */
	struct task *waiter;
};

void future_resolve(struct future *f, int rc);     /* the second time has no effect */
int future_wait(struct future *f, int timeout_ms); /* may wait. rc, -ETIMEDOUT or -ECANCELED */

/* Counting gate: at most `limit` inside; others wait their turn, in order. */
struct gate {
	int limit, inside;
	void *first, *last; /* who waits */
};

int gate_enter(struct gate *g, int timeout_ms); /* may wait. 0, -ETIMEDOUT, -ECANCELED */
void gate_leave(struct gate *g);

#endif
