#include "command/spool_view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/admin.h"
#include "filters/fact.h"
#include "policy/conf.h"
#include "policy/spool_file.h"
#include "process/control.h"

enum { PATH_BYTES = 1024 };

int spool_problem(const char *name, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "gatepost spool %s: ", name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return SPOOL_PROBLEM;
}

int spool_view_open(struct spool_view *v, const char *name, const char *conf)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	char dir[PATH_BYTES];

	*v = (struct spool_view){ .name = name, .dir_fd = -1 };
	fact_register_all();
	if (admin_open(conf, &v->site, &err) < 0) {
		fputs(buf_str(&err), stderr);
		return -1;
	}
	if (admin_path(v->site, "spool", dir, sizeof(dir)) < 0) {
		spool_problem(name, "state_dir: the name is too long");
		return -1;
	}
	if (v->site->control_path)
		snprintf(v->control, sizeof(v->control), "%s" CONTROL_SPOOL, v->site->control_path);
	v->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (v->dir_fd < 0 && errno == ENOENT) {
		spool_problem(name, "%s: there is no spool yet: gatepost makes it at its first start", dir);
		return -1;
	}
	if (v->dir_fd < 0) {
		spool_problem(name, "%s: %s", dir, strerror(errno));
		return -1;
	}
	return 0;
}

void spool_view_close(struct spool_view *v)
{
	if (v->dir_fd >= 0)
		close(v->dir_fd);
	site_free(v->site);
	v->dir_fd = -1;
	v->site = NULL;
}

int spool_view_ask(struct spool_view *v, json_t *request, json_t **answer, struct buf *err)
{
	json_t *o = NULL;
	int rc = *v->control ? control_ask(v->control, request, &o, err) : -ENOENT;

	json_decref(request);
	if (rc == -ENOENT || rc == -ECONNREFUSED) {
		v->silent = true;
		return -ENOTCONN;
	}
	if (rc == 0 && !json_is_true(json_object_get(o, "ok"))) {
		const char *why = json_string_value(json_object_get(o, "error"));

		buf_adds(err, why ? why : "the keeper's answer is no answer");
		rc = -1;
	}
	if (rc < 0) {
		json_decref(o);
		return -1;
	}
	*answer = o;
	return 0;
}

json_t *spool_view_states(struct spool_view *v, char (*id)[STORE_ID_MAX], size_t count)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	json_t *ids, *answer = NULL, *states;

	if (v->silent)
		return NULL;
	ids = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(ids, json_string(id[i]));
	if (spool_view_ask(v, json_pack("{s:s, s:o}", "cmd", "spool.state", "ids", ids), &answer, &err) < 0) {
		if (!v->silent)
			spool_problem(v->name, "what is due when is not known: %s", buf_str(&err));
		v->silent = true;
		return NULL;
	}
	states = json_incref(json_object_get(answer, "states"));
	json_decref(answer);
	return states;
}

/* The ids that text begins: how many, the first in out. */
static size_t find(char (*list)[STORE_ID_MAX], size_t count, const char *text, char *out)
{
	size_t len = strlen(text), n = 0;

	for (size_t i = 0; i < count; i++)
		if (strncmp(list[i], text, len) == 0 && n++ == 0)
			memcpy(out, list[i], STORE_ID_MAX);
	return n;
}

int spool_view_each(struct spool_view *v, char *const *ids, int count, int (*fn)(struct spool_view *v, const char *id, void *arg), void *arg)
{
	size_t list_count = 0;
	char (*list)[STORE_ID_MAX] = spool_file_list(v->dir_fd, false, &list_count);
	json_t *done = json_object();
	int status = SPOOL_DONE;

	if (!list)
		status = spool_problem(v->name, "the spool cannot be read: %s", strerror(errno));
	for (int i = 0; list && i < count; i++) {
		char id[STORE_ID_MAX] = "";
		size_t n = *ids[i] ? find(list, list_count, ids[i], id) : 0;

		if (n != 1) {
			spool_problem(v->name, n ? "%s: several messages begin so" : "%s: there is no such message in the spool", ids[i]);
			if (status == SPOOL_DONE)
				status = SPOOL_MISSING;
		} else if (!json_object_get(done, id)) {
			int one = fn(v, id, arg);

			json_object_set_new(done, id, json_true());
			if (one == SPOOL_PROBLEM || status == SPOOL_DONE)
				status = one;
		}
	}
	json_decref(done);
	free(list);
	return status;
}

const char *spool_span(int64_t s, char *out)
{
	if (s < 0)
		s = 0;
	if (s < 120)
		snprintf(out, 16, "%llds", (long long)s);
	else if (s < 120 * 60)
		snprintf(out, 16, "%lldm", (long long)s / 60);
	else if (s < 48 * 3600)
		snprintf(out, 16, "%lldh", (long long)s / 3600);
	else
		snprintf(out, 16, "%lldd", (long long)s / 86400 % 1000000);
	return out;
}

const char *spool_next_text(const json_t *parts, char *out)
{
	int64_t in_ms = INT64_MAX;
	bool leased = false;
	json_t *part;
	char span[16];
	size_t i;

	*out = 0;
	if (json_array_size(parts) == 0)
		return out;
	json_array_foreach(parts, i, part) {
		int64_t ms = json_integer_value(json_object_get(part, "in_ms"));

		leased |= json_is_true(json_object_get(part, "leased"));
		if (ms < in_ms)
			in_ms = ms;
	}
	if (leased)
		snprintf(out, SPOOL_NEXT_MAX, "delivering");
	else if (in_ms <= 0)
		snprintf(out, SPOOL_NEXT_MAX, "now");
	else
		snprintf(out, SPOOL_NEXT_MAX, "in %s", spool_span((in_ms + 999) / 1000, span));
	return out;
}
