/*
 * tcp_listener - what a worker keeps of each listener whose connections pass through: protocol = tcp, pop3, imap
 *
 * An array with one entry for each of site->listener; those of another protocol stay empty.
 */
#ifndef TCP_LISTENER_H
#define TCP_LISTENER_H

#include "policy/conf.h"
#include "tcp/tcp_backend.h"

struct places;

struct tcp_listener {
	tcp_set backends;
	unsigned what;                  /* its connections as limit_seat_take() counts them, for max_per_client; set afterwards */
	struct places *places;          /* of max_connections, in memory that all workers share; set afterwards */
};

/* 0 or -ENOMEM. */
int tcp_listeners_new(const struct site *site, enum listener_protocol protocol, struct tcp_listener **out);
void tcp_listeners_free(struct tcp_listener *l, const struct site *site);       /* NULL is fine */

#endif
