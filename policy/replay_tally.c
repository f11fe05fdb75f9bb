#include "policy/replay_tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/record.h"

static void example_release(struct replay_example *e)
{
	free(e->code);
	free(e->client);
	free(e->from);
	free(e->rcpt);
	free(e->subject);
}

void replay_tally_release(struct replay_tally *t)
{
	for (size_t i = 0; i < t->row_count; i++) {
		for (size_t k = 0; k < t->row[i].example_count; k++)
			example_release(&t->row[i].example[k]);
		free(t->row[i].example);
	}
	free(t->row);
	*t = (struct replay_tally){ 0 };
}

void replay_tally_record(struct replay_tally *t, const struct history_record *record)
{
	if (t->records == 0 || record->at_ms < t->first_ms)
		t->first_ms = record->at_ms;
	if (t->records == 0 || record->at_ms > t->last_ms)
		t->last_ms = record->at_ms;
	t->records++;
}

/* What the verdict is about, without its examples. */
static void row_of(const struct history_record *record, const struct replay_verdict *v, struct replay_row *out)
{
	*out = (struct replay_row){ .rule = v->rule, .fact = FACT_NONE, .missing = v->missing };
	strncpy(out->from, record->action, sizeof(out->from) - 1);
	if (v->missing == REPLAY_COMPLETE)
		replay_name(v, out->to);
	if (v->missing != REPLAY_COMPLETE || v->temporary)
		out->fact = v->fact;
	out->temporary = v->temporary;
}

static bool row_same(const struct replay_row *a, const struct replay_row *b)
{
	return a->rule == b->rule && a->missing == b->missing && a->fact == b->fact && strcmp(a->from, b->from) == 0 &&
	       strcmp(a->to, b->to) == 0;
}

/* The row like that, a new one if there is room. NULL: there is none. */
static struct replay_row *row_find(struct replay_tally *t, const struct replay_row *like)
{
	for (size_t i = 0; i < t->row_count; i++)
		if (row_same(&t->row[i], like))
			return &t->row[i];
	if (t->row_count == REPLAY_ROWS_MAX)
		return NULL;
	if (t->row_count == t->row_cap) {
		size_t cap = t->row_cap ? t->row_cap * 2 : 16;
		struct replay_row *row = reallocarray(t->row, cap, sizeof(*row));

		if (!row)
			return NULL;
		t->row = row;
		t->row_cap = cap;
	}
	t->row[t->row_count] = *like;
	return &t->row[t->row_count++];
}

static char *copy(const char *s)
{
	return strdup(s ? s : "");
}

static int add_example(struct replay_row *row, const struct history_record *record, const char *rcpt)
{
	struct replay_example *e = reallocarray(row->example, row->example_count + 1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	row->example = e;
	e += row->example_count;
	*e = (struct replay_example){
		.code = copy(record->code), .client = copy(record->client), .from = copy(record->from), .rcpt = copy(rcpt),
		.subject = record->subject ? strdup(record->subject) : NULL, .at_ms = record->at_ms,
	};
	if (!e->code || !e->client || !e->from || !e->rcpt) {
		example_release(e);
		return -ENOMEM;
	}
	row->example_count++;
	return 0;
}

int replay_tally_add(struct replay_tally *t, const struct history_record *record, const char *rcpt, const struct replay_verdict *v,
		     const struct replay_row **out)
{
	struct replay_row like, *row;

	*out = NULL;
	t->verdicts++;
	if (!record->action) {
		t->not_judged++;
		return 0;
	}
	row_of(record, v, &like);
	if (v->missing == REPLAY_COMPLETE && strcmp(like.from, like.to) == 0) {
		t->same++;
		return 0;
	}
	if (v->missing == REPLAY_COMPLETE)
		t->changed++;
	else
		t->unknown++;
	row = row_find(t, &like);
	if (!row) {
		t->rows_lost++;
		return 0;
	}
	row->count++;
	*out = row;
	return row->example_count < t->examples ? add_example(row, record, rcpt) : 0;
}

static int compare(const void *a, const void *b)
{
	const struct replay_row *x = a, *y = b;

	if ((x->missing == REPLAY_COMPLETE) != (y->missing == REPLAY_COMPLETE))
		return x->missing == REPLAY_COMPLETE ? -1 : 1;
	return x->count > y->count ? -1 : x->count < y->count;
}

void replay_tally_sort(struct replay_tally *t)
{
	if (t->row_count)
		qsort(t->row, t->row_count, sizeof(*t->row), compare);
}

static json_t *row_json(const struct replay_row *row)
{
	json_t *examples = json_array(), *o;

	for (size_t i = 0; i < row->example_count; i++) {
		const struct replay_example *e = &row->example[i];

		json_array_append_new(examples, json_pack("{s:o, s:f, s:o, s:o, s:o, s:o}", "code", record_text(e->code), "time", (double)e->at_ms / 1000,
							  "client", record_text(e->client), "from", record_text(e->from), "to", record_text(e->rcpt),
							  "subject", record_text(e->subject)));
	}
	o = json_pack("{s:s, s:I, s:o}", "from", row->from, "count", (json_int_t)row->count, "examples", examples);
	json_object_set_new(o, "to", row->missing == REPLAY_COMPLETE ? json_string(row->to) : json_null());
	json_object_set_new(o, "rule", row->rule ? json_pack("{s:i, s:o, s:o}", "line", row->rule->line, "name", record_text(row->rule->name),
							     "text", record_text(row->rule->text)) : json_null());
	if (row->fact != FACT_NONE)
		json_object_set_new(o, row->temporary ? "temperror" : "missing", json_string(fact_def(row->fact)->name));
	if (row->missing != REPLAY_COMPLETE)
		json_object_set_new(o, "why", json_string(replay_missing_text(row->missing)));
	return o;
}

json_t *replay_tally_json(const struct replay_tally *t)
{
	json_t *changes = json_array(), *unknown = json_array();

	for (size_t i = 0; i < t->row_count; i++)
		json_array_append_new(t->row[i].missing == REPLAY_COMPLETE ? changes : unknown, row_json(&t->row[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o}", "records", (json_int_t)t->records, "verdicts", (json_int_t)t->verdicts,
			 "same", (json_int_t)t->same, "changed", (json_int_t)t->changed, "cannot_be_known", (json_int_t)t->unknown,
			 "not_judged", (json_int_t)t->not_judged, "first", (double)t->first_ms / 1000, "last", (double)t->last_ms / 1000,
			 "changes", changes, "unknown", unknown);
}
