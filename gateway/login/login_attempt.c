#include "login/login_attempt.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "policy/conf.h"

enum {
	TURN_MS = 30 * 1000,            /* while others try */
	LOOK_MS = 500,                  /* so often it is seen whether who waits is still there */
};

void login_service_init(struct login_service *svc, const struct site *site, struct state *state, struct login_shared *shared)
{
	*svc = (struct login_service){
		.guard = { .state = state, .conf = &site->auth.guard, .domain = login_account_domain(site), .shared = shared,
			   .alone = site->redis.address.family == 0 },
		.workers = site->workers > 0 ? site->workers : 1,
	};
}

static void log_attempt(const struct login_attempt *a, const char *result, const char *code)
{
	static const char *const locks[] = { NULL, "network", "account" };
	char ip[NET_TEXT_MAX];
	struct log_line l;

	log_start(&l, strcmp(result, "ok") != 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO, "login");
	log_str(&l, "result", result);
	log_str(&l, "protocol", a->protocol);
	log_str(&l, "sid", a->sid);
	log_str(&l, "client", net_text(a->client, ip));
	log_str(&l, "listener", a->listener);
	log_str(&l, "user", a->user[0] ? a->user : NULL);
	log_str(&l, "mechanism", a->mechanism);
	log_str(&l, "tls", a->tls);
	log_str(&l, "backend", a->backend);
	log_str(&l, "code", code);
	log_str(&l, "locked", locks[a->guard.lock]);
	if (a->guard.failures > 0)
		log_num(&l, "failures", a->guard.failures);
	if (a->guard.account_failures > 0)
		log_num(&l, "account_failures", a->guard.account_failures);
	if (a->delayed_ms > 0)
		log_num(&l, "delayed_ms", a->delayed_ms);
	log_emit(&l);
}

static enum login_answer ask(const struct login_service *svc, struct login_attempt *a)
{
	a->guard.client = a->client;
	a->guard.account = login_account(a->user, svc->guard.domain, a->account);
	return login_guard_ask(&svc->guard, &a->guard);
}

static void leave(struct login_service *svc, struct login_attempt *a)
{
	for (size_t i = 0; i < sizeof(a->turn) / sizeof(a->turn[0]); i++) {
		login_gate_leave(&svc->gates, a->turn[i]);
		a->turn[i] = NULL;
	}
}

static int share(const struct login_service *svc, int limit)
{
	return (limit + svc->workers - 1) / svc->workers;
}

static int enter(struct login_service *svc, uint64_t hash, int limit, int64_t until_ms, struct login_gate **out, bool *waited)
{
	int64_t left = until_ms - clock_ms();

	return login_gate_enter(&svc->gates, hash, limit, left > 0 ? (int)left : 0, out, waited);
}

/*
 * Its turn. Strangers wait for others from their networks and for others at the same account; who is known, only for himself: no stranger keeps him
 * out. 0; -ETIMEDOUT, -ECANCELED, -ENOMEM. may wait
 */
static int enter_all(struct login_service *svc, struct login_attempt *a, bool *waited)
{
	const struct login_guard_conf *conf = svc->guard.conf;
	const struct login_guard_query *q = &a->guard;
	int64_t until_ms = clock_ms() + TURN_MS;
	int rc = 0;

	if (q->exempt)
		return 0;
	if (q->known)
		return enter(svc, q->mark[LOGIN_MARK_PAIR].hash, conf->refuse_after, until_ms, &a->turn[0], waited);
	for (int i = 0; rc == 0 && i < q->networks; i++)
		rc = enter(svc, q->mark[i].hash, share(svc, conf->refuse_after * login_key_factor(i)), until_ms, &a->turn[i], waited);
	if (rc == 0 && q->account[0] && !q->exempt_user)
		rc = enter(svc, q->mark[LOGIN_MARK_ACCOUNT].hash, share(svc, conf->account_refuse_after), until_ms, &a->turn[LOGIN_NETWORKS], waited);
	return rc;
}

static bool has_gone(const struct login_attempt *a)
{
	return a->gone && a->gone(a->stream);
}

