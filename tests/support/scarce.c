#include "support/scarce.h"

#include <errno.h>
#include <stddef.h>

static int left; /* calls until one fails; 0: none does */
static bool failed, paused;

static bool fails(void)
{
	if (paused || left == 0 || --left > 0)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

bool scarce_begin(int nth)
{
	left = nth;
	failed = paused = false;
	return true;
}

bool scarce_end(void)
{
	left = 0;
	return failed;
}

void scarce_pause(bool pause)
{
	paused = pause;
}

#define WRAP(name, types, values) \
	void *__real_##name types; \
	void *__wrap_##name types; \
	void *__wrap_##name types \
	{ \
		return fails() ? NULL : __real_##name values; \
	}

WRAP(malloc, (size_t n), (n))
WRAP(calloc, (size_t count, size_t n), (count, n))
WRAP(realloc, (void *p, size_t n), (p, n))
WRAP(reallocarray, (void *p, size_t count, size_t n), (p, count, n))
WRAP(strdup, (const char *s), (s))
WRAP(strndup, (const char *s, size_t n), (s, n))
