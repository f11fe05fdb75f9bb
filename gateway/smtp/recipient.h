/*
 * recipient - who is a known user
 *
 * The site says where that is known (enum rcpt_verify): the backend's own RCPT in the transaction (then this only tells the session to ask it),
 * a call-out to another host or port, a file, a directory (asked by a process of its own, which remembers what it was told), or nowhere. Call-outs use the null sender, go only to the configured host, and are
 * cached in the state store, space "rcpt": yes for verify_positive_s, no for verify_negative_s. A host that accepts a random local part of a domain knows nothing:
 * this is noticed once a day and domain, warned about, and the check is off for that domain. A host that is away gives no verdict.
 * postmaster always passes (RFC 5321 4.5.1).
 */
#ifndef RECIPIENT_H
#define RECIPIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "smtp/smtp_address.h"
#include "smtp/smtp_reply.h"

struct backend_group;
struct directory_asker;         /* directory/directory_ask.h */
struct recipient_check;
struct site;
struct state;

enum recipient_answer {
	RECIPIENT_YES,          /* known; postmaster */
	RECIPIENT_NO,           /* unknown: refuse with reply */
	RECIPIENT_LATER,        /* the source said 4xx: pass its reply on */
	RECIPIENT_ASK,          /* no verdict here: the backend decides */
	RECIPIENT_RESTRICTED,   /* known, and wants mail of authenticated senders only: who is none is refused with reply */
};

/* state may be NULL: nothing is cached. group: for the accept-all probe of VERIFY_BACKEND; may be NULL. 0, or -errno with err. */
int recipient_check_new(const struct site *site, struct state *state, struct backend_group *group, struct recipient_check **out, struct buf *err);
/* Domains with servers of their own are asked of those. */
struct backend_domains;
void recipient_check_domains(struct recipient_check *rc, const struct backend_domains *domains);
void recipient_check_free(struct recipient_check *rc);
/* Who is asked with verify = directory; stays the caller's. Until then, and without one, nobody can say. */
void recipient_check_directory(struct recipient_check *rc, const struct directory_asker *asker);

/*
 * Ask about one recipient; reply (initialised) is written for NO, LATER and RESTRICTED: a code and text for the client, the source's words where it
 * has any. may wait, within deadline_ms
 */
enum recipient_answer recipient_ask(struct recipient_check *rc, const struct smtp_mailbox *to, int64_t deadline_ms, struct smtp_reply *reply);

/* The same for a client: his network cannot have all call-outs at once, however slowly they are answered (base/shares.h). may wait */
struct net_addr;
enum recipient_answer recipient_ask_for(struct recipient_check *rc, const struct net_addr *who, const struct smtp_mailbox *to, int64_t deadline_ms,
					struct smtp_reply *reply);

/*
 * Whether the servers of g say 250 to an address of this domain that is made up: 1, 0, or -1: not known yet. It is found out beside the mail; once a day. Never
 * waits.
 */
int recipient_accepts_all(struct recipient_check *rc, struct backend_group *g, const char *domain);

/* Forget what is cached (a command of the administrator's). 0 or -errno, *count forgotten. may wait */
int recipient_forget(struct state *state, int64_t *count);

#endif
