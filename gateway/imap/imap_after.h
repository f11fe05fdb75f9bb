/*
 * imap_after - the first line of a command after the login, where messages are scanned: which it is, and what becomes of it
 *
 * Only what is known passes: a command that nobody here has heard of could show messages in a way of its own. No I/O.
 */
#ifndef IMAP_AFTER_H
#define IMAP_AFTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/imap_command.h"
#include "imap/imap_response.h"

enum imap_deed {
	IMAP_DEED_PASS,                 /* to the server as it is */
	IMAP_DEED_SELECT,               /* SELECT and EXAMINE: the same, and the mailbox counts */
	IMAP_DEED_CLOSE,                /* CLOSE and UNSELECT: none is selected then */
	IMAP_DEED_FETCH,
	IMAP_DEED_ENABLE,
	IMAP_DEED_IDLE,
	IMAP_DEED_REFUSE,
	IMAP_DEED_STRAY_DONE,           /* DONE of an IDLE that the server has ended already */
};

struct imap_after {
	char tag[IMAP_TAG_MAX + 1];     /* "*" if none could be read */
	enum imap_deed deed;
	const char *why;                /* IMAP_DEED_REFUSE: printable */
	bool uid;                       /* UID FETCH */
	struct imap_span args;          /* behind the command's name and a blank; without the line's end */
	bool literal, sync;             /* the line announces one */
	uint64_t size;
	bool bad_line;                  /* its end, or an octet in it: there may be different opinions of where it ends */
};

/* A line with its end. */
void imap_after_parse(const char *line, size_t len, struct imap_after *out);

/* A further line of a command, behind a literal: whether it is one, and announces another. */
bool imap_after_more(const char *line, size_t len, bool *literal, uint64_t *size, bool *sync);

/*
 * The first argument of SELECT, as the server spells it, INBOX in capitals. Its length in out; -EAGAIN: it is the literal at the end; -EINVAL.
 */
int imap_after_mailbox(const struct imap_after *a, char *out, size_t size);
void imap_mailbox_fold(char *name, size_t len);

#endif
