/*
 * smtp_auth - AUTH, RFC 4954: passed through to a backend
 *
 * A session with a backend of the listener is opened for this client alone, and the dialogue goes through it step by step, bounded in steps,
 * bytes and time. When the backend says 235, the session stays the client's (auth_hop.h). Before a password is looked at, the client's network
 * is asked about (policy/login_guard.h). Neither side of the dialogue is logged or kept; the user's name is (base/sasl.h).
 */
#ifndef SMTP_AUTH_H
#define SMTP_AUTH_H

#include <stdbool.h>

struct buf;
struct smtp_command;
struct smtp_session;

/* The mechanisms that this client is offered now, base/sasl.h: what the site allows and all backends offer; 0: none, or it has logged in. */
unsigned smtp_auth_mechanisms(const struct smtp_session *s);
/* The lines of the EHLO reply: "250-AUTH PLAIN LOGIN\r\n". */
void smtp_auth_offer(const struct smtp_session *s, struct buf *out);

/* Whether a password may come: the stream's memory is secret, command lines are longer. */
bool smtp_auth_expected(const struct smtp_session *s);

/* Who submits logs in first: the reply to MAIL, or NULL: it may go on. */
const char *smtp_auth_required(const struct smtp_session *s);

int smtp_do_auth(struct smtp_session *s, struct smtp_command *c);

/* The login is forgotten: STARTTLS, or the end of the session. */
void smtp_auth_forget(struct smtp_session *s);

#endif
