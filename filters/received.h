/*
 * received - one Received field (RFC 5321 4.4), read for who had connected to the host that wrote it
 *
 * The grammar of the RFC is a guide that few follow; what is read here is what Postfix, Sendmail, Exim, qmail, Exchange, Exchange Online, Domino and Google
 * write (received_test has samples of each):
 *
 *     from HELO (NAME [192.0.2.7])                Postfix, Sendmail, Google
 *     from HELO (192.0.2.7)                       Exchange; qmail without a name of its own
 *     from HELO ([192.0.2.7])                     Domino, Exim
 *     from NAME ([192.0.2.7]:25 helo=HELO)        Exim
 *     from [192.0.2.7] (helo=HELO)                Exim
 *     from NAME (HELO HELO) (192.0.2.7)           qmail
 *
 * The name behind "from" is the client's word almost everywhere, so an address there counts only in the forms of Exim, which writes it itself. What is not one of these forms has no
 * client: nothing is guessed. Which lines may be believed at all is not known here: boundary.h. A pure parser.
 */
#ifndef RECEIVED_H
#define RECEIVED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/net.h"

enum { RECEIVED_MAX = 4096, RECEIVED_NAME_MAX = 256 };

enum received_kind {
	RECEIVED_CLIENT,        /* it came by SMTP from addr */
	RECEIVED_HANDED_ON,     /* qmail's line above that of its SMTP server, which always writes one: the line below says who it was */
	RECEIVED_SILENT,        /* by SMTP, and it does not say from where (Google): what is below may be a host's of theirs, or what their user has written */
	RECEIVED_ORIGIN,        /* it began there: written on that host, or not come by SMTP */
	RECEIVED_UNREADABLE,    /* none of the forms above */
};

struct received {
	enum received_kind kind;
	struct net_addr addr;                   /* RECEIVED_CLIENT; family 0 else */
	char helo[RECEIVED_NAME_MAX];           /* "": it does not say */
	bool esmtp, tls;
	const char *tls_version;                /* "TLSv1.3", a literal; NULL: it does not say */
};

/* body[0..len): what is behind the colon, folded or not. */
void received_parse(const char *body, size_t len, struct received *out);

#endif
