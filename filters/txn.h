/*
 * txn - one mail transaction: the client, the envelope, the message, and the facts found so far
 *
 * Made at MAIL, released at the end of data, RSET or the session's end. The session fills in what the client says; filters
 * read it and add facts. Filters know nothing of sockets: they have txn->dns, txn->state and txn->daemons to ask with.
 */
#ifndef TXN_H
#define TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dns.h"
#include "base/net.h"
#include "filters/fact.h"
#include "filters/message.h"

enum { FILTER_MAX = 32 };

struct daemons;         /* filters/daemon.h */
struct milters;         /* filters/milter.h */
struct site;            /* policy/conf.h: the configuration in force, shared and read-only */

/* What filters found and what they are still doing, for one connection or one transaction. */
struct evidence {
	struct facts facts;
	void *filter[FILTER_MAX];       /* each filter's own working state, made and freed by it */
	uint32_t started, ran;          /* bit i: filter i's start / run has been called */
	uint32_t failed;                /* bit i: it could not look */
};

/* How it is known who the client is: filters/boundary.h. */
enum boundary { BOUNDARY_DIRECT, BOUNDARY_PENDING, BOUNDARY_RECEIVED, BOUNDARY_XCLIENT, BOUNDARY_XFORWARD, BOUNDARY_NONE };

struct client {
	struct net_addr addr;           /* unfolded (net_from_sockaddr) */
	char ip[NET_TEXT_MAX];
	char *helo;                     /* as given, NULL before; domain or literal */
	bool esmtp;
	const char *tls_version;        /* NULL: plain; "": encrypted, and how is not known */
	const char *tls_cipher;
	bool early_talker;              /* spoke before the banner */
	const char *listener;           /* name of the listener that it came to; NULL: none (a test, a command) */
	bool relay;                     /* one of ours: by relay_networks or by AUTH. May send to any domain; checks for strangers do not apply */
	bool fetches;                   /* fetches from the mail server behind what others have sent: one of ours (relay is true), the message is not */
	const struct client *via;       /* the trusted relay that has brought the message; NULL: the client has connected itself */
	enum boundary boundary;         /* PENDING, NONE: addr has no family, ip is "" */
	char boundary_why[96];
	char *auth_user, *auth_mechanism;       /* who has authenticated, printable, and how; NULL: nobody */
	struct evidence evidence;       /* of filters whose scope is the connection */
};

struct recipient {
	char *address;                  /* as given, without <>; "postmaster" may be bare */
	char *params;                   /* ESMTP parameters to pass on (NOTIFY, ORCPT), "" if none */
	char *domain;                   /* lower-case, "" if bare */
	bool local;                     /* in the site's accepted domains */
	bool rewritten;                 /* came as a return path of ours (policy/srs.h): address and domain are those that it stands for */
	const char *direction;          /* a word of the fact; NULL: not known here */
};

struct envelope {
	char *from;                     /* without <>; "" for the null sender; NULL before MAIL */
	char *from_domain;              /* lower-case, "" for the null sender */
	char *params;                   /* to pass on: BODY=, SMTPUTF8, RET=, ENVID= */
	uint64_t size_declared;         /* SIZE=, 0 if none */
	struct recipient *rcpt;         /* those that were answered 250 */
	size_t rcpt_count;
};

struct txn {
	const struct site *site;
	struct dns *dns;
	struct state *state;            /* policy/state.h: greylist and the like; may be NULL */
	struct daemons *daemons;        /* filters/daemon.h: who else can be asked; may be NULL */
	struct milters *milters;        /* mail filters of this session; NULL: none */
	struct client *client;
	struct envelope env;
	struct message *message;        /* NULL before DATA */
	bool cleaned;                   /* it is a copy in which nothing pretends to be ours */
	bool seal_away;                 /* the key of the site's seal did not answer for this message */
	enum stage stage;               /* how far the session is */
	struct evidence evidence;       /* of filters whose scope is the transaction */
	uint32_t wanted;                /* bit i: some rule or header may ask for filter i (filters_start) */
	char id[24];                    /* in logs, headers and replies */
	unsigned rates_counted, rates_over;     /* policy/rate.h: bit i for the site's rate i */
	/* Of clock_ms(), 0 before the end of the message: until when it is answered whatever comes, and until when checks may wait for others. */
	int64_t answer_by_ms, checked_by_ms;
};

/*
 * The message is complete, and its client waits for one answer (RFC 5321 4.5.3.2.6: 10 minutes): all that is waited for from now on has budget_ms together.
 * Checks leave a quarter of it to the servers behind. 0: no limit.
 */
void txn_limit(struct txn *t, int64_t now_ms, int budget_ms);

/* The nearer of two moments, of which 0 is none. */
static inline int64_t txn_nearer(int64_t limit_ms, int64_t at_ms)
{
	return limit_ms && (!at_ms || limit_ms < at_ms) ? limit_ms : at_ms;
}

/* The address that stands for a client where something is counted or remembered: its own, or, where that is not known, the trusted relay's. */
static inline const struct net_addr *client_counted(const struct client *c)
{
	return c->addr.family || !c->via ? &c->addr : &c->via->addr;
}

void client_release(struct client *c);          /* zeroed is fine */
void txn_init(struct txn *t, const struct site *site, struct dns *dns, struct client *c);
void txn_release(struct txn *t);

#endif
