#include "process/handover.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_whole.h"

static const char *const roles[ROLE_COUNT] = { [ROLE_WORKER] = "worker", [ROLE_STATE] = "state",   [ROLE_STORE] = "store",
					       [ROLE_HISTORY] = "history", [ROLE_SPOOL] = "spool", [ROLE_KEYS] = "keys",
					       [ROLE_DIRECTORY] = "directory" };

/* Writing */

static json_t *listener_json(const struct handover_listener *l)
{
	char text[NET_TEXT_MAX];

	return json_pack("{s:s, s:i}", "address", net_text_port(&l->address, text), "fd", l->fd);
}

static json_t *child_json(const struct handover_child *c)
{
	return json_pack("{s:s, s:i, s:i, s:I, s:I, s:i, s:i, s:b, s:b, s:I, s:I, s:i}", "role", roles[c->role] ? roles[c->role] : "unknown", "number",
			 c->number, "slot", c->slot, "generation", (json_int_t)c->generation, "channel", (json_int_t)c->channel, "pid", c->pid, "fd",
			 c->fd, "ready", c->ready, "draining", c->draining, "started_ms", (json_int_t)c->started_ms, "kill_ms", (json_int_t)c->kill_ms,
			 "failures", c->failures);
}

int handover_write(const struct handover *h, struct buf *out)
{
	json_t *listeners = json_array(), *children = json_array();
	bool bad = false;
	char *text;
	json_t *o;

	for (size_t i = 0; i < h->listener_count; i++)
		bad |= json_array_append_new(listeners, listener_json(&h->listener[i])) < 0;
	for (size_t i = 0; i < h->child_count; i++)
		bad |= json_array_append_new(children, child_json(&h->child[i])) < 0;
	o = json_pack("{s:s, s:i, s:i, s:s, s:I, s:s, s:s?, s:i, s:i, s:i, s:i, s:b, s:i, s:i, s:o, s:o}", "gatepost", "handover", "version",
		      HANDOVER_VERSION, "pid", h->pid, "program", h->program, "generation", (json_int_t)h->generation, "state_dir", h->state_dir,
		      "control", h->control, "lock", h->lock_fd, "shared", h->shared_fd, "control_fd", h->control_fd, "spool_fd", h->spool_fd,
		      "transparent", h->transparent, "drain_stop_s", h->drain_stop_s, "drain_reload_s", h->drain_reload_s, "listeners", listeners,
		      "children", children);
	text = o && !bad ? json_whole(o, JSON_COMPACT) : NULL;
	json_decref(o);
	if (!text)
		return -ENOMEM;
	out->max = HANDOVER_TEXT_MAX;
	(void)buf_adds(out, text);
	free(text);
	return out->failed ? -ENOSPC : 0;
}

/* Reading. The first thing that is wrong is said; then nothing is looked at any more. */

struct reading {
	struct buf *err;
	int rc;
};

static void bad(struct reading *r, const char *what, const char *name)
{
	if (r->rc == 0)
		buf_addf(r->err, "%s: %s", name, what);
	r->rc = -EBADMSG;
}

static int64_t number(struct reading *r, const json_t *o, const char *name, int64_t min, int64_t max)
{
	const json_t *v = json_object_get(o, name);
	int64_t n = json_integer_value(v);

	if (json_is_integer(v) && n >= min && n <= max)
		return n;
	bad(r, "is missing, or no number that is possible", name);
	return min;
}

static bool boolean(struct reading *r, const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_boolean(v))
		bad(r, "is missing, or neither true nor false", name);
	return json_is_true(v);
}

/* On the heap; NULL: it is wrong, or null and may be. */
static char *string(struct reading *r, const json_t *o, const char *name, bool null)
{
	const json_t *v = json_object_get(o, name);
	size_t len = json_string_length(v);
	char *copy;

	if (null && json_is_null(v))
		return NULL;
	if (!json_is_string(v) || len == 0 || len >= HANDOVER_PATH_MAX || strlen(json_string_value(v)) != len) {
		bad(r, "is missing, or no text that is possible", name);
		return NULL;
	}
	copy = strdup(json_string_value(v));
	if (!copy)
		r->rc = -ENOMEM;
	return copy;
}

/* 0, 1 and 2 are never among them. none: it may be -1. */
static int descriptor(struct reading *r, const json_t *o, const char *name, bool none)
{
	if (none && json_integer_value(json_object_get(o, name)) == -1)
		return -1;
	return (int)number(r, o, name, 3, HANDOVER_FD_MAX);
}

static void listener_read(struct reading *r, const json_t *o, struct handover_listener *l)
{
	const char *address = json_string_value(json_object_get(o, "address"));

	if (!address || net_parse_port(address, 0, &l->address) < 0)
		bad(r, "is missing, or none", "address");
	l->fd = descriptor(r, o, "fd", false);
}

