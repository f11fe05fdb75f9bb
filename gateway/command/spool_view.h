/*
 * spool_view - the spool as the commands `gatepost spool ...` see it: its files, and what its keeper says, if it runs
 *
 * Exit status of each: 0 all was done; 1 a wrong option or configuration, or something failed, said on stderr; 2 a message that was named is not
 * there.
 */
#ifndef SPOOL_VIEW_H
#define SPOOL_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "policy/spool.h"

enum { SPOOL_DONE, SPOOL_PROBLEM, SPOOL_MISSING };

struct site;

struct spool_view {
	const char *name;               /* of the command, for messages: "list" */
	struct site *site;
	char control[1100];             /* of the keeper's socket; "" none */
	int dir_fd;
	bool silent;                    /* the keeper does not run: it is not asked again */
};

/* Configuration, user, directory. 0; or -1, and why is on stderr. Close it in any case. */
int spool_view_open(struct spool_view *v, const char *name, const char *conf);
void spool_view_close(struct spool_view *v);
static inline void spool_view_cleanup(struct spool_view *v)
{
	spool_view_close(v);
}

/* "gatepost spool NAME: ..." on stderr; returns SPOOL_PROBLEM. */
int spool_problem(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Ask the keeper; request is used up. 0 and *answer (new reference) when it says ok; -ENOTCONN: it does not run; else -1: what it, or the
 * socket, said is in err.
 */
int spool_view_ask(struct spool_view *v, json_t *request, json_t **answer, struct buf *err);

/* What the keeper says of at most SPOOL_STATES of these: { id: [parts] }. NULL: it does not run. New reference. */
enum { SPOOL_STATES = 50 };
json_t *spool_view_states(struct spool_view *v, char (*id)[STORE_ID_MAX], size_t count);

/* Each of the ids as they were typed, whole or the beginning, once. What is not there is said. The exit status; fn's counts too. */
int spool_view_each(struct spool_view *v, char *const *ids, int count, int (*fn)(struct spool_view *v, const char *id, void *arg), void *arg);

/* "now", "in 5m", "delivering", "in 4h (route)": of the parts of one entry; "" when nothing is known. out: SPOOL_NEXT_MAX */
enum { SPOOL_NEXT_MAX = 40 };
const char *spool_next_text(const json_t *parts, char *out);
/* "45s", "3m", "5h", "2d". out: 16 */
const char *spool_span(int64_t s, char *out);

int spool_command_list(int argc, char **argv);
int spool_command_show(int argc, char **argv);
int spool_command_retry(int argc, char **argv);
int spool_command_delete(int argc, char **argv);

#endif
