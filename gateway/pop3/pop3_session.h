/*
 * pop3_session - the dialogue of one POP3 client before its login: what the files of this room share
 *
 * It lives on the heap until the login, and is gone when bytes flow: an idle session costs what access_session.h costs.
 *
 * What a function here returns: 0, the session goes on; negative, it is over, and the client has been told what there is to tell.
 */
#ifndef POP3_SESSION_H
#define POP3_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "access/access_session.h"
#include "base/buf.h"
#include "base/host.h"
#include "login/login_attempt.h"
#include "pop3/pop3_command.h"
#include "pop3/pop3_reply.h"

struct pop3_session {
	struct access_session *s;
	struct buf greeting;            /* the server's line, as it came */
	bool clear_greeting;            /* it came in clear, and TLS that is required followed */
	bool xclient;                   /* the server takes XCLIENT from us */
	bool in;                        /* the login is done */
	char *user;                     /* what USER said, as it was said; NULL: nothing */
	size_t user_len;
	struct login_attempt attempt;
	struct sasl_login sasl;
	char why[HOST_WHY_MAX];         /* what went wrong on the server's leg */
};

/* One line to the client; text without its end. may wait */
int pop3_say(struct pop3_session *p, const char *text);
/* The same for a command that made no sense here; of too many, the session ends. may wait */
int pop3_refuse(struct pop3_session *p, const char *text);
/* The server's CAPA or AUTH (alone), adjusted. may wait */
int pop3_list(struct pop3_session *p, const char *command);
/* Nothing more can be had from the server: the client is told. Returns rc, or what is negative. may wait */
int pop3_lost(struct pop3_session *p, int rc);

/* The last word to the client has been said. may wait */
void pop3_leave(struct access_session *s);

#endif
