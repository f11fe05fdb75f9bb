/*
 * end - the test's end of a wire: what it says and hears, in clear or under TLS, and in which pieces it arrives
 *
 * Nothing here waits: the rig (rig.h) takes what has come and delivers what is to go whenever the gateway has nothing to do.
 */
#ifndef RIG_END_H
#define RIG_END_H

#include "base/buf.h"
#include "rig/kernel.h"

struct ssl_ctx_st;
struct ssl_st;
struct bio_st;

/* How octets arrive: after `split` octets the rest is a read of its own; each at most so many octets long. 0: as they were said. */
struct pace {
	uint64_t split;
	size_t each;
};

struct end {
	struct wire *w;                 /* NULL: it has left, or there was none */
	struct buf heard;               /* what the gateway has said, TLS taken off */
	struct buf unsent;              /* octets that are still to arrive */
	uint64_t delivered;             /* octets that have arrived */
	struct pace pace;
	bool over;                      /* the gateway has ended its side */
	enum { END_STAYS, END_FIN, END_RST, END_CLOSE } then;   /* when all has arrived */
	bool up, broken, notified;      /* TLS: the handshake is done; it failed; the gateway has said close_notify */
	bool shut;                      /* we have: what is said from now on is said in clear */
	/* Told of what was said in clear, when it has arrived, or NULL. */
	void (*arrived)(void *arg, const char *p, size_t len);
	void *arg;
	/* private: */
	size_t clear;                   /* octets of unsent that were said before TLS */
	struct ssl_st *ssl;
	struct bio_st *in, *out;
	struct buf later;               /* to be said when the handshake is done */
	struct buf mark;                /* octets behind which a piece ends (uint64_t each) */
};

void end_begin(struct end *e, struct wire *w);
void end_release(struct end *e);        /* the wire is left, if it was not; zeroed is fine */

void end_say(struct end *e, const void *p, size_t len);
void end_says(struct end *e, const char *text);
void end_piece(struct end *e);          /* what has been said arrives before what follows */
/* TLS from here on, after what was said. */
void end_tls(struct end *e, struct ssl_ctx_st *ctx, bool server);
void end_shut(struct end *e);           /* close_notify, if TLS is up */

/* What has come. Whether there was anything. */
bool end_take(struct end *e);
/* The next piece arrives, or the end after the last. Whether there was anything. */
bool end_deliver(struct end *e);

/* For both sides of tests: certificates are not looked at; the server has one of its own. The process's, never freed. */
struct ssl_ctx_st *end_client_ctx(void);
struct ssl_ctx_st *end_server_ctx(void);
const char *end_certificate(void);      /* and its key, as PEM: for the gateway, too */
const char *end_key(void);

#endif
