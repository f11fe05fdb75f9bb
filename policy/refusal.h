/*
 * refusal - the words in which a refusal names the check that failed
 *
 *     550 5.7.23 refused by policy; SPF: the record of example.com (v=spf1 ip4:192.0.2.1 -all) does not allow 198.51.100.7
 *
 * The sender's postmaster reads them, so they tell of public checks only (SPF, DKIM, DMARC, DNS lists, the reverse name, the greeting) and
 * nothing of the site's rules, lists, patterns and scores. They are built from the comparisons that made the rule true, and from those
 * that made true the score rules it counts on. The text that the site wrote stands first, and is never cut for them.
 *
 * A rule that gives no enhanced code of its own gets that of RFC 7372 where one fits: 5.7.20 no valid DKIM signature, 5.7.23 and 5.7.24 SPF
 * failed and could not be read, 5.7.25 the reverse name, 5.7.26 several of them, or DMARC.
 */
#ifndef REFUSAL_H
#define REFUSAL_H

#include "policy/policy.h"

enum { REFUSAL_MAX = 400 };     /* octets of a reply with such words; a code for history comes behind it on the line */

/*
 * The reply of r, which rejects or defers, complete: "550 5.7.23 text", printable ASCII. known: the facts that are known; it must not wait.
 * ip: the client's. out of size bytes, which should be 512.
 */
void refusal_reply(const struct policy *p, const struct rule *r, const struct policy_facts *known, const char *ip, char *out, size_t size);

#endif
