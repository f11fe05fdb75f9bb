/*
 * tcp_worker - listeners with protocol = tcp as a worker runs them: the service of tcp_server.h
 */
#ifndef TCP_WORKER_H
#define TCP_WORKER_H

struct worker_protocol;

extern const struct worker_protocol tcp_worker;

#endif
