/*
 * spool_record - ID.json: an envelope, and what became of each recipient, as text
 *
 *     { "spool": 1, "id": "01kabc...", "created": 1795310000, "bytes": 18233,
 *       "sender": "a@x.example", "params": "BODY=8BITMIME RET=HDRS ENVID=q1", "direction": "outbound", "credible": true,
 *       "listener": "smarthost", "user": "a", "client": "192.0.2.7", "helo": "mail.x.example", "txn": "5f3c.1",
 *       "rcpt": [ { "address": "b@y.example", "params": "NOTIFY=FAILURE,DELAY", "route": "mx y.example", "state": "waiting",
 *                   "attempts": 2, "tried": 1795310400, "reply": "451 4.7.1 later", "remote": "mx.y.example [198.51.100.7]:25", "told": false } ] }
 *
 * direction: inbound, submission, outbound. state: waiting, delivered, failed. tried, reply, remote: of the last attempt. told: the sender knows
 * of the delay. listener, user, client, helo, txn need not be there, nor "minor": true. Text is that of spool_json.h. A person may edit a file
 * while Gatepost does not run: the reader is strict, and what it does not understand is put aside, not guessed at. Members that it does not know are
 * not looked at.
 *
 * Pure: no I/O.
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include <jansson.h>
#include <stddef.h>

#include "policy/spool.h"

/* New reference, or NULL: no memory. */
json_t *spool_record_json(const struct spool_envelope *e);
/* As text, for free(). NULL: no memory, or more than SPOOL_RECORD_MAX. */
char *spool_record_text(const struct spool_envelope *e);

/*
 * 0 and *out. -EINVAL: it is none, *why (which may be NULL) says in what way. -ENOMEM. id: in a record of the spool it must be there; in
 * one that is to be kept there is none yet, and created may be 0.
 */
enum spool_record_kind { RECORD_KEPT, RECORD_NEW };
int spool_record_read(const json_t *o, enum spool_record_kind kind, struct spool_envelope **out, const char **why);
int spool_record_parse(const char *text, size_t len, enum spool_record_kind kind, struct spool_envelope **out, const char **why);

const char *spool_state_name(enum spool_state s);
const char *spool_direction_name(enum spool_direction d);

/* How many recipients still wait. */
size_t spool_envelope_waiting(const struct spool_envelope *e);

#endif
