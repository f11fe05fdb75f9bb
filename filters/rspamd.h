/*
 * rspamd - what Rspamd thinks of the message, by HTTP (/checkv2, of its normal worker or its proxy)
 *
 * It gets the whole message as it was sent, and what is known of client and envelope. Facts: rspamd.score, rspamd.required, rspamd.action, rspamd.symbols,
 * rspamd.away, rspamd.skipped. What it would change in the message is not done. Without a section rspamd in the configuration none of them is
 * ever known.
 */
#ifndef RSPAMD_H
#define RSPAMD_H

#include "filters/filter.h"

extern const struct filter filter_rspamd;

#endif
