/*
 * backend_impl - what backend.c (the group, who is well) and backend_session.c (sessions, how one is had) share; nobody else includes it
 */
#ifndef BACKEND_IMPL_H
#define BACKEND_IMPL_H

#include "base/host.h"
#include "base/task.h"
#include "hop/backend.h"
#include "hop/xclient.h"

enum backend_state { UNSEEN, UP, AWAY };

struct backend {
	struct backend_group *group;
	const struct backend_conf *conf;
	struct smtp_client_conf client_conf;
	struct ssl_ctx_st *tls_ctx;
	struct backend_shared own, *shared;
	int self;

	enum backend_state state;
	int backoff_ms;
	int64_t retry_at_ms;            /* AWAY: not before */
	int64_t seen_ms;                /* last success */
	uint64_t turn;                  /* when it was last chosen */
	bool probed;                    /* once at least, whatever came out */
	bool caps_seen;
	struct smtp_caps caps;
	int learned;                    /* it said 421 to more sessions than these; 0: it has not, */
	int64_t learned_until_ms;       /* or that was long ago */
	bool lacks_xclient;             /* it is to be told the client by XCLIENT, and does not offer that to us */
	char address[NET_TEXT_MAX];
	struct net_addr known[HOST_ADDRESSES_MAX];   /* as last resolved */
	size_t known_count;

	struct backend_session *idle;   /* the youngest first */
	struct gate queue;              /* who waits for a free session; only the first looks */
	struct future *freed;           /* of that first */
	struct task *probe;
	struct future wake;             /* of the probe task */
};

struct backend_group {
	const struct site *site;
	struct dns *dns;
	struct backend *member;
	size_t count;
	uint64_t turn;
	int64_t refused_ms;             /* it refused or deferred a whole message last; 0: never */
	int users;                      /* the owner, tasks, sessions */
	bool ending;
	void (*on_up)(void *arg);
	void *on_up_arg;
};

/* What kind of session is wanted. */
struct backend_want {
	const struct smtp_identity *who;        /* for whom it speaks; NULL: for us */
	bool fresh;                             /* none that was used before */
	int64_t deadline_ms;
	char *refusal;                          /* SMTP_WHY_MAX: what the server has to say against who */
};

void backend_group_unref(struct backend_group *g);

/* It answers. caps: as it said to ourselves; NULL: to somebody else. */
void backend_up(struct backend *b, const struct smtp_caps *caps);
void backend_away(struct backend *b, const char *why);

/* Places for sessions: take one, if there is; wait for one, or for an idle session (*idle). 0, -ETIMEDOUT, -ECANCELED. may wait */
bool backend_slot_try(struct backend *b);
void backend_slot_leave(struct backend *b);
int backend_slot_wait(struct backend *b, int64_t until_ms, struct backend_session **idle);

struct backend_session *backend_idle_pop(struct backend *b);
void backend_idle_drop(struct backend *b);

/* A new one; the place is taken already and is given back on failure. -EAGAIN: the server takes no more sessions than it has now. may wait */
int backend_session_open(struct backend *b, const struct backend_want *w, struct backend_session **out);
/* Closes at once; the place is free. */
void backend_session_free(struct backend_session *bs);
/* Say goodbye in a task of its own; the place is free when the connection has gone. */
void backend_session_close(struct backend_session *bs);

#endif
