/*
 * destination_hop - inline: the server that the client wanted to connect to, reached from the client's own address
 *
 * The server sees the client: its address (with a port of ours) and its HELO. Such a session is the client's alone: it is never used for another one.
 * Where the destination is one of the servers behind us, it is spoken to as its settings say, and the session counts among its max_sessions; any
 * other is spoken to in the time that outbound mail has, with TLS as outbound_tls.h says (where it is one of the recipients' domain's MX hosts, as that
 * domain wants it; else as the configuration says).
 *
 * The server's answers must come back through us. When its SYN-ACK never does, and it answers our own address, its route leads
 * elsewhere: that is said in the log, once in ten minutes, with the route that it needs; the client hears 451.
 */
#ifndef DESTINATION_HOP_H
#define DESTINATION_HOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/net.h"
#include "filters/domain.h"
#include "hop/next_hop.h"

struct backend_group;
struct backend_session;
struct destination_session;
struct outbound;
struct site;
struct socket_source;
struct ssl_ctx_st;
struct stream;

/* Counted over all workers, in memory that they share. */
struct destination_shared {
	_Atomic uint64_t unreturned;    /* connections whose answer went elsewhere */
	_Atomic int64_t said_ms;        /* when that was last logged */
};

/*
 * A session that is opened before there is mail for it, because the client wants TLS with a certificate like the destination's own. The next hop that
 * needs a session takes it; those that come later have to be as it was: under TLS, and of the same names where these were verified.
 */
struct destination_ahead {
	struct destination_session *session;    /* NULL: taken */
	bool tls, trusted;
	char sni[DOMAIN_MAX];                   /* what was asked for; "": nothing */
	unsigned char names[32];                /* tls_names_digest of its certificate */
};

/* A connection that was made before there is mail for it: who needs the first one has it. */
struct destination_line {
	struct stream *stream;                  /* NULL: taken */
	int64_t since_ms;
};

/* Who wants to go where; what is pointed to outlives the hop and its sessions. */
struct destination {
	const struct site *site;
	struct backend_group *group;            /* among which the destination is looked for */
	struct socket_source *sockets;
	struct destination_shared *shared;
	struct ssl_ctx_st *tls;                 /* for destinations that are no backends */
	struct net_addr client, to;
	bool implicit;                          /* TLS from the first octet, as the client's */
	const char *helo;                       /* the client's; copied */
	struct outbound *outbound;              /* whose TLS policy counts; NULL: opportunistic TLS with any certificate */
	const char *domain;                     /* of the recipients; NULL or "": not known. Copied */
	struct destination_ahead *ahead;        /* NULL: there is none */
	struct destination_line *line;          /* NULL: there is none */
};

/* NULL: no memory. */
struct next_hop *destination_hop_new(const struct destination *d);

/* The connection alone. 0 and *out; -ELOOP: that is ourselves; -ENOTCONN: its answer goes elsewhere (counted, logged); or as stream_connect. may wait */
int destination_connect(const struct destination *d, int timeout_ms, struct stream **out);
/* Its error in words for the log. */
const char *destination_error(int rc);

/*
 * A session with the backend that the destination is, for this client alone (backend_give closes it). 0; -ENOENT: it is none; else as
 * smtp_client_open_told, with why and refusal (SMTP_WHY_MAX each). may wait
 */
int destination_backend(const struct destination *d, int64_t deadline_ms, struct backend_session **out, char *why, char *refusal);

/* A session without TLS, EHLO said. 0 and *out, or -errno and why (SMTP_WHY_MAX). may wait */
int destination_open_plain(const struct destination *d, int64_t deadline_ms, struct destination_session **out, char *why);
struct smtp_client *destination_client(struct destination_session *s);
/* The handshake after smtp_client_starttls_begin has got its 220, with any certificate; sni NULL: nobody is asked for. may wait */
int destination_starttls(struct destination_session *s, const char *sni, int64_t deadline_ms, char *why);
/* It ends: QUIT in a task of its own, where there is still somebody to say it to. NULL is fine. */
void destination_end(struct destination_session *s);

/* What a client may be offered before the destination has been asked. */
struct smtp_caps;
void destination_caps(struct backend_group *g, const struct net_addr *to, struct smtp_caps *out);

#endif
