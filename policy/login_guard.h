/*
 * login_guard - logins that fail count against the network that they come from: it is slowed, then refused for a while
 *
 * The count is kept in the state (space "login"), so that all workers, and all gateways that share a Redis, know it; an IPv4 address counts for
 * itself, IPv6 by /64. A login that succeeds clears it. It is forgotten forget_s after the last failure; from refuse_after failures on refuse_s
 * after it: what is tried meanwhile is refused before a password is looked at, and does not count. A state that does not answer
 * knows of no failures: nobody is locked out by it. Any protocol with passwords can ask.
 */
#ifndef LOGIN_GUARD_H
#define LOGIN_GUARD_H

#include "base/net.h"

struct state;

struct login_guard_conf {
	int slow_after, slow_ms;        /* from so many failures on each attempt waits: 3; 2 s for each failure since, 30 s at most */
	int refuse_after, refuse_s;     /* 10; 0: never. 15 min */
	int forget_s;                   /* 1 h */
};

enum login_answer { LOGIN_FREE, LOGIN_SLOW, LOGIN_REFUSED };

struct login_guard_query {
	const struct net_addr *client;
	/* The answer: */
	int failures;
	int delay_ms;                   /* LOGIN_SLOW: before the password is tried */
};

/* Before an attempt. state may be NULL. may wait */
enum login_answer login_guard_ask(struct state *state, const struct login_guard_conf *conf, struct login_guard_query *q);

/* What became of it: q as it was asked with; q->failures is brought up to date. may wait */
void login_guard_failed(struct state *state, const struct login_guard_conf *conf, struct login_guard_query *q);
void login_guard_passed(struct state *state, const struct login_guard_conf *conf, struct login_guard_query *q);

#endif
