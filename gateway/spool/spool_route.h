/*
 * spool_route - where spooled mail goes: routes as the spool writes them
 *
 * The text is that of route.h ("owner new" for a domain with servers of its own), and for a listener that has backends of its own "backend LISTENER". Recipients of messages that come through no
 * session (notifications, redirected mail) get their route here: accepted domains go to the backends, all else the outbound way.
 */
#ifndef SPOOL_ROUTE_H
#define SPOOL_ROUTE_H

#include "smtp/route.h"

struct client;
struct next_hop;
struct smtp_service;
struct smtp_session;

enum { SPOOL_ROUTE_MAX = ROUTE_TEXT_MAX };

/* The route of a session's recipient as text. out: SPOOL_ROUTE_MAX. false: mail of this route cannot be spooled. */
bool spool_route_text(const struct smtp_session *s, const struct route *r, char *out);

/* Of an address, without a session. false: it is none, or there is no way. */
bool spool_route_address(const struct smtp_service *svc, const char *address, char *out);

/*
 * who: the client whose mail it is, told to servers behind that take it; it outlives the next hop; NULL: nobody's. The result NULL: no memory, or the configuration
 * knows no such way (any more).
 */
struct next_hop *spool_route_hop(struct smtp_service *svc, const char *text, const struct client *who);

#endif
