/*
 * pop3_auth - logins: USER and PASS, APOP (RFC 1939), AUTH (RFC 5034), passed through to the server
 *
 * Before the line on which the server decides goes there, the client's network is asked about (login/login_attempt.h). Where users are routed, USER is answered
 * here and the first line of a mechanism waited for, until it is known whose server it is. Passwords are neither kept nor logged.
 */
#ifndef POP3_AUTH_H
#define POP3_AUTH_H

#include "pop3/pop3_command.h"

struct pop3_session;

/* The mechanisms that may pass here and now, base/sasl.h. */
unsigned pop3_auth_mechanisms(const struct pop3_session *p);

/* Each as pop3_session.h says; p->in is set by a login. may wait */
int pop3_auth_user(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len);
int pop3_auth_pass(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len);
int pop3_auth_apop(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len);
int pop3_auth_sasl(struct pop3_session *p, const struct pop3_command *c);

/* What was said before is forgotten: TLS, or the end. */
void pop3_auth_forget(struct pop3_session *p);

#endif
