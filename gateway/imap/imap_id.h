/*
 * imap_id - the client's ID (RFC 2971), as it goes on to the server
 *
 * Servers that trust our address believe what ID says of the client's: Dovecot takes x-originating-ip and its like from it. What a client says of that
 * is left out; all else stays. No I/O here.
 */
#ifndef IMAP_ID_H
#define IMAP_ID_H

#include "base/buf.h"

struct imap_command;

/* The whole command with CR LF, its literals as quoted strings (what those cannot hold is left out); where nothing has to be changed, as it came. 0 or -ENOMEM. */
int imap_id_onward(const struct imap_command *c, struct buf *out);

#endif
