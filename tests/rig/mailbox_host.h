/*
 * mailbox_host - a server that users fetch their mail from, IMAP or POP3, as the test's end of a wire
 *
 * It knows one user, "user" with the password "secret", and one mailbox of two messages. Lines that end otherwise than with CRLF, and what comes before a
 * login without being a command, end the program: a gateway that reads strictly never says such. After the login it answers whatever comes.
 */
#ifndef RIG_MAILBOX_HOST_H
#define RIG_MAILBOX_HOST_H

#include "rig/end.h"

struct mailbox_host {
	struct end *end;
	bool imap, starttls;            /* starttls: it offers it */
	size_t at;
	bool in, deaf;                  /* somebody has logged in; it has said goodbye */
	struct buf command;             /* IMAP: the lines and literals of one command */
	size_t literal;                 /* octets of one that are still to come */
	char step;                      /* the next line is one of AUTHENTICATE, or of IDLE */
	char tag[4096];
	bool named;                     /* POP3: USER was said */
};

void mailbox_host_begin(struct mailbox_host *h, struct end *end, bool imap, bool starttls);
void mailbox_host_release(struct mailbox_host *h);
bool mailbox_host_step(struct mailbox_host *h);

#endif
