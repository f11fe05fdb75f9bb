/*
 * retrieval - whether a message that a user fetches may be shown to him
 *
 * A message that goes from a mail server to a client (by POP3 or IMAP, of which nothing is known here) is looked at as one
 * that comes in by SMTP is: its content gives facts, the policy judges, with direction = retrieval. The user who fetches is
 * the recipient, the client one of ours: checks for strangers (SPF, DNS lists, greylist) do not apply. accept and what only
 * adds to a message: PASS. reject, quarantine, discard and redirect: NOTICE, he is shown a notice instead (notice.h), and the
 * quarantine has a copy. What cannot be found out now counts as not found: nobody waits for his mail. In observe mode all
 * pass, and the log says what would have been.
 *
 * A verdict is kept by the message's name on its server (retrieval_key), so that a message is scanned once. PASS: for a day,
 * NOTICE: for 30 days, or as long as the quarantine keeps its copy (either for a quarter of an hour, where a temporary failure
 * had a part in it, or no copy could be made), both until policy or lists change; NOTICE until the copy has been released, too: what was released
 * once is never convicted again, nor are other copies of it (policy/released.h).
 *
 * The way of a message:
 *
 *     retrieval_known(r, keys, n, verdicts);                          all that a command asks for, at once (POP3: see retrieval_scan_bind)
 *     scan = retrieval_scan_new(r, &client, &key);                    for each that is RETRIEVAL_UNKNOWN
 *     retrieval_scan_add(scan, p, len); ...                           the whole message, as it came, while the caller keeps it back
 *     retrieval_scan_end(scan, &verdict); retrieval_scan_free(scan);  then the message, or the notice
 *
 * Two sessions that scan one message at the same time: both do, and both come to the same.
 */
#ifndef RETRIEVAL_H
#define RETRIEVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/net.h"
#include "policy/released.h"
#include "policy/store.h"
#include "retrieval/notice.h"

struct daemons;
struct dns;
struct history_channel;
struct retrieval;
struct retrieval_scan;
struct site;
struct state;
struct txn;

enum retrieval_answer { RETRIEVAL_UNKNOWN, RETRIEVAL_PASS, RETRIEVAL_NOTICE };

/*
 * One message on its server. A mailbox that is made anew has another validity, and so other messages. Strings are of any
 * octets, the caller's, and are copied.
 */
struct retrieval_key {
	const char *backend;            /* name of the section */
	const char *account;            /* who has logged in, as the server knows him */
	const char *mailbox;            /* IMAP: its name as the server spells it (INBOX in capitals); POP3: "" */
	const char *validity;           /* IMAP: UIDVALIDITY in decimal; POP3: "" */
	const char *uid;                /* IMAP: the UID in decimal; POP3: of UIDL. "": the server has none, nothing is kept */
	const char *listener;           /* name, or NULL: where rules speak of listeners, each has verdicts of its own */
};

struct retrieval_verdict {
	enum retrieval_answer answer;
	char id[STORE_ID_MAX];          /* NOTICE: of the copy in the quarantine; "": there is none */
	char reason[NOTICE_REASON_MAX]; /* NOTICE: why, for notice_init */
	char content[RELEASED_CONTENT_MAX];     /* of which message, as a hash; "": not known (PASS, but of a scan that was bound) */
};

/* Who fetches. Strings are the caller's until retrieval_scan_free. */
struct retrieval_client {
	const struct net_addr *addr;
	const char *protocol;           /* "imap", "pop3" */
	const char *sid;                /* of the session, for the log */
	const char *listener;
	const char *tls;                /* version ("TLSv1.3") or NULL */
};

/* What a process has once. All but site and dns may be NULL: without a store no copies are kept, without a state no verdicts. */
struct retrieval_conf {
	const struct site *site;
	struct dns *dns;
	struct state *state;
	struct store *store;
	struct history_channel *history;
	struct daemons *daemons;        /* that filters may ask */
};

/* NULL: no memory. Reads no files; some 100 KiB. */
struct retrieval *retrieval_new(const struct retrieval_conf *conf);
void retrieval_free(struct retrieval *r);

/*
 * What is known of count messages, in few questions to the state; what this process has known for some seconds it does not
 * ask again. Every verdict is set: UNKNOWN where nothing is known, too where the state is away. may wait
 */
void retrieval_known(struct retrieval *r, const struct retrieval_key *key, size_t count, struct retrieval_verdict *out);

/*
 * A scan takes the message's octets as they came. NULL: no memory. add: 0 or -errno, after which it takes no more; it need
 * not be looked at, the end says the same. At limits.message_bytes what follows is counted and not looked at (message.size
 * tells the true size). may wait
 */
struct retrieval_scan *retrieval_scan_new(struct retrieval *r, const struct retrieval_client *client, const struct retrieval_key *key);
int retrieval_scan_add(struct retrieval_scan *s, const char *p, size_t len);

/*
 * Before the first octets: the name is one that a server may give to another message, too. UIDLs are numbers of places, hashes of
 * a header, even a field of it (X-UIDL), so who writes a message can have one chosen. known: what retrieval_known says of it. If
 * this is the message that that verdict was found for, it is what the end says, too, and nothing is judged or logged; else the
 * message is judged, and the verdict kept with its content.
 */
void retrieval_scan_bind(struct retrieval_scan *s, const struct retrieval_verdict *known);

/*
 * The message is complete: 0 and PASS or NOTICE, which is kept and logged ("event=retrieval verdict=pass", "verdict=notice").
 * -errno: it could not be scanned (no memory, no room to lay it down); the client is to be told to come again, and *out is
 * UNKNOWN. Once. may wait
 */
int retrieval_scan_end(struct retrieval_scan *s, struct retrieval_verdict *out);
void retrieval_scan_free(struct retrieval_scan *s);     /* also before its end: nothing is kept or logged */
AUTO_DEFINE(retrieval_scan)

/*
 * The message's octets from off on, as they were added, for who keeps none of his own: *p and *len as message_read gives
 * them, until retrieval_scan_free. 0; -EFBIG: of a message beyond limits.message_bytes not all is here; or another -errno.
 */
int retrieval_scan_read(struct retrieval_scan *s, uint64_t off, const char **p, size_t *len);

/*
 * The sender of t becomes whom the server that delivered the message wrote down: the first Return-Path, if that is an
 * address. 0 or -ENOMEM.
 */
int retrieval_sender(struct txn *t);

#endif
