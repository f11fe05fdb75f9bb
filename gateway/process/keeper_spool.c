/*
 * keeper_spool - the keeper of messages that are still to be delivered
 *
 * What comes in one round (messages to keep, reports) becomes durable by one fsync of the directory and is answered then
 * (policy/spool_keeper.h). Workers that want something to do wait here until there is something. Commands ask on a control socket of its
 * own.
 */
#include "process/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "base/syscalls.h"
#include "policy/spool_keeper.h"
#include "process/control.h"
#include "process/shared.h"

enum {
	ANSWERS_MAX = 256,              /* of one round; then there is a flush in between */
	WAITING_MAX = CHANNEL_CALLS_MAX,        /* tasks of one worker that want something to do: more calls than that it cannot have */
	LEASES_A_ROUND = 32,
	CLAIM_MS = 500,                 /* before the first lease: workers say what they had of a keeper that has died */
	COMPLAIN_MS = 10 * 1000,
	STATES_MAX = 50,                /* of one question */
	PARTS_MAX = 8,                  /* of one entry that are told of */
};

/* Done, and to be said when it is durable. */
struct answer {
	struct keeper_peer *peer;
	uint16_t type;
	uint32_t id;
	int rc;
	char kept[STORE_ID_MAX];        /* "" but for what was kept */
};

struct asking {
	struct keeper_peer *peer;
	uint32_t id;
	uint64_t serial;
	int64_t until_ms;
	struct asking *next;
};

/* Leases that were given, by the request that they answered: whoever has not waited for the answer says so by that. */
struct given {
	struct keeper_peer *peer;
	uint64_t serial, number;
	char id[STORE_ID_MAX];
};
enum { GIVEN = 1024 };

struct spool_role {
	struct spool_keeper *keeper;
	struct control *control;
	struct keeper *k;
	struct spool_settings settings; /* that the keeper has */
	int proc_fd;
	int64_t begun_ms, complained_ms;
	struct answer answer[ANSWERS_MAX];
	size_t answer_count;
	struct asking *first, **last;
	struct given given[GIVEN];      /* the latest */
	size_t given_at;
};

static int spool_prepare(struct keeper *k)
{
	struct spool_role *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->k = k;
	s->last = &s->first;
	s->proc_fd = durable_proc();
	syscalls_guard(s->proc_fd);
	k->data = s;
	return 0;
}

static void complain(struct spool_role *s, const char *what, int rc)
{
	int64_t now_ms = clock_ms();

	if (s->complained_ms && now_ms - s->complained_ms < COMPLAIN_MS)
		return;
	s->complained_ms = now_ms;
	log_error("spool", "error", what, "why", rc == -ENOSPC ? "no room: the disk is full, or max_size or max_messages is reached" : strerror(-rc), NULL);
}

/* --- answers --- */

/* The only one who flushes the keeper: what it says is for all that wait for it. */
static int flush(struct spool_role *s)
{
	int rc = spool_keeper_flush(s->keeper);

	for (size_t i = 0; i < s->answer_count; i++) {
		const struct answer *a = &s->answer[i];
		int status = a->rc < 0 ? a->rc : rc;

		if (status < 0)
			complain(s, a->type == CHANNEL_SPOOL_KEEP ? "a message could not be kept" : "what became of a message could not be recorded", status);
		keeper_answer(a->peer, a->type, a->id, status, a->kept, status < 0 ? 0 : strlen(a->kept), -1);
	}
	s->answer_count = 0;
	return rc;
}

static void answer_later(struct spool_role *s, struct keeper_peer *p, const struct channel_msg *m, int rc, const char *kept)
{
	struct answer *a;

	if (s->answer_count == ANSWERS_MAX)
		(void)flush(s);
	a = &s->answer[s->answer_count++];
	*a = (struct answer){ .peer = p, .type = m->type, .id = m->id, .rc = rc };
	if (rc == 0)
		snprintf(a->kept, sizeof(a->kept), "%s", kept);
}

/* --- requests --- */

static void request_open(struct spool_role *s, struct keeper_peer *p, const struct channel_msg *m)
{
	int fd = spool_keeper_temp(s->keeper);

	keeper_answer(p, m->type, m->id, fd < 0 ? fd : 0, NULL, 0, fd);
	if (fd >= 0)
		close(fd);
}

