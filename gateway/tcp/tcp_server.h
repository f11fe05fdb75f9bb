/*
 * tcp_server - listeners with protocol = tcp: connections of any other protocol, passed through as they are
 *
 * What the connections of one worker share is a struct tcp_service; each connection is a task that finds a backend and pumps until both sides
 * have ended, and one log line when it has:
 *
 *     event=tcp sid=5f3c... listener=web client=192.0.2.7 port=51234 backend=owa address=10.0.0.5:443 in=812 out=40233 ms=1204 end=closed
 *
 * in: bytes from the client. Clients beyond the limits are turned away: closed without a word, since no word is right in every protocol.
 */
#ifndef TCP_SERVER_H
#define TCP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/net.h"
#include "policy/conf.h"
#include "tcp/tcp_listener.h"

struct destination_shared;
struct dns;
struct limit_service;
struct socket_source;
struct tcp_session;

struct tcp_service {
	const struct site *site;
	struct dns *dns;
	int self;                       /* this worker's slot in places */
	struct socket_source *sockets;  /* transparent ones */
	struct destination_shared *destinations;
	const struct limit_service *limits;     /* NULL: clients are not counted */
	struct tcp_backends *backends;  /* all of the site */
	struct tcp_listener *listener;  /* one for each of site->listener */
	int sessions;                   /* now */
	struct tcp_session *first;      /* they */
	bool draining;
};

/* site, dns, self and backends are given; each listener's places is set afterwards. 0 or -ENOMEM (release it then, too). */
int tcp_service_init(struct tcp_service *svc);
void tcp_service_release(struct tcp_service *svc);

/* Those on which nothing moves, or which have no backend yet, end now; the others when nothing moves any more. */
void tcp_service_drain(struct tcp_service *svc);

/* Take over a connection; never waits. */
void tcp_server_accept(struct tcp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer);

#endif
