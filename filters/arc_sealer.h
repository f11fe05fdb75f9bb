/*
 * arc_sealer - one ARC set more above a message: what was found of it here, a signature of it, and one over all sets, RFC 8617 section 5.1
 *
 *     rc = arc_sealer_seal(&order, &out, &why);       // three fields, which go above the header
 *
 * The set is over the message as it is sent by DATA, as a DKIM signature is (dkim_signer.h): all line ends are CRLF. Signatures are relaxed/relaxed, by
 * RSA with SHA-256: nothing else is defined for ARC. Tags stand in the order of the alphabet, with one blank or fold between them and none within b=, so that
 * the same message has the same signature whoever folds it. Folds are a blank, not a tab: dkimpy looks for " i=1;" to find an ARC-Message-Signature.
 *
 * A chain that came is carried on if it passes. Where it is broken (it was found to be, or its sets are not whole) the new seal says cv=fail, and is over its own set
 * alone (section 5.1.2). None is put above one that says cv=fail itself, above ARC_SETS_MAX sets, above fields of which no number can be read, nor where it is
 * not known whether it passes.
 */
#ifndef ARC_SEALER_H
#define ARC_SEALER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "filters/arc_set.h"
#include "filters/dkim_canon.h"
#include "filters/dkim_private.h"

enum {
	ARC_SEAL_NAMES_MAX = 64,
	ARC_SEAL_SAME_MAX = 16,         /* of a name that stands there more often the lower ones are signed; of From all */
	ARC_SEAL_MAX = 256 * 1024,      /* a bound on a set */
};

enum arc_seal_when {
	ARC_SEAL_CHANGED,               /* messages that leave changed in what a signature may cover */
	ARC_SEAL_ALWAYS,
};

struct arc_seal_conf {
	char *domain, *selector;        /* canonical: d=, s= */
	struct dkim_private *key;       /* RSA */
	int number;                     /* its place in the site's keys; -1: key is the private key itself */
	enum arc_seal_when when;
	char **field;                   /* names of the fields that are signed where a message has them */
	size_t field_count;
	bool as_listed;                 /* h= has them in this order and no others; else From comes first, and once more than there are: none can be added */
	int line;                       /* where the configuration names the key */
};

struct arc_seal_order {
	const struct arc_seal_conf *conf;
	const char *header;             /* as it is sent, with or without its empty line */
	size_t len;
	unsigned char body_hash[DKIM_HASH_BYTES];       /* relaxed: dkim_signer_body */
	const char *results;            /* what our Authentication-Results say, authserv-id first; no line end behind it */
	size_t results_len;
	enum arc_cv found;              /* of the chain in header; does not count when there is none; UNREAD: not known */
	int64_t now_s;
};

/*
 * Add the set to out, its seal first. 0; 1: there is to be none; -errno: it could not be made. Of the last two *why in words (static). out is to be used on 0 only.
 * may wait
 */
int arc_sealer_seal(const struct arc_seal_order *order, struct buf *out, const char **why);

#endif
