#include "command/release_mark.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/task.h"
#include "command/admin.h"
#include "policy/conf.h"
#include "policy/released.h"
#include "policy/state_redis.h"
#include "policy/state_sqlite.h"
#include "process/control.h"

/* What is asked of Redis must wait, and so needs a task. */
struct marking {
	struct state *state;
	struct state_op op;
	int rc;
};

static void mark_task(void *arg)
{
	struct marking *m = arg;

	m->rc = state_run(m->state, &m->op, 1);
	loop_stop();
}

static int mark_in_redis(const struct site *s, const char *content)
{
	struct state_redis *redis = state_redis_new(&s->redis, NULL);
	struct marking m = { .state = redis ? state_redis_state(redis) : NULL };
	int rc = redis ? state_redis_start(redis) : -ENOMEM;

	released_mark_op(&m.op, content);
	if (rc == 0)
		rc = task_spawn("mark", mark_task, &m, NULL);
	if (rc == 0) {
		loop_run();
		rc = m.rc;
	}
	state_redis_free(redis);
	return rc;
}

/* No keeper has it open. */
static int mark_in_database(const struct site *s, const char *content)
{
	struct state_sqlite *db;
	struct state_local local;
	struct state_op op;
	char dir[1024], path[1100];
	int rc = admin_path(s, "state", dir, sizeof(dir));

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/state.db", dir);
	rc = state_sqlite_open(path, &db);
	if (rc < 0)
		return rc;
	released_mark_op(&op, content);
	state_local_init(&local, db, NULL);
	rc = state_run(&local.state, &op, 1);
	state_sqlite_close(db);
	return rc;
}

static int mark_in_keeper(const struct site *s, const char *content, struct buf *why)
{
	json_t *request = json_pack("{s:s, s:s}", "cmd", "retrieval.released", "content", content), *answer = NULL;
	int rc = control_ask(s->control_path, request, &answer, why);

	json_decref(request);
	if (rc == 0 && !json_is_true(json_object_get(answer, "ok"))) {
		const char *error = json_string_value(json_object_get(answer, "error"));

		buf_adds(why, error ? error : "refused");
		rc = -EIO;
	}
	json_decref(answer);
	return rc;
}

int release_mark(const struct site *s, const char *content, struct buf *why)
{
	int rc;

	if (s->redis.address.family) {
		rc = mark_in_redis(s, content);
		if (rc < 0)
			buf_addf(why, "Redis: %s", strerror(-rc));
		return rc;
	}
	rc = mark_in_keeper(s, content, why);
	if (rc != -ENOENT && rc != -ECONNREFUSED)
		return rc;
	buf_clear(why);
	rc = mark_in_database(s, content);
	if (rc < 0)
		buf_addf(why, "state.db: %s", strerror(-rc));
	return rc;
}
