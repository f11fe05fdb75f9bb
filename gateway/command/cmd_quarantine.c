#include "command/cmd_quarantine.h"

#include <stdio.h>
#include <string.h>

#include "command/cmd_release.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} actions[] = {
	{ "release", quarantine_release, "send messages to the mail server after all" },
};

static void usage(FILE *to)
{
	fprintf(to, "usage: gatepost quarantine ACTION [OPTIONS]\n\n");
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		fprintf(to, "  %-12s %s\n", actions[i].name, actions[i].help);
	fprintf(to, "\n`gatepost quarantine ACTION --help` shows the options of one.\n");
}

int cmd_quarantine(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		usage(stdout);
		return 0;
	}
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return actions[i].run(argc - 1, argv + 1);
	if (*name)
		fprintf(stderr, "gatepost quarantine: there is no action %s\n\n", name);
	usage(stderr);
	return 1;
}
