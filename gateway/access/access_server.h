/*
 * access_server - listeners with protocol = pop3 and imap: users who fetch their mail
 *
 * What the connections of one worker share is a struct access_service, one for each of the two protocols; each connection is a task. It meets the client
 * (PROXY, limits, TLS from the first octet), hands it to the protocol (access_session.h), and writes one line when it is over:
 *
 *     event=imap sid=5f3c... listener=imaps client=192.0.2.7 port=51234 tls=TLSv1.3 backend=store address=10.0.0.5:143 backend_tls=TLSv1.3
 *     user=alice in=812 out=40233 ms=1204 end=closed
 *
 * in: bytes from the client, since the login. Clients beyond the limits hear the protocol's own word for it.
 */
#ifndef ACCESS_SERVER_H
#define ACCESS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "base/net.h"
#include "policy/conf.h"
#include "tcp/tcp_listener.h"

struct access_protocol;
struct access_servers;
struct access_session;
struct destination_shared;
struct dns;
struct limit_service;
struct login_service;
struct retrieval;
struct socket_source;
struct ssl_ctx_st;

LIST_HEAD(access_sessions, access_session);

struct access_service {
	const struct access_protocol *protocol;
	const struct site *site;
	struct dns *dns;
	struct login_service *login;    /* how logins are guarded and logged; of all protocols of the worker */
	const struct limit_service *limits;     /* NULL: clients are not counted */
	struct retrieval *retrieval;    /* of listeners with scan = yes; NULL: there are none */
	int self;                       /* this worker's slot in places */
	struct socket_source *sockets;  /* transparent ones */
	struct destination_shared *destinations;
	struct tcp_backends *backends;  /* all of the site */
	struct access_servers *servers; /* how they are spoken to, access_backend.h */
	struct ssl_ctx_st *tls;         /* towards clients; NULL: none is offered */
	struct tcp_listener *listener;  /* one for each of site->listener */
	int sessions;                   /* now */
	struct access_sessions all;     /* they */
	bool retired;                   /* another generation has come, with a policy that may be another */
	bool draining;
};

/* The first members up to tls are given; each listener's places is set afterwards. 0 or -ENOMEM (release it then, too). */
int access_service_init(struct access_service *svc);
void access_service_release(struct access_service *svc);

/* Those on which nothing moves, or which have not logged in yet, end now; the others when nothing moves any more. */
void access_service_drain(struct access_service *svc);

/* Take over a connection; never waits. */
void access_server_accept(struct access_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer);

/* A client that is turned away is told so in one write, where it would understand it; the caller closes. */
void access_say_busy(const struct access_protocol *protocol, const struct listener_conf *l, int fd);

#endif
