/*
 * smtp_server - the gateway's side towards SMTP clients, RFC 5321
 *
 * What the sessions of one worker share is a struct smtp_service; each connection is a task of its own
 * that runs the dialogue (smtp_session.h) until it ends.
 */
#ifndef SMTP_SERVER_H
#define SMTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/net.h"
#include "base/task.h"
#include "policy/conf.h"
#include "policy/ledger.h"

struct backend_domains;
struct backend_group;
struct daemons;
struct dns;
struct history_channel;
struct destination_shared;
struct outbound;
struct socket_source;
struct ssl_ctx_st;
struct recent;
struct recipient_check;
struct rua_run;
struct state;
struct store;
struct tls_mint;
struct limit_service;
struct load;
struct load_shared;
struct login_service;
struct smtp_session;
struct spool;

struct smtp_service {
	const struct site *site;
	struct dns *dns;
	struct state *state;
	struct store *store;
	struct daemons *daemons;                /* that filters may ask; or NULL */
	struct history_channel *history;        /* or NULL */
	struct backend_group *group;            /* of mail that comes through no listener, or one without backends of its own */
	struct backend_group **listener_group;  /* of each of site->listener; group again, or one of its own */
	struct backend_domains *domains;        /* of sections domain; NULL: there are none */
	struct socket_source *sockets;          /* transparent ones; NULL: there are none */
	struct destination_shared *destinations;        /* counters of destination_hop.h, or NULL */
	struct outbound *outbound;              /* of mail that goes out to other domains */
	struct recipient_check *recipients;
	struct ssl_ctx_st *tls_any;             /* inline: of destinations that are no backends; their certificate is not looked at */
	struct tls_mint *mint;                  /* the site's own CA, for listeners with tls = own-ca; NULL: there is none */
	struct ssl_ctx_st *tls;                 /* NULL: STARTTLS is not offered */
	uint32_t needed;                        /* judge_filters() */
	const struct limit_service *limits;     /* how clients are counted; NULL: they are not */
	struct login_service *login;            /* how logins are guarded and logged */
	struct load *load;                      /* NULL: nobody is turned away for it */
	struct load_shared *load_shared;
	struct ledger ledger;                   /* until_s is given: memory that all workers share */
	struct recent *recent;                  /* what the state was told lately */
	int sessions;                           /* now */
	struct smtp_session *first;             /* they */
	struct spool *spool;                    /* what is still to be delivered; NULL: this process has none */
	struct task *spool_task, *spool_waker;  /* spool_run.h */
	unsigned spool_ups;                     /* how often a backend has come back */
	struct gate spool_gate;
	int spool_busy;                         /* parts of it that are being delivered */
	struct rua_run *rua;                    /* sends aggregate reports; NULL: this process does not */
	bool draining;                          /* no further transactions: 421 */
};

/* tls may be NULL. 0 or -ENOMEM. svc->needed and the ledger are filled in. */
int smtp_service_init(struct smtp_service *svc);
void smtp_service_release(struct smtp_service *svc);

/* No new transactions: who waits between transactions is told 421, the others end by themselves (svc->sessions becomes 0). */
void smtp_service_drain(struct smtp_service *svc);

/*
 * Take over a connection; it runs in a task of its own until it ends. peer is the client. When there are too many (site limits, or
 * no task can be had) the client hears 421 and the connection is closed.
 */
void smtp_server_accept(struct smtp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer);
/* The 421 alone, in one write; the caller closes. */
void smtp_server_busy(const struct listener_conf *l, int fd);

#endif
