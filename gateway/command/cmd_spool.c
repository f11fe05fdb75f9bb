#include "command/cmd_spool.h"

#include <stdio.h>
#include <string.h>

#include "command/spool_view.h"

static const struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} subcommands[] = {
	{ "list", spool_command_list, "what is still to be delivered, to whom, when next, and why not yet" },
	{ "show", spool_command_show, "all that is known of a message, and what it says" },
	{ "retry", spool_command_retry, "try to deliver messages now" },
	{ "delete", spool_command_delete, "for good; with --bounce the sender is told" },
	{ NULL, NULL, NULL },
};

static void usage(FILE *to)
{
	fputs("usage: gatepost spool COMMAND [OPTIONS]\n\n", to);
	for (const struct subcommand *c = subcommands; c->name; c++)
		fprintf(to, "  %-8s  %s\n", c->name, c->help);
	fputs("\n`gatepost spool COMMAND --help` shows the options of one. The manual: gatepost(8).\n"
	      "Exit status: 0 done; 1 wrong option or configuration, or something failed; 2 a message that was named is not there.\n",
	      to);
}

int cmd_spool(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	char called[40];

	if (!name) {
		usage(stderr);
		return SPOOL_PROBLEM;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		usage(stdout);
		return SPOOL_DONE;
	}
	for (const struct subcommand *c = subcommands; c->name; c++)
		if (strcmp(c->name, name) == 0) {
			snprintf(called, sizeof(called), "gatepost spool %s", name);
			argv[1] = called;
			return c->run(argc - 1, argv + 1);
		}
	fprintf(stderr, "gatepost spool: there is no command of that name\n\n");
	usage(stderr);
	return SPOOL_PROBLEM;
}
