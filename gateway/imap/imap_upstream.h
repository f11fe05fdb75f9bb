/*
 * imap_upstream - the server's side of the dialogue before the login
 *
 * What it says is read line by line, bounded in length and number, and passed on as it came: lists of capabilities adjusted, tagged lines when the
 * caller has looked at them. A server that talks nonsense, or says what nobody asked for, is at its end, and so is the session.
 */
#ifndef IMAP_UPSTREAM_H
#define IMAP_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/host.h"

struct imap_dialogue;

enum imap_status { IMAP_OK, IMAP_NO, IMAP_REFUSED /* BAD */, IMAP_CONTINUE /* "+" */ };

enum { IMAP_CODE_MAX = 32 };

struct imap_answer {
	enum imap_status status;
	const char *line;               /* with its end; until something is read from the server */
	size_t len;
	char code[IMAP_CODE_MAX];       /* of RFC 5530: "AUTHENTICATIONFAILED"; "": none */
};

/*
 * Connect to this user's server (NULL: nobody has said a name), read its greeting, TLS and ID as configured. 0: d->greeting and d->caps. -EACCES: it said
 * BYE, which lies in d->greeting. Else -errno, and why (HOST_WHY_MAX). may wait
 */
int imap_upstream_open(struct imap_dialogue *d, const char *user, char *why);

/*
 * Lines to the server: bytes, which leave together when an answer is waited for. What it has said before unasked is passed on first (in begin). may wait
 */
int imap_upstream_begin(struct imap_dialogue *d);
int imap_upstream_write(struct imap_dialogue *d, const char *p, size_t len);

/* Its answer to the command with that tag: a tagged line, or "+". Untagged ones are passed on meanwhile. may wait */
int imap_upstream_answer(struct imap_dialogue *d, const char *tag, struct imap_answer *out);
/* The answer as it came, to the client. may wait */
int imap_upstream_pass(struct imap_dialogue *d, const struct imap_answer *a, bool logged_in);

/* The words of an answer behind its code, printable, cut: for a log line. */
const char *imap_answer_words(const struct imap_answer *a, char *out, size_t size);

#endif
