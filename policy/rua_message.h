/*
 * rua_message - what one record of the history says for an aggregate report (RFC 9990): whose message it was, how it fared by SPF, DKIM and DMARC, and what was done
 *
 * Counted are messages from outside whose author domain had a DMARC record, and that were answered for good: taken, held, thrown away or refused. Who was told
 * to come again will. What passed has the disposition none, or pass under a policy that asks for something, whatever else was done with it (RFC 9990 has
 * quarantine and reject for what failed DMARC); what failed has what was really done, and where that is not what the policy asks for, the reason: never the text of a
 * rule, nor its name.
 *
 * Pure. Pointers lead into the record. The struct is large (12 KiB): not for the stack of a task.
 */
#ifndef RUA_MESSAGE_H
#define RUA_MESSAGE_H

#include "filters/domain.h"
#include "policy/dmarc_report.h"
#include "policy/history_record.h"
#include "policy/rua_day.h"

enum {
	RUA_SIGNATURES_MAX = 20,        /* of one message: those that matter most (RFC 9990, "DKIM Signatures in Aggregate Reports") */
	RUA_SELECTOR_MAX = 256,
	RUA_COMMENT_MAX = 512,
};

/* What was done with it, the best for its recipients last: of a message that fared differently the report tells the best. */
enum rua_done { RUA_REFUSED, RUA_HELD, RUA_DELIVERED };

struct rua_signature {
	char domain[DOMAIN_MAX], selector[RUA_SELECTOR_MAX];
	enum dmarc_report_dkim_result result;
	int turn;                       /* the order of RFC 9990: 0 passed for the author domain itself, 1 for an aligned one, 2 for another, 3 did not */
};

struct rua_published {
	enum dmarc_report_policy p, sp, np;     /* 0: not said */
	enum dmarc_report_mode adkim, aspf;
	enum dmarc_report_testing testing;
	char fo[16];                    /* "": not said */
};

struct rua_message {
	const char *domain;             /* where the policy stands */
	struct rua_published published;
	const struct fact *rua;         /* addresses, or NULL */
	enum rua_done done;

	const char *client;
	enum dmarc_report_disposition disposition;
	enum dmarc_report_aligned dkim, spf;
	enum dmarc_report_override reason;      /* 0: none */
	char comment[RUA_COMMENT_MAX];          /* "": none */
	char header_from[DOMAIN_MAX];
	char envelope_from[DOMAIN_MAX];         /* "": the null sender */
	struct rua_signature signature[RUA_SIGNATURES_MAX];
	size_t signature_count;
	enum dmarc_report_spf_result spf_result;        /* 0: was not looked at */
	char spf_domain[DOMAIN_MAX];
};

/* Whether r is a message that counts, and *out. */
bool rua_message_read(const struct history_record *r, struct rua_message *out);

#endif
