/* conf_state - gatepost.conf: where several gateways keep what they remember together */
#include <stdlib.h>
#include <string.h>

#include "policy/conf_table.h"

#define SITE(field) offsetof(struct site, field)

static void address_read(struct conf *c, void *at, const char *value, int line)
{
	struct net_addr *a = &((struct site *)at)->redis.address;

	if (net_parse_port(value, STATE_REDIS_PORT, a) < 0 || a->port == 0) {
		conf_error(c, line,
			   "address: \"%s\" is no address, expected one such as \"10.0.0.9:6379\" or "
			   "\"[2001:db8::9]:6379\" (no name: workers cannot look it up)",
			   value);
		memset(a, 0, sizeof *a);
	}
}

/* Part of keys, and of a pattern: no byte that means something there. */
static void prefix_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	size_t len = strlen(value);

	if (len > STATE_REDIS_PREFIX_MAX ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._-") != len) {
		conf_error(c, line,
			   "prefix: \"%s\" is no prefix, expected up to %d letters, digits, colons, dots and hyphens",
			   value, STATE_REDIS_PREFIX_MAX);
		return;
	}
	free(s->redis.prefix);
	s->redis.prefix = conf_copy(value);
}

static void password_read(struct conf *c, void *at, const char *value, int line)
{
	conf_password(c, "password_file", value, line, &((struct site *)at)->redis.password);
}

static const char *const away_words[] = { "open", "defer", NULL };

static const struct conf_option state_options[] = {
	{ "address", CONF_CUSTOM, 0, .read = address_read },
	{ "prefix", CONF_CUSTOM, 0, "gatepost:", .read = prefix_read },
	{ "password_file", CONF_CUSTOM, 0, .read = password_read },
	CONF_NUMBER("timeout", CONF_DURATION_MS, SITE(redis.timeout_ms), "2s", 100, 30000),
	{ "away", CONF_WORD, SITE(state_away), "open", .words = away_words },
	{ 0 },
};

static void *state_open(struct conf *c, const char *title, int line)
{
	if (strcmp(title, "redis") == 0)
		return c->site;
	conf_error(c, line, "state_store: \"%s\" is not known, expected redis; without a section: this machine alone",
		   title);
	return NULL;
}

static void state_close(struct conf *c, void *at, int line)
{
	if (!conf_given(c, "address"))
		conf_error(c, line,
			   "state_store redis: has no address, expected one such as address = \"10.0.0.9:6379\"");
}

const struct conf_section conf_state = { "state_store", "engine", state_options, state_open, state_close };
