/*
 * dsn - a delivery status notification: what a sender hears of a message that could not be delivered, is late, or went on to a server that
 * sends no notifications, RFC 3461 to 3464 and 6533
 *
 * It is a whole message: multipart/report with words for people (what happened, and what to do), message/delivery-status, and the
 * original, whole (RET=FULL, of a failure, up to DSN_FULL_MAX) or its header. Text from outside never breaks its structure, whatever it is.
 *
 * It goes to the return path from the null sender, with NOTIFY=NEVER. To a null return path there is none (RFC 3461 6.1), so a bounce never
 * has a bounce; and who sends it asks dsn_credible first: to a return path that may be forged nothing is ever sent. Pure: no I/O but
 * reading the message.
 */
#ifndef DSN_H
#define DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct message;
struct txn;

enum { DSN_FULL_MAX = 256 * 1024, DSN_HEADER_MAX = 64 * 1024, DSN_MAX = 2 * 1024 * 1024 };

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_RELAYED };

struct dsn_rcpt {
	const char *address;            /* where it was to go */
	const char *params;             /* of its RCPT: NOTIFY, ORCPT; may be NULL */
	enum dsn_action action;
	const char *reply;              /* "550 5.1.1 no such user", or words of ours; NULL: none */
	const char *remote;             /* the server that said it; NULL: the words are ours */
	bool expired;                   /* DSN_FAILED: it was tried for as long as it is tried */
	int64_t attempt_s;              /* when it was tried last, seconds since 1970; 0: never */
	int64_t retry_until_s;          /* DSN_DELAYED: how long it will be tried; 0: not said */
};

struct dsn {
	const char *hostname;           /* ours */
	const char *from;               /* whom a person may write to; NULL: postmaster at hostname */
	const char *id;                 /* its own: part of the Message-ID */
	const char *reference;          /* of the message that it is about, as in the log */
	const char *sender;             /* the return path, without <> */
	const char *params;             /* of MAIL: RET, ENVID, SMTPUTF8; may be NULL */
	int64_t arrival_s, now_s;       /* seconds since 1970 */
	struct message *message;        /* the original, or NULL */
	const struct dsn_rcpt *rcpt;
	size_t rcpt_count;
};

/*
 * The notification for those of the recipients whose NOTIFY asks for it. params: of its own MAIL (static). 0; -ENOENT: nobody's does;
 * -EINVAL: the return path is null, or is none; -ENOSPC, -ENOMEM, or an error of reading the message. out: empty, BUF_INIT(DSN_MAX).
 */
int dsn_make(const struct dsn *d, struct buf *out, const char **params);

/*
 * Whether the message comes from who its return path says: sent by one of ours (relay by network, or authenticated), or SPF passed for it, or a
 * DKIM signature of its domain. The facts have been established. The null return path is never credible: nobody is there.
 */
bool dsn_credible(const struct txn *t);

/* dsn_words.c: what stands at the top, plain text in UTF-8. rcpt[i] of those that are wanted[i]. */
void dsn_words(const struct dsn *d, const bool *wanted, struct buf *out);
/* "Undeliverable mail" and the like. */
const char *dsn_subject(enum dsn_action action);

/* The status code of RFC 3463 of one recipient: that of its reply, where it fits the action. out: DSN_STATUS_MAX */
enum { DSN_STATUS_MAX = 24 };
const char *dsn_status(const struct dsn_rcpt *r, char *out);

#endif
