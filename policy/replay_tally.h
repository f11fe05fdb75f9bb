/*
 * replay_tally - how many verdicts a new policy would change, from what to what, by which rule
 *
 * Verdicts are counted per recipient. Those that are alike (from, to, rule; or the fact that is missing) are one row, with the first
 * few as examples.
 */
#ifndef REPLAY_TALLY_H
#define REPLAY_TALLY_H

#include <jansson.h>
#include <stdint.h>

#include "policy/replay.h"

enum { REPLAY_ROWS_MAX = 2000, REPLAY_EXAMPLES_MAX = 100 };

struct replay_example {
	char *code, *client, *from, *rcpt, *subject;
	int64_t at_ms;
};

struct replay_row {
	char from[REPLAY_NAME_MAX], to[REPLAY_NAME_MAX];        /* to: "" where it cannot be known */
	const struct rule *rule;                                /* NULL: the end of the policy */
	int fact;                                               /* missing, or FACT_NONE */
	enum replay_missing missing;
	bool temporary;                                         /* the fact could not be established then */
	uint64_t count;
	struct replay_example *example;
	size_t example_count;
};

struct replay_tally {
	size_t examples;                /* of each row, to keep */
	uint64_t records, verdicts;     /* looked at */
	uint64_t same, changed, unknown;
	uint64_t not_judged;            /* refused by somebody else, before the policy had come to a verdict */
	uint64_t rows_lost;             /* verdicts of which there was no room for a row */
	int64_t first_ms, last_ms;
	struct replay_row *row;         /* replay_tally_sort: unknown ones last, then the most frequent first */
	size_t row_count, row_cap;
};

void replay_tally_release(struct replay_tally *t);

/* One record more; and each verdict on a recipient of it. What became of it: NULL (same), or its row. 0 or -ENOMEM. */
void replay_tally_record(struct replay_tally *t, const struct history_record *record);
int replay_tally_add(struct replay_tally *t, const struct history_record *record, const char *rcpt, const struct replay_verdict *v,
		     const struct replay_row **row);

void replay_tally_sort(struct replay_tally *t);

/* All of it. New reference. */
json_t *replay_tally_json(const struct replay_tally *t);

#endif
