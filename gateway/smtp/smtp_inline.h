/*
 * smtp_inline - sessions of transparent listeners: where the client wanted to go, and connections that are not ours to look into
 *
 * Who connects to an address of this machine itself is served as by any other listener.
 */
#ifndef SMTP_INLINE_H
#define SMTP_INLINE_H

#include <stdbool.h>

#include "base/pump.h"
#include "base/pump.h"
#include "hop/destination_hop.h"

struct smtp_session;

/* After accept, with the client known: s->destination. */
void smtp_inline_know(struct smtp_session *s);

/* For destination_hop_new and destination_connect. domain: of the recipients, where they are not ours; "": not known. */
struct destination smtp_inline_destination(struct smtp_session *s, const char *domain);

/*
 * A recipient more, of another domain than the first: whether the session with the destination, which has TLS as that one's domain wants it, is what this one's
 * demands as well. false: reply (DELIVERY_REPLY_MAX) asks for a transaction of its own. may wait
 */
struct recipient;
bool smtp_inline_suits(struct smtp_session *s, const char *first_domain, const struct recipient *r, char *reply);

/*
 * One of the networks of `bypass`: on outbound listeners the destination is in it, on others the client. The packet filter should not have brought it here;
 * it passes untouched all the same. pass: true, and the connection has ended; may wait
 */
bool smtp_inline_pass(struct smtp_session *s);

/* All that comes passes untouched to the streams' other one, as pump_run; a drain ends it when nothing moves any more. may wait */
enum pump_end smtp_inline_pump(struct smtp_session *s, struct pump *p);

/* The service drains: a session of which something passes is asked to end when nothing moves any more. false: there is none. Never waits. */
bool smtp_inline_drain(struct smtp_session *s);

/*
 * Outbound: the connection is made before the client is greeted. When the destination does not answer the client hears 421, and goes on to the next of the
 * domain's servers, as it would without us; false then. may wait
 */
bool smtp_inline_reach(struct smtp_session *s);

#endif
