#include "base/task_stack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/task.h"

#if UNDER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#define STACK_FACTOR 4
#else
#define STACK_FACTOR 1
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(lo, hi) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

/*
 * A free stack is kept with its top pages, which the next task touches anyway. 256 of them are 2
 * MiB at most, and enough that a steady coming and going of sessions maps nothing anew.
 */
enum { POOL_MAX = 256, KEEP_BYTES = 8192 };

static struct {
	struct task_stack slot[POOL_MAX];
	size_t count;
} pool;

static size_t page_size(void)
{
	static size_t size;

	if (!size)
		size = (size_t)sysconf(_SC_PAGESIZE);
	return size;
}

size_t task_stack_size(void)
{
	return (size_t)TASK_STACK_BYTES * STACK_FACTOR;
}

static int stack_map(struct task_stack *out)
{
	size_t guard = page_size(), size = task_stack_size();
	char *p = mmap(NULL, guard + size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(p, guard, PROT_NONE) != 0) {
		munmap(p, guard + size);
		return -ENOMEM;
	}
	out->low = p + guard;
	out->valgrind_id = VALGRIND_STACK_REGISTER(out->low, out->low + size);
#if UNDER_ASAN
	/* Heap blocks that only a parked task knows of are not leaks. */
	__lsan_register_root_region(out->low, size);
#endif
	return 0;
}

static void stack_unmap(struct task_stack s)
{
	size_t guard = page_size(), size = task_stack_size();

#if UNDER_ASAN
	__lsan_unregister_root_region(s.low, size);
#endif
	VALGRIND_STACK_DEREGISTER(s.valgrind_id);
	munmap(s.low - guard, guard + size);
}

int task_stack_get(struct task_stack *out)
{
	if (pool.count) {
		*out = pool.slot[--pool.count];
		return 0;
	}
	return stack_map(out);
}

void task_stack_put(struct task_stack s)
{
#if UNDER_ASAN
	/* The last frames of a task are left, not returned from: their red zones would stay. */
	ASAN_UNPOISON_MEMORY_REGION(s.low, task_stack_size());
#endif
	if (pool.count == POOL_MAX) {
		stack_unmap(s);
		return;
	}
	task_stack_drop(s, s.low + task_stack_size() - KEEP_BYTES);
	pool.slot[pool.count++] = s;
}

void task_stack_drop(struct task_stack s, const void *sp)
{
	uintptr_t high = (uintptr_t)sp & ~(uintptr_t)(page_size() - 1);

	if (high > (uintptr_t)s.low)
		madvise(s.low, high - (uintptr_t)s.low, MADV_DONTNEED);
}

void task_stack_release(void)
{
	while (pool.count)
		stack_unmap(pool.slot[--pool.count]);
}

#if UNDER_ASAN
void task_fibre_leave(struct task_fibre *from, const struct task_fibre *to)
{
	__sanitizer_start_switch_fiber(from ? &from->fake : NULL, to->low, to->size);
}

void task_fibre_enter(struct task_fibre *self, struct task_fibre *came_from)
{
	__sanitizer_finish_switch_fiber(self->fake, came_from ? &came_from->low : NULL,
					came_from ? &came_from->size : NULL);
}
#else
void task_fibre_leave(struct task_fibre *from, const struct task_fibre *to)
{
}

void task_fibre_enter(struct task_fibre *self, struct task_fibre *came_from)
{
}
#endif
