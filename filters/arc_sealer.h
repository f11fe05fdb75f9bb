/*
 * arc_sealer - one ARC set more above a message: what was found of it here, and a signature of ours over that and all that came, RFC 8617 section 5.1
 *
 * Only RSA with SHA-256: nothing else is defined for ARC. Signatures are relaxed/relaxed.
 */
#ifndef ARC_SEALER_H
#define ARC_SEALER_H

#include <stddef.h>

#include "filters/dkim_private.h"

enum { ARC_SEAL_NAMES_MAX = 64 };

enum arc_seal_when {
	ARC_SEAL_CHANGED,               /* messages that leave changed in what a signature may cover */
	ARC_SEAL_ALWAYS,
};

struct arc_seal_conf {
	char *domain, *selector;        /* canonical: d=, s= */
	struct dkim_private *key;
	int number;                     /* its place in the site's keys; -1: key is the private key itself */
	enum arc_seal_when when;
	char **field;                   /* names of the fields that are signed where a message has them; From always is */
	size_t field_count;
	int line;                       /* where the configuration names the key */
};

#endif
