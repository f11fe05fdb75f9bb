/*
 * xclient - who the client really is, told to a server that takes it: Postfix's SMTP extension XCLIENT
 *
 *     XCLIENT NAME=mail.good.example ADDR=192.0.2.7 PROTO=ESMTP HELO=mail.good.example
 *
 * What a server offers depends on who asks: Postfix offers it to the addresses of smtpd_authorized_xclient_hosts. Values are xtext (RFC 3461
 * section 4); IPv6 addresses have "IPV6:" in front; "[UNAVAILABLE]" says that there is none. No I/O here.
 */
#ifndef XCLIENT_H
#define XCLIENT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/net.h"

/* Attributes of ours that a server offers. */
enum { XCLIENT_NAME = 1, XCLIENT_ADDR = 2, XCLIENT_PORT = 4, XCLIENT_PROTO = 8, XCLIENT_HELO = 16, XCLIENT_LOGIN = 32 };
enum { XCLIENT_LINE_MAX = 512 };        /* RFC 5321 4.5.3.1.4, CRLF included */

struct smtp_identity {
	struct net_addr addr;           /* port 0: not known */
	const char *name;               /* confirmed by DNS both ways; NULL: none is */
	const char *helo;               /* as the client said it; NULL or "": it did not */
	bool esmtp;
	const char *login;              /* who has authenticated; NULL: nobody */
	struct net_addr local;          /* where the client had connected to; family 0: not known */
};

/* The words behind "XCLIENT" of an EHLO reply, p..end. */
unsigned xclient_offered(const char *p, const char *end);

/*
 * The whole line with CRLF, of what the server offers. What does not fit goes without: the greeting says HELO once more, and a long name
 * becomes [UNAVAILABLE]; at last LOGIN is left out. 0 or -ENOMEM.
 */
int xclient_command(const struct smtp_identity *who, unsigned offered, struct buf *out);

/* Whether a client's HELO can be said to a server as it is: one printable word of at most 255 octets. */
bool xclient_helo_ok(const char *helo);

#endif
