/*
 * signed_change - whether a header leaves other than it came, in what a signature may cover
 *
 * Compared are all fields of certain names (those that we sign ourselves) and those of ARC: which there are, their order among those of the same name, their
 * octets. Of other names, what the DKIM-Signature and ARC-Message-Signature fields that came have in their h=: whether these choose the same fields still
 * (RFC 6376 section 5.4.2). So a field above all others, of a name that is neither, is no change, nor one that is taken away and was not signed. Pure.
 */
#ifndef SIGNED_CHANGE_H
#define SIGNED_CHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/message.h"

enum {
	SIGNED_CHANGE_NAMES_MAX = 10000,                /* in all h= that are looked at, */
	SIGNED_CHANGE_BYTES_MAX = 4 * 1024 * 1024,      /* and of fields that are compared for these; beyond it is a change */
};

/* sent: the header, with or without its empty line. From is compared in any case. 1: it is other, 0: it is not, -ENOMEM, -EMSGSIZE. */
int signed_change(const struct message *came, const char *sent, size_t len, char *const *name, size_t count);

/* The same, of ARC's fields alone; *any: there are some in what is sent. */
int signed_change_chain(const struct message *came, const char *sent, size_t len, bool *any);

#endif
