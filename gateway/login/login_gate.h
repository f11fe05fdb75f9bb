/*
 * login_gate - how many logins of one kind are tried at a time: from one network, at one account
 *
 * A failure counts when the server has said so: of guesses that come all at once, none would know of another. As many are let in together as may fail, the
 * others wait their turn, and ask again (policy/login_guard.h, whose keyed hashes are the names of the gates).
 */
#ifndef LOGIN_GATE_H
#define LOGIN_GATE_H

#include <stdbool.h>
#include <stdint.h>

enum { LOGIN_GATE_BUCKETS = 256 };

struct login_gate;              /* exists while anybody is in it or waits */

/* Those of a worker; zeroed at first. */
struct login_gates {
	struct login_gate *bucket[LOGIN_GATE_BUCKETS];
};

/* limit 0: none, *out is NULL. *waited is set where others came first. 0; -ETIMEDOUT, -ECANCELED, -ENOMEM. may wait */
int login_gate_enter(struct login_gates *all, uint64_t hash, int limit, int timeout_ms, struct login_gate **out, bool *waited);
void login_gate_leave(struct login_gates *all, struct login_gate *g);   /* NULL is fine */

#endif
