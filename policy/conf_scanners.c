/* conf_scanners - gatepost.conf: daemons that look at what a message has in it */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "policy/conf_table.h"

enum { USER_MAX = 100 };

/* max_size: as much as clamd takes where Debian's clamd.conf is not changed (StreamMaxLength 25M). */
static const struct conf_option clamd_options[] = {
	CONF_DAEMON("10", "60s", "25M"),
	{ 0 },
};

static void *clamd_open(struct conf *c, const char *title, int line)
{
	return &c->site->clamd;
}

static void close_one(struct conf *c, void *at, int line, const char *name, const char *example)
{
	struct daemon_conf *d = at;

	d->line = line;
	if (line && !conf_given(c, "address"))
		conf_error(c, line, "%s: it has no address, expected one such as \"%s\"", name, example);
}

static void clamd_close(struct conf *c, void *at, int line)
{
	close_one(c, at, line, "clamd", "unix:/run/clamav/clamd.ctl");
}

const struct conf_section conf_clamd = { "clamd", NULL, clamd_options, clamd_open, clamd_close };

/* The password is looked at by Rspamd only where its worker has one (worker "controller"). */
static void password_read(struct conf *c, void *at, const char *value, int line)
{
	conf_password(c, "password_file", value, line, &((struct rspamd_conf *)at)->password);
}

static const struct conf_option rspamd_options[] = {
	CONF_DAEMON("20", "30s", "10M"),
	{ "password_file", CONF_CUSTOM, 0, .read = password_read },
	{ 0 },
};

static void *rspamd_open(struct conf *c, const char *title, int line)
{
	return &c->site->rspamd;
}

static void rspamd_close(struct conf *c, void *at, int line)
{
	close_one(c, at, line, "rspamd", "127.0.0.1:11333");
}

const struct conf_section conf_rspamd = { "rspamd", NULL, rspamd_options, rspamd_open, rspamd_close };

/* It stands in a line of its own in what spamd is told. */
static void user_read(struct conf *c, void *at, const char *value, int line)
{
	struct spamd_conf *s = at;
	size_t len = strlen(value);

	for (size_t i = 0; i < len; i++)
		if (value[i] <= 0x20 || value[i] > 0x7e)
			len = 0;
	if (len == 0 || len > USER_MAX) {
		conf_error(c, line, "user: \"%.100s\" is no user's name, expected 1 to %d printable characters of ASCII without blanks", value, USER_MAX);
		return;
	}
	free(s->user);
	s->user = conf_copy(value);
}

/* SpamAssassin takes seconds for long messages; what is longer than this its own client does not send, either (spamc -s). */
static const struct conf_option spamd_options[] = {
	CONF_DAEMON("5", "60s", "500K"),
	{ "user", CONF_CUSTOM, 0, .read = user_read },
	{ 0 },
};

static void *spamd_open(struct conf *c, const char *title, int line)
{
	return &c->site->spamd;
}

static void spamd_close(struct conf *c, void *at, int line)
{
	close_one(c, at, line, "spamd", "127.0.0.1:783");
}

const struct conf_section conf_spamd = { "spamd", NULL, spamd_options, spamd_open, spamd_close };

void conf_scanners_check(struct conf *c)
{
	struct site *s = c->site;

	conf_daemon_add(c, &s->clamd.daemon, "clamd", s->clamd.daemon.line);
	conf_daemon_add(c, &s->rspamd.daemon, "rspamd", s->rspamd.daemon.line);
	conf_daemon_add(c, &s->spamd.daemon, "spamd", s->spamd.daemon.line);
}

/* Whether a text speaks of facts that begin so: "spamd." is not in "rspamd.score". */
static bool speaks_of(const char *text, const char *fact)
{
	for (const char *p = text; (p = strstr(p, fact)); p++)
		if (p == text || !strchr("abcdefghijklmnopqrstuvwxyz0123456789_.-", p[-1]))
			return true;
	return false;
}

static void asked(struct conf *c, const struct daemon_conf *d, const char *first, const char *second)
{
	const struct site *s = c->site;

	for (size_t i = 0; i < policy_rule_count(s->policy); i++)
		if (speaks_of(policy_rule(s->policy, i)->text, first) || speaks_of(policy_rule(s->policy, i)->text, second))
			return;
	if (d->address_count > 0)
		conf_warning(c, d->line, "%s: no rule of the policy asks for %s, so no message is shown to it", d->name, first);
}

void conf_scanners_policy(struct conf *c)
{
	asked(c, &c->site->clamd.daemon, "virus", "clamd.");
	asked(c, &c->site->rspamd.daemon, "rspamd.score", "rspamd.");
	asked(c, &c->site->spamd.daemon, "spamd.score", "spamd.");
}

void conf_scanners_free(struct site *s)
{
	conf_daemon_free(&s->clamd.daemon);
	conf_daemon_free(&s->rspamd.daemon);
	conf_daemon_free(&s->spamd.daemon);
	if (s->rspamd.password)
		explicit_bzero(s->rspamd.password, strlen(s->rspamd.password));
	free(s->rspamd.password);
	free(s->spamd.user);
}
