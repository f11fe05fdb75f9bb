/*
 * outbound - what a worker knows of the servers that mail goes out to: idle sessions, how many there are, who does not answer
 *
 * A destination has a name: the text of its route ("mx example.net", "upstream"). Whoever needs a session there first takes a place, of which there
 * are max_sessions; then an idle session, or opens one of its own (mx_hop.c does). Idle sessions are kept for reuse_idle_ms and get an
 * RSET before the next use. An address that did not answer is benched: nobody here tries it for a while.
 *
 * Sessions carry no client's identity: who waits for a place gets the next one, whoever he is.
 */
#ifndef OUTBOUND_H
#define OUTBOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/net.h"
#include "hop/next_hop.h"
#include "hop/smtp_client.h"

struct dns;
struct outbound;
struct outbound_place;
struct outbound_tls;
struct outbound_tls_demand;
struct site;
struct state;

enum { OUTBOUND_IDLE_MAX = 256, OUTBOUND_BENCH_MAX = 512 };

struct outbound_session {
	struct smtp_client *client;
	struct smtp_client_conf conf;   /* of client */
	struct outbound_tls_demand *tls;        /* what it has to be; conf points into it. Freed with the session */
	char name[NEXT_HOP_NAME_MAX];   /* "mx.example.net[192.0.2.1]" */
	int messages;                   /* transactions that it has carried */
	/* private: */
	int64_t idle_since_ms;
	struct outbound_session *next;
};

/* 0; -errno with err. All outlive it. Before confinement: the CA certificates are read. */
int outbound_new(const struct site *site, struct dns *dns, struct state *state, struct outbound **out, struct buf *err);
/* Idle sessions are closed; it frees itself when the last place has been left. NULL is fine. */
void outbound_free(struct outbound *o);

const struct site *outbound_site(const struct outbound *o);
struct dns *outbound_dns(const struct outbound *o);
struct outbound_tls *outbound_tls(const struct outbound *o);    /* hop/outbound_tls.h */

/* A place among the sessions with that destination. 0; -EBUSY: none is free, for a bounded wait; -ETIMEDOUT, -ECANCELED, -ENOMEM. may wait */
int outbound_enter(struct outbound *o, const char *destination, int64_t deadline_ms, struct outbound_place **out);

/* An idle session of that destination, ready for MAIL; NULL: there is none. may wait */
struct outbound_session *outbound_idle(struct outbound_place *p, int64_t deadline_ms);

/* The place is free again. s: the session that was used there, kept for the next if `keep`, or NULL. Never waits. */
void outbound_leave(struct outbound_place *p, struct outbound_session *s, bool keep);

/* A session is no more: closed at once. */
void outbound_session_free(struct outbound_session *s);

/* An address did not answer, and why; ms: for how long it is left alone; code: what recipients hear meanwhile ("4.4.1"), a literal. One line in the log. */
void outbound_bench(struct outbound *o, const struct net_addr *a, const char *host, int ms, const char *code, const char *why);
/* It has answered. */
void outbound_unbench(struct outbound *o, const struct net_addr *a);
/* Why it is left alone now, and the code, or NULL: it is not. */
const char *outbound_benched(const struct outbound *o, const struct net_addr *a, const char **code);

#endif
