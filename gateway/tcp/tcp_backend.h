/*
 * tcp_backend - the servers behind a listener with protocol = tcp
 *
 * They are tried by priority, those of equal priority by turns. One that does not take a connection is away, for 1 second, 2, 4, up to its
 * probe_interval: meanwhile it is tried only when no other is left. Nobody is probed: clients' own connections show who is well. Each change is a
 * log line. max_sessions holds over all workers.
 */
#ifndef TCP_BACKEND_H
#define TCP_BACKEND_H

#include "base/auto.h"
#include "base/host.h"
#include "base/proxy_header.h"
#include "policy/conf.h"

struct dns;
struct places;
struct stream;
struct tcp_backends;

/* Those of listener l, which names them. NULL: no memory. site and dns outlive it. */
struct tcp_backends *tcp_backends_new(const struct site *site, const struct listener_conf *l, struct dns *dns);
void tcp_backends_free(struct tcp_backends *b);         /* all links have been released */

size_t tcp_backends_count(const struct tcp_backends *b);
const char *tcp_backends_name(const struct tcp_backends *b, size_t i);
/* Where member i counts its connections, in slot self. Default: for itself. */
void tcp_backends_share(struct tcp_backends *b, size_t i, struct places *places, int self);

/* A connection with one of them. */
struct tcp_link {
	struct stream *stream;
	struct tcp_backend *backend;
	const char *name;               /* the backend's */
	char address[NET_TEXT_MAX];     /* "10.0.0.5:80" */
};

/*
 * Connect to the first that takes it, and send it the PROXY header where it wants one: h is what it says. 0; -EBUSY: all that are well are full;
 * -ECANCELED; -EHOSTUNREACH: none takes it; why says the last reason (HOST_WHY_MAX). may wait
 */
int tcp_backends_connect(struct tcp_backends *b, const struct proxy_header *h, struct tcp_link *out, char *why);
void tcp_link_release(struct tcp_link *link);           /* zeroed is fine */

#endif
