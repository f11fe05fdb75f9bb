/* conf_client_limits - gatepost.conf: how much one client network, and how much all of them, may ask of us in a time */
#include <stddef.h>

#include "policy/conf_table.h"

#define CLIENT(field) offsetof(struct site, client_limits.client.field)
#define WHOLE(field) offsetof(struct site, client_limits.site.field)
#define COUNT(name, offset, value) CONF_NUMBER(name, CONF_INT, offset, value, 0, USE_LIMIT_MAX)

enum { HOUR_MS = 3600 * 1000 };

static const int64_t BYTES_MAX = (int64_t)USE_LIMIT_MAX * USE_BYTES_UNIT;

static void exempt_read(struct conf *c, void *at, const char *value, int line)
{
	struct client_limits *l = &((struct site *)at)->client_limits;

	conf_prefix_add(c, "exempt", &l->exempt, &l->exempt_count, value, line);
}

/*
 * Ten times and more what honest ones do who do much: a host of mailing lists that writes to two thousand members here, one message and often one connection for
 * each; an office behind one address whose mail programs all come back when its line does; a relay that empties its queue.
 */
static const struct conf_option client_options[] = {
	CONF_NUMBER("period", CONF_DURATION_MS, CLIENT(period_ms), "1m", 1000, HOUR_MS),
	COUNT("connections", CLIENT(limit[USE_CONNECTIONS]), "600"),
	COUNT("commands", CLIENT(limit[USE_COMMANDS]), "30000"),
	COUNT("errors", CLIENT(limit[USE_ERRORS]), "600"),
	COUNT("recipients", CLIENT(limit[USE_RECIPIENTS]), "10000"),
	COUNT("unknown_recipients", CLIENT(limit[USE_UNKNOWN]), "100"),
	COUNT("messages", CLIENT(limit[USE_MESSAGES]), "3000"),
	CONF_NUMBER("bytes", CONF_SIZE64, offsetof(struct site, client_limits.client_bytes), "2G", 0, BYTES_MAX),
	COUNT("logins", CLIENT(limit[USE_LOGINS]), "600"),
	CONF_NUMBER("slow_from", CONF_INT, CLIENT(slow_from), "50", 0, 100),
	CONF_NUMBER("slow_max", CONF_DURATION_MS, CLIENT(slow_max_ms), "5s", 0, 60 * 1000),
	CONF_NUMBER("slowed", CONF_INT, offsetof(struct site, client_limits.slowed), "25", 1, 30000),
	{ "exempt", CONF_LIST, 0, .read = exempt_read },
	{ 0 },
};

static int units(uint64_t bytes)
{
	return (int)((bytes + USE_BYTES_UNIT - 1) / USE_BYTES_UNIT);
}

static void client_close(struct conf *c, void *at, int line)
{
	struct client_limits *l = &((struct site *)at)->client_limits;

	l->client.limit[USE_BYTES] = units(l->client_bytes);
}

const struct conf_section conf_client_limits = { "client_limits", NULL, client_options, NULL, client_close };

/* How much a site can take is known to those who run it. */
static const struct conf_option site_options[] = {
	CONF_NUMBER("period", CONF_DURATION_MS, WHOLE(period_ms), "1m", 1000, HOUR_MS),
	COUNT("connections", WHOLE(limit[USE_CONNECTIONS]), "0"),
	COUNT("commands", WHOLE(limit[USE_COMMANDS]), "0"),
	COUNT("errors", WHOLE(limit[USE_ERRORS]), "0"),
	COUNT("recipients", WHOLE(limit[USE_RECIPIENTS]), "0"),
	COUNT("unknown_recipients", WHOLE(limit[USE_UNKNOWN]), "0"),
	COUNT("messages", WHOLE(limit[USE_MESSAGES]), "0"),
	CONF_NUMBER("bytes", CONF_SIZE64, offsetof(struct site, client_limits.site_bytes), "0", 0, BYTES_MAX),
	COUNT("logins", WHOLE(limit[USE_LOGINS]), "0"),
	CONF_NUMBER("slow_from", CONF_INT, WHOLE(slow_from), "80", 0, 100),
	CONF_NUMBER("slow_max", CONF_DURATION_MS, WHOLE(slow_max_ms), "5s", 0, 60 * 1000),
	{ 0 },
};

static void site_close(struct conf *c, void *at, int line)
{
	struct client_limits *l = &((struct site *)at)->client_limits;

	l->site.limit[USE_BYTES] = units(l->site_bytes);
}

const struct conf_section conf_site_limits = { "site_limits", NULL, site_options, NULL, site_close };

static int line_of(const struct conf *c, const struct conf_section *section)
{
	for (size_t i = 0; i < c->section_count; i++)
		if (c->section[i].section == section)
			return c->section[i].line;
	return 0;
}

/* What one session may do by other options must not be more than all of a network's may. */
static void beside_session(struct conf *c, const char *section, const struct use_conf *l, int line)
{
	const struct smtp_limits *one = &c->site->limits;
	const struct { enum use_kind kind; int64_t most; const char *what; } rows[] = {
		{ USE_COMMANDS, (int64_t)one->recipients + 5, "a message with as many recipients as limits allow takes" },
		{ USE_ERRORS, one->errors, "limits let one session make" },
		{ USE_RECIPIENTS, one->recipients, "limits let one message have" },
		{ USE_MESSAGES, one->transactions, "limits let one session send" },
		{ USE_BYTES, units(one->message_bytes), NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int limit = l->limit[rows[i].kind];

		if (limit == 0 || limit >= rows[i].most)
			continue;
		if (!rows[i].what)
			conf_warning(c, line, "%s: bytes is less than message_size in limits: a message of that size uses up more than there is", section);
		else
			conf_warning(c, line, "%s: %s = %d, and %s %lld", section, use_kind_name(rows[i].kind), limit, rows[i].what, (long long)rows[i].most);
	}
}

void conf_client_limits_check(struct conf *c)
{
	const struct client_limits *l = &c->site->client_limits;
	int client = line_of(c, &conf_client_limits), site = line_of(c, &conf_site_limits);

	beside_session(c, "client_limits", &l->client, client);
	beside_session(c, "site_limits", &l->site, site);
	for (int k = 0; k < USE_KINDS; k++) {
		int64_t all = (int64_t)l->site.limit[k] * l->client.period_ms, one = (int64_t)l->client.limit[k] * l->site.period_ms;

		if (all > 0 && one > all)
			conf_warning(c, site, "site_limits: %s is less than that of client_limits: one client may use up what all have", use_kind_name(k));
	}
	if (l->slowed > c->site->limits.sessions_per_client && client)
		conf_warning(c, client, "client_limits: slowed plays no part, it is larger than sessions_per_client in limits");
}
