/*
 * rspamd_reply - what rspamd says of a message: the JSON of its /checkv2
 *
 * No I/O. Taken are action, score, required_score, is_skipped and the names of symbols; milter, what Rspamd would change in the message, is left.
 */
#ifndef RSPAMD_REPLY_H
#define RSPAMD_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of symbols: how many are taken, and octets of a name; those that are longer, or no printable ASCII without blanks, are left out. */
enum { RSPAMD_SYMBOLS_MAX = 250, RSPAMD_SYMBOL_MAX = 100, RSPAMD_SCORE_MAX = 1000000 };

struct rspamd_reply {
	bool skipped;                   /* by its settings: nothing else counts */
	const char *action;             /* of rspamd_actions */
	int64_t score, required;        /* rounded down: 4.9 is 4, -0.1 is -1; the second: from which it would reject */
	bool has_required;
	char **symbol;
	size_t symbol_count;
	char error[RSPAMD_SYMBOL_MAX + 1];      /* it says that it failed, why; "": it does not */
};

/* As its configuration spells them, and "custom" for all others; NULL last. */
extern const char *const rspamd_actions[];

/* 0 and *out, to be released; -EBADMSG, or -ENOMEM. */
int rspamd_reply_read(const char *p, size_t len, struct rspamd_reply *out);
void rspamd_reply_release(struct rspamd_reply *r);      /* zeroed is fine */

#endif
