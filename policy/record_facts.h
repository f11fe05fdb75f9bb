/*
 * record_facts - the facts of a record (record.h), as facts again
 *
 * What this version does not know, or knows as something else, is left out: unknown. So are lists that were cut: what they say may be half of it.
 */
#ifndef RECORD_FACTS_H
#define RECORD_FACTS_H

#include <jansson.h>

#include "filters/fact.h"

/* After fact_register_all. 0 or -ENOMEM. */
int record_facts(const json_t *record, struct facts *out);

#endif