/* 0, -ECANCELED, -EPIPE: the client has gone. may wait */
static int slow_down(struct login_attempt *a)
{
	while (a->delayed_ms < a->guard.delay_ms) {
		int left = a->guard.delay_ms - a->delayed_ms, step = left < LOOK_MS ? left : LOOK_MS, rc = task_sleep(step);

		if (rc < 0)
			return rc;
		a->delayed_ms += step;
		if (has_gone(a))
			return -EPIPE;
	}
	return 0;
}

/* How many attempts there are from the network, those that fail or not. may wait */
static enum login_admission within_limit(struct login_attempt *a, int *rc)
{
	enum limit_answer answer;
	int delay_ms = 0;

	if (!a->limit)
		return LOGIN_ADMIT;
	answer = limit_count(a->limit, USE_LOGINS, 1, &delay_ms);
	if (answer == LIMIT_FREE)
		answer = limit_wait(a->limit, USE_LOGINS, delay_ms, a->gone ? a->stream : NULL);
	if (answer == LIMIT_CANCELLED)
		*rc = task_cancelled() ? -ECANCELED : -EPIPE;
	return answer == LIMIT_FREE ? LOGIN_ADMIT : answer == LIMIT_REFUSED ? LOGIN_BUSY : LOGIN_CANCELLED;
}

static enum login_admission admit(struct login_service *svc, struct login_attempt *a, int *rc)
{
	enum login_admission admission = within_limit(a, rc);
	enum login_answer answer;
	bool waited = false;

	a->delayed_ms = 0;
	if (admission != LOGIN_ADMIT)
		return admission;
	answer = ask(svc, a);
	if (answer == LOGIN_REFUSED)
		return LOGIN_TURNED_AWAY;
	if (answer == LOGIN_SLOW) {
		*rc = slow_down(a);
		if (*rc < 0)
			return LOGIN_CANCELLED;
	}
	*rc = enter_all(svc, a, &waited);
	if (*rc == 0 && waited && has_gone(a))
		*rc = -EPIPE;
	if (*rc == -ETIMEDOUT || *rc == -ENOMEM)
		return LOGIN_BUSY;
	if (*rc < 0)
		return LOGIN_CANCELLED;
	/* Others may have failed meanwhile. */
	return (waited || a->delayed_ms > 0) && ask(svc, a) == LOGIN_REFUSED ? LOGIN_TURNED_AWAY : LOGIN_ADMIT;
}

enum login_admission login_attempt_ask(struct login_service *svc, struct login_attempt *a, int *rc)
{
	char account[LOGIN_ACCOUNT_MAX];
	enum login_admission admission;

	*rc = 0;
	if (a->asked && strcmp(login_account(a->user, svc->guard.domain, account), a->account) == 0)
		return LOGIN_ADMIT;
	a->asked = false;
	leave(svc, a);
	admission = admit(svc, a, rc);
	if (admission == LOGIN_ADMIT) {
		a->asked = true;
		return admission;
	}
	leave(svc, a);
	if (admission != LOGIN_CANCELLED) {
		*rc = 0;
		log_attempt(a, admission == LOGIN_BUSY ? "busy" : "refused", NULL);
	} else if (*rc == -EPIPE) {
		log_attempt(a, "broken-off", "the client has gone");
	}
	return admission;
}

void login_attempt_end(struct login_service *svc, struct login_attempt *a, enum login_result result, const char *code)
{
	static const char *const words[] = { "ok", "failed", "unavailable", "broken-off" };

	if (!a->asked && result <= LOGIN_FAILED)
		ask(svc, a);
	if (result == LOGIN_OK && a->limit)
		limit_forget(a->limit);
	if (result == LOGIN_OK)
		login_guard_passed(&svc->guard, &a->guard);
	else if (result == LOGIN_FAILED)
		login_guard_failed(&svc->guard, &a->guard);
	log_attempt(a, words[result], code);
	login_attempt_drop(svc, a);
}

bool login_words_unavailable(const char *p, size_t len)
{
	static const char *const words[] = { "unavailable", "temporar" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (size_t n = strlen(words[i]), at = 0; at + n <= len; at++)
			if (strncasecmp(p + at, words[i], n) == 0)
				return true;
	return false;
}

void login_attempt_drop(struct login_service *svc, struct login_attempt *a)
{
	leave(svc, a);
	a->asked = false;
}
