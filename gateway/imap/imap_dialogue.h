/*
 * imap_dialogue - what is said before the login, between a client, us and the server: shared by imap_server (the client's side), imap_upstream (the
 * server's) and imap_auth (logins)
 *
 * It lives until the login; a session that has logged in holds nothing of it. Functions that may wait return 0, or less when the session is over: then
 * everything has been said, and access_end() called where there is more to say than that somebody has closed.
 */
#ifndef IMAP_DIALOGUE_H
#define IMAP_DIALOGUE_H

#include "access/access_session.h"
#include "base/buf.h"
#include "imap/imap_caps.h"
#include "imap/imap_command.h"

struct imap_dialogue {
	struct access_session *s;
	struct imap_command command;    /* the client's that is being done */
	struct imap_caps caps;          /* the server's, as far as it has said */
	struct buf greeting;            /* the server's, without its end, as the client is to see it */
	struct buf line;                /* one that is adjusted */
	bool bye;                       /* the server has said BYE, and the client knows */
	bool logging_in;                /* it has been told who the client is: capabilities that it lists now are those of later on */
};

/* What the client may see now. */
struct imap_view imap_dialogue_view(const struct imap_dialogue *d, bool logged_in);

/* The tagged answer to the command at hand, in our words: "NO [UNAVAILABLE] ...". may wait */
int imap_dialogue_say(struct imap_dialogue *d, const char *words);
/* The same to a command that makes no sense, or asks for what is not given: it counts, and at last the session is over. may wait */
int imap_dialogue_refuse(struct imap_dialogue *d, const char *words);
/* "* BYE words", and the session is over. Returns -EPIPE. may wait */
int imap_dialogue_bye(struct imap_dialogue *d, const char *words);
/* Too many mistakes: the session is over. may wait */
int imap_dialogue_mistake(struct imap_dialogue *d);

#endif
