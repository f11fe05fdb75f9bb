/*
 * milter - the mail filters of a site that speak the milter protocol, in one session with a client
 *
 * A filter hears what a client says: connection, greeting, sender, each recipient, the message. It is first spoken to when a recipient is about to
 * be taken, as nothing is decided before that, and hears then what it has missed; what other checks refuse costs it nothing. A connection with it lasts as long
 * as the session.
 *
 * What it answers is a fact, and policy decides: milter.rcpt for one recipient, at RCPT (what was said of the connection, the greeting or the sender
 * counts for each), milter.action for the message, at its end. What it changes is done to a copy: checks see what has arrived, the next filter and
 * all who get the message see the copy. They come in the order of the file; who refuses ends it.
 *
 * A filter that is away or breaks: with away = defer both facts are temperror, with pass it is as if it were not there (milter.away). One that has changed a
 * part and then breaks is never passed over.
 */
#ifndef MILTER_H
#define MILTER_H

#include "filters/filter.h"

struct milter_mail;
struct milters;

/* For a session that comes to this listener. NULL: no filter is for it, or (-ENOMEM in *rc) no memory. local is copied. */
struct listener_conf;
struct milters *milters_new(const struct site *site, struct daemons *daemons, const struct client *client, const struct listener_conf *l, const struct net_addr *local,
			    int *rc);
void milters_free(struct milters *m);           /* they hear the end. NULL is fine */

/*
 * A recipient, not in the envelope yet: what they say of it, as milter.rcpt and, of a refusal (or when they could not be asked), milter.action, milter.name and
 * milter.reply. 0 or -ENOMEM. may wait
 */
int milters_rcpt(struct milters *m, struct txn *t, const struct recipient *r, struct facts *out);
/* A recipient who is refused with this reply, for those who want to know. may wait */
void milters_refused(struct milters *m, struct txn *t, const char *address, const char *params, const char *reply);
/* The message is there: once; again it says what it said. 0; -errno: they could not be asked, and the message must wait. may wait */
int milters_message(struct milters *m, struct txn *t);
/* What they have made of it; NULL: nothing, or milters_message has not been asked or failed. */
const struct milter_mail *milters_mail(const struct milters *m);
/*
 * The message with their changes, in *out; NULL: it is as it was. It lives until milters_reset. stays(arg): whether a field that came is to stay in it.
 * 0 or -ENOMEM.
 */
int milters_made(struct milters *m, bool (*stays)(void *arg, const struct header_field *h), void *arg, struct message **out);
/* Whether in that its body is theirs. */
bool milters_new_body(const struct milters *m);
/* The transaction has ended, whatever became of it. may wait */
void milters_reset(struct milters *m);

extern const struct filter filter_milter;

#endif
