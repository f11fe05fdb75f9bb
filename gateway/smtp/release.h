/*
 * release - a quarantined message on its way to the mail server behind, or out to the world, as if it came from its sender now
 *
 * Byte for byte, with its own envelope, and the client's address and HELO where the server has a way to take them (XCLIENT). Three exceptions, as in
 * any delivery: what the server would take for our words is left out (outgoing_is_forged), the site's client_header is added, and a header that is
 * broken off by a line that is no field gets the empty line that it lacks. Bare CR and LF are
 * kept where the server offers CHUNKING, and leave as CRLF elsewhere. What one of ours has sent is signed as it would have been (smtp/signing.h), what came from
 * outside sealed (smtp/sealing.h), by what was found of it then.
 *
 * Once: what is done is written to the message's events (policy/store_events.h) before it is done. The message's lock is held as long as a
 * struct release lives.
 *
 *     release_load(dir, id, site, &r, why);          // the files
 *     release_choose(r, rcpt, count, false, why);    // who shall have it
 *     release_run(r, group, domains, outbound);      // may wait; then look at r->rcpt[i].result
 *     release_free(r);
 */
#ifndef RELEASE_H
#define RELEASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "hop/smtp_client.h"
#include "hop/xclient.h"
#include "policy/store_events.h"
#include "policy/store_id.h"

struct backend_group;
struct backend_session;
struct next_hop;
struct outbound;
struct smtp_client;
struct dns;
struct site;
struct state;

enum { RELEASE_REPLY_MAX = 512, RELEASE_RCPT_MAX = 10000 };

enum release_result {
	RELEASE_NOT_ASKED,              /* this recipient was not chosen */
	RELEASE_HAD_IT,                 /* released before: not again unless asked to */
	RELEASE_PERHAPS_BEFORE,         /* perhaps delivered before: not again unless asked to */
	RELEASE_PENDING,                /* chosen */
	RELEASE_OTHER_WAY,              /* chosen, and goes by another way than those whose turn it is */
	RELEASE_HELD,                   /* the transaction there holds it */
	RELEASE_DONE,                   /* the server has said 2xx */
	RELEASE_REFUSED,                /* 5xx */
	RELEASE_LATER,                  /* 4xx, no server, or the session broke before the end */
	RELEASE_PERHAPS,                /* the session broke between the end and the reply */
};

struct release_rcpt {
	char *address, *params;         /* octets, as the client gave them */
	char *name;                     /* in events (store_event_address) */
	bool envelope;                  /* of the message's own envelope */
	enum release_result result;
	unsigned char owner;            /* of several that could have the mailbox: whose turn it is, */
	unsigned char asked;            /* and who has had it: bit i */
	bool unknown;                   /* that one refused it at RCPT: there is no such one */
	bool recorded;                  /* the result stands in the events */
	char reply[RELEASE_REPLY_MAX];  /* the server's, or why in words */
};

struct release {
	char id[STORE_ID_MAX];
	const struct site *site;
	const char *who;                /* for the events; of the caller's */
	int dir_fd, lock_fd;
	json_t *meta;
	json_t *before;                 /* how it stood for each recipient (store_events_recipients) */
	char *from, *params;
	struct smtp_identity client;    /* points into meta, or to name; addr.family 0: not known */
	char *name;                     /* by release_confirm */
	struct release_rcpt *rcpt;
	size_t rcpt_count;
	bool instead;                   /* to others than its own recipients */
	struct message *message;
	struct smtp_edit *edit;
	size_t edit_count;
	struct buf client_field;        /* text of the first edit; or empty */
	struct buf signatures;          /* of what goes out for one of ours, or the seal of what goes to the servers behind; empty: there is none */
	/* what became of it */
	struct backend_session *session;        /* or */
	struct next_hop *hop;
	struct smtp_client *smtp;       /* of either; NULL: there is none */
	char refusal[SMTP_WHY_MAX];     /* what the mail server behind says against the client; "" */
	char backend[256];              /* name; "": none was reached */
	bool told_client;               /* the server knows who the client was */
	char error[SMTP_WHY_MAX];       /* nothing more could be done: it could not be recorded */
};

/*
 * The message `id` below dir_fd, which stays the caller's; its lock is taken. 0; -ENOENT: there is none; -EWOULDBLOCK: another process is at it;
 * -EBADMSG: its files are not whole; or another -errno. why: in words.
 */
int release_load(int dir_fd, const char *id, const struct site *site, struct release **out, struct buf *why);
void release_free(struct release *r);
AUTO_DEFINE(release)

/*
 * Choose recipients of its envelope (count 0: all), or others instead of them (release_instead). Those who have it, or perhaps have it, are left
 * out unless `again`. 0, or -EINVAL: it has no such recipient, or that is no address.
 */
int release_choose(struct release *r, const char *const *address, size_t count, bool again, struct buf *why);
int release_instead(struct release *r, const char *const *address, size_t count, bool again, struct buf *why);

/*
 * Of those who are pending, who may be on one of several servers (sections domain with learn = yes): whether there are such, and the owners that the state
 * remembers for them (smtp_owner.h), who are asked first then; else they are asked in their order. 0 or -errno. may wait
 */
bool release_wants_owners(const struct release *r);
int release_recall(struct release *r, struct state *state);

/*
 * The client's name where nobody had asked for it when the message came: looked up and confirmed now (client.fcrdns). After fact_register_all.
 * may wait
 */
void release_confirm(struct release *r, struct dns *dns);

/* Of a message that was held when somebody fetched it: its content (policy/released.h), else NULL. */
const char *release_fetched(const struct release *r);

/* Whether one of ours has sent it: it is outbound or internal. */
bool release_is_ours(const struct release *r);

/* How it stood with a recipient (by his name in events) when the message was loaded. */
enum store_state release_before(const struct release *r, const char *name);

/*
 * Signatures or a seal, as the first edit, where there are to be any; once (release_sign.c). 0; -errno: it must not leave without. After fact_register_all.
 * may wait
 */
int release_sign(struct release *r);

/* Those with that result. */
size_t release_count(const struct release *r, enum release_result result);

/*
 * Deliver to those that are RELEASE_PENDING; afterwards none is, unless r->error is set. A message of one of ours (its fact direction) goes to recipients
 * of other domains as all outbound mail does; everything else to the mail server behind, those of its recipient's domain (domains, or NULL) if that has its
 * own; of several owners of mailboxes the next is asked when one does not know a recipient (release_recall: who is first). may wait
 */
struct backend_domains;
void release_run(struct release *r, struct backend_group *g, const struct backend_domains *domains, struct outbound *o);

#endif
