/*
 * keeper_state - the keeper of greylist, learnt domains, cached recipients; it also serves the
 * control socket
 *
 * Requests are answered at once. What they write is committed together, after COMMIT_MS at the
 * latest: a crash may lose that much of the state, which it bears (a sender is deferred once more). Expired records go a few at each tick.
 */
#include "process/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "policy/state_sqlite.h"
#include "policy/state_wire.h"
#include "process/control.h"
#include "process/directory_wire.h"
#include "process/shared.h"
#include "process/state_control.h"

enum {
	COMMIT_MS = 50,
	SWEEPS_A_TICK = 20,
	COMPLAIN_MS = 10 * 1000,        /* a full disk is said this often, not at each request */
};

struct state_keeper {
	struct state_sqlite *db;
	struct state_op *ops;
	struct control *control;
	struct shared *shared;
	int64_t dirty_since_ms, complained_ms;
};

static void complain(struct state_keeper *s, const char *what, int rc)
{
	int64_t now_ms = clock_ms();

	if (s->complained_ms && now_ms - s->complained_ms < COMPLAIN_MS)
		return;
	s->complained_ms = now_ms;
	log_error("state", "what", what, "error", strerror(-rc), NULL);
}

static void commit(struct state_keeper *s)
{
	int rc = state_sqlite_commit(s->db);

	s->dirty_since_ms = 0;
	if (rc < 0)
		complain(s, "commit", rc);
}

static void state_request(struct keeper *k, struct keeper_peer *p, struct channel_msg *m)
{
	AUTO(buf) struct buf answer = BUF_INIT(STATE_WIRE_MAX);
	struct state_keeper *s = k->data;
	int rc = -ENOSYS, count = -EBADMSG;

	if (m->type == CHANNEL_STATE_RUN)
		rc = count = state_wire_read_request(m->data, m->len, s->ops);
	if (count > 0) {
		rc = state_sqlite_run(s->db, s->ops, (size_t)count, clock_wall_s());
		if (rc < 0)
			complain(s, "run", rc);
	}
	if (rc == 0)
		rc = state_wire_answer(&answer, s->ops, (size_t)count);
	keeper_answer(p, m->type, m->id, rc, rc < 0 ? NULL : answer.data, rc < 0 ? 0 : answer.len,
		      -1);
}

/* What is written waits for company, but no longer than COMMIT_MS. */
static void state_round(struct keeper *k)
{
	struct state_keeper *s = k->data;
	int64_t now_ms = clock_ms();

	if (!state_sqlite_dirty(s->db))
		return;
	if (s->dirty_since_ms == 0)
		s->dirty_since_ms = now_ms;
	if (now_ms - s->dirty_since_ms >= COMMIT_MS)
		commit(s);
	else
		k->round_in_ms = (int)(COMMIT_MS - (now_ms - s->dirty_since_ms));
}

static void state_tick(struct keeper *k)
{
	struct state_keeper *s = k->data;

	for (int i = 0; i < SWEEPS_A_TICK; i++)
		if (state_sqlite_sweep(s->db, clock_wall_s()) < STATE_SWEEP_ROWS)
			break;
	commit(s);
}

/*
 * control socket: {"cmd":"recipients.clear","address":"..."}: what is cached of one recipient, or
 * of all: whether they exist, and on which server
 */
static int command_recipients_clear(void *arg, json_t *request, json_t *answer)
{
	struct state_keeper *s = arg;
	const char *address = json_string_value(json_object_get(request, "address"));
	static const char *const spaces[] = { "rcpt", "owner" };
	int64_t count = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(spaces) / sizeof(*spaces); i++) {
		struct state_op op = { .verb = STATE_DELETE };

		rc = address ? state_key_recipient(&op, address) : 0;
		snprintf(op.space, sizeof(op.space), "%s", spaces[i]);
		if (rc == 0)
			rc = state_sqlite_run(s->db, &op, 1, clock_wall_s());
		count += op.count;
	}
	if (rc == 0)
		rc = state_sqlite_commit(s->db);
	if (rc == 0)
		json_object_set_new(answer, "cleared", json_integer(count));
	if (rc == 0)
		(void)directory_command_refresh(&s->shared->directory);         /* what directories have said, too; there may be none */
	return rc;
}

static int command_recipients_refresh(void *arg, json_t *request, json_t *answer)
{
	struct state_keeper *s = arg;

	return directory_command_refresh(&s->shared->directory);
}

static int command_recipients_ask(void *arg, json_t *request, json_t *answer)
{
	struct state_keeper *s = arg;

	return directory_command_ask(&s->shared->directory, request, answer);
}

static int command_recipients_answer(void *arg, json_t *request, json_t *answer)
{
	struct state_keeper *s = arg;

	return directory_command_answer(&s->shared->directory, request, answer);
}

/* {"cmd":"state.run","ops":[...]}: what an administrator's command asks of the state, as state_control.h writes it */
static int command_run(void *arg, json_t *request, json_t *answer)
{
	struct state_keeper *s = arg;
	int count = state_control_read_request(request, s->ops), rc = count < 0 ? count : 0;

	if (rc == 0)
		rc = state_sqlite_run(s->db, s->ops, (size_t)count, clock_wall_s());
	if (rc == 0)
		rc = state_sqlite_commit(s->db);
	return rc == 0 ? state_control_answer(answer, s->ops, (size_t)count) : rc;
}

static int command_status(void *arg, json_t *request, json_t *answer)
{
	struct state_keeper *s = arg;

	json_object_set_new(answer, "state_records", json_integer(state_sqlite_rows(s->db)));
	return 0;
}

static const struct control_command commands[] = {
	{ "recipients.answer", command_recipients_answer },
	{ "recipients.ask", command_recipients_ask },
	{ "recipients.clear", command_recipients_clear },
	{ "recipients.refresh", command_recipients_refresh },
	{ "state.run", command_run },
	{ "status", command_status },
	{ NULL, NULL },
};

static void state_close(struct keeper *k)
{
	struct state_keeper *s = k->data;

	control_free(s->control);
	state_sqlite_close(s->db);
	free(s->ops);
	free(s);
	k->data = NULL;
}

static int state_open(struct keeper *k, const char *dir)
{
	struct state_keeper *s = calloc(1, sizeof(*s));
	char path[1100];
	int rc = -ENOMEM;

	if (!s)
		return -ENOMEM;
	k->data = s;
	s->ops = calloc(STATE_OPS_MAX, sizeof(*s->ops));
	snprintf(path, sizeof(path), "%s/state.db", strcmp(dir, "/") == 0 ? "" : dir);
	if (s->ops)
		rc = state_sqlite_open_patient(path, &s->db);
	if (rc == 0 && k->env->command_fd >= 0) {
		s->shared = k->env->shared;
		s->control = control_new(k->base, k->env->command_fd, k->env->shared, commands, s);
		rc = s->control ? 0 : -ENOMEM;
	}
	if (rc < 0)
		state_close(k);
	return rc;
}

const struct keeper_role keeper_state = {
	.name = "gp-state",
	.open = state_open,
	.request = state_request,
	.round = state_round,
	.tick = state_tick,
	.close = state_close,
};
