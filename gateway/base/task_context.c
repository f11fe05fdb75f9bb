#include "base/task_switch.h"

#ifndef TASK_PORTABLE

#include <stdint.h>
#include <string.h>

/* In task_switch.S: calls what it finds in r12 or x19. */
void task_context_start(void);

/* The frame that task_context_switch takes its registers from, lowest address first. */
#if defined(__x86_64__)
struct frame {
	uint32_t mxcsr, x87_control;
	uint64_t r15, r14, r13, r12, rbx, rbp;
	uint64_t ret;
};

static void frame_fill(struct frame *f, void (*entry)(void))
{
	__asm__ volatile("stmxcsr %0" : "=m"(f->mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(f->x87_control));
	f->r12 = (uint64_t)(uintptr_t)entry;
	f->ret = (uint64_t)(uintptr_t)task_context_start;
}
#elif defined(__aarch64__)
struct frame {
	uint64_t x19, x20, x21, x22, x23, x24, x25, x26, x27, x28;
	uint64_t x29, x30;
	uint64_t d8, d9, d10, d11, d12, d13, d14, d15;
};

static void frame_fill(struct frame *f, void (*entry)(void))
{
	f->x19 = (uint64_t)(uintptr_t)entry;
	f->x30 = (uint64_t)(uintptr_t)task_context_start;
}
#endif

void task_context_make(struct task_context *c, void *stack, size_t size, void (*entry)(void))
{
	uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
	struct frame *f = (struct frame *)(top - sizeof(*f));

	/*
	 * After the frame is popped the stack pointer is top: aligned to 16, as both ABIs want it
	 * before a call.
	 */
	memset(f, 0, sizeof(*f));
	frame_fill(f, entry);
	c->sp = f;
}

#endif

/* ISO C forbids an empty translation unit, which this is in the portable build. */
typedef int task_context_unit;
