/*
 * task_switch - leaving one stack and going on upon another
 *
 * The machine-dependent part of tasks, for task.c only: x86-64 and aarch64 in task_switch.S; every
 * other architecture, or -DTASK_PORTABLE, in task_portable.c. No system call is made at a switch
 * (the portable one makes one the first time a context is entered). The signal mask is not part of
 * a context.
 */
#ifndef TASK_SWITCH_H
#define TASK_SWITCH_H

#if !defined(TASK_PORTABLE) && !defined(__x86_64__) && !defined(__aarch64__)
#define TASK_PORTABLE 1
#endif

#ifndef __ASSEMBLER__

#include <stddef.h>

#ifdef TASK_PORTABLE
#include <setjmp.h>

struct task_context {
	jmp_buf env;
	void (*entry)(void); /* not yet entered; NULL afterwards */
	void *stack;
	size_t size;
};
#else
struct task_context {
	void *sp; /* task_switch.S relies on this being first */
};
#endif

/*
 * Prepare c to run entry() on the stack of size bytes at its low end `stack`, when it is first
 * switched to. entry never returns.
 */
void task_context_make(struct task_context *c, void *stack, size_t size, void (*entry)(void));

/*
 * Keep the present registers in *from and go on where *to was left. Returns when somebody switches
 * to *from.
 */
void task_context_switch(struct task_context *from, struct task_context *to);

#endif
#endif
