#include "process/state_control.h"

#include <errno.h>
#include <string.h>

static const char *const verbs[] = { [STATE_GET] = "get", [STATE_TOUCH] = "touch", [STATE_COUNT] = "count", [STATE_PUT] = "put", [STATE_DELETE] = "delete" };

enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

json_t *state_control_request(const struct state_op *ops, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct state_op *op = &ops[i];
		json_t *one = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "verb", verbs[op->verb], "space", op->space, "key", op->key, "ttl",
					(json_int_t)op->ttl_s, "add", (json_int_t)op->add, "text", op->text);

		if (json_array_append_new(list, one) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:s, s:o}", "cmd", "state.run", "ops", list);
}

static int text_copy(const char *text, char *out, size_t size)
{
	if (strlen(text) >= size)
		return -EINVAL;
	strcpy(out, text);
	return 0;
}

static int op_read(const json_t *one, struct state_op *op)
{
	const char *verb, *space, *key, *text = "";
	json_int_t ttl = 0, add = 0;
	int v = 0;

	memset(op, 0, sizeof(*op));
	if (json_unpack((json_t *)one, "{s:s, s:s, s:s, s?I, s?I, s?s}", "verb", &verb, "space", &space, "key", &key, "ttl", &ttl, "add", &add, "text",
			&text) < 0)
		return -EINVAL;
	while (v < VERBS && strcmp(verbs[v], verb) != 0)
		v++;
	if (v == VERBS || !*space || !*key || ttl < 0)
		return -EINVAL;
	op->verb = (enum state_verb)v;
	op->ttl_s = ttl;
	op->add = add;
	if (text_copy(space, op->space, sizeof(op->space)) < 0 || text_copy(key, op->key, sizeof(op->key)) < 0)
		return -EINVAL;
	return text_copy(text, op->text, sizeof(op->text));
}

int state_control_read_request(const json_t *request, struct state_op *ops)
{
	const json_t *list = json_object_get(request, "ops");
	size_t count = json_array_size(list);

	if (count == 0 || count > STATE_OPS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		if (op_read(json_array_get(list, i), &ops[i]) < 0)
			return -EINVAL;
	return (int)count;
}

int state_control_answer(json_t *answer, const struct state_op *ops, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct state_op *op = &ops[i];

		/* What is stored may be no UTF-8. */
		json_t *text = json_string(op->text), *one = json_pack("{s:b, s:I, s:I, s:I, s:o}", "found", op->found != 0, "first", (json_int_t)op->first_s,
								       "last", (json_int_t)op->last_s, "count", (json_int_t)op->count, "text",
								       text ? text : json_string(""));

		if (json_array_append_new(list, one) < 0) {
			json_decref(list);
			return -ENOMEM;
		}
	}
	return json_object_set_new(answer, "results", list) < 0 ? -ENOMEM : 0;
}

int state_control_read_answer(const json_t *answer, struct state_op *ops, size_t count)
{
	const json_t *list = json_object_get(answer, "results");

	if (json_array_size(list) != count)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		struct state_op *op = &ops[i];
		json_int_t first, last, n;
		const char *text;

		if (json_unpack(json_array_get(list, i), "{s:b, s:I, s:I, s:I, s:s}", "found", &op->found, "first", &first, "last", &last, "count", &n, "text",
				&text) < 0)
			return -EBADMSG;
		op->first_s = first;
		op->last_s = last;
		op->count = n;
		if (text_copy(text, op->text, sizeof(op->text)) < 0)
			return -EBADMSG;
	}
	return 0;
}
