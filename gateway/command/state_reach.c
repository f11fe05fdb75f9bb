#include "command/state_reach.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/task.h"
#include "command/admin.h"
#include "policy/conf.h"
#include "policy/state_redis.h"
#include "policy/state_sqlite.h"
#include "process/control.h"
#include "process/state_control.h"

struct reach {
	int (*use)(struct state *state, void *arg);
	void *arg;
	struct state *state;
	int rc;
};

/* What is asked of Redis must wait, and so needs a task. */
static void redis_task(void *arg)
{
	struct reach *r = arg;

	r->rc = r->use(r->state, r->arg);
	loop_stop();
}

static int use_redis(const struct site *s, struct reach *r, struct buf *why)
{
	struct state_redis *redis;
	bool own = !loop_base();
	int rc = own ? loop_init() : 0;

	if (rc < 0) {
		buf_addf(why, "event loop: %s", strerror(-rc));
		return rc;
	}
	redis = state_redis_new(&s->redis, NULL);
	r->state = redis ? state_redis_state(redis) : NULL;
	rc = redis ? state_redis_start(redis) : -ENOMEM;
	if (rc == 0)
		rc = task_spawn("state", redis_task, r, NULL);
	if (rc == 0) {
		loop_run();
		rc = r->rc;
	}
	if (own)
		loop_unwind();
	state_redis_free(redis);
	if (own)
		loop_release();
	if (rc < 0)
		buf_addf(why, "Redis: %s", strerror(-rc));
	return rc;
}

/* The keeper's, over the control socket. */
struct remote {
	struct state state;             /* first */
	const char *path;
	struct buf *why;
	bool away;                      /* no gateway runs */
};

static int remote_run(struct state *base, struct state_op *ops, size_t count)
{
	struct remote *r = (struct remote *)base;
	json_t *request = state_control_request(ops, count), *answer = NULL;
	const char *error;
	int rc;

	buf_clear(r->why);
	if (!request) {
		buf_adds(r->why, "the name is not UTF-8");
		return -EINVAL;
	}
	rc = control_ask(r->path, request, &answer, r->why);
	json_decref(request);
	r->away = rc == -ENOENT || rc == -ECONNREFUSED;
	if (rc < 0)
		return rc;
	if (!json_is_true(json_object_get(answer, "ok"))) {
		error = json_string_value(json_object_get(answer, "error"));
		buf_adds(r->why, error ? error : "refused");
		rc = -EIO;
	} else if ((rc = state_control_read_answer(answer, ops, count)) < 0) {
		buf_adds(r->why, "the gateway says what cannot be read");
	}
	json_decref(answer);
	return rc;
}

/* No keeper has it open. */
static int use_file(const struct site *s, struct reach *r, struct buf *why)
{
	struct state_sqlite *db;
	struct state_local local;
	char dir[1024], path[1100];
	int rc = admin_path(s, "state", dir, sizeof(dir));

	snprintf(path, sizeof(path), "%s/state.db", dir);
	if (rc == 0)
		rc = state_sqlite_open(path, &db);
	if (rc == 0) {
		state_local_init(&local, db, NULL);
		rc = r->use(&local.state, r->arg);
		state_sqlite_close(db);
	}
	if (rc < 0)
		buf_addf(why, "state.db: %s", strerror(-rc));
	return rc;
}

int state_reach(const struct site *s, int (*use)(struct state *state, void *arg), void *arg, struct buf *why)
{
	struct reach r = { .use = use, .arg = arg };
	struct remote remote = { .state.run = remote_run, .path = s->control_path, .why = why };
	int rc;

	if (s->redis.address.family)
		return use_redis(s, &r, why);
	rc = use(&remote.state, arg);
	if (rc == 0 || !remote.away)
		return rc;
	buf_clear(why);
	return use_file(s, &r, why);
}
