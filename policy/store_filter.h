/*
 * store_filter - which kept messages are meant: conditions on what the index knows of them
 *
 * All that are set must hold. Text is put into a query as a value, never as SQL.
 */
#ifndef STORE_FILTER_H
#define STORE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/net.h"

enum { STORE_FILTER_FACTS = 8 };

enum store_compare { COMPARE_EQUAL, COMPARE_UNEQUAL, COMPARE_LESS, COMPARE_LESS_EQUAL, COMPARE_GREATER, COMPARE_GREATER_EQUAL, COMPARE_MATCH };

struct policy_regex;

struct store_fact_filter {
	char *name, *value;
	enum store_compare compare;
	bool is_number;
	int64_t number;
	struct policy_regex *regex;
};

struct store_filter {
	struct buf to, from;            /* as store_meta_name makes them */
	bool by_to, by_from;            /* the null sender is "" */
	const char *rule, *message_id, *subject, *class, *state;        /* borrowed; NULL: any. subject: a part of it, in any case */
	bool by_client;
	struct net_prefix client;
	int64_t since_s, until_s;       /* from; before; 0: open */
	struct store_fact_filter fact[STORE_FILTER_FACTS];
	size_t fact_count;
};

void store_filter_init(struct store_filter *f);
void store_filter_release(struct store_filter *f);
static inline void store_filter_cleanup(struct store_filter *f)
{
	store_filter_release(f);
}

/* From text as an administrator types it. 0, or -EINVAL with a sentence in err. */
int store_filter_to(struct store_filter *f, const char *text, struct buf *err);
int store_filter_from(struct store_filter *f, const char *text, struct buf *err);
int store_filter_client(struct store_filter *f, const char *text, struct buf *err);
/*
 * NAME=VALUE; also !=, <, <=, >, >=, and ~ with a regular expression. As in rules (gatepost-policy(5)): a list matches when one of its
 * values does, with != when none is equal; a fact that is not in the record matches nothing.
 */
int store_filter_fact(struct store_filter *f, const char *text, struct buf *err);

/* Whether any condition is set. */
bool store_filter_any(const struct store_filter *f);

/* Whether the facts of a record (JSON) fulfil c. */
bool store_fact_holds(const struct store_fact_filter *c, const char *facts, size_t len);

struct sqlite3;
struct sqlite3_stmt;

/*
 * The query for one page: columns as store_view reads them, ids in order, at most limit, beyond `after` (""): before it when
 * the newest come first. f must live as long as the statement. 0 or -errno.
 */
int store_filter_prepare(struct sqlite3 *sql, const struct store_filter *f, bool oldest_first, const char *columns, struct sqlite3_stmt **out);
void store_filter_bind(struct sqlite3_stmt *st, const struct store_filter *f, bool oldest_first, const char *after, int64_t limit);

#endif
