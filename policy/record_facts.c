#include "policy/record_facts.h"

#include <errno.h>
#include <string.h>

/* Facts have octets without NUL. */
static const char *text_of(const json_t *v)
{
	const char *text = json_string_value(v);

	return text && strlen(text) == json_string_length(v) ? text : NULL;
}

static bool fits(const struct fact_def *d, const json_t *v)
{
	const char *text = text_of(v);

	if (!text || d->type == FACT_BOOL || d->type == FACT_NUMBER)
		return false;
	for (size_t i = 0; d->type == FACT_WORD && d->words[i]; i++)
		if (strcmp(d->words[i], text) == 0)
			return true;
	return d->type != FACT_WORD;
}

static int list_read(const struct fact_def *d, const json_t *values, struct facts *out)
{
	size_t i;
	json_t *v;
	int rc;

	json_array_foreach(values, i, v)
		if (!fits(d, v))
			return 0;
	rc = facts_set_empty(out, d->name);
	json_array_foreach(values, i, v)
		if (rc == 0)
			rc = facts_add(out, d->name, text_of(v));
	return rc;
}

static int one_read(const struct fact_def *d, const json_t *v, struct facts *out)
{
	const char *failed = json_is_object(v) ? text_of(json_object_get(v, "temperror")) : NULL;

	if (failed)
		return facts_temperror(out, d->name, failed);
	if (d->list)
		return json_is_array(v) ? list_read(d, v, out) : 0;
	if (d->type == FACT_BOOL && json_is_boolean(v))
		return facts_set_bool(out, d->name, json_is_true(v));
	if (d->type == FACT_NUMBER && json_is_integer(v))
		return facts_set_num(out, d->name, json_integer_value(v));
	return fits(d, v) ? facts_set(out, d->name, text_of(v)) : 0;
}

int record_facts(const json_t *record, struct facts *out)
{
	json_t *facts = json_object_get(record, "facts"), *whys = json_object_get(record, "why"), *v;
	const char *name;
	int rc = 0;

	json_object_foreach(facts, name, v) {
		const char *why = text_of(json_object_get(whys, name));
		int id = fact_find(name, strlen(name));

		if (id == FACT_NONE)
			continue;
		rc = one_read(fact_def(id), v, out);
		if (rc == 0 && why && facts_get(out, id))
			rc = facts_why(out, fact_def(id)->name, "%s", why);
		if (rc < 0)
			return rc;
	}
	return 0;
}
