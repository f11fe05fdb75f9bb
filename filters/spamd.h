/*
 * spamd - what SpamAssassin thinks of the message, by its daemon spamd
 *
 * It gets the whole message as it was sent. Facts: spamd.spam, spamd.score, spamd.threshold, spamd.symbols, spamd.away, spamd.skipped. Without a section
 * spamd in the configuration none of them is ever known.
 */
#ifndef SPAMD_H
#define SPAMD_H

#include "filters/filter.h"

extern const struct filter filter_spamd;

#endif