static void request_keep(struct spool_role *s, struct keeper_peer *p, const struct channel_msg *m)
{
	char id[STORE_ID_MAX] = "";
	int rc = m->fd < 0 ? -EINVAL : spool_keeper_keep(s->keeper, m->fd, m->data, m->len, clock_ms(), clock_wall_ms(), id);

	answer_later(s, p, m, rc, id);
}

static void request_report(struct spool_role *s, struct keeper_peer *p, const struct channel_msg *m)
{
	AUTO(spool_told) struct spool_told told;
	int rc = spool_wire_report_read(m->data, m->len, &told);

	if (rc == -ENOMEM)
		rc = -EAGAIN;           /* it is said again */
	if (rc == 0)
		rc = spool_keeper_report(s->keeper, &told, m->fd, clock_ms(), clock_wall_ms());
	answer_later(s, p, m, rc, "");
}

static void request_wake(struct spool_role *s, struct keeper_peer *p, const struct channel_msg *m)
{
	json_t *o = json_whole_load(m->data, m->len, 0);
	const char *route = json_string_value(json_object_get(o, "route"));
	size_t n = json_is_object(o) ? spool_schedule_wake(spool_keeper_schedule(s->keeper), route, clock_ms()) : 0;
	char *text = spool_wire_number("parts", (int64_t)n);

	keeper_answer(p, m->type, m->id, !json_is_object(o) ? -EBADMSG : text ? 0 : -ENOMEM, text, text ? strlen(text) : 0, -1);
	free(text);
	json_decref(o);
}

static int asking_of(const struct spool_role *s, const struct keeper_peer *p)
{
	int n = 0;

	for (const struct asking *a = s->first; a; a = a->next)
		n += a->peer == p;
	return n;
}

static void request_lease(struct spool_role *s, struct keeper_peer *p, const struct channel_msg *m)
{
	int64_t wait_ms = 0;
	uint64_t serial = 0;
	int rc = spool_wire_ask_read(m->data, m->len, &serial, &wait_ms);
	struct asking *a = rc == 0 && asking_of(s, p) < WAITING_MAX ? calloc(1, sizeof(*a)) : NULL;

	if (!a) {
		keeper_answer(p, m->type, m->id, rc < 0 ? rc : -EAGAIN, NULL, 0, -1);
		return;
	}
	*a = (struct asking){ .peer = p, .id = m->id, .serial = serial, .until_ms = clock_ms() + wait_ms };
	*s->last = a;
	s->last = &a->next;
}

static void spool_request(struct keeper *k, struct keeper_peer *p, struct channel_msg *m)
{
	struct spool_role *s = k->data;

	if (m->type == CHANNEL_SPOOL_OPEN)
		request_open(s, p, m);
	else if (m->type == CHANNEL_SPOOL_KEEP)
		request_keep(s, p, m);
	else if (m->type == CHANNEL_SPOOL_LEASE)
		request_lease(s, p, m);
	else if (m->type == CHANNEL_SPOOL_REPORT)
		request_report(s, p, m);
	else if (m->type == CHANNEL_SPOOL_WAKE)
		request_wake(s, p, m);
	else
		keeper_answer(p, m->type, m->id, -ENOSYS, NULL, 0, -1);
}

struct holding {
	struct spool_role *s;
	struct keeper_peer *peer;
};

static void claim(void *arg, const struct spool_held *h)
{
	const struct holding *x = arg;

	spool_keeper_claim(x->s->keeper, h, x->peer, clock_ms());
}

static void asking_remove(struct spool_role *s, struct asking **at)
{
	struct asking *a = *at;

	*at = a->next;
	if (s->last == &a->next)
		s->last = at;
	free(a);
}

/* Nobody waits for it any more: either it waits still, or it has been given. */
static void forget(struct spool_role *s, struct keeper_peer *p, uint64_t serial)
{
	for (struct asking **at = &s->first; *at; at = &(*at)->next)
		if ((*at)->peer == p && (*at)->serial == serial) {
			asking_remove(s, at);
			return;
		}
	for (size_t i = 0; i < GIVEN; i++)
		if (s->given[i].peer == p && s->given[i].serial == serial) {
			spool_keeper_untried(s->keeper, s->given[i].id, s->given[i].number, clock_ms());
			s->given[i].peer = NULL;
			return;
		}
}

static void spool_notice(struct keeper *k, struct keeper_peer *p, const struct channel_msg *m)
{
	struct spool_role *s = k->data;
	struct holding h = { s, p };
	int64_t serial = 0;

	if (m->type == CHANNEL_SPOOL_HOLD)
		(void)spool_wire_hold_read(m->data, m->len, claim, &h);
	else if (m->type == CHANNEL_SPOOL_FORGET && spool_wire_number_read(m->data, m->len, "serial", INT64_MAX, &serial) == 0)
		forget(s, p, (uint64_t)serial);
}

