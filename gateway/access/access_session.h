/*
 * access_session - one connection of a user who fetches mail, and the server behind it: what POP3 and IMAP have in common
 *
 * The server is connected before the client is greeted, since its greeting is the one that the client gets. Until the login every line passes
 * through the protocol's dialogue; from then on bytes flow (access_pump), or are read on the way (scan = yes).
 */
#ifndef ACCESS_SESSION_H
#define ACCESS_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "access/access_server.h"
#include "base/connection.h"
#include "base/net.h"
#include "base/proxy_header.h"
#include "base/pump.h"
#include "base/sasl.h"
#include "base/tls.h"
#include "limit/limit.h"
#include "tcp/tcp_backend.h"

struct backend_conf;
struct stream;
struct task;

enum { ACCESS_ERRORS_MAX = 10 };                /* before the login; then the session is over */

/* The server's leg. */
struct access_backend {
	const struct backend_conf *conf;        /* NULL: inline, a server that is none of ours */
	struct stream *stream;                  /* NULL: not connected */
	enum tls_mode tls;                      /* what it is to be */
	bool implicit;                          /* from the first octet */
	bool direct;                            /* inline: where the client wanted to go, from the client's own address */
	bool tls_failed;                        /* opportunistic: it is in clear since a handshake failed, */
	bool tls_skipped;                       /* a while ago, in another session */
	struct tcp_link link;                   /* owns the stream; its name and address are for the log */
};

struct access_session {
	struct access_service *svc;
	const struct listener_conf *conf;
	struct tcp_listener *listener;
	char id[CONNECTION_ID_MAX];
	struct stream *client;                  /* the client's leg */
	struct net_addr peer, addr;             /* who has connected; who it is: told by a load balancer, or the same */
	struct net_addr local;                  /* where it has connected to */
	struct proxy_header header;             /* what a backend is told */
	struct limit_client limit;
	struct limit_seat seat;                 /* one of the client's */
	char *sni;                              /* whom the client asked for; NULL: nobody */
	struct access_backend backend;
	char *user;                             /* who has logged in, printable; NULL: nobody, or his name is not known */
	bool for_other;                         /* for somebody else's account (struct sasl_login) */
	int errors;                             /* commands that made no sense */
	int64_t begun_ms, login_until_ms;       /* the login is done by then */
	struct pump pump;
	bool midway;                            /* in an answer of a scan: when we stop, it is let finish */
	bool pumping;                           /* or will be, when its task has returned */
	const char *end;                        /* how it ended, for the log; NULL: it has not */
	char *why;                              /* or NULL */
	struct task *task;                      /* NULL while bytes flow: that needs none */
	/* Of a task that goes on after the login: it is told that we stop, and sees svc->draining for itself; NULL: it is cancelled. */
	void (*drain)(struct access_session *s, void *arg);
	void *drain_arg;
	LIST_ENTRY(access_session) list;
};

struct access_protocol {
	const char *name;                       /* of the event in the log: "imap" */
	enum listener_protocol protocol;
	const char *busy;                       /* to whom is turned away: a line with its end */
	/* From the server's greeting to the end of the session. may wait */
	void (*serve)(struct access_session *s);
};

/* What the line at the end says: end is a literal; why, copied, in words, or NULL. The first counts. */
void access_end(struct access_session *s, const char *end, const char *why);

/*
 * Whose mailboxes these are, by which verdicts on messages are kept; NULL: nobody knows. The same UID in two accounts is two messages: a verdict on
 * the one says nothing of the other.
 */
const char *access_account(const struct access_session *s);

/*
 * STARTTLS or STLS has been answered: the handshake with the client. What had been received before makes it fail (-EPROTO; it was said in clear, and perhaps by
 * somebody else: CVE-2011-0411). 0, or -errno, and the session is over. may wait
 */
int access_client_starttls(struct access_session *s);
bool access_client_may_starttls(const struct access_session *s);        /* it is offered, and has not been done */
/* No password may come on this leg: plaintext = refuse, and it is not encrypted. */
bool access_client_refuses_clear(const struct access_session *s);

/*
 * A command has come, before the login, of so many bytes; or one that makes no sense. Whether the client's network is within its limits, and the wait where it
 * is near, or where the session itself is near its end for its errors: 0; -EBUSY: it is not, the session is over (access_end is said), and the client is to be told; or -ECANCELED, -EPIPE. may wait
 */
int access_limit_command(struct access_session *s, size_t bytes);
void access_limit_error(struct access_session *s);

/* Until the login is over, what is said on this leg is wiped from memory, and login_until_ms holds. */
void access_login_on(const struct access_session *s, struct stream *leg);
void access_login_over(const struct access_session *s);
/*
 * The line that decides goes to the server: it has its time to answer, even if that of the client is over before. Else whoever guesses at the last moment
 * hears of a success, and what the server takes its time to refuse would be no failure.
 */
void access_login_decides(struct access_session *s);

/*
 * After the login: bytes flow until the end. Whoever serves says it last, and returns: it begins then, and the task's stack goes to another. What has been
 * written leaves now. may wait
 */
void access_pump(struct access_session *s);

#endif
