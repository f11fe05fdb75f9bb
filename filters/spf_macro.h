/*
 * spf_macro - macro strings of SPF records and explanations, RFC 7208 section 7
 *
 * Pure: bytes in, bytes out. What a macro needs of the DNS (%{p}) or of the clock (%{t}) stands in the context; whether a
 * string needs %{p} at all is asked with spf_macro_has(), so that nobody looks it up in vain.
 *
 * What is expanded comes from strangers (HELO, local part): a domain name made of it may hold any byte. spf_macro_name() writes it as
 * dns.h wants names, with escapes.
 */
#ifndef SPF_MACRO_H
#define SPF_MACRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/net.h"

enum { SPF_NAME_MAX = 253 };            /* bytes of a domain name that is looked up, section 7.3 */

enum spf_macro_use {
	SPF_MACRO_DOMAIN,               /* a domain-spec: ends in a top label or a macro; no c, r, t */
	SPF_MACRO_STRING,               /* an unknown modifier's value: any letter */
	SPF_MACRO_TEXT,                 /* an explanation: any letter, and blanks */
};

struct spf_macro_context {
	const char *sender;             /* s */
	const char *local;              /* l */
	const char *sender_domain;      /* o */
	const char *domain;             /* d: of the record being evaluated */
	const struct net_addr *client;  /* i, v, c */
	const char *validated;          /* p; NULL: "unknown" */
	const char *helo;               /* h */
	const char *receiver;           /* r; NULL: "unknown" */
	int64_t now_s;                  /* t */
};

/* NULL when p[0..len) is right for its use, else what is wrong, in words. */
const char *spf_macro_check(const char *p, size_t len, enum spf_macro_use use);

/* Whether the (checked) string holds that macro, letter in lower case; how many macro-expands there are. */
bool spf_macro_has(const char *p, size_t len, char letter);
size_t spf_macro_count(const char *p, size_t len);

/* Append the expansion of a checked string. 0, -EINVAL if it was not, -ENOSPC past out->max, -ENOMEM. */
int spf_macro_expand(const char *p, size_t len, const struct spf_macro_context *c, struct buf *out);

/*
 * Expand a domain-spec to the name to look up: without final dot, and cut from the left, label by label, to 253 bytes (section 7.3).
 * It may still be no domain name (empty label, label over 63). As spf_macro_expand; out is cleared first.
 */
int spf_macro_domain(const char *p, size_t len, const struct spf_macro_context *c, struct buf *out);

/* A name in bytes, as the text that dns.h asks with. 0, -ENOSPC when out (size bytes) is too small. */
int spf_macro_name(const char *p, size_t len, char *out, size_t size);

#endif
