/*
 * task_check - checks in a task, where nothing may jump out as cmocka's assertions do
 *
 * CHECK keeps the first that did not hold; task_check_run tells it when the task has returned.
 */
#ifndef TESTS_TASK_CHECK_H
#define TESTS_TASK_CHECK_H

#include <stdio.h>

#include "support/script_server.h"

static int wrong_line;                  /* 0: none */
static char wrong_text[300];

#define CHECK(x)                                                                                           \
	do {                                                                                               \
		if (!(x) && !wrong_line) {                                                                 \
			wrong_line = __LINE__;                                                             \
			snprintf(wrong_text, sizeof(wrong_text), "%s", #x);                                \
		}                                                                                          \
	} while (0)

/* Run fn in a task, and the loop until it returns; fail the test where something was wrong. */
static inline void task_check_run(void (*fn)(void *))
{
	wrong_line = 0;
	script_run(fn, NULL);
	if (wrong_line)
		fail_msg("line %d: %s", wrong_line, wrong_text);
}

#endif
