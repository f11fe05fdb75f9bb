/*
 * login_view - what the login guard has counted, and until when: for who administers it
 *
 * Of a client, of an account, or of both: then of the pair, too. The state has no list of what it knows: what is to be seen has to be named.
 */
#ifndef LOGIN_VIEW_H
#define LOGIN_VIEW_H

#include "policy/login_account.h"
#include "policy/login_guard.h"

enum login_view_state { LOGIN_VIEW_FREE, LOGIN_VIEW_SLOWED, LOGIN_VIEW_LOCKED };

struct login_view_count {
	int64_t failures;               /* 0: none, and nothing else is said */
	int64_t first_s, last_s;
	int64_t until_s;                /* then they are forgotten, or the lock is open, if no other comes */
	enum login_view_state state;
};

struct login_view {
	struct net_addr client;         /* family 0: none is asked about */
	int nearest;                    /* of its networks (login_key.h): 0; wider ones are asked about alone from 1 or 2 on */
	char account[LOGIN_ACCOUNT_MAX];        /* login_account(); "": none */
	/* The answer: */
	int networks;
	struct login_view_count network[LOGIN_NETWORKS], of_account;    /* network[nearest] to network[networks - 1] */
	/* the part of the counts above that is the pair's; or its own, where it is known */
	struct login_view_count pair;
	bool known;
	int64_t known_first_s, known_last_s;    /* of its successes; the last is told once in an hour */
	bool exempt, exempt_user;       /* nothing counts, whatever is said here */
};

/*
 * The network's or address's text: client and nearest. 0; -EINVAL: neither; -ERANGE: a network that is not counted as one
 * (an IPv4 address, and of IPv6 a /64, /56 or /48, are).
 */
int login_view_client(struct login_view *v, const char *text);

/* Reads. 0; -errno: the state does not answer. may wait */
int login_view_read(const struct login_guard *g, struct login_view *v);

/*
 * Ends what is counted of what is named: of a client, in the networks from the nearest on; of an account; of both, what the one has failed
 * from the other (login_guard_forgive). Who is known stays so. 0; -errno. may wait
 */
int login_view_clear(const struct login_guard *g, const struct login_view *v);

#endif
