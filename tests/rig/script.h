/*
 * script - what one end of a session says, step by step, as a text that a person and a fuzzer can write
 *
 * The octets are said as they stand. A tilde and a letter is a step:
 *
 *     ~w      wait until the gateway has said something since we did (half a minute at most)
 *     ~?text~ wait until it has said this, since the last step of this kind
 *     ~s      what was said arrives before what follows
 *     ~t      TLS begins
 *     ~n      close_notify; what follows is said in clear
 *     ~f      FIN: we say no more, and listen
 *     ~c ~r   the connection is closed, or cut
 *     ~p      time passes, up to the next timer
 *     ~1 ~0   octets arrive one by one; as they were said
 *     ~~      a tilde
 *
 * Any other letter is nothing. At the end of the script the end says no more, as after ~f.
 */
#ifndef RIG_SCRIPT_H
#define RIG_SCRIPT_H

#include "rig/end.h"

struct script {
	const char *p;
	size_t len, at;
	bool server;                    /* in TLS */
	/* Told of octets that are said; or NULL. */
	void (*said)(struct end *e, const char *p, size_t len);
	/* private: */
	bool hasty;                     /* it does not wait any more */
	bool waits, passing;
	size_t heard, asked;            /* how much had been heard at the last say; and at the last ~? */
	int64_t until_ms;
};

enum script_state { SCRIPT_DID, SCRIPT_WAITS, SCRIPT_DONE };

void script_begin(struct script *s, const void *p, size_t len, bool server);
/* Another connection of the same script. */
void script_resume(struct script *s);

/* One step; called when the gateway has nothing to do and all that was said has arrived. */
enum script_state script_step(struct script *s, struct end *e);

#endif
