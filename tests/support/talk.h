#ifndef SUPPORT_TALK_H
#define SUPPORT_TALK_H

/*
 * talk - two tasks at the two ends of one connection, over each kind of connection
 *
 * A case is two functions, one for each end; a is the server where there is TLS. talk_setup and talk_teardown go around each
 * case, talk_group_setup and talk_group_teardown around all. What goes wrong here ends the program.
 */
#include "base/net.h"
#include "base/stream.h"

enum { TALK_LONG_MS = 60000 };

enum talk_kind { TALK_PAIR, TALK_TCP, TALK_TLS12, TALK_TLS13, TALK_KINDS };

extern const char *const talk_kind_names[];

/* The connection of the case that runs. */
struct talk {
	enum talk_kind kind;
	struct stream *a, *b;
	struct task *task_a, *task_b;
	void (*run_a)(struct stream *), (*run_b)(struct stream *);
};

extern struct talk talk_now;

int talk_group_setup(void **state);
int talk_group_teardown(void **state);
int talk_setup(void **state);
int talk_teardown(void **state);

/* Runs the loop until no other task is left. */
void talk_loop(void);

/* A socket that listens on a free port of loopback. */
int talk_listen(struct net_addr *out, int backlog);

void talk_run(enum talk_kind kind, void (*a)(struct stream *), void (*b)(struct stream *));
void talk_over_all(void (*a)(struct stream *), void (*b)(struct stream *));

/* Within a case: exactly this line comes, with its end; what reading a line returns; text, sent at once. may wait */
void talk_want(struct stream *s, const char *want);
int talk_read(struct stream *s, int timeout_ms);
int talk_put(struct stream *s, const char *text);

#endif
