/*
 * boundary - who gave a message to the first of our trusted relays: a backup MX, a cloud filter (trusted_relays in gatepost.conf)
 *
 * Such a host's connections carry the mail of many clients, and what SPF, DNSBL and the others say must be said of those. A transaction of such a
 * session has a struct client of its own, in place of the session's: boundary_begin. Who that is, the relay may say before MAIL (XCLIENT, XFORWARD: boundary_told);
 * else it stands in the message's header, and until that is there the facts of the client are unknown (filter.h: client_use), then boundary_settle.
 *
 * Of the Received fields the topmost were written by trusted relays, each above that of the host before it. We go down from the top while the address in a field
 * is that of a trusted relay, or the host's own loopback address (it has handed the message to a scanner and back); the first other one is the client's. What is below
 * has been written by who knows whom and is never read. A field that cannot be read, one that says that the message began there, one that does not say
 * from where it came (a user of such a service may have written what is below), an address that nobody has on the Internet, too many fields: there is no boundary, and all facts that hang
 * on the client stay unknown for good. They are never the relay's.
 */
#ifndef BOUNDARY_H
#define BOUNDARY_H

#include "filters/filter.h"

enum { BOUNDARY_LINES_MAX = 30 };

struct net_prefix;
struct received;

/* origin: zeroed. relay stays the caller's and must outlive it. */
void boundary_begin(struct client *origin, const struct client *relay);

/*
 * The relay has said who it is, how: BOUNDARY_XCLIENT or BOUNDARY_XFORWARD. addr with family 0: that it does not know. 0 or -ENOMEM. What it says of a host
 * that is a trusted relay too leaves the boundary to the header.
 */
int boundary_told(struct client *origin, const struct site *site, const struct received *told, enum boundary how);

/* The header is there: a boundary that is still pending is found, or there is none. Never waits. */
void boundary_settle(struct txn *t);

/* "received", "xclient" ..., as of client.boundary; NULL: not known yet. */
const char *boundary_word(const struct client *c);

/* The first client in the Received fields of m that is in none of these networks. True, or false and why in words. */
bool boundary_find(const struct message *m, const struct net_prefix *trusted, size_t count, struct received *out, char *why, size_t size);

extern const struct filter filter_relayed, filter_boundary;

#endif
