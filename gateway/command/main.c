/*
 * gatepost COMMAND: the table of commands
 */
#include <stdio.h>
#include <string.h>

#include "command/cmd_explain.h"
#include "command/cmd_history.h"
#include "command/cmd_quarantine.h"
#include "command/cmd_sink.h"
#include "command/cmd_spool.h"
#include "command/command.h"

static int cmd_help(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "run", cmd_run, "run the gateway in the foreground" },
	{ "check", cmd_check,
	  "check the configuration and the policy, and show when each rule can decide" },
	{ "advise", cmd_advise, "what the world makes of a domain's SPF, DKIM, DMARC, MX and TLS records, and what to do" },
	{ "dkim-key", cmd_dkim_key, "make a key that messages are signed with, and its DNS record" },
	{ "explain", cmd_explain,
	  "what the filters find in a message, what each rule makes of it, and the verdict; or what a code means" },
	{ "quarantine", cmd_quarantine, "work in the quarantine: list, show, release, delete and more" },
	{ "history", cmd_history, "what happened to the mail from X to Y" },
	{ "login", cmd_login, "failed logins: what is counted of a user or an address, and to unlock them" },
	{ "recipients", cmd_recipients, "who is a known recipient and who says so; forget what is remembered, ask the directories anew" },
	{ "replay", cmd_replay, "what another policy would have done with the mail of the last days" },
	{ "report", cmd_report, "what the DMARC reports mean that others send about your domains" },
	{ "routes", cmd_routes, "the ip and nft commands that bring connections to the transparent listeners" },
	{ "spool", cmd_spool, "what is still to be delivered: list, show, retry, delete" },
	{ "status", cmd_status, "how the running gateway is" },
	{ "sink", cmd_sink,
	  "a small mail server that keeps what it gets in a Maildir, for demonstrations" },
	{ "upgrade", cmd_upgrade, "let the running gateway go on as the program that is installed now; no session is lost" },
	{ "version", cmd_version, "this program's version, and those of the libraries it runs on" },
	{ "help", cmd_help, "this list" },
	{ NULL, NULL, NULL },
};

static void usage(FILE *to)
{
	fprintf(to, "usage: gatepost COMMAND [OPTIONS]\n\n");
	for (const struct command *c = commands; c->name; c++)
		fprintf(to, "  %-12s %s\n", c->name, c->help);
	fprintf(to,
		"\n`gatepost COMMAND --help` shows the options of one. The manual: gatepost(8).\n");
}

static int cmd_help(int argc, char **argv)
{
	usage(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	char called[32];

	if (!name) {
		usage(stderr);
		return 1;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	for (const struct command *c = commands; c->name; c++)
		if (strcmp(c->name, name) == 0) {
			snprintf(called, sizeof(called), "gatepost %s", name);
			argv[1] = called;       /* getopt puts it before what it has to say */
			return c->run(argc - 1, argv + 1);
		}
	fprintf(stderr, "gatepost: there is no command %s\n\n", name);
	usage(stderr);
	return 1;
}
