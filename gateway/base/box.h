/*
 * box - a function that reads hostile bytes, in a process of its own
 *
 * For libraries that are large, may take long, or may be wrong: what happens in the box does not stop the event loop, and ends with it. A box has
 * the bytes, a way to answer, limits on time and memory, and those system calls that this takes (base/syscalls.h): no network, no files, no process
 * of its own; of other descriptors it has none but stdin, stdout and stderr. It is forked by a server, itself forked when
 * box_start() is called (else at the first use): early, so that the memory it shares holds nobody's mail, and a fork costs little. The server
 * ends with this process.
 */
#ifndef BOX_H
#define BOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Reads from in (from its beginning, by pread or mmap), writes its answer to out, returns. arg: whatever is to be told besides. */
typedef void box_fn(int in, int out, uint64_t arg);

struct box_job {
	box_fn *fn;
	uint64_t arg;
	int cpu_s;                      /* 0: BOX_CPU_S; at most BOX_CPU_MAX_S */
	bool quick;                     /* its time grows with what it reads and no faster: it does not wait for others that may take long */
};

/*
 * CPU seconds, seconds and memory of its own (what it shares with others, as lists, is none) of one run; how many run at the same time for this
 * process, others wait: such as take long, and such as are quick. A server has BOX_SERVER_MAX at most: there may be some that nobody waits for any more.
 * What may take long sleeps more than it runs while anybody else wants its processor. Under AddressSanitizer memory has no limit.
 */
enum { BOX_CPU_S = 2, BOX_CPU_MAX_S = 60, BOX_LIFE_S = 30, BOX_MEMORY_BYTES = 1 << 30, BOX_AT_ONCE = 2, BOX_QUICK_AT_ONCE = 8, BOX_SERVER_MAX = 32 };

/* Makes the server. 0 or -errno. Idempotent. */
int box_start(void);

/* Who is told that the server is gone and that no other can be made: who has confined himself makes no processes. At each run that fails for it. */
void box_on_loss(void (*lost)(void *arg), void *arg);

/*
 * Run job->fn on the file in, which stays the caller's, and append what it answers to out. It may take *left_ms, which becomes what is left of them; waiting
 * for its turn does not count, but for that it waits as long at most. 0, also when it was ended in the middle: an answer must say itself that it is
 * complete; -ETIMEDOUT; -EBUSY: its turn never came; -ENOSPC: more than out takes; or -errno. may wait; outside a task it blocks
 */
int box_run(const struct box_job *job, int in, int *left_ms, struct buf *out);

#endif
