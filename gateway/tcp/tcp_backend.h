/*
 * tcp_backend - the servers behind listeners with protocol = tcp, pop3 and imap
 *
 * A worker has one struct tcp_backends with all servers of the site; each listener, name or user is served by some of them, a tcp_set. They are tried
 * by priority, those of equal priority by turns. One that does not take a connection is away, for 1 second, 2, 4, up to its probe_interval: meanwhile
 * it is tried only when no other of the set is left. Nobody is probed: clients' own connections show who is well. Each change is one log line,
 * whatever sets the server is in. max_sessions holds over all workers.
 */
#ifndef TCP_BACKEND_H
#define TCP_BACKEND_H

#include <stdint.h>

#include "base/auto.h"
#include "base/health.h"
#include "base/host.h"
#include "base/proxy_header.h"
#include "policy/conf.h"

struct dns;
struct places;
struct stream;
struct tls_weak;
struct tcp_backends;

enum { TCP_BACKENDS_MAX = 64 };         /* as many as a site can have (process/shared.h) */

/* Bit i: site->backend[i]. */
typedef uint64_t tcp_set;

tcp_set tcp_set_of_listener(const struct site *site, const struct listener_conf *l);
tcp_set tcp_set_of_protocol(const struct site *site, enum listener_protocol protocol);
tcp_set tcp_set_of_names(const struct site *site, char *const *names, size_t count);

/* NULL: no memory. site and dns outlive it. */
struct tcp_backends *tcp_backends_new(const struct site *site, struct dns *dns);
void tcp_backends_free(struct tcp_backends *b);         /* all links have been released */
AUTO_DEFINE(tcp_backends)

/* Where site->backend[i] counts its connections, in slot self, remembers what came of TLS, and says how it is (NULL: nowhere). Default: for itself. */
void tcp_backends_share(struct tcp_backends *b, size_t i, struct places *places, struct tls_weak *weak, health_place *health, int self);

/* A connection with one of them. */
struct tcp_link {
	struct stream *stream;
	struct tcp_backend *backend;            /* whose place it holds; NULL: none of ours */
	const struct backend_conf *conf;        /* its; or NULL */
	const char *name;                       /* the backend's */
	char address[NET_TEXT_MAX];             /* "10.0.0.5:80" */
};

struct tcp_want {
	tcp_set among;
	const struct proxy_header *header;      /* told to those with proxy = v1 or v2 */
	/*
	 * What has to succeed on a connection before it counts as made, when the header has been said; or NULL. 0, or -errno with the reason in
	 * why (HOST_WHY_MAX): then the next address, the next server is tried. may wait
	 */
	int (*prepare)(void *arg, const struct backend_conf *conf, struct stream *s, char *why);
	/* Whether a connection alone does not show that a server is well: somebody says so later (tcp_link_up, tcp_link_away); NULL: no. */
	bool (*unproven)(void *arg, const struct backend_conf *conf);
	void *arg;
};

/*
 * Connect to the first that takes it. 0; -EBUSY: all that are well are full; -ECANCELED; -EHOSTUNREACH: none takes it; why says the last reason
 * (HOST_WHY_MAX). may wait
 */
int tcp_backends_connect(struct tcp_backends *b, const struct tcp_want *w, struct tcp_link *out, char *why);

/* A server that was connected to turns out to be well, or not to be of use. */
void tcp_link_up(struct tcp_link *link);
void tcp_link_away(struct tcp_link *link, const char *why);

/* The one among these that has this address, of several the one with this port first; -1: none. Names are looked up. may wait */
int tcp_backends_at(struct tcp_backends *b, tcp_set among, const struct net_addr *a);
/* A place with it for a connection that is made elsewhere; link has its name. false: all are taken. */
bool tcp_backends_enter(struct tcp_backends *b, size_t i, struct tcp_link *link);

/* What is remembered of opportunistic TLS with it; NULL: it is none of ours. */
struct tls_weak *tcp_link_weak(const struct tcp_link *link);

/* The stream is closed, the place is free; zeroed is fine. */
void tcp_link_release(struct tcp_link *link);

#endif
