/*
 * scan - a whole message shown to a daemon (clamd, rspamd, spamd), in a task of its own
 *
 * What such filters have in common: the message is shown once, and only if some rule asks; others go on meanwhile, and so does a scan
 * that nobody waits for yet. The wait is bounded by the daemon's time-out, which begins with the scan. A message beyond max_size is not shown. What is said
 * when the daemon is away the configuration chooses: temporary failure, or nothing.
 *
 * The filter gives its working state, with a struct scan as the first member, and two functions: talk, which shows the message (scan_send) and reads the
 * answer into that state, and found, which makes facts of it.
 */
#ifndef SCAN_H
#define SCAN_H

#include <stdint.h>

#include "base/task.h"
#include "filters/daemon.h"
#include "filters/filter.h"

enum { SCAN_CHUNK = 64 * 1024 };

struct scan;

struct scan_kind {
	const struct daemon_conf *(*conf)(const struct site *site);
	size_t size;                    /* of the state */
	daemon_talk *talk;              /* arg: the state. Begins anew each time */
	/* The answer as facts; or s->skipped: it would not look at the message, why in words; s->failed: it could not. 0 or -errno. */
	int (*found)(struct scan *s, struct facts *out);
	void (*release)(struct scan *s);        /* what talk has put into the state; or NULL */
	const char *away, *skipped;     /* names of the facts that say so */
};

struct scan {
	const struct scan_kind *kind;
	const struct daemon_conf *conf;
	struct txn *txn;                /* NULL: released, and the task is about to see that */
	struct message *message;        /* as it came: meanwhile the transaction may have one that milters have changed */
	struct daemons *daemons;
	int64_t deadline_ms;
	bool running;
	struct task *task;
	struct future done;
	char *chunk;
	const char *failed;             /* it was shown, and the daemon says that it failed: its words; or NULL */
	const char *skipped;            /* why the message was not shown, or not looked at; or NULL */
};

/* For the tables of filters. kind: of that filter. */
void scan_begin(const struct scan_kind *kind, struct txn *t, int self);
int scan_run(const struct scan_kind *kind, struct txn *t, int self, struct facts *out);
bool scan_ready(const struct scan_kind *kind, struct txn *t, int self);
void scan_release(struct evidence *e, int self);

/*
 * In talk: up to `max` octets of the message from *off on, to s->chunk + room (SCAN_CHUNK in all); *off moves. How many, 0 at the end, -ECANCELED: nobody wants
 * to know any more, or -errno.
 */
ssize_t scan_read(struct scan *s, size_t *off, size_t room);
/* All of it to the line. 0 or -errno. may wait */
int scan_send(struct scan *s, struct daemon_line *l);

#endif
