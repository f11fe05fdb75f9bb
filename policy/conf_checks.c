/* conf_checks - gatepost.conf: SPF, DKIM, greylisting, and how SMTP treats what is odd */
#include <stddef.h>

#include "policy/conf_table.h"

#define SITE(field) offsetof(struct site, field)

static const char *const spf_engines[] = { "native", "libspf2", NULL };
static const char *const dkim_engines[] = { "native", "libopendkim", NULL };

static const struct conf_option spf_options[] = {
	{ "engine", CONF_WORD, SITE(spf_engine), "native", .words = spf_engines },
	CONF_NUMBER("timeout", CONF_DURATION_MS, SITE(spf_timeout_ms), "20s", 1000, 120000),
	CONF_OPTION("received_spf", CONF_BOOL, SITE(add_received_spf), "no"),
	{ 0 },
};

const struct conf_section conf_spf = { "spf", NULL, spf_options, NULL, NULL };

static const struct conf_option dkim_options[] = {
	{ "engine", CONF_WORD, SITE(dkim_engine), "native", .words = dkim_engines },
	CONF_NUMBER("max_signatures", CONF_INT, SITE(dkim_max_signatures), "10", 1, 50),
	{ 0 },
};

const struct conf_section conf_dkim = { "dkim", NULL, dkim_options, NULL, NULL };

static const struct conf_option greylist_options[] = {
	CONF_NUMBER("delay", CONF_DURATION_S, SITE(greylist.delay_s), "5m", 0, 86400),
	CONF_NUMBER("window", CONF_DURATION_S, SITE(greylist.window_s), "2d", 600, 30 * 86400),
	CONF_NUMBER("life", CONF_DURATION_S, SITE(greylist.life_s), "36d", 3600, 400 * 86400),
	CONF_NUMBER("auto_passes", CONF_INT, SITE(greylist.auto_passes), "5", 0, 1000000),
	CONF_NUMBER("ipv4_bits", CONF_INT, SITE(greylist.v4_bits), "24", 8, 32),
	CONF_NUMBER("ipv6_bits", CONF_INT, SITE(greylist.v6_bits), "64", 16, 128),
	{ 0 },
};

static void greylist_close(struct conf *c, void *at, int line)
{
	const struct greylist_conf *g = &((struct site *)at)->greylist;

	if (g->window_s <= g->delay_s)
		conf_error(
			c, line,
			"greylist: window is not longer than delay, expected a retry to have time");
	if (g->life_s < g->window_s)
		conf_error(c, line,
		           "greylist: life is shorter than window, expected at least as long");
}

const struct conf_section conf_greylist = { "greylist", NULL, greylist_options, NULL,
	                                    greylist_close };

static const char *const eightbit_words[] = { "refuse", "pass", NULL };
static const char *const bare_words[] = { "normalise", "refuse", NULL };

/* The field is a bool: refuse is false, pass is true. */
static void eightbit_read(struct conf *c, void *at, const char *value, int line)
{
	int word = ((struct site *)at)->eightbit_pass;
	const struct conf_option o = { "eightbit", CONF_WORD, 0, .words = eightbit_words };

	conf_read(c, &o, &word, value, line);
	((struct site *)at)->eightbit_pass = word;
}

static const char *const split_words[] = { "no", "retry", NULL };

/* The field is a bool: retry is true. */
static void split_read(struct conf *c, void *at, const char *value, int line)
{
	int word = ((struct site *)at)->split_retry;
	const struct conf_option o = { "split", CONF_WORD, 0, .words = split_words };

	conf_read(c, &o, &word, value, line);
	((struct site *)at)->split_retry = word;
}

static const struct conf_option smtp_options[] = {
	CONF_NUMBER("banner_delay", CONF_DURATION_MS, SITE(banner_delay_ms), "0", 0, 120000),
	CONF_NUMBER("ledger", CONF_DURATION_S, SITE(ledger_s), "6h", 0, 7 * 86400),
	{ "split", CONF_CUSTOM, 0, "no", .read = split_read },
	CONF_OPTION("prdr", CONF_BOOL, SITE(prdr), "yes"),
	{ "bare_lf", CONF_WORD, SITE(bare_lf), "normalise", .words = bare_words },
	{ "eightbit", CONF_CUSTOM, 0, "pass", .read = eightbit_read },
	{ 0 },
};

const struct conf_section conf_smtp = { "smtp", NULL, smtp_options, NULL, NULL };
