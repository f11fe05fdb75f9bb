/*
 * login_gate - how many logins from one network are tried at a time
 *
 * A failure counts when the server has said so: of guesses that come all at once, none would know of another. As many are let in together as may fail, the
 * others wait their turn, and ask again (policy/login_guard.h). Networks are those of the guard: an IPv4 address, a /64.
 */
#ifndef LOGIN_GATE_H
#define LOGIN_GATE_H

#include <stdbool.h>

struct login_gate;              /* of one network, while anybody is in it or waits */
struct net_addr;

/*
 * all: those of a worker, NULL at first. limit 0: none, *out is NULL. *waited: others came first. 0; -ETIMEDOUT, -ECANCELED, -ENOMEM. may wait
 */
int login_gate_enter(struct login_gate **all, const struct net_addr *client, int limit, int timeout_ms, struct login_gate **out, bool *waited);
void login_gate_leave(struct login_gate **all, struct login_gate *g);   /* NULL is fine */

#endif
