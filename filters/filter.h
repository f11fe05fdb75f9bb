/*
 * filter - the interface behind which every source of evidence stands
 *
 * One file, one `const struct filter`, one line in the table of filters.c. A filter says which facts it can establish and
 * from which stage on. It is started when its stage is reached if some rule or header needs one of its facts, and asked (run) when a rule
 * needs one. Filters establish facts, policy decides.
 *
 * A filter's working state hangs at evidence->filter[its index]; it makes it in start or run and frees it in release.
 */
#ifndef FILTER_H
#define FILTER_H

#include "base/buf.h"
#include "filters/txn.h"

enum filter_scope { SCOPE_CLIENT, SCOPE_TXN };

/*
 * What a filter is without a client: of mail that a trusted relay has brought it may not be known before the header who that is, or never (boundary.h). ANY: the
 * same. AWAITED: it is not asked before it is known who it is, or that nobody knows. NEEDED: and then not at all, its facts stay unknown.
 */
enum filter_client { CLIENT_ANY, CLIENT_AWAITED, CLIENT_NEEDED };

struct filter {
	const char *name;                       /* in rules, logs and headers */
	enum filter_scope scope;
	enum filter_client client;
	enum stage stage;                       /* the earliest moment it can know */
	const struct fact_def *facts;           /* what it can establish, name NULL last */

	/* Once per process, at start; err gets "what is wrong, what was expected". 0 or -errno. */
	int (*setup)(const struct site *site, struct buf *err);

	/* At its stage, if needed: begin lookups whose names are known. Must not wait; failures are left for run. self: its index. */
	void (*start)(struct txn *t, int self);

	/* Each chunk of the message after the header (STAGE_HEADER filters that read the body), in order. 0 or -errno. */
	int (*body)(struct txn *t, int self, const char *p, size_t len);

	/*
	 * On demand, at most once per scope: establish all facts. May wait. 0: looked, facts are set (those left out stay unknown for good,
	 * and compare false). -errno: could not look; every fact of this filter that it did not set becomes TEMPERROR.
	 */
	int (*run)(struct txn *t, int self, struct facts *out);

	/*
	 * Instead of run, start and ready, of a filter that looks at nothing but the message, when all of it is there: it runs in a box (unpack.h), as run does. unread: sets the
	 * facts of a message that could not be looked at, why in words. 0 or -errno.
	 */
	int (*unpack)(struct message *m, struct facts *out);
	int (*unread)(struct facts *out, const char *why);

	/*
	 * Instead of all of these where the client is one of ours (client.relay): a check for strangers does not apply, its facts have the values that say
	 * so. Never waits. NULL: ours are looked at as everybody is.
	 */
	int (*ours)(struct txn *t, struct facts *out);
	bool fetched;                   /* but of a message that is fetched (client.fetches) run is asked all the same: it needs nothing but the message */

	/*
	 * Of a filter that asks a daemon, which takes its time: begin to, if that has not been done. When run of one of these is to wait, those others that some rule
	 * may ask for begin, too, so that waits do not add up. Never waits; failures are left for run.
	 */
	void (*begin)(struct txn *t, int self);

	/* Whether run would answer without a wait now, after start. NULL: no, if there is a start; else it never waits. */
	bool (*ready)(struct txn *t, int self);

	void (*release)(struct evidence *e, int self);

	/* Names of the filters whose facts run reads, NULL last: who needs this filter needs those. */
	const char *const *uses;
};                                              /* a NULL member: nothing to do */

extern const struct filter *const filters[];    /* NULL last; at most FILTER_MAX */

/* The working state of filter self in t: client's or transaction's evidence, by its scope. */
static inline struct evidence *filter_evidence(struct txn *t, int self)
{
	return filters[self]->scope == SCOPE_CLIENT ? &t->client->evidence : &t->evidence;
}

int filters_setup(const struct site *site, struct buf *err);

/* The transaction (or connection) has reached stage: start the filters of that stage whose bit is set in needed. Never waits. */
void filters_start(struct txn *t, enum stage stage, uint32_t needed);
/* A chunk of the body, to every started filter that reads it. */
int filters_body(struct txn *t, uint32_t needed, const char *p, size_t len);

/*
 * A fact: from what is known, else by running its filter if t->stage allows. NULL: unknown at this stage, or not established. may wait
 */
const struct fact *filters_fact(struct txn *t, int id);
bool filters_can_know(const struct txn *t, int id);     /* the stage of this fact has been reached */
bool filters_at_hand(struct txn *t, int id);            /* filters_fact would not wait */
/* Every fact of f that is not in out could not be looked up. */
void filters_temperror(const struct filter *f, struct facts *out, int rc);
/*
 * Establish what costs next to nothing: filters that neither wait nor read the body. For the history, so that a policy that is tried on it later can
 * ask for more than the one of then did. Never waits.
 */
void filters_run_cheap(struct txn *t);
void filters_release(struct evidence *e);               /* calls every release; frees the facts */

#endif
