#include "command/command.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "filters/fact.h"
#include "policy/conf.h"

int command_options(int argc, char **argv, const char *text, const char **path, int *status)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*path = GATEPOST_CONFIG;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (c == 'c') {
			*path = optarg;
			continue;
		}
		fputs(text, c == 'h' ? stdout : stderr);        /* getopt has said what is wrong */
		*status = c == 'h' ? 0 : 1;
		return -1;
	}
	return optind;
}

struct site *command_site(const char *path)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20), warnings = BUF_INIT(1 << 20);
	struct site *s;

	fact_register_all();            /* the policy is written in their names */
	s = site_load(path, &errors, &warnings);
	if (!s)
		fputs(buf_str(&errors), stderr);
	return s;
}

static void usage(FILE *to, const char *command, const struct subcommand *subcommands, const char *note)
{
	fprintf(to, "usage: gatepost %s COMMAND [OPTIONS]\n\n", command);
	for (const struct subcommand *c = subcommands; c->name; c++)
		fprintf(to, "  %-8s  %s\n", c->name, c->help);
	fprintf(to, "\n`gatepost %s COMMAND --help` shows the options of one. The manual: gatepost(8).\n%s", command, note);
}

int command_run(const char *command, const struct subcommand *subcommands, const char *note, int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	char called[60];

	if (!name) {
		usage(stderr, command, subcommands, note);
		return 1;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		usage(stdout, command, subcommands, note);
		return 0;
	}
	for (const struct subcommand *c = subcommands; c->name; c++)
		if (strcmp(c->name, name) == 0) {
			snprintf(called, sizeof(called), "gatepost %s %s", command, name);
			argv[1] = called;       /* getopt puts it before what it has to say */
			return c->run(argc - 1, argv + 1);
		}
	fprintf(stderr, "gatepost %s: there is no command of that name\n\n", command);
	usage(stderr, command, subcommands, note);
	return 1;
}
