/* conf_history - gatepost.conf: what is kept of each transaction, and for how long */
#include <stddef.h>

#include "policy/conf_table.h"

enum { DAY_S = 86400 };

#define MIB ((int64_t)1024 * 1024)
#define HISTORY(field) offsetof(struct site, history.field)

static const struct conf_option history_options[] = {
	CONF_OPTION("record", CONF_BOOL, HISTORY(record), "yes"),
	CONF_NUMBER("keep", CONF_DURATION_S, HISTORY(keep_s), "30d", 60, 3650 * (int64_t)DAY_S),
	CONF_NUMBER("max_size", CONF_SIZE64, HISTORY(max_bytes), "2G", MIB, 1024 * 1024 * MIB),
	{ 0 },
};

const struct conf_section conf_history = { "history", NULL, history_options, NULL, NULL };
