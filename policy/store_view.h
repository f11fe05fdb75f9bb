/*
 * store_view - the kept messages as a command sees them, beside the running keeper or without it
 *
 * Lists are read in pages, with no transaction open in between: output that goes to a pager holds nobody up. Single messages are found by
 * their files, too, so that they can be looked at when the index is damaged.
 */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "policy/store_filter.h"
#include "policy/store_id.h"

struct store_index;
struct store_view;

/*
 * dir: the quarantine's directory. 0, or -errno with a sentence in err. An index that cannot be used is no failure here: store_view_index
 * says what is wrong with it when it is needed.
 */
int store_view_open(const char *dir, struct store_view **out, struct buf *err);
void store_view_close(struct store_view *v);

int store_view_dir(const struct store_view *v);         /* its descriptor */
const char *store_view_index_path(const struct store_view *v);
/* NULL: there is none that can be used, a sentence in err (which may be NULL). */
struct store_index *store_view_index(struct store_view *v, struct buf *err);
/* After -ESTALE, or damage: open it again. 0 or -errno. */
int store_view_again(struct store_view *v);

struct store_entry {
	char id[STORE_ID_MAX];
	int64_t at_s;
	uint64_t bytes, disk;
	const char *sender, *client, *rule, *message_id, *header_from, *subject;        /* NULL: none */
	const char *recipients;         /* one per line */
	const char *classes;            /* " a b " */
	const char *state;
	const char *facts;              /* JSON; only when asked for */
};

struct store_list {
	const struct store_filter *filter;
	bool oldest_first, facts;
	int64_t limit;                  /* 0: all */
	int64_t pause_us;               /* between pages */
};

/*
 * Tell each that the filter means. fn: 0 goes on; what else it returns is returned. How many were told, or -errno. The entry is good until fn
 * returns.
 */
int64_t store_view_list(struct store_view *v, const struct store_list *l, int (*fn)(void *arg, const struct store_entry *e), void *arg);

/* The index' row of one message. 0 and fn called, -ENOENT, or another -errno. */
int store_view_entry(struct store_view *v, const char *id, int (*fn)(void *arg, const struct store_entry *e), void *arg);

/*
 * An id, or the beginning of one, that is unique. 0; -ENOENT; -ENOTUNIQ; -EINVAL: no part of an id. A whole id is looked up among the
 * files.
 */
int store_view_find(struct store_view *v, const char *text, char id[STORE_ID_MAX]);

/* What is recorded of one that was deleted: { "id", "at", "who", "why", "sender", "recipients", "subject" }. NULL: nothing. */
json_t *store_view_deleted(struct store_view *v, const char *id);
/* Those deleted last first; limit 0: all. How many or -errno. */
int64_t store_view_deletions(struct store_view *v, int64_t limit, int (*fn)(void *arg, const json_t *deleted), void *arg);

/* ID.eml for reading. A descriptor or -errno. */
int store_view_message(const struct store_view *v, const char *id);
/* ID.json. New reference; NULL: there is none that can be read. */
json_t *store_view_record(const struct store_view *v, const char *id);

#endif
