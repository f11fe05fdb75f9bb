/*
 * route - where the mail for a recipient goes
 *
 * A value that can be compared and written down: all recipients of a transaction with the same route are served in session, by one next hop. Servers
 * behind us are asked one beside the other (smtp_legs.h); mail that leaves for the world by another route than the first recipient's waits in the spool. The text of a route stands in the spool's records and in the log: "backend", "owner new1+new2",
 * "upstream", "mx example.net", "mx [192.0.2.1]".
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include <stddef.h>

struct next_hop;
struct recipient;
struct smtp_service;
struct smtp_session;

enum route_kind {
	ROUTE_BACKEND,          /* the servers behind us */
	ROUTE_DESTINATION,      /* inline: where the client wanted to connect, from its own address */
	ROUTE_AUTH,             /* the session with a backend in which the client has authenticated */
	ROUTE_UPSTREAM,         /* the one that all outbound mail goes to */
	ROUTE_MX,               /* the hosts of a domain, or an address */
	ROUTE_OWNER,            /* the servers behind us that a section domain names */
};

enum { ROUTE_DOMAIN_MAX = 256, ROUTE_TEXT_MAX = ROUTE_DOMAIN_MAX + 16 };

struct route {
	enum route_kind kind;
	char domain[ROUTE_DOMAIN_MAX];  /* ROUTE_DESTINATION: of the first recipient, for what it wants of TLS; it makes no route another. ROUTE_MX: lower-case, A-labels; or "[192.0.2.1]", "[ipv6:2001:db8::1]". ROUTE_OWNER: the owner's name */
};

/* The route of a recipient in this session; NULL, or the reply that refuses it: there is none for this client (nobody relays who may not). */
const char *route_find(const struct smtp_session *s, const struct recipient *r, struct route *out);

/* Where mail of one of ours goes, whose recipient's domain (lower-case, A-labels, or a literal in brackets) is that. */
struct site;
void route_of_ours(const struct site *site, const char *domain, struct route *out);

/* Where mail for a recipient of ours goes, or that of the owner of that number (0 where nobody has to be learnt). */
struct domain_conf;
void route_of_domain(const struct site *site, const char *domain, struct route *out);
void route_of_owner(const struct domain_conf *d, size_t owner, struct route *out);

/* Whether it leads to servers behind us that we choose. */
bool route_behind(const struct route *r);

bool route_same(const struct route *a, const struct route *b);

/* As text; out has ROUTE_TEXT_MAX bytes; returns out. And back: 0 or -EINVAL. */
const char *route_text(const struct route *r, char *out);
int route_parse(const char *text, struct route *out);

/* The servers of a route that leads behind us; NULL: it does not. */
struct backend_group *route_group(const struct smtp_service *svc, const struct smtp_session *s, const struct route *r);

/*
 * The next hop of a route. s: the client's session, NULL for what comes from the spool (which has no ROUTE_DESTINATION and no ROUTE_AUTH).
 * NULL: no memory, or no such way for it. The caller frees it.
 */
struct next_hop *route_hop(struct smtp_service *svc, struct smtp_session *s, const struct route *r);

#endif
