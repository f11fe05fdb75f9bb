/*
 * The switch for architectures without an assembler one: makecontext to get onto a new stack once,
 * _setjmp and _longjmp from then on, which keep no signal mask and so make no system call.
 */

/* The checked longjmp of the C library takes a jump to another stack for an error. */
#undef _FORTIFY_SOURCE

#include "base/task_switch.h"

#ifdef TASK_PORTABLE

#include <stdlib.h>
#include <ucontext.h>

void task_context_make(struct task_context *c, void *stack, size_t size, void (*entry)(void))
{
	c->entry = entry;
	c->stack = stack;
	c->size = size;
}

/*
 * Never returns, so that AddressSanitizer's marks around its locals would stay on the stack that
 * is left: none are made.
 */
__attribute__((no_sanitize_address)) static void context_enter(struct task_context *c)
{
	ucontext_t u;

	if (getcontext(&u) != 0)
		abort();
	u.uc_stack.ss_sp = c->stack;
	u.uc_stack.ss_size = c->size;
	u.uc_link = NULL;
	makecontext(&u, c->entry, 0);
	c->entry = NULL;
	setcontext(&u);
	abort();
}

void task_context_switch(struct task_context *from, struct task_context *to)
{
	if (_setjmp(from->env) != 0)
		return;
	if (to->entry)
		context_enter(to);
	_longjmp(to->env, 1);
}

#endif

typedef int task_portable_unit;
