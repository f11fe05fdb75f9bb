/*
 * milter_macro - what mail filters are told beside the commands: "macros" of Sendmail's, by the names that it and Postfix give them
 *
 * Which are told at which moment the configuration says, or the filter itself. What is not known is left out.
 */
#ifndef MILTER_MACRO_H
#define MILTER_MACRO_H

#include "filters/milter_wire.h"
#include "filters/txn.h"

/* What is known at a moment. */
struct milter_scene {
	const struct txn *txn;
	const struct client *client;            /* of whom the filter hears; NULL: the transaction's */
	const char *daemon_name;
	const struct net_addr *local;           /* where the client has connected to; family 0: not known */
	const char *rcpt, *rcpt_host;           /* the recipient in question, or NULL */
	const char *refusal;                    /* he is refused, with this reply: "550 5.1.1 text" */
};

/* The value of one, "i" or "{mail_addr}"; scratch: 600 bytes. NULL: not known. */
const char *milter_macro(const struct milter_scene *s, const char *name, char *scratch);

/* The packet of those in names ("i {mail_addr}") for a command; none if none is known. 0 or -ENOSPC, -ENOMEM. */
int milter_macro_put(const struct milter_scene *s, const char *names, enum milter_command c, struct buf *out);

/* The client's name, confirmed both ways; NULL: it has none, or it is not known. */
const char *milter_client_name(const struct client *c);

#endif
