/*
 * smtp_told - what a trusted relay says of the client whose mail it brings: Postfix's SMTP extensions XCLIENT and XFORWARD, as taken from others
 *
 *     XFORWARD NAME=mail.good.example ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP HELO=mail.good.example SOURCE=REMOTE
 *
 * XCLIENT holds until the next one, and the session begins anew with it; XFORWARD holds for the next transaction. Attributes may come in several commands. Values are xtext (RFC 3461
 * section 4), addresses of IPv6 have "IPV6:" in front, "[UNAVAILABLE]" and "[TEMPUNAVAIL]" say that it is not known. ADDR, HELO, PROTO and SOURCE count; NAME is looked up by ourselves;
 * LOGIN is ignored: nobody has logged in here. Both are offered to trusted_relays alone (hop/xclient.h is the other direction). The parser does no I/O.
 */
#ifndef SMTP_TOLD_H
#define SMTP_TOLD_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/received.h"
#include "filters/txn.h"

struct smtp_command;
struct smtp_session;

struct smtp_told {
	enum boundary how;              /* XCLIENT or XFORWARD; DIRECT: nothing has been said */
	bool source_local;              /* it began on the relay, whatever else is said of it */
	struct received r;              /* addr has no family where it does not know */
};

/* The attributes behind the word, which are added to *told. 0, or -EINVAL: *told is untouched. */
int smtp_told_parse(const char *arg, size_t len, bool forward, struct smtp_told *told);

/* The commands. may wait */
int smtp_do_xclient(struct smtp_session *s, struct smtp_command *c);
int smtp_do_xforward(struct smtp_session *s, struct smtp_command *c);
/* A transaction begins: whose it is. 0 or -ENOMEM. And ends: what held for it alone is forgotten. */
int smtp_told_begin(struct smtp_session *s, struct client *origin);
void smtp_told_end(struct smtp_session *s);
/* TLS begins: who could speak before it may not be the relay (RFC 3207 4.2). */
void smtp_told_forget(struct smtp_session *s);
/* Who a server behind is told that it is: the client, where that was known at MAIL, else who has connected. */
const struct client *smtp_told_client(const struct smtp_session *s);

#endif
