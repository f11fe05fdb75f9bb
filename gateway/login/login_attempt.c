#include "login/login_attempt.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/task.h"
#include "login/login_gate.h"
#include "policy/conf.h"

enum { TURN_MS = 30 * 1000 };   /* while others try */

static void log_attempt(const struct login_attempt *a, const char *result, const char *code)
{
	struct log_line l;

	log_start(&l, strcmp(result, "ok") != 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO, "login");
	log_str(&l, "result", result);
	log_str(&l, "protocol", a->protocol);
	log_str(&l, "sid", a->sid);
	if (a->client) {
		char ip[NET_TEXT_MAX];

		log_str(&l, "client", net_text(a->client, ip));
	}
	log_str(&l, "listener", a->listener);
	log_str(&l, "user", a->user[0] ? a->user : NULL);
	log_str(&l, "mechanism", a->mechanism);
	log_str(&l, "tls", a->tls);
	log_str(&l, "backend", a->backend);
	log_str(&l, "code", code);
	if (a->guard.failures > 0)
		log_num(&l, "failures", a->guard.failures);
	if (a->guard.delay_ms > 0)
		log_num(&l, "delayed_ms", a->guard.delay_ms);
	log_emit(&l);
}

enum login_admission login_attempt_ask(struct login_service *svc, struct login_attempt *a, int *rc)
{
	const struct login_guard_conf *conf = &svc->conf->guard;
	enum login_answer answer;
	bool waited = false;

	*rc = 0;
	login_attempt_drop(svc, a);     /* asked before, without a name */
	a->guard.client = a->client;
	answer = login_guard_ask(svc->state, conf, &a->guard);
	if (answer == LOGIN_SLOW)
		*rc = task_sleep(a->guard.delay_ms);
	if (*rc == 0 && answer != LOGIN_REFUSED)
		*rc = login_gate_enter(&svc->gates, a->client, conf->refuse_after, TURN_MS, &a->turn, &waited);
	if (*rc == -ETIMEDOUT || *rc == -ENOMEM) {
		*rc = 0;
		log_attempt(a, "busy", NULL);
		return LOGIN_BUSY;
	}
	if (*rc == 0 && waited)         /* those before may have failed */
		answer = login_guard_ask(svc->state, conf, &a->guard);
	if (*rc < 0 || answer == LOGIN_REFUSED)
		login_attempt_drop(svc, a);
	if (*rc < 0)
		return LOGIN_CANCELLED;
	if (answer == LOGIN_REFUSED) {
		log_attempt(a, "refused", NULL);
		return LOGIN_TURNED_AWAY;
	}
	a->asked = true;
	return LOGIN_ADMIT;
}

void login_attempt_end(struct login_service *svc, struct login_attempt *a, enum login_result result, const char *code)
{
	static const char *const words[] = { "ok", "failed", "unavailable", "broken-off" };

	a->guard.client = a->client;
	if (result == LOGIN_OK)
		login_guard_passed(svc->state, &svc->conf->guard, &a->guard);
	else if (result == LOGIN_FAILED)
		login_guard_failed(svc->state, &svc->conf->guard, &a->guard);
	log_attempt(a, words[result], code);
	login_attempt_drop(svc, a);
}

void login_attempt_drop(struct login_service *svc, struct login_attempt *a)
{
	login_gate_leave(&svc->gates, a->turn);
	a->turn = NULL;
}
