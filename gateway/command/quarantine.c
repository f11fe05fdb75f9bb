#include "command/quarantine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "command/admin.h"
#include "command/number.h"
#include "command/when.h"
#include "filters/fact.h"
#include "policy/conf.h"
#include "policy/store_index.h"

enum { PATH_BYTES = 1024 };

int quarantine_fail(const char *name, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "gatepost quarantine %s: ", name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return QUARANTINE_FAILED;
}

int quarantine_worse(int a, int b)
{
	if (a == QUARANTINE_FAILED || b == QUARANTINE_FAILED)
		return QUARANTINE_FAILED;
	return a > b ? a : b;
}

int quarantine_open(struct quarantine *q, const char *name, const char *conf)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	char dir[PATH_BYTES];

	*q = (struct quarantine){ .name = name };
	fact_register_all();
	if (admin_open(conf, &q->site, &err) < 0) {
		fputs(buf_str(&err), stderr);
		return -1;
	}
	if (admin_path(q->site, "quarantine", dir, sizeof(dir)) < 0) {
		quarantine_fail(name, "state_dir: the name is too long");
		return -1;
	}
	if (store_view_open(dir, &q->view, &err) < 0) {
		quarantine_fail(name, "%s", buf_str(&err));
		return -1;
	}
	return 0;
}

void quarantine_close(struct quarantine *q)
{
	store_view_close(q->view);
	site_free(q->site);
	q->view = NULL;
	q->site = NULL;
}

bool quarantine_has_index(struct quarantine *q)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);

	if (store_view_index(q->view, &err))
		return true;
	quarantine_fail(q->name, "%s", buf_str(&err));
	return false;
}

void quarantine_warn_incomplete(struct quarantine *q)
{
	struct store_index *x = store_view_index(q->view, NULL);

	if (x && !store_index_complete(x))
		fprintf(stderr, "gatepost quarantine %s: the index is not complete yet: messages may be missing (the running gateway, or "
				"`gatepost quarantine reindex`, completes it)\n", q->name);
}

/* What a person typed is not what the terminal may be told. */
static const char *printable(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; n < size - 1 && text[n]; n++)
		out[n] = text[n] >= ' ' && text[n] < 0x7f ? text[n] : '?';
	out[n] = '\0';
	return out;
}

static int find(struct quarantine *q, const char *text, char id[STORE_ID_MAX])
{
	int rc = store_view_find(q->view, text, id);
	char shown[40];

	if (rc == 0)
		return QUARANTINE_DONE;
	printable(text, shown, sizeof(shown));
	if (rc == -ENOTUNIQ)
		quarantine_fail(q->name, "%s: several messages have an id that begins so", shown);
	else if (rc == -ENOENT)
		quarantine_fail(q->name, "%s: there is no such message", shown);
	else if (rc == -EINVAL)
		quarantine_fail(q->name, "%s: that is no id, nor the beginning of one", shown);
	else
		return quarantine_fail(q->name, "%s: %s", shown, strerror(-rc));
	return QUARANTINE_MISSING;
}

int quarantine_each(struct quarantine *q, char *const *ids, int count, int (*fn)(void *arg, const char *id), void *arg)
{
	json_t *seen = json_object();
	int status = QUARANTINE_DONE;

	for (int i = 0; i < count; i++) {
		char id[STORE_ID_MAX];
		int rc = find(q, ids[i], id);

		if (rc == QUARANTINE_DONE && !json_object_get(seen, id)) {
			json_object_set_new(seen, id, json_true());
			rc = fn(arg, id);
		}
		status = quarantine_worse(status, rc);
	}
	json_decref(seen);
	return status;
}

/* All ids first: what fn does may change what the filter means. */
struct meant {
	char (*id)[STORE_ID_MAX];
	size_t count, room;
};

