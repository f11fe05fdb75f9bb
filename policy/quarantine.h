/*
 * quarantine - what is written beside a kept message, as one JSON object
 *
 *     tx, at, client, port, helo, tls     of whom it came, and when (seconds since 1970)
 *     from, from_params                   MAIL FROM without <>, its parameters
 *     rcpt: [{address, params}]           those for whom it was kept
 *     rule, reason                        the rule that decided, and its comparison in words
 *     facts: {name: value}                text, number, true/false, a list of texts; "temperror"
 *     why: {name: words}                  the reasons of facts, where they have one
 *     subject, message_id                 of the header, as sent
 *     id, kept_at, bytes                  added by the store
 *
 * Bytes that are not UTF-8 cannot stand in JSON: such a value is {"b64": "..."} instead of a text, so that an envelope can be given back byte for byte.
 */
#ifndef QUARANTINE_H
#define QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "filters/txn.h"

/*
 * The object for t. chosen: one bool for each of t->env.rcpt, or NULL for all. rule and reason may be NULL.
 * 0 and the text added to out, or -ENOMEM, -ENOSPC.
 */
int quarantine_meta(const struct txn *t, const bool *chosen, const char *rule, const char *reason, struct buf *out);

#endif
