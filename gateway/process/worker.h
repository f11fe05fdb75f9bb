/*
 * worker - a process that talks to the network
 *
 * One thread, one loop, one task per session. It accepts from the listening sockets that all
 * workers share, and hands each connection to the protocol of its listener. It opens no path once
 * it is confined: it has a resolver, and channels to the keepers and the key process, which the parent
 * wires anew when one has died.
 *
 * It ends when the parent says drain: it stops accepting; when the parent's patience ends (at once
 * for a stop, late for a reload, which is to disturb nobody) the protocols let their sessions come
 * to an end; at the deadline what is left is cut.
 */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "limit/limit.h"
#include "login/login_attempt.h"
#include "policy/conf.h"
#include "policy/history_channel.h"
#include "policy/state_channel.h"
#include "policy/spool.h"
#include "policy/store_channel.h"
#include "process/channel.h"
#include "process/confine.h"
#include "process/daemon_sockets.h"
#include "process/directory_client.h"
#include "process/key_client.h"
#include "process/shared.h"
#include "process/socket_stock.h"

struct dns;
struct load;
struct dns_unbound;
struct event;
struct tcp_backends;
struct daemon_pool;
struct worker;

/*
 * What a worker does with connections of one protocol. open: before confinement, may read files;
 * *service is handed to the others. start: in the confined worker, on the loop, the channels are
 * there (or come soon). accept: takes fd over, never waits. busy: says so to who is turned away, in one write. retire: this process will end, nothing is
 * begun that no client asks for. drain: no new transactions, idle sessions end. sessions: how many there are. close: at the end. A NULL member: nothing to do.
 */
struct worker_protocol {
	enum listener_protocol protocol;
	int (*open)(struct worker *w, void **service, struct buf *err);
	int (*start)(void *service);
	void (*accept)(void *service, const struct listener_conf *l, int fd,
		       const struct net_addr *peer);
	void (*busy)(const struct listener_conf *l, int fd);
	void (*retire)(void *service);
	void (*drain)(void *service);
	int (*sessions)(const void *service);
	void (*close)(void *service);
};

enum { WORKER_PROTOCOLS_MAX = 4 };

struct worker_env {
	const struct site *site;
	struct shared *shared;
	int slot, number;               /* in shared; among the workers of its generation, from 1 */
	unsigned generation;
	int control_fd;                 /* to the parent */
	const int *listen_fd;           /* one for each of site->listener */
	const struct worker_protocol *const *protocols;         /* NULL last */
	struct confine confine;
	const char *root;               /* of the confined worker: an empty directory */
	pid_t parent;
};

struct worker {
	const struct worker_env *env;
	const struct site *site;
	struct dns *dns;
	struct state *state;
	struct store *store;
	struct history_channel history;
	struct spool spool;
	struct login_service login;
	struct limit_service limits;
	struct socket_stock sockets;
	struct daemon_sockets daemon_sockets;
	struct daemon_pool *daemons;    /* beside us, that filters ask */
	struct load *load;              /* who is turned away, base/load.h */
	struct key_client keys;         /* who has the private keys */
	struct directory_client directory;
	struct tcp_backends *backends;  /* of protocols that are passed on; all of the site */
	/* private: */
	struct dns_unbound *unbound;
	struct channel parent, state_channel, store_channel, history_channel, spool_channel;
	struct state_channel state_client;
	struct state_redis *redis;      /* the state instead, where the site has it */
	struct store_channel store_client;
	void *service[WORKER_PROTOCOLS_MAX];
	int accept_epoll, spare_fd;
	struct event *accept_event, *tick;
	bool draining;
	bool hurried;                   /* the protocols have been told */
	int64_t hurry_ms, drain_deadline_ms;
	int status;
};

/* The whole life of a worker process; returns its exit status. */
int worker_run(const struct worker_env *env);

#endif
