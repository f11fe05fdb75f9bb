/*
 * history_key - what a record of the history can be found by
 *
 * Each thing that is asked for (an address, a domain, a client...) is a key: 48 bits of a hash of its kind and its text. Two texts may have
 * the same key: who finds a record by key looks whether it matches. Addresses, domains and clients are compared without regard to case,
 * Message-IDs without their angle brackets. Pure.
 */
#ifndef HISTORY_KEY_H
#define HISTORY_KEY_H

#include "policy/history_record.h"

struct history_query {                  /* what is NULL (or 0) is not asked for */
	const char *from;               /* "a@example.com": of the envelope, or an author (From); "@example.com": anybody there; "": null sender */
	const char *to;                 /* a recipient of the envelope: the same */
	const char *client;             /* address */
	const char *message_id;
	const char *code;               /* "5f3c-2", or "5f3c": all of that session */
	const char *verdict;            /* what was done */
	const char *rule;               /* its name */
	const char *quarantine_id;
	int64_t since_ms, until_ms;     /* of the wall clock: since <= at < until */
	size_t limit;                   /* of matches; 0: all */
};

enum { HISTORY_KEYS_MAX = 4096, HISTORY_QUERY_KEYS_MAX = 8 };

/* The keys of r, at most HISTORY_KEYS_MAX; their number. */
size_t history_keys(const struct history_record *r, uint64_t *keys);

/* The keys that a record must all have to match q. Their number: 0 when q asks only for a time. */
size_t history_query_keys(const struct history_query *q, uint64_t keys[HISTORY_QUERY_KEYS_MAX]);

/* Whether r is what q asks for. */
bool history_matches(const struct history_query *q, const struct history_record *r);

#endif
