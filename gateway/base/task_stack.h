/*
 * task_stack - where tasks run: stacks with a guard page, pooled
 *
 * For task.c only. A stack is task_stack_size() bytes, its lowest page inaccessible, so that an
 * overflow is a fault and never somebody else's data. Two mappings each, against the kernel's
 * 65,530 per process.
 */
#ifndef TASK_STACK_H
#define TASK_STACK_H

#include <stddef.h>

#include "base/asan.h"

struct task_stack {
	char *low; /* the lowest usable byte; NULL: none */
	unsigned valgrind_id;
};

/* The usable bytes of every stack: TASK_STACK_BYTES, four times that under AddressSanitizer. */
size_t task_stack_size(void);

/* 0 or -ENOMEM. What the stack holds is undefined. */
int task_stack_get(struct task_stack *out);

/*
 * Back into the pool; all but its top pages are given back to the system, and those too when the
 * pool is full.
 */
void task_stack_put(struct task_stack s);

/* Give back the whole pages between the low end and sp. */
void task_stack_drop(struct task_stack s, const void *sp);

/* Unmap the pool. */
void task_stack_release(void);

/* The stack switches as AddressSanitizer wants to hear of them; nothing in other builds. */
struct task_fibre {
	void *fake; /* the sanitizer's own stack of a context that has been left */
	const void *low;
	size_t size;
};

/* Before the switch; from NULL: the present stack is never come back to. */
void task_fibre_leave(struct task_fibre *from, const struct task_fibre *to);
/*
 * After it, on the new stack; self: who runs now. came_from, if not NULL, gets the bounds of the
 * stack that was left.
 */
void task_fibre_enter(struct task_fibre *self, struct task_fibre *came_from);

#endif
