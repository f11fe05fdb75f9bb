/*
 * sealing - whether a message from outside is sealed (ARC) for the servers behind, and the header with the seal above it
 *
 * The section arc_seal says it: never, where Gatepost has changed what a signature may cover (filters/signed_change.h, or the body), or always. What one of
 * ours sends is signed instead (signing.h). The seal is made last, over what is sent: it tells what our Authentication-Results in that header say, and of the
 * chain that came what our own verification has found (fact arc). A message that begins with an ARC-Seal was sealed here, and leaves as lines, as one that
 * was signed does.
 *
 * Nobody needs a seal to get a message: where none can be made it leaves without, and the log says why.
 */
#ifndef SEALING_H
#define SEALING_H

#include "base/buf.h"
#include "filters/arc_sealer.h"
#include "filters/txn.h"

/* What leaves, and as what it came. */
struct sealing {
	const struct site *site;
	const char *id;                 /* for the log */
	struct message *message;        /* whose body is sent */
	const struct message *arrived;  /* whose header came; the same where milters have changed nothing */
	bool body_replaced;
	const char *header;             /* that is sent, with or without its empty line */
	size_t len;
	const char *results;            /* of Authentication-Results, authserv-id first; NULL: those in header that are ours */
	enum arc_cv found;              /* of the chain that came; UNREAD: not known */
};

/* The set alone, into set (bound: ARC_SEAL_MAX); none if it is not to be sealed, or cannot be: then -errno, which the log has. may wait */
int sealing_make(const struct sealing *s, struct buf *set);

/* Behind what authres_gather has gathered of all fields: "none" where that is nothing. 0 or -ENOSPC. */
int sealing_results_end(const struct site *site, struct buf *results);

/* What the fact says of the chain. */
enum arc_cv sealing_found(const struct fact *arc);

/*
 * t's message, whose header outgoing_header has made. arrived: as it was before milters; NULL: they have not changed it. The seal is put above it. A process with the
 * keys that has not answered is not waited for again for others of the message's recipients. may wait
 */
void sealing_apply(struct txn *t, const struct message *arrived, bool body_replaced, struct buf *header);

#endif
