/* conf_spool - gatepost.conf: for how long, and how often, the delivery of what is in the spool is tried */
#include <stddef.h>

#include "policy/conf_table.h"

enum { DAY_S = 86400 };

#define MIB ((int64_t)1024 * 1024)
#define SPOOL(field) offsetof(struct site, spool.field)

/* A short retry is of use in tests only; the retry of a dead next hop is by one message. */
static const struct conf_option spool_options[] = {
	CONF_NUMBER("life", CONF_DURATION_S, SPOOL(life_s), "5d", 1, 60 * (int64_t)DAY_S),
	CONF_NUMBER("delay_notice", CONF_DURATION_S, SPOOL(delay_notice_s), "4h", 0, 60 * (int64_t)DAY_S),
	CONF_NUMBER("retry_min", CONF_DURATION_MS, SPOOL(retry_min_ms), "1m", 100, 3600 * 1000),
	CONF_NUMBER("retry_max", CONF_DURATION_MS, SPOOL(retry_max_ms), "4h", 100, DAY_S * (int64_t)1000),
	CONF_NUMBER("max_size", CONF_SIZE64, SPOOL(max_bytes), "4G", MIB, 1024 * 1024 * MIB),
	CONF_NUMBER("max_messages", CONF_INT, SPOOL(max_messages), "100000", 1, 1000000),
	CONF_NUMBER("deliveries", CONF_INT, SPOOL(deliveries), "5", 1, 100),
	{ 0 },
};

static void spool_close(struct conf *c, void *at, int line)
{
	const struct spool_settings *s = &c->site->spool;

	if (s->retry_max_ms < s->retry_min_ms)
		conf_error(c, line, "spool: retry_max is shorter than retry_min");
	if (s->delay_notice_s >= s->life_s && conf_given(c, "delay_notice"))
		conf_warning(c, line, "spool: delay_notice is not shorter than life: nobody is told of a delay");
}

const struct conf_section conf_spool = { "spool", NULL, spool_options, NULL, spool_close };
