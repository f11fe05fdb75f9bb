/* conf_scanners - gatepost.conf: daemons that look at what a message has in it */
#include <stddef.h>

#include "policy/conf_table.h"

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

void conf_scanners_check(struct conf *c)
{
	struct site *s = c->site;

	conf_daemon_add(c, &s->clamd.daemon, "clamd", s->clamd.daemon.line);
}

void conf_scanners_free(struct site *s)
{
	conf_daemon_free(&s->clamd.daemon);
}
