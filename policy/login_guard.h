/*
 * login_guard - logins that fail count against the network that they come from and against the account that they try
 *
 * Any protocol with passwords asks; all count together, in the state (space "login"), so that all workers, and all gateways that share a Redis, know it.
 * Counted are
 *
 *     the network     an IPv4 address; of IPv6 the /64, and with thresholds 4 and 16 times as high the /56 and the /48 around it
 *     the account     as login_account() writes its name, from wherever it is tried
 *     the pair        this account from this network: what a login that succeeds takes out of the two counts; others' failures stay in them
 *
 * From slow_after failures on an attempt waits, from refuse_after on none is made for refuse_s after the last failure: what is tried meanwhile is
 * refused before a password is looked at, and does not count. Failures are forgotten forget_s after the last.
 *
 * A network from which the account has succeeded lately (trust_s) is known for it. Its attempts are never refused, and wait slow_ms at most for the
 * failures of others: nobody can lock a user out. What fails there, such as an old password in one of the user's programs, counts
 * against the pair alone, and slows it alone.
 *
 * Networks that are exempt are neither counted nor slowed nor refused; exempt accounts are not counted as accounts: their failures count against networks.
 *
 * A state that does not answer knows of no failures: nobody is locked out by it. Where no other gateway writes to the state, what the workers know
 * together (login_shared.h) spares the question in the ordinary case, and a success is told to the state once in an hour.
 */
#ifndef LOGIN_GUARD_H
#define LOGIN_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/net.h"
#include "policy/login_key.h"
#include "policy/login_shared.h"

struct state;

struct login_guard_conf {
	int slow_after, slow_ms;        /* from so many failures on each attempt waits: 3; 2 s for each failure since, 30 s at most */
	int refuse_after, refuse_s;     /* 10; 0: never. 15 min */
	int account_slow_after, account_refuse_after;   /* 10, 30; 0: never */
	int forget_s;                   /* 1 h */
	int trust_s;                    /* 30 days; 0: no network is known */
	struct net_prefix *exempt;
	size_t exempt_count;
	char **exempt_users;            /* as somebody has written them */
	size_t exempt_user_count;
};

struct login_guard {
	struct state *state;            /* or NULL */
	const struct login_guard_conf *conf;
	const char *domain;             /* login_account_domain() */
	struct login_shared *shared;    /* or NULL: the state is always asked */
	bool alone;                     /* no other gateway writes to the state */
	int64_t (*clock_s)(void);       /* of shared; NULL: clock_ms() */
};

enum login_answer { LOGIN_FREE, LOGIN_SLOW, LOGIN_REFUSED };
enum login_lock { LOGIN_LOCK_NONE, LOGIN_LOCK_NETWORK, LOGIN_LOCK_ACCOUNT };

enum { LOGIN_MARK_ACCOUNT = LOGIN_NETWORKS, LOGIN_MARK_PAIR, LOGIN_MARKS };

struct login_guard_query {
	const struct net_addr *client;
	const char *account;            /* login_account(); "": not known */
	/* The answer: */
	int failures;                   /* of the network, or those of the pair where they are more */
	int account_failures;
	int delay_ms;                   /* LOGIN_SLOW: before the password is tried */
	enum login_lock lock;           /* LOGIN_REFUSED: why */
	bool known;                     /* the account has succeeded from this network lately */
	bool exempt;                    /* the network is */
	/* its own: */
	bool asked, exempt_user;
	int networks;
	struct login_mark mark[LOGIN_MARKS];    /* networks, account, pair */
	int64_t own;                    /* failures of a pair that is known */
};

/* Whether this account is on the list of those that do not count. */
bool login_guard_exempts(const struct login_guard *g, const char *account);

/* Before an attempt, and again after a wait. may wait */
enum login_answer login_guard_ask(const struct login_guard *g, struct login_guard_query *q);

/* What became of it: q as it was asked with (else it is asked); its failures are brought up to date. may wait */
void login_guard_failed(const struct login_guard *g, struct login_guard_query *q);
void login_guard_passed(const struct login_guard *g, struct login_guard_query *q);

/*
 * Somebody has decided that what has failed of this account from this network shall count no more: as a success takes it out of the counts, but nobody
 * becomes known by it. false: the state does not answer. may wait
 */
bool login_guard_forgive(const struct login_guard *g, struct login_guard_query *q);

#endif
