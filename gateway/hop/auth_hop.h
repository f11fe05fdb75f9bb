/*
 * auth_hop - the session with a backend in which a client has authenticated, and that session as a next hop
 *
 * It belongs to this client alone: all that the user sends goes through it, and to whom is the backend's to say. When it is lost, it stays lost: the
 * transaction at hand hears 451, and the client logs in again.
 */
#ifndef AUTH_HOP_H
#define AUTH_HOP_H

#include <stdbool.h>
#include <stdint.h>

#include "hop/next_hop.h"

struct backend_session;

struct smtp_login {
	struct backend_session *session;        /* NULL: lost */
	bool used;                              /* something has been said since it was opened */
	bool was_relay;                         /* the client was one of ours before, too */
	int64_t said_ms;                        /* when something was said last */
};

/* session is taken over, even on failure. NULL: no memory. */
struct smtp_login *smtp_login_new(struct backend_session *session);
void smtp_login_free(struct smtp_login *l);     /* says QUIT, in a task of its own; NULL is fine. Its next hops must be gone */

/* The end of a session that is or was to be a user's: what went wrong in it says nothing of the server, others go on using that. */
void smtp_login_end(struct backend_session *session, bool clean);

/* Whether it is still there, between transactions. Does not wait (under TLS it may yield). */
bool smtp_login_alive(struct smtp_login *l);

/*
 * The user has said something that needs no server: so that its session does not fall asleep meanwhile, NOOP is said there, once in half a minute at most.
 * may wait
 */
void smtp_login_stir(struct smtp_login *l, int64_t deadline_ms);

/* l outlives it. NULL: no memory. */
struct next_hop *auth_hop_new(struct smtp_login *l);

#endif
