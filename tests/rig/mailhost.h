/*
 * mailhost - a mail server behind the gateway, as the test's end of a wire: it believes nothing
 *
 * Each octet that the gateway says is read by the letter of RFC 5321: a command that the grammar forbids, one that is out of place or comes before the
 * last was answered, a bare CR or LF outside BDAT, a line of a message that begins with a dot which was not doubled: each ends the program, with the
 * conversation. So what a server that is less strict would take for the end of a message or for a command is never sent.
 *
 * It answers for itself, or (`scripted`) leaves that to the test, and reads the test's answers as the gateway should: the first reply that is whole
 * and follows what it answers.
 *
 * What it says for itself: 250 to all; but 550 to recipients "no@..." and to those that the gateway makes up, 450 to "later@...", 421 and the end at "away@...", 452 to messages from "full@...".
 * A message that it takes is answered "250 2.0.0 kept-N".
 */
#ifndef RIG_MAILHOST_H
#define RIG_MAILHOST_H

#include "rig/end.h"

enum mailhost_wait { MAILHOST_NONE, MAILHOST_GREETING, MAILHOST_EHLO, MAILHOST_HELO, MAILHOST_STARTTLS, MAILHOST_MAIL, MAILHOST_RCPT, MAILHOST_DATA,
	MAILHOST_MESSAGE, MAILHOST_RSET, MAILHOST_OTHER, MAILHOST_AUTH, MAILHOST_QUIT };

/* Of all connections together. */
struct mailhost_site {
	int commands, messages;         /* messages whose end has come */
	int taken;                      /* of these, those that were answered 2xx */
	struct buf kept;                /* transaction by transaction: envelope and message */
	bool starttls;                  /* it offers it */
	bool plain;                     /* it offers nothing else either: no CHUNKING, 8BITMIME... */
};

struct mailhost {
	struct mailhost_site *site;
	struct end *end;
	bool scripted;
	size_t at;                      /* heard up to here */
	enum mailhost_wait wait;        /* what the gateway waits for the answer to */
	enum { MAILHOST_COMMANDS, MAILHOST_LINES, MAILHOST_CHUNK, MAILHOST_HANDSHAKE, MAILHOST_DEAF } reading;
	bool ehlo, mail, full, authenticated;
	int rcpt;
	uint64_t chunk;                 /* octets still to come */
	bool last;
	struct buf message;
	/* scripted: the answer as far as it was said */
	struct buf answer;
	bool spoiled;                   /* something was said that no reply is, or that nobody had asked for */
};

void mailhost_begin(struct mailhost *m, struct mailhost_site *site, struct end *end, bool scripted);
void mailhost_release(struct mailhost *m);
/* Read what has come, and answer it. Whether there was anything. */
bool mailhost_step(struct mailhost *m);
/* scripted: these octets are said now. */
void mailhost_said(struct mailhost *m, const char *p, size_t len);

/* The end of the program, with all that was said. */
void rig_wrong(const char *what, const struct end *end) __attribute__((noreturn));

#endif
