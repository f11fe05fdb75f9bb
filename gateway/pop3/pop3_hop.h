/*
 * pop3_hop - the server's leg of a POP3 session: its greeting, STLS, and its answers
 *
 * One command, one answer: what a server says unasked ends the session. An answer that is none does, too.
 */
#ifndef POP3_HOP_H
#define POP3_HOP_H

#include <stddef.h>

#include "base/buf.h"
#include "pop3/pop3_reply.h"

struct pop3_session;

enum {
	POP3_LIST_MAX = 32 * 1024,      /* of CAPA, AUTH, LANG */
	POP3_HOP_REFUSED = 1,
};

/*
 * Connect to the user's server (NULL: nobody knows whose yet), read its greeting into p->greeting, begin TLS where that is wanted, tell it of the client where
 * it takes that. 0; POP3_HOP_REFUSED: its greeting is -ERR; or -errno, with p->why. may wait
 */
int pop3_hop_open(struct pop3_session *p, const char *user);

/*
 * Say a line (without its end), in pieces: strings, the last one NULL. Nothing may have come unasked. The second one of octets, as they are: a line
 * that has been checked. 0 or -errno, with p->why. may wait
 */
int pop3_hop_say(struct pop3_session *p, const char *first, ...) __attribute__((sentinel));
int pop3_hop_send(struct pop3_session *p, const char *line, size_t len);

/*
 * Its next octets are waited for, for timeout_ms, and after the login not longer than idle_timeout; when we stop, and when the client has left, only for
 * moments. 0; -ETIMEDOUT; -ECANCELED; -EPIPE. may wait
 */
int pop3_hop_await(struct pop3_session *p, int timeout_ms);

/* Its answer, good until the next is read. -EPROTO: it is none. may wait */
int pop3_hop_read(struct pop3_session *p, struct pop3_reply *r);
/* The same to a command, without its end; and to a line of octets. may wait */
int pop3_hop_ask(struct pop3_session *p, const char *command, struct pop3_reply *r);
int pop3_hop_exchange(struct pop3_session *p, const char *line, size_t len, struct pop3_reply *r);

/* The lines behind a +OK, up to the dot, which is not among them. may wait */
int pop3_hop_lines(struct pop3_session *p, struct buf *out);

#endif