static void spool_gone(struct keeper *k, struct keeper_peer *p)
{
	struct spool_role *s = k->data;
	struct asking **at = &s->first;

	while (*at) {
		if ((*at)->peer == p)
			asking_remove(s, at);
		else
			at = &(*at)->next;
	}
	for (size_t i = 0; i < GIVEN; i++)
		if (s->given[i].peer == p)
			s->given[i].peer = NULL;
	spool_keeper_gone(s->keeper, p, clock_ms());
}

/* --- rounds --- */

/* To the one who has waited longest. false: there is nothing. */
static bool give(struct spool_role *s, int64_t now_ms)
{
	struct asking *a = s->first;
	AUTO(spool_envelope) struct spool_envelope *e = NULL;
	struct spool_grant g;
	char *text;
	int fd = -1;

	if (!spool_keeper_lease(s->keeper, a->peer, now_ms, &g, &e, &fd))
		return false;
	text = spool_wire_lease(&g, e, now_ms);
	s->given[s->given_at] = (struct given){ .peer = a->peer, .serial = a->serial, .number = g.number };
	memcpy(s->given[s->given_at].id, g.id, STORE_ID_MAX);
	s->given_at = (s->given_at + 1) % GIVEN;
	if (text)
		keeper_answer(a->peer, CHANNEL_SPOOL_LEASE, a->id, 0, text, strlen(text), fd);
	else
		spool_keeper_untried(s->keeper, g.id, g.number, now_ms);
	close(fd);
	free(text);
	if (text)
		asking_remove(s, &s->first);
	return text != NULL;
}

static void round_by(struct keeper *k, int64_t at_ms, int64_t now_ms)
{
	int64_t left_ms = at_ms - now_ms;

	left_ms = left_ms < 0 ? 0 : left_ms > 60 * 1000 ? 60 * 1000 : left_ms;
	if (k->round_in_ms < 0 || left_ms < k->round_in_ms)
		k->round_in_ms = (int)left_ms;
}

static void spool_round(struct keeper *k)
{
	struct spool_role *s = k->data;
	int64_t now_ms = clock_ms();
	int n = 0;

	(void)flush(s);
	if (spool_keeper_load(s->keeper, now_ms, clock_wall_ms())) {
		k->round_in_ms = 0;
		return;
	}
	for (struct asking **at = &s->first; *at;) {
		if ((*at)->until_ms > now_ms) {
			at = &(*at)->next;
			continue;
		}
		keeper_answer((*at)->peer, CHANNEL_SPOOL_LEASE, (*at)->id, -EAGAIN, NULL, 0, -1);
		asking_remove(s, at);
	}
	if (!s->first)
		return;
	if (now_ms < s->begun_ms + CLAIM_MS) {
		round_by(k, s->begun_ms + CLAIM_MS, now_ms);
		return;
	}
	while (s->first && n < LEASES_A_ROUND && give(s, now_ms))
		n++;
	if (s->first && n == LEASES_A_ROUND)
		k->round_in_ms = 0;
	else if (s->first && spool_keeper_next_ms(s->keeper) != INT64_MAX)
		round_by(k, spool_keeper_next_ms(s->keeper), now_ms);
	(void)flush(s);                 /* an entry that had to be put aside */
}

static void publish(struct spool_role *s)
{
	struct spool_totals t = spool_schedule_totals(spool_keeper_schedule(s->keeper));
	struct shared *shared = s->k->env->shared;

	atomic_store(&shared->spool_messages, t.messages);
	atomic_store(&shared->spool_bytes, t.bytes);
	atomic_store(&shared->spool_leased, t.leased);
	atomic_store(&shared->spool_routes, t.routes);
	atomic_store(&shared->spool_routes_down, t.routes_down);
}

static void spool_tick(struct keeper *k)
{
	struct spool_role *s = k->data;
	int64_t now_ms = clock_ms();

	if (memcmp(&s->settings, &k->settings.spool, sizeof(s->settings)) != 0) {
		s->settings = k->settings.spool;
		spool_keeper_set(s->keeper, &s->settings);
		k->round_in_ms = 0;     /* what is due may be another */
	}
	spool_keeper_tick(s->keeper, clock_ms(), clock_wall_ms());
	for (struct asking *a = s->first; a; a = a->next)
		round_by(k, a->until_ms, now_ms);
	publish(s);
}