static int meant_add(void *arg, const struct store_entry *e)
{
	struct meant *m = arg;

	if (m->count == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		void *more = reallocarray(m->id, room, sizeof(*m->id));

		if (!more)
			return 1;
		m->id = more;
		m->room = room;
	}
	snprintf(m->id[m->count++], sizeof(*m->id), "%s", e->id);
	return 0;
}

int quarantine_meant(struct quarantine *q, char *const *ids, int count, const struct store_filter *filter, int (*fn)(void *arg, const char *id),
		     void *arg)
{
	const struct store_list what = { .filter = filter, .oldest_first = true };
	struct meant m = { 0 };
	int status = QUARANTINE_DONE;
	int64_t rc;

	if (count)
		return quarantine_each(q, ids, count, fn, arg);
	if (!quarantine_has_index(q))
		return QUARANTINE_FAILED;
	quarantine_warn_incomplete(q);
	rc = store_view_list(q->view, &what, meant_add, &m);
	if (rc < 0 || rc != (int64_t)m.count)
		status = quarantine_fail(q->name, "%s", strerror(rc < 0 ? (int)-rc : ENOMEM));
	else
		for (size_t i = 0; i < m.count; i++)
			status = quarantine_worse(status, fn(arg, m.id[i]));
	free(m.id);
	return status;
}

bool quarantine_ids_or_filter(const char *name, int count, const struct store_filter *filter, const char *usage)
{
	bool any = store_filter_any(filter);

	if ((count > 0) == any)
		quarantine_fail(name, "%s\n%s", any ? "ids or conditions were expected, not both" : "ids or conditions were expected", usage);
	return (count > 0) != any;
}

static int when(const char *name, const char *option, const char *text, int64_t *out)
{
	if (when_parse(text, clock_wall_s(), out) == 0 && *out > 0)
		return 0;
	quarantine_fail(name, "%s: that is no moment, expected one such as " WHEN_EXPECTED, option);
	return -1;
}

int quarantine_filter_option(const char *name, struct store_filter *f, int option, const char *value)
{
	AUTO(buf) struct buf err = BUF_INIT(8192);
	int rc = 0;

	switch (option) {
	case FILTER_TO: rc = store_filter_to(f, value, &err); break;
	case FILTER_FROM: rc = store_filter_from(f, value, &err); break;
	case FILTER_CLIENT: rc = store_filter_client(f, value, &err); break;
	case FILTER_FACT: rc = store_filter_fact(f, value, &err); break;
	case FILTER_RULE: f->rule = value; break;
	case FILTER_MESSAGE_ID: f->message_id = value; break;
	case FILTER_SUBJECT: f->subject = value; break;
	case FILTER_CLASS: f->class = value; break;
	case FILTER_STATE: f->state = value; break;
	case FILTER_SINCE: return when(name, "--since", value, &f->since_s);
	case FILTER_UNTIL: return when(name, "--until", value, &f->until_s);
	default: return -1;
	}
	if (rc < 0)
		quarantine_fail(name, "%s", err.len ? buf_str(&err) : strerror(-rc));
	return rc < 0 ? -1 : 0;
}

int quarantine_limit(const char *name, const char *text, int64_t *out)
{
	if (number_parse(text, INT64_MAX, out) == 0)
		return 0;
	quarantine_fail(name, "--limit: that is no number, expected one such as 100; 0: all");
	return -1;
}

const char *quarantine_size(uint64_t bytes, char out[32])
{
	static const char units[] = "BKMGT";
	uint64_t whole = bytes, part = 0;
	int unit = 0;

	for (; whole >= 1000 && unit < 4; unit++) {
		part = whole % 1024 * 10 / 1024;
		whole /= 1024;
	}
	if (unit > 0 && whole < 10)
		snprintf(out, 32, "%" PRIu64 ".%" PRIu64 "%c", whole, part, units[unit]);
	else
		snprintf(out, 32, "%" PRIu64 "%c", whole, units[unit]);
	return out;
}
