#include "base/task.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task_stack.h"
#include "base/task_switch.h"

enum { TASK_LIMIT_DEFAULT = 30000, JOBS_KEPT = 256, RELEASE_ROUNDS = 1000 };

/* What the loop's queue holds: a task to go on with, or a deferred call. */
struct job {
	struct job *next;
	void (*fn)(void *);
	void *arg;
};

enum task_state { TASK_READY, TASK_RUNNING, TASK_PARKED, TASK_ENDED };

/* Lies at the top of the task's own stack: an idle task touches no page for it alone. */
struct task {
	struct task_context context;
	struct task_fibre fibre;
	struct task_stack stack;
	struct job job;
	enum task_state state;
	int rc; /* what the wait that ends will return */
	bool cancelled;
	/*
	 * Timers are lazy: a wait that ends leaves its entry in the heap, and the next one moves it
	 * only if it must end earlier. A session whose waits are all minutes long touches the heap
	 * once in minutes.
	 */
	int64_t deadline_ms; /* of the present wait; 0: none */
	int64_t alarm_ms;    /* the heap's key */
	size_t alarm_slot;   /* place in the heap + 1; 0: not in it */
	const char *name;
	task_fn *fn;
	void *arg;
	struct task *prev, *next; /* all tasks */
};

static struct {
	struct event_base *base;
	struct event timer;
	int64_t timer_ms; /* when the timer is set to; 0: not */
	bool stop;
	struct job *first, **last;
	size_t queued;
	struct job *spare; /* deferred calls' memory, for reuse */
	size_t spares;
	struct task_context context;
	struct task_fibre fibre;
	struct task *running;
	struct task *tasks;
	size_t count, limit;
	struct task **heap; /* by alarm_ms; has room for every task, so that no wait can fail */
	size_t heap_len, heap_cap;
} loop = { .last = &loop.first, .limit = TASK_LIMIT_DEFAULT };

/* The timers: a binary heap that knows where each task is in it. */

static void heap_place(size_t i, struct task *t)
{
	loop.heap[i] = t;
	t->alarm_slot = i + 1;
}

static void heap_up(size_t i, struct task *t)
{
	while (i > 0) {
		size_t parent = (i - 1) / 2;

		if (loop.heap[parent]->alarm_ms <= t->alarm_ms)
			break;
		heap_place(i, loop.heap[parent]);
		i = parent;
	}
	heap_place(i, t);
}

static void heap_down(size_t i, struct task *t)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= loop.heap_len)
			break;
		if (child + 1 < loop.heap_len &&
		    loop.heap[child + 1]->alarm_ms < loop.heap[child]->alarm_ms)
			child++;
		if (loop.heap[child]->alarm_ms >= t->alarm_ms)
			break;
		heap_place(i, loop.heap[child]);
		i = child;
	}
	heap_place(i, t);
}

static void heap_remove(struct task *t)
{
	size_t i = t->alarm_slot - 1;
	struct task *last = loop.heap[--loop.heap_len];

	t->alarm_slot = 0;
	if (last == t)
		return;
	if (i > 0 && loop.heap[(i - 1) / 2]->alarm_ms > last->alarm_ms)
		heap_up(i, last);
	else
		heap_down(i, last);
}

static int heap_room(size_t want)
{
	size_t cap = loop.heap_cap ? loop.heap_cap : 64;
	struct task **p;

	if (want <= loop.heap_cap)
		return 0;
	while (cap < want)
		cap *= 2;
	p = realloc(loop.heap, cap * sizeof(struct task *));
	if (!p)
		return -ENOMEM;
	loop.heap = p;
	loop.heap_cap = cap;
	return 0;
}

static void alarm_set(struct task *t, int64_t deadline_ms)
{
	t->deadline_ms = deadline_ms;
	if (!t->alarm_slot) {
		t->alarm_ms = deadline_ms;
		heap_up(loop.heap_len++, t);
	} else if (deadline_ms < t->alarm_ms) {
		t->alarm_ms = deadline_ms;
		heap_up(t->alarm_slot - 1, t);
	}
}

