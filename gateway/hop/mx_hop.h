/*
 * mx_hop - the mail servers of a domain, or those that take all outbound mail, as a next hop
 *
 * Each session begins with the question where the mail goes (mx.h), every time: the resolver has a cache. The hosts are tried in order, each with its
 * addresses, MX_HOP_TRIES at most; one that does not answer, or greets with anything but 220, is passed over for the next and left alone for a while
 * (outbound.h). What a recipient hears where nobody is to be reached is the refusal of the hop: the text of mx_reply, or 451 4.4.1.
 */
#ifndef MX_HOP_H
#define MX_HOP_H

#include "hop/next_hop.h"

struct outbound;

enum { MX_HOP_TRIES = 8 };

/*
 * o outlives it. domain: A-labels or a literal in brackets; NULL: the servers of outbound.via. insist: whoever asks has waited already (the spool, a
 * command): hosts that are left alone are tried, too. NULL: no memory.
 */
struct next_hop *mx_hop_new(struct outbound *o, const char *domain, bool insist);

#endif
