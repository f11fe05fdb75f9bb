/*
 * control - the control socket: an administrator's command asks the running gatepost
 *
 * A UNIX stream socket, 0600, bound by the parent (so only its user may connect) and served by the
 * state keeper. One line of JSON in, one out: {"cmd":"status"} is answered {"ok":true, ...} or
 * {"ok":false,"error":"..."}. Lines, clients and times are bounded.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <jansson.h>
#include <sys/types.h>

#include "base/buf.h"

enum {
	CONTROL_LINE_MAX = 64 * 1024,
	CONTROL_CLIENTS_MAX = 8,
	CONTROL_TIMEOUT_MS = 10 * 1000,
};

/* The spool's keeper serves a socket of its own, beside the other: this stands behind its name. */
#define CONTROL_SPOOL ".spool"

struct control;
struct event_base;
struct shared;

/* One command: fills in answer; 0, or -errno, which the client is told. */
struct control_command {
	const char *name;
	int (*run)(void *arg, json_t *request, json_t *answer);
};

/*
 * Serve fd, which stays the caller's; table ends with a NULL name. "status" is completed with the
 * workers' figures. NULL: no memory.
 */
struct control *control_new(struct event_base *base, int fd, struct shared *shared,
			    const struct control_command *table, void *arg);
void control_free(struct control *c);

/* The process that made the socket listen, which is the parent: by the kernel's word, not by that of who answers. 0, or as control_ask. */
int control_owner(const char *path, pid_t *pid, struct buf *err);

/*
 * The command's side, in a process of its own: it waits. 0 and *answer (to be decref'ed), or -errno
 * with a sentence in err.
 */
int control_ask(const char *path, json_t *request, json_t **answer, struct buf *err);

#endif
