/*
 * tcp_worker - listeners with protocol = tcp as a worker runs them: the service of tcp_server.h
 */
#ifndef TCP_WORKER_H
#define TCP_WORKER_H

#include "policy/conf.h"

struct tcp_listener;
struct worker;
struct worker_protocol;

extern const struct worker_protocol tcp_worker;

/* Their max_connections hold over all workers. listener: of tcp_listeners_new for that protocol. */
void tcp_worker_share(const struct worker *w, enum listener_protocol protocol, struct tcp_listener *listener);

#endif
