/*
 * ledger - who has a message already, though its sender will send it again (RFC 1047)
 *
 * A client that never got our reply sends the message again; so does one that was told 451 when some recipients had it and others not.
 * Then an entry names those who have it, and the retry is not delivered to them a second time. (In the second case another one does for a retry to them alone: the
 * server of the others may be away by then, and those hear 4xx at RCPT.) One entry serves one retry: a message that
 * is sent again on purpose is delivered again.
 *
 * A message that has neither Message-ID nor Date is not in it: a device that says the same whenever there is something to say, and closes as it
 * likes, would not be heard any more.
 *
 * Entries lie in the state (space "ledger"). The key is who sends (the domain that DKIM or SPF passed for, so that a pool of hosts counts as one;
 * else the client's network), the envelope and the Message-ID; the text is the SHA-256 of the message, which is compared. It is
 * computed only for an entry that is written or found.
 *
 * Entries are rare. While there can be none, nothing is asked: a moment in memory that all workers share says until when one may be alive; it is
 * learnt from the state once after a start. Where several gateways share the state, it is asked for each message, in one request.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "filters/txn.h"
#include "policy/state.h"

struct ledger {
	struct state *state;            /* NULL: there is no ledger */
	int64_t ttl_s;                  /* 0: there is none */
	bool ask;                       /* always: others write into it, too */
	_Atomic int64_t *until_s;       /* of the wall clock: no entry is alive later; 0: not known */
	int64_t away_until_ms;          /* the state did not answer: it is not asked for a while */
};

enum { LEDGER_ID_MAX = 24 };

struct ledger_entry {
	struct state_op key;
	char id[LEDGER_ID_MAX];         /* of the transaction that it was delivered in */
	bool all;                       /* all recipients have it */
	bool has[];                     /* those who do, by their place in the envelope */
};

/* Whether a retry of the message can be told from another that says the same; pure. */
bool ledger_can_tell(const struct txn *t);

/* An entry for the message of t, now. NULL: there is none, or it is not to be had. The caller frees it. may wait */
struct ledger_entry *ledger_find(struct ledger *l, struct txn *t);

/* An entry that names those with has[i] (one at least), ready to be written: t is not needed any more. 0, -ENOSPC: too many recipients, -errno. may wait */
int ledger_make(const struct ledger *l, struct txn *t, const bool *has, struct state_op *out);
/*
 * And from it one more, for a retry whose other recipients are put off before the message comes: of those with has[i] alone, who all have it. 0 or -errno.
 * may wait
 */
int ledger_make_part(struct txn *t, const bool *has, const struct state_op *whole, struct state_op *out);
/* 0 or -errno. may wait */
int ledger_write(struct ledger *l, struct state_op *op);

/* It has served the retry t, and with it what was made by ledger_make_part. may wait */
void ledger_forget(struct ledger *l, struct txn *t, const struct ledger_entry *e);

/* The two texts that an entry consists of; pure. bits: of `count` recipients in the order of their addresses. */
int ledger_text(const char *hash, const char *id, const bool *bits, size_t count, char *out, size_t size);
/* false: it is none, or of another number of recipients. */
bool ledger_text_read(const char *text, size_t count, char hash[65], char id[LEDGER_ID_MAX], bool *bits);

#endif