/* --- the control socket --- */

static int command_retry(void *arg, json_t *request, json_t *answer)
{
	struct spool_role *s = arg;
	struct spool_schedule *schedule = spool_keeper_schedule(s->keeper);
	const char *id = json_string_value(json_object_get(request, "id")), *route = json_string_value(json_object_get(request, "route"));
	size_t n;

	if (id && !spool_schedule_knows(schedule, id))
		return -ENOENT;
	n = id ? spool_schedule_wake_id(schedule, id, clock_ms()) : spool_schedule_wake(schedule, route, clock_ms());
	json_object_set_new(answer, "parts", json_integer((json_int_t)n));
	return 0;
}

static int command_delete(void *arg, json_t *request, json_t *answer)
{
	struct spool_role *s = arg;
	const char *id = json_string_value(json_object_get(request, "id"));
	int rc = -EINVAL;

	if (id && json_is_true(json_object_get(request, "bounce"))) {
		rc = spool_keeper_give_up(s->keeper, id, clock_ms());
	} else if (id) {
		rc = spool_keeper_delete(s->keeper, id);
		if (rc == 0)
			rc = flush(s);
	}
	if (rc == 0)
		log_notice("spool", "what", json_is_true(json_object_get(request, "bounce")) ? "given up by command" : "deleted by command", "spool", id, "by",
			   json_string_value(json_object_get(request, "who")), NULL);
	return rc;
}

static json_t *state_of(struct spool_role *s, const char *id, int64_t now_ms)
{
	struct spool_part_state part[PARTS_MAX];
	size_t n = spool_schedule_parts(spool_keeper_schedule(s->keeper), id, part, PARTS_MAX);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s?, s:I, s:b, s:b}", "route", part[i].route, "in_ms",
						      (json_int_t)(part[i].next_ms > now_ms ? part[i].next_ms - now_ms : 0), "leased", part[i].leased, "down",
						      part[i].route_down));
	return list;
}

/* {"cmd":"spool.state","ids":[...]}: of each, its parts. */
static int command_state(void *arg, json_t *request, json_t *answer)
{
	struct spool_role *s = arg;
	json_t *ids = json_object_get(request, "ids"), *id, *states;
	int64_t now_ms = clock_ms();
	size_t i;

	if (!json_is_array(ids) || json_array_size(ids) > STATES_MAX)
		return -EINVAL;
	states = json_object();
	json_array_foreach(ids, i, id) {
		if (json_is_string(id))
			json_object_set_new(states, json_string_value(id), state_of(s, json_string_value(id), now_ms));
	}
	json_object_set_new(answer, "states", states);
	json_object_set_new(answer, "loading", json_boolean(spool_keeper_loading(s->keeper)));
	return 0;
}

static const struct control_command commands[] = {
	{ "spool.retry", command_retry },
	{ "spool.delete", command_delete },
	{ "spool.state", command_state },
	{ NULL, NULL },
};

/* --- beginning and end --- */

static void spool_close(struct keeper *k)
{
	struct spool_role *s = k->data;

	if (s->keeper)
		(void)flush(s);
	while (s->first)
		asking_remove(s, &s->first);
	control_free(s->control);
	spool_keeper_close(s->keeper);
	if (s->proc_fd >= 0)
		close(s->proc_fd);
	free(s);
	k->data = NULL;
}

static int spool_role_open(struct keeper *k, const char *dir)
{
	struct spool_role *s = k->data;
	int proc_fd = s->proc_fd, rc;

	s->proc_fd = -1;
	s->begun_ms = clock_ms();
	s->settings = k->settings.spool;
	/* Numbers of leases go on where no earlier keeper can have been. */
	rc = spool_keeper_open(dir, proc_fd, &k->settings.spool, (uint64_t)clock_wall_ms() << 20, &s->keeper);
	if (rc == 0 && k->env->command_fd >= 0) {
		s->control = control_new(k->base, k->env->command_fd, k->env->shared, commands, s);
		rc = s->control ? 0 : -ENOMEM;
	}
	k->round_in_ms = 0;
	return rc;
}

const struct keeper_role keeper_spool = {
	.name = "gp-spool",
	.prepare = spool_prepare,
	.open = spool_role_open,
	.request = spool_request,
	.notice = spool_notice,
	.gone = spool_gone,
	.round = spool_round,
	.tick = spool_tick,
	.close = spool_close,
};
