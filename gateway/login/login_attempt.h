/*
 * login_attempt - one attempt to log in, whatever the protocol: whether it may be made, what became of it, its line in the log
 *
 * Failures over SMTP AUTH, POP3 and IMAP count together (policy/login_guard.h). A protocol asks when it knows the user's name and before the line
 * that decides, the password's mostly, goes to the server: sasl_decides() in base/sasl.h tells that line of a SASL dialogue. What is turned away is
 * answered without the server.
 *
 *     struct login_attempt a = { .protocol = "imap", .mechanism = "LOGIN", .sid = s->id, .listener = ..., .client = &s->addr, .tls = ... };
 *
 *     sasl_user_keep(a.user, name, len);              (or from struct sasl_login)
 *     a.backend = "exchange";                         (as soon as it is known)
 *     switch (login_attempt_ask(svc->login, &a, &rc)) {
 *     case LOGIN_ADMIT: break;                        the line goes to the server; the end is said, whatever comes
 *     case LOGIN_TURNED_AWAY: say so; close; return
 *     case LOGIN_BUSY: say; the client may come again
 *     case LOGIN_CANCELLED: return rc
 *     }
 *     login_attempt_end(svc->login, &a, LOGIN_OK, NULL);
 *
 * Where the server decides before anybody could ask (an unknown user refused at once), end alone is called: it counts and logs as well.
 */
#ifndef LOGIN_ATTEMPT_H
#define LOGIN_ATTEMPT_H

#include <stdbool.h>

#include "base/net.h"
#include "base/sasl.h"
#include "limit/limit.h"
#include "login/login_gate.h"
#include "policy/login_account.h"
#include "policy/login_guard.h"

struct site;
struct state;
struct stream;

/* What all protocols of a worker share. */
struct login_service {
	struct login_guard guard;
	struct login_gates gates;       /* attempts being made now */
	int workers;                    /* among which the gates of strangers are shared out */
};

struct login_attempt {
	const char *protocol;           /* "smtp", "imap", "pop3" */
	const char *mechanism;          /* "PLAIN", "LOGIN", "USER", "APOP" */
	const char *sid, *listener, *tls, *backend;     /* for the log; NULL: nothing to say */
	const struct net_addr *client;  /* the real one */
	/* Whether the client has hung up (stream_left), asked while it waits: who has gone takes no place. NULL: it is waited for */
	bool (*gone)(const struct stream *stream);
	const struct stream *stream;
	struct limit_client *limit;     /* attempts count there, until one succeeds; NULL: they do not */
	char user[SASL_USER_MAX + 1];   /* "": not known */
	/* its own: */
	char account[LOGIN_ACCOUNT_MAX];
	struct login_guard_query guard;
	struct login_gate *turn[LOGIN_NETWORKS + 1];
	int delayed_ms;
	bool asked;
};

/* state: NULL: nothing is remembered. shared: memory over all workers; NULL: none. */
void login_service_init(struct login_service *svc, const struct site *site, struct state *state, struct login_shared *shared);

enum login_admission {
	LOGIN_ADMIT,
	LOGIN_TURNED_AWAY,      /* too many have failed: the client is told so, and the session ends. It is logged; no end is called */
	LOGIN_BUSY,             /* too many at once: the client may come again. Logged; no end is called */
	LOGIN_CANCELLED,        /* the wait was: *rc; -EPIPE: the client has gone, which is logged. No end is called */
};

enum login_result {
	LOGIN_OK,
	LOGIN_FAILED,           /* the server has looked at user and password, and refuses: counts */
	LOGIN_UNAVAILABLE,      /* the server did not decide */
	LOGIN_BROKEN_OFF,       /* the client gave up, or said nonsense */
};

/* Before each line that decides: the first time, and when the name has changed, it slows down, and waits its turn. may wait */
enum login_admission login_attempt_ask(struct login_service *svc, struct login_attempt *a, int *rc);

/*
 * What became of it: counts, one line in the log. code: the server's, "535" or "AUTHENTICATIONFAILED", or a few words; NULL: nothing to say.
 * Once for every attempt, whether it was asked for or not. may wait
 */
void login_attempt_end(struct login_service *svc, struct login_attempt *a, enum login_result result, const char *code);

/*
 * Whether a refusal without a code says in words that the server could not look ("Server Unavailable. 15" of Exchange): else all who come while it is so would
 * be counted as guessing.
 */
bool login_words_unavailable(const char *p, size_t len);

/* Nothing is said of it: the client has gone in the middle, say. Leaves the gate; may follow an end. */
void login_attempt_drop(struct login_service *svc, struct login_attempt *a);

#endif
