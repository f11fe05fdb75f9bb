/*
 * arc_hop - one more set of an Authenticated Received Chain on top of a message, as any hop would make it, for tests
 *
 *     struct arc_key *k = arc_key_new("lists.example", "s1", 0);
 *     arc_key_publish(k, table);
 *     struct arc_hop hop = { .key = k, .instance = 1, .cv = "none", .results = "mx.lists.example; dmarc=pass header.from=a.example" };
 *     char *sealed = arc_hop_seal(&hop, message, len, &sealed_len);
 *
 * It does what it is told: what is wrong with the chain is not its business.
 */
#ifndef TESTS_ARC_HOP_H
#define TESTS_ARC_HOP_H

#include <stddef.h>

#include "support/dns_table.h"

struct arc_key;

struct arc_key *arc_key_new(const char *domain, const char *selector, int rsa_bits);     /* 0 bits: Ed25519. Asserts memory */
struct arc_key *arc_key_fixed(const char *domain, const char *selector, unsigned char octet);   /* Ed25519, the same for the same octet */
void arc_key_free(struct arc_key *k);
void arc_key_publish(const struct arc_key *k, struct dns_table *t);

struct arc_hop {
	const struct arc_key *key;
	const struct arc_key *ams_key;  /* NULL: the same */
	unsigned instance;
	const char *cv;
	const char *results;            /* of the AAR, behind i=N; */
	const char *h;                  /* NULL: from:to:subject */
	const char *c;                  /* NULL: relaxed/relaxed */
	const char *more;               /* more tags of the AMS: "l=12; "; NULL: none */
};

/* The message with the set above its own fields; the caller's to free. */
char *arc_hop_seal(const struct arc_hop *hop, const char *message, size_t len, size_t *out_len);

#endif
