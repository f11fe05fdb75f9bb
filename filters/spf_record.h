/*
 * spf_record - an SPF record read strictly, RFC 7208 sections 4.5, 4.6, 5, 6, 12
 *
 * Pure. The whole record is read before anything of it is evaluated: a syntax error anywhere makes it a permerror (section 4.6).
 * Terms point into the record's own copy of the text.
 */
#ifndef SPF_RECORD_H
#define SPF_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "base/net.h"

enum spf_kind { SPF_ALL, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS, SPF_REDIRECT, SPF_EXP };

struct spf_term {
	enum spf_kind kind;
	char qualifier;                 /* + - ? ~ */
	const char *text;               /* as written, all visible ASCII */
	size_t len;
	const char *domain;             /* domain-spec, checked; domain_len 0: none, the current domain */
	size_t domain_len;
	unsigned char ip[16];           /* SPF_IP4 (4 bytes), SPF_IP6 */
	int bits4, bits6;               /* CIDR lengths; 32 and 128 when not given */
};

struct spf_record {
	char *text;
	struct spf_term *term;          /* mechanisms in order */
	size_t count;
	struct spf_term redirect, exp;  /* len 0: not there */
};

struct spf_record_error {
	const char *what;               /* "a domain whose top label is empty"; a literal */
	size_t at, len;                 /* the term: bytes of the record */
};

/* Whether a TXT record is an SPF record at all: "v=spf1", then a blank or the end; case does not matter (section 4.5). */
bool spf_record_is(const char *p, size_t len);

/* 0; -EBADMSG and *err; -ENOMEM. out is filled on 0 only. */
int spf_record_parse(const char *p, size_t len, struct spf_record *out, struct spf_record_error *err);
void spf_record_release(struct spf_record *r);          /* zeroed is fine */
static inline void spf_record_cleanup(struct spf_record *r)
{
	spf_record_release(r);
}

/* Whether term (SPF_IP4, SPF_IP6) covers the client. */
bool spf_term_covers(const struct spf_term *t, const struct net_addr *client);
/* Whether ip[0..4 or 16), of the client's family, is in the same network as client, by the term's CIDR length for it. */
bool spf_term_same_network(const struct spf_term *t, const unsigned char *ip, const struct net_addr *client);

#endif
