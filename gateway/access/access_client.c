/* access_client - the client's leg: TLS with it, and whether a password may come on it; what holds until the login is over */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_session.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/task.h"

enum {
	HANDSHAKE_MS = 60 * 1000,
	VERDICT_MS = 60 * 1000,         /* servers let who fails wait, some for a quarter of a minute */
};

static void log_failed(const struct access_session *s, const char *why)
{
	char ip[NET_TEXT_MAX];

	log_info("tls-failed", "sid", s->id, "client", net_text(&s->addr, ip), "listener", s->conf->name, "error", why, NULL);
}

int access_client_starttls(struct access_session *s)
{
	const char *asked;
	int rc = -EPROTO;

	if (stream_pending(s->client) > 0) {
		log_failed(s, "bytes came before the handshake");
		access_end(s, "refused", "bytes came before the TLS handshake");
		return -EPROTO;
	}
	if (s->svc->tls)
		rc = stream_tls_accept(s->client, s->svc->tls, HANDSHAKE_MS);
	if (rc < 0) {
		log_failed(s, s->svc->tls ? stream_error(s->client) : "no certificate");
		access_end(s, "tls failed", NULL);
		return rc;
	}
	asked = stream_tls_asked(s->client);
	free(s->sni);
	s->sni = asked ? strdup(asked) : NULL;
	task_stack_trim();
	return 0;
}

int access_limit_command(struct access_session *s, size_t bytes)
{
	enum limit_answer answer;
	int delay_ms = limit_errors_delay_ms(&s->limit, s->errors, ACCESS_ERRORS_MAX), rc;

	if (!s->limit.svc)
		return 0;
	limit_note_bytes(&s->limit, bytes);
	answer = limit_count(&s->limit, USE_COMMANDS, 1, &delay_ms);
	if (answer == LIMIT_FREE)
		answer = limit_count(&s->limit, USE_ERRORS, 0, &delay_ms);
	if (answer == LIMIT_FREE)
		answer = limit_count(&s->limit, USE_BYTES, 0, &delay_ms);
	if (answer == LIMIT_FREE && delay_ms > 0) {
		rc = stream_flush(s->client, s->conf->login_timeout_ms);
		if (rc < 0)
			return rc;
		answer = limit_wait(&s->limit, USE_COMMANDS, delay_ms, s->client);
	}
	if (answer == LIMIT_REFUSED)
		access_end(s, "refused", "too much from this network");
	return answer == LIMIT_FREE ? 0 : answer == LIMIT_REFUSED ? -EBUSY : task_cancelled() ? -ECANCELED : -EPIPE;
}

void access_limit_error(struct access_session *s)
{
	limit_note(&s->limit, USE_ERRORS, 1);
}

void access_login_on(const struct access_session *s, struct stream *leg)
{
	stream_set_secret(leg, true);
	stream_set_deadline(leg, s->login_until_ms);
}

void access_login_decides(struct access_session *s)
{
	int64_t until_ms = clock_ms() + VERDICT_MS;

	if (until_ms > s->login_until_ms)
		s->login_until_ms = until_ms;
	if (s->backend.stream)
		stream_set_deadline(s->backend.stream, s->login_until_ms);
}

void access_login_over(const struct access_session *s)
{
	struct stream *const legs[] = { s->client, s->backend.stream };

	for (size_t i = 0; i < sizeof(legs) / sizeof(legs[0]); i++) {
		stream_set_secret(legs[i], false);
		stream_set_deadline(legs[i], 0);
	}
}

bool access_client_may_starttls(const struct access_session *s)
{
	return s->conf->tls == LISTENER_TLS_STARTTLS && s->svc->tls && !stream_is_tls(s->client);
}

bool access_client_refuses_clear(const struct access_session *s)
{
	return s->conf->plaintext == PLAINTEXT_REFUSE && !stream_is_tls(s->client);
}