static void child_read(struct reading *r, const json_t *o, struct handover_child *c)
{
	const char *role = json_string_value(json_object_get(o, "role"));

	if (!role)
		bad(r, "is missing", "role");
	for (int i = 0; role && i < ROLE_COUNT; i++)
		if (roles[i] && strcmp(roles[i], role) == 0)
			c->role = (enum channel_role)i;
	c->number = (int)number(r, o, "number", 0, INT32_MAX);
	c->slot = (int)number(r, o, "slot", -1, INT16_MAX);
	c->generation = (unsigned)number(r, o, "generation", 0, UINT32_MAX);
	c->channel = (uint32_t)number(r, o, "channel", 0, UINT32_MAX);
	c->pid = (int)number(r, o, "pid", 2, INT32_MAX);
	c->fd = descriptor(r, o, "fd", true);
	c->ready = boolean(r, o, "ready");
	c->draining = boolean(r, o, "draining");
	c->started_ms = number(r, o, "started_ms", 0, INT64_MAX);
	c->kill_ms = number(r, o, "kill_ms", 0, INT64_MAX);
	c->failures = (int)number(r, o, "failures", 0, INT32_MAX);
}

/* The elements of an array of objects, max at most; NULL: there are none, or it is wrong. */
static void *array(struct reading *r, const json_t *o, const char *name, size_t max, size_t size, const json_t **list)
{
	const json_t *v = json_object_get(o, name);
	size_t count = json_array_size(v);
	void *out;

	*list = v;
	if (!json_is_array(v) || count > max) {
		bad(r, "is missing, or too long", name);
		return NULL;
	}
	out = calloc(count ? count : 1, size);
	if (!out)
		r->rc = -ENOMEM;
	return out;
}

static void lists_read(struct reading *r, const json_t *o, struct handover *h)
{
	const json_t *list;

	h->listener = array(r, o, "listeners", HANDOVER_LISTENERS_MAX, sizeof(*h->listener), &list);
	h->listener_count = h->listener ? json_array_size(list) : 0;
	for (size_t i = 0; i < h->listener_count; i++)
		listener_read(r, json_array_get(list, i), &h->listener[i]);
	h->child = array(r, o, "children", HANDOVER_CHILDREN_MAX, sizeof(*h->child), &list);
	h->child_count = h->child ? json_array_size(list) : 0;
	for (size_t i = 0; i < h->child_count; i++)
		child_read(r, json_array_get(list, i), &h->child[i]);
}

static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* Of what stands for one thing each: those that are there. */
static void once(struct reading *r, int *values, size_t count, const char *what)
{
	qsort(values, count, sizeof(*values), compare);
	for (size_t i = 1; i < count; i++)
		if (values[i] == values[i - 1] && values[i] >= 0)
			bad(r, "stands for two things", what);
}

static void twice_check(struct reading *r, const struct handover *h)
{
	int *values = calloc(4 + h->listener_count + h->child_count, sizeof(*values));
	size_t n = 0;

	if (!values) {
		r->rc = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < h->child_count; i++)
		values[n++] = h->child[i].pid;
	once(r, values, n, "a process");
	n = 0;
	values[n++] = h->lock_fd;
	values[n++] = h->shared_fd;
	values[n++] = h->control_fd;
	values[n++] = h->spool_fd;
	for (size_t i = 0; i < h->listener_count; i++)
		values[n++] = h->listener[i].fd;
	for (size_t i = 0; i < h->child_count; i++)
		values[n++] = h->child[i].fd;
	once(r, values, n, "a descriptor");
	free(values);
}

static void all_read(struct reading *r, const json_t *o, struct handover *h)
{
	const char *what = json_string_value(json_object_get(o, "gatepost"));

	if (!what || strcmp(what, "handover") != 0)
		bad(r, "is not that of a handover", "gatepost");
	if (json_integer_value(json_object_get(o, "version")) != HANDOVER_VERSION)
		bad(r, "is another than this program understands", "version");
	if (r->rc < 0)
		return;
	h->pid = (int)number(r, o, "pid", 1, INT32_MAX);
	h->program = string(r, o, "program", false);
	h->generation = (unsigned)number(r, o, "generation", 1, UINT32_MAX);
	h->state_dir = string(r, o, "state_dir", false);
	h->control = string(r, o, "control", true);
	h->lock_fd = descriptor(r, o, "lock", false);
	h->shared_fd = descriptor(r, o, "shared", false);
	h->control_fd = descriptor(r, o, "control_fd", true);
	h->spool_fd = descriptor(r, o, "spool_fd", true);
	h->transparent = boolean(r, o, "transparent");
	h->drain_stop_s = (int)number(r, o, "drain_stop_s", 1, INT32_MAX / 1000);
	h->drain_reload_s = (int)number(r, o, "drain_reload_s", 1, INT32_MAX / 1000);
	if (!h->control != (h->control_fd < 0))
		bad(r, "is there without the other", "control, or its descriptor,");
	lists_read(r, o, h);
	twice_check(r, h);
}

int handover_read(const char *p, size_t len, struct handover *h, struct buf *err)
{
	struct reading r = { .err = err };
	json_t *o = len <= HANDOVER_TEXT_MAX ? json_whole_load(p, len, JSON_REJECT_DUPLICATES) : NULL;

	*h = (struct handover){ .lock_fd = -1, .shared_fd = -1, .control_fd = -1, .spool_fd = -1 };
	if (json_is_object(o))
		all_read(&r, o, h);
	else
		bad(&r, "no JSON object", "the whole");
	json_decref(o);
	if (r.rc < 0)
		handover_release(h);
	return r.rc;
}

void handover_release(struct handover *h)
{
	free(h->program);
	free(h->state_dir);
	free(h->control);
	free(h->listener);
	free(h->child);
	*h = (struct handover){ .lock_fd = -1, .shared_fd = -1, .control_fd = -1, .spool_fd = -1 };
}
