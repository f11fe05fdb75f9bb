/*
 * retrieval_impl - what the files of retrieval share: retrieval.c scans, retrieval_keep.c keeps verdicts, retrieval_record.c
 * logs and quarantines
 */
#ifndef RETRIEVAL_IMPL_H
#define RETRIEVAL_IMPL_H

#include "policy/conf.h"
#include "policy/judge.h"
#include "policy/released.h"
#include "retrieval/retrieval.h"

enum { KEY_TEXT_MAX = 65, KEEP_SLOTS = 512 };

/* What this process knows of a message. */
struct kept {
	char key[KEY_TEXT_MAX];         /* "": free */
	uint8_t answer;
	uint64_t fingerprint;           /* of the policy then */
	int64_t until_ms, asked_ms;     /* known that long; when the state was last asked whether it has been released */
	char content[RELEASED_CONTENT_MAX];
	char id[STORE_ID_MAX];
	char *reason;                   /* NOTICE, on the heap */
};

struct retrieval {
	struct retrieval_conf conf;
	uint32_t needed;                /* filters of the policy */
	bool by_listener;               /* its rules may tell listeners apart */
	unsigned number;                /* of the last scan */
	int64_t state_away_ms;          /* it did not answer: not asked before */
	struct kept kept[KEEP_SLOTS];
};

/* Answers by the DNS that is asked, within the time that a fetch has. */
struct hurried_dns {
	struct dns dns;
	struct dns *real;
	int64_t until_ms;               /* 0: each question has its own time */
};

struct retrieval_scan {
	struct retrieval *r;
	struct retrieval_client who;
	char *backend, *account, *mailbox, *uid;
	char key[KEY_TEXT_MAX];         /* "": nothing is kept */
	struct client client;
	struct txn txn;
	struct recipient *rcpt;         /* txn.env.rcpt */
	struct judge judge;
	struct hurried_dns dns;
	uint64_t size;                  /* of the message */
	size_t hashed;                  /* since others had their turn */
	int64_t begun_ms;
	int rc;                         /* why it is not taken; -EMSGSIZE: its header */
	bool released, ended;
	bool bound;
	struct retrieval_verdict known; /* bound: of a message of this name */
	char content[RELEASED_CONTENT_MAX];
};

/* Whether the policy's verdict is that the message is not shown. */
bool retrieval_convicts(const struct judge *j);

/* retrieval_keep.c */

/* The name of a message in the state; "" when it has none. */
void keep_key(const struct retrieval *r, const struct retrieval_key *key, char out[KEY_TEXT_MAX]);
uint64_t keep_fingerprint(struct retrieval *r);
/* Keep a verdict that was found with this policy. may wait */
void keep_verdict(struct retrieval_scan *s, uint64_t fingerprint, const struct retrieval_verdict *v);
/* Whether this content has been released. may wait */
bool keep_released(struct retrieval *r, const char *content);
/* The copy that the quarantine has of this content for this account: its id, or "". may wait */
void keep_copy_find(struct retrieval_scan *s, char id[STORE_ID_MAX]);
void keep_copy(struct retrieval_scan *s, const char *id);

/* retrieval_record.c */

/* A copy to the quarantine. 0 and the id, or -errno. may wait */
int record_quarantine(struct retrieval_scan *s, char id[STORE_ID_MAX]);
/* Why, in words for the user. */
void record_reason(struct retrieval_scan *s, char out[NOTICE_REASON_MAX]);
/* The line of the log, and the history's record of what is not plainly passed. quarantine: 0, or why there is no copy. */
void record_verdict(struct retrieval_scan *s, const struct retrieval_verdict *v, int quarantine);

#endif