static void timers_expire(int64_t now)
{
	while (loop.heap_len && loop.heap[0]->alarm_ms <= now) {
		struct task *t = loop.heap[0];

		if (t->state == TASK_PARKED && t->deadline_ms > now) {
			t->alarm_ms = t->deadline_ms;
			heap_down(0, t);
			continue;
		}
		heap_remove(t);
		if (t->state == TASK_PARKED && t->deadline_ms)
			task_wake(t, -ETIMEDOUT);
	}
}

/* The kernel's and the loop's own clocks are coarse: what fires early is simply set again. */
static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	loop.timer_ms = 0;
	timers_expire(clock_ms());
}

/* False: there is no memory for the timer; who waits for events must not wait long. */
static bool timer_arm(void)
{
	int64_t left_ms;
	struct timeval tv;

	if (!loop.heap_len || (loop.timer_ms && loop.timer_ms <= loop.heap[0]->alarm_ms))
		return true;
	loop.timer_ms = loop.heap[0]->alarm_ms;
	left_ms = loop.timer_ms - clock_ms();
	if (left_ms < 0)
		left_ms = 0;
	tv.tv_sec = left_ms / 1000;
	tv.tv_usec = left_ms % 1000 * 1000;
	if (event_add(&loop.timer, &tv) == 0)
		return true;
	loop.timer_ms = 0;
	timers_expire(clock_ms());
	return false;
}

/* The queue. */

static void job_push(struct job *j)
{
	j->next = NULL;
	*loop.last = j;
	loop.last = &j->next;
	loop.queued++;
}

static struct job *job_pop(void)
{
	struct job *j = loop.first;

	loop.first = j->next;
	if (!loop.first)
		loop.last = &loop.first;
	loop.queued--;
	return j;
}

static void job_spare(struct job *j)
{
	if (loop.spares == JOBS_KEPT) {
		free(j);
		return;
	}
	j->next = loop.spare;
	loop.spare = j;
	loop.spares++;
}

static void task_resume(void *arg);

/* Those that are queued now; what they queue comes after the next look at the descriptors. */
static void queue_run(void)
{
	for (size_t n = loop.queued; n > 0 && !loop.stop; n--) {
		struct job *j = job_pop();
		void (*fn)(void *) = j->fn;
		void *arg = j->arg;

		if (fn != task_resume)
			job_spare(j);
		fn(arg);
	}
}

int loop_defer(void (*fn)(void *), void *arg)
{
	struct job *j = loop.spare;

	if (j) {
		loop.spare = j->next;
		loop.spares--;
	} else {
		j = malloc(sizeof(*j));
		if (!j)
			return -ENOMEM;
	}
	j->fn = fn;
	j->arg = arg;
	job_push(j);
	return 0;
}

/* The loop. */

