#include "command/cmd_quarantine.h"

#include <stdio.h>
#include <string.h>

#include "command/cmd_release.h"
#include "command/quarantine.h"

/* Each gets its own argv (argv[0] is its name) and returns the exit status. */
static const struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} subcommands[] = {
	{ "list", quarantine_list, "what is kept, by recipient, sender, rule, fact, time; newest first" },
	{ "show", quarantine_show, "all that is known of a message, and what it says" },
	{ "search", quarantine_search, "by words of header and text, in any script" },
	{ "release", quarantine_release, "send messages to the mail server after all" },
	{ "delete", quarantine_delete, "for good; who did it is recorded" },
	{ "purge", quarantine_purge, "delete all that a filter means" },
	{ "allow", quarantine_allow, "the senders of messages, from now on" },
	{ "export", quarantine_export, "messages as they were sent, to standard output, files or an mbox" },
	{ "reindex", quarantine_reindex, "make the index again from the messages" },
	{ NULL, NULL, NULL },
};

static void usage(FILE *to)
{
	fputs("usage: gatepost quarantine COMMAND [OPTIONS]\n\n", to);
	for (const struct subcommand *c = subcommands; c->name; c++)
		fprintf(to, "  %-8s  %s\n", c->name, c->help);
	fputs("\n`gatepost quarantine COMMAND --help` shows the options of one. The manual: gatepost(8).\n"
	      "Exit status, but for release: 0 done; 1 wrong option or configuration, or something failed; 2 a message that was named is not there.\n",
	      to);
}

int cmd_quarantine(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	char called[40];

	if (!name) {
		usage(stderr);
		return QUARANTINE_FAILED;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		usage(stdout);
		return QUARANTINE_DONE;
	}
	for (const struct subcommand *c = subcommands; c->name; c++)
		if (strcmp(c->name, name) == 0) {
			snprintf(called, sizeof(called), "gatepost quarantine %s", name);
			argv[1] = called;
			return c->run(argc - 1, argv + 1);
		}
	fprintf(stderr, "gatepost quarantine: there is no command of that name\n\n");
	usage(stderr);
	return QUARANTINE_FAILED;
}
