/* conf_limits - gatepost.conf: how much, and how long */
#include <stddef.h>

#include "policy/conf_table.h"

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS, DOT_BUDGET_MS = 9 * 60 * 1000 };

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define LIMIT(field) offsetof(struct site, limits.field)
#define TIME(field) offsetof(struct site, timeouts.field)

/* RFC 5321 4.5.3.1: a line of 512 and a message of 64K at least, 100 recipients; 6.3: 100 hops. */
static const struct conf_option limits_options[] = {
	CONF_NUMBER("line", CONF_SIZE, LIMIT(line_bytes), "2K", 512, 64 * KIB),
	CONF_NUMBER("message_size", CONF_SIZE64, LIMIT(message_bytes), "50M", 64 * KIB, 4096 * MIB),
	CONF_NUMBER("recipients", CONF_INT, LIMIT(recipients), "1000", 100, 100000),
	CONF_NUMBER("transactions", CONF_INT, LIMIT(transactions), "100", 1, 1000000),
	CONF_NUMBER("errors", CONF_INT, LIMIT(errors), "20", 1, 10000),
	CONF_NUMBER("hops", CONF_INT, LIMIT(hops), "100", 10, 10000),
	CONF_NUMBER("sessions", CONF_INT, LIMIT(sessions), "10000", 1, 30000),
	CONF_NUMBER("sessions_per_client", CONF_INT, LIMIT(sessions_per_client), "50", 1, 30000),
	CONF_NUMBER("memory", CONF_SIZE, LIMIT(message.memory_bytes), "256K", 4 * KIB, 64 * MIB),
	CONF_NUMBER("header_size", CONF_SIZE, LIMIT(message.header_bytes), "256K", 16 * KIB,
	            64 * MIB),
	CONF_NUMBER("header_fields", CONF_SIZE, LIMIT(message.header_fields), "2000", 50, MESSAGE_FIELDS_MAX),
	CONF_NUMBER("memory_total", CONF_SIZE64, LIMIT(memory_total), "0", 0, 1024 * 1024 * MIB),
	CONF_NUMBER("shed_from", CONF_INT, LIMIT(shed_from), "75", 10, 100),
	CONF_NUMBER("shed_lag", CONF_DURATION_MS, LIMIT(shed_lag_ms), "100ms", 0, 60 * 1000),
	{ 0 },
};

/* What keepers and workers may take: room for 10,000 sessions in each, and caches. */
static uint64_t memory_total_default(const struct site *s)
{
	return (uint64_t)(512 * MIB + s->workers * 128 * MIB);
}

/* And what they take before anybody has come. */
static uint64_t memory_total_least(const struct site *s)
{
	return (uint64_t)(48 * MIB + s->workers * 16 * MIB);
}

static void limits_close(struct conf *c, void *at, int line)
{
	struct site *s = at;
	struct smtp_limits *l = &s->limits;

	if (l->memory_total == 0)
		l->memory_total = memory_total_default(s);
	else if (l->memory_total < memory_total_least(s))
		conf_warning(c, line, "limits: memory_total is less than what %d workers and the keepers need for themselves, expected %dM or more", s->workers,
			     (int)(memory_total_least(s) / MIB));
	if (l->message.header_bytes > l->message_bytes)
		conf_error(c, line,
		           "limits: header_size is larger than message_size, expected it to fit");
	if (l->sessions_per_client > l->sessions)
		conf_warning(
			c, line,
			"limits: sessions_per_client plays no part, it is larger than sessions");
}

const struct conf_section conf_limits = { "limits", NULL, limits_options, NULL, limits_close };

static const struct conf_option timeouts_options[] = {
	/* The client's leg; RFC 5321 4.5.3.2.7 asks for 5 minutes. */
	CONF_NUMBER("command", CONF_DURATION_MS, TIME(command_ms), "5m", 1000, HOUR_MS),
	CONF_NUMBER("data", CONF_DURATION_MS, TIME(data_block_ms), "3m", 1000, HOUR_MS),
	CONF_NUMBER("session", CONF_DURATION_MS, TIME(session_ms), "1h", 0, DAY_MS),
	CONF_NUMBER("transaction", CONF_DURATION_MS, TIME(transaction_ms), "30m", 0, DAY_MS),
	/* The backend's leg, 4.5.3.2.1 to 6. */
	CONF_NUMBER("backend_greeting", CONF_DURATION_MS, TIME(greeting_ms), "5m", 1000, HOUR_MS),
	CONF_NUMBER("backend_helo", CONF_DURATION_MS, TIME(helo_ms), "5m", 1000, HOUR_MS),
	CONF_NUMBER("backend_mail", CONF_DURATION_MS, TIME(mail_ms), "5m", 1000, HOUR_MS),
	CONF_NUMBER("backend_rcpt", CONF_DURATION_MS, TIME(rcpt_ms), "5m", 1000, HOUR_MS),
	CONF_NUMBER("backend_data", CONF_DURATION_MS, TIME(data_ms), "2m", 1000, HOUR_MS),
	CONF_NUMBER("backend_block", CONF_DURATION_MS, TIME(block_ms), "3m", 1000, HOUR_MS),
	CONF_NUMBER("backend_dot", CONF_DURATION_MS, TIME(dot_ms), "10m", 1000, HOUR_MS),
	CONF_NUMBER("backend_quit", CONF_DURATION_MS, TIME(quit_ms), "5s", 100, HOUR_MS),
	CONF_NUMBER("backend_budget", CONF_DURATION_MS, TIME(budget_ms), "4m", 1000, HOUR_MS),
	CONF_NUMBER("backend_dot_budget", CONF_DURATION_MS, TIME(dot_budget_ms), "8m", 1000,
	            HOUR_MS),
	CONF_NUMBER("drain_stop", CONF_DURATION_S, offsetof(struct site, drain.stop_s), "30s", 1, HOUR_MS / 1000),
	CONF_NUMBER("drain_reload", CONF_DURATION_S, offsetof(struct site, drain.reload_s), "1h", 1, 30 * (DAY_MS / 1000)),
	{ 0 },
};

static void timeouts_close(struct conf *c, void *at, int line)
{
	const struct site *s = at;
	const struct drain_times *d = &s->drain;

	if (d->reload_s < d->stop_s)
		conf_error(c, line, "timeouts: drain_reload is shorter than drain_stop, expected at least as long");
	if (s->timeouts.dot_budget_ms > DOT_BUDGET_MS)
		conf_warning(c, line, "timeouts: backend_dot_budget is more than 9m: a client waits for 10 minutes and sends again then, which can deliver twice");
}

const struct conf_section conf_timeouts = { "timeouts", NULL, timeouts_options, NULL, timeouts_close };