int loop_init(void)
{
	struct event_config *config = event_config_new();

	assert(!loop.base);
	if (!config)
		return -ENOMEM;
	/* One thread, so no locks; the environment has no say in how events are got. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	event_config_require_features(config,
				      EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE);
	loop.base = event_base_new_with_config(config);
	event_config_free(config);
	if (!loop.base)
		return -ENOMEM;
	evtimer_assign(&loop.timer, loop.base, timer_fired, NULL);
	loop.timer_ms = 0;
	loop.stop = false;
	/* A peer that has gone is an error of the write, not the end of the process. */
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

struct event_base *loop_base(void)
{
	return loop.base;
}

static void task_end(struct task *t);

static void loop_round(int flags)
{
	queue_run();
	if (loop.stop)
		return;
	if (!timer_arm() || loop.queued)
		flags |= EVLOOP_NONBLOCK;
	event_base_loop(loop.base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | flags);
}

void loop_run(void)
{
	assert(!loop.running);
	loop.stop = false;
	while (!loop.stop)
		loop_round(0);
}

void loop_turn(void)
{
	assert(!loop.running);
	loop.stop = false;
	loop_round(0);
}

void loop_stop(void)
{
	loop.stop = true;
	event_base_loopbreak(loop.base);
}

void loop_unwind(void)
{
	loop.stop = false;
	for (int i = 0; loop.count && i < RELEASE_ROUNDS; i++) {
		for (struct task *t = loop.tasks; t; t = t->next)
			task_cancel(t);
		loop_round(EVLOOP_NONBLOCK);
		loop.stop = false;
	}
	assert(!loop.count);
}

void loop_release(void)
{
	struct job *j;

	if (!loop.base)
		return;
	/* A test that fails inside a task leaves it by longjmp: it ends here, without unwinding. */
	if (loop.running) {
		task_end(loop.running);
		loop.running = NULL;
	}
	loop_unwind();
	while (loop.first) {
		j = job_pop();
		free(j);
	}
	while ((j = loop.spare)) {
		loop.spare = j->next;
		free(j);
	}
	loop.spares = 0;
	event_del(&loop.timer);
	event_base_free(loop.base);
	loop.base = NULL;
	free(loop.heap);
	loop.heap = NULL;
	loop.heap_len = loop.heap_cap = 0;
	task_stack_release();
}

/* Tasks. */

/*
 * The queue of OpenSSL's errors is the thread's: one that a task leaves behind would be taken for
 * another session's. It is a mistake of ours, and ends the process where tests look for mistakes
 * (under sanitizers); but what a peer sends may lead to it, and must not end 10,000 sessions.
 */
static void errors_check(const struct task *t)
{
	static bool told;
	unsigned long e = ERR_peek_error();
	const char *reason;

	if (!e)
		return;
	assert(!UNDER_ASAN);
	reason = ERR_reason_error_string(e);
	if (!told)
		log_error("openssl_errors_left", "task", t->name, "error", reason ? reason : "", NULL);
	told = true;
	ERR_clear_error();
}

/* The whole life of a task on its own stack. */
static void task_main(void)
{
	struct task *t = loop.running;

	task_fibre_enter(&t->fibre, &loop.fibre);
	t->fn(t->arg);
	errors_check(t);
	t->state = TASK_ENDED;
	task_fibre_leave(NULL, &loop.fibre);
	task_context_switch(&t->context, &loop.context);
	abort();
}

static void task_end(struct task *t)
{
	if (t->alarm_slot)
		heap_remove(t);
	if (t->prev)
		t->prev->next = t->next;
	else
		loop.tasks = t->next;
	if (t->next)
		t->next->prev = t->prev;
	loop.count--;
	task_stack_put(t->stack);
}

static void task_resume(void *arg)
{
	struct task *t = arg;

	/* What a library did on the loop's stack, as a validator that met a bad signature. */
	if (ERR_peek_error())
		ERR_clear_error();
	loop.running = t;
	t->state = TASK_RUNNING;
	task_fibre_leave(&loop.fibre, &t->fibre);
	task_context_switch(&loop.context, &t->context);
	task_fibre_enter(&loop.fibre, NULL);
	loop.running = NULL;
	if (t->state == TASK_ENDED)
		task_end(t);
}

/* Leave the task that runs, which has said where it is to be found. Returns when it is resumed. */
static void task_leave(struct task *t)
{
	errors_check(t);
	task_fibre_leave(&t->fibre, &loop.fibre);
	task_context_switch(&t->context, &loop.context);
	task_fibre_enter(&t->fibre, &loop.fibre);
}

int task_spawn(const char *name, task_fn *fn, void *arg, struct task **out)
{
	struct task_stack stack;
	struct task *t;
	size_t room = (sizeof(*t) + 63) & ~(size_t)63;

	if (loop.count >= loop.limit)
		return -EAGAIN;
	if (heap_room(loop.count + 1) != 0 || task_stack_get(&stack) != 0)
		return -ENOMEM;
	t = (struct task *)(void *)(stack.low + task_stack_size() - room);
	memset(t, 0, sizeof(*t));
	t->stack = stack;
	t->fibre.low = stack.low;
	t->fibre.size = task_stack_size() - room;
	t->name = name;
	t->fn = fn;
	t->arg = arg;
	t->job.fn = task_resume;
	t->job.arg = t;
	task_context_make(&t->context, stack.low, t->fibre.size, task_main);
	t->next = loop.tasks;
	if (t->next)
		t->next->prev = t;
	loop.tasks = t;
	loop.count++;
	t->state = TASK_READY;
	job_push(&t->job);
	if (out)
		*out = t;
	return 0;
}

void task_set_limit(size_t max_tasks)
{
	loop.limit = max_tasks;
}

size_t task_count(void)
{
	return loop.count;
}

size_t loop_ready(void)
{
	return loop.queued;
}

struct task *task_self(void)
{
	return loop.running;
}

void task_cancel(struct task *t)
{
	t->cancelled = true;
	task_wake(t, -ECANCELED);
}

bool task_cancelled(void)
{
	return loop.running && loop.running->cancelled;
}

int task_park(int timeout_ms)
{
	struct task *t = loop.running;

	assert(t);
	if (t->cancelled)
		return -ECANCELED;
	if (timeout_ms >= 0)
		alarm_set(t, clock_ms() + timeout_ms);
	else
		t->deadline_ms = 0;
	t->state = TASK_PARKED;
	task_leave(t);
	t->deadline_ms = 0;
	return t->rc;
}

void task_wake(struct task *t, int rc)
{
	if (t->state != TASK_PARKED)
		return;
	t->rc = rc;
	t->state = TASK_READY;
	job_push(&t->job);
}

int task_sleep(int ms)
{
	int rc = task_park(ms > 0 ? ms : 0);

	return rc == -ETIMEDOUT ? 0 : rc;
}

void task_yield(void)
{
	struct task *t = loop.running;

	assert(t);
	t->state = TASK_READY;
	job_push(&t->job);
	task_leave(t);
}

void task_stack_trim(void)
{
	struct task *t = loop.running;
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0);

	/* The red zone below the stack pointer and what madvise itself needs stay. */
	if (t)
		task_stack_drop(t->stack, (const void *)(sp - 1024));
}

