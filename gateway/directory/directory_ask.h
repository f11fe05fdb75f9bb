/*
 * directory_ask - what a session wants to know of a directory, and whom it asks
 */
#ifndef DIRECTORY_ASK_H
#define DIRECTORY_ASK_H

#include <stdint.h>

enum directory_answer {
	DIRECTORY_LATER,                /* nobody can say now */
	DIRECTORY_KNOWN,
	DIRECTORY_KNOWN_RESTRICTED,     /* he wants mail of authenticated senders only, and the site has others refused */
	DIRECTORY_UNKNOWN,
	DIRECTORY_ELSEWHERE,            /* no directory is for that domain */
	DIRECTORY_ANSWERS,
};

/* local is unquoted, domain as in the envelope. may wait, within deadline_ms */
typedef enum directory_answer directory_ask_fn(void *arg, const char *local, const char *domain, int64_t deadline_ms);

struct directory_asker {
	directory_ask_fn *ask;
	void *arg;
};

#endif