/* Futures. */

void future_resolve(struct future *f, int rc)
{
	if (f->done)
		return;
	f->done = true;
	f->rc = rc;
	if (f->waiter)
		task_wake(f->waiter, 0);
}

int future_wait(struct future *f, int timeout_ms)
{
	int rc;

	if (f->done)
		return task_cancelled() ? -ECANCELED : f->rc;
	assert(!f->waiter);
	f->waiter = task_self();
	rc = task_park(timeout_ms);
	f->waiter = NULL;
	return f->done ? f->rc : rc;
}

/* Gates. */

struct gate_wait {
	struct task *task;
	bool granted;
	struct gate_wait *prev, *next;
};

static void gate_unlink(struct gate *g, struct gate_wait *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		g->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		g->last = w->prev;
}

int gate_enter(struct gate *g, int timeout_ms)
{
	struct gate_wait w = { .task = task_self(), .prev = g->last };
	int rc;

	if (task_cancelled())
		return -ECANCELED;
	if (g->inside < g->limit && !g->first) {
		g->inside++;
		return 0;
	}
	if (w.prev)
		w.prev->next = &w;
	else
		g->first = &w;
	g->last = &w;
	rc = task_park(timeout_ms);
	/*
	 * The place may have been given in the same round in which the time was up: it is ours
	 * then.
	 */
	if (w.granted)
		return 0;
	gate_unlink(g, &w);
	return rc;
}

void gate_leave(struct gate *g)
{
	struct gate_wait *w;

	g->inside--;
	while (g->inside < g->limit && (w = g->first)) {
		gate_unlink(g, w);
		w->granted = true;
		g->inside++;
		task_wake(w->task, 0);
	}
}
