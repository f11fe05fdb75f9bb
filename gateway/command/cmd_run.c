#include <stdio.h>

#include "base/log.h"
#include "command/command.h"
#include "filters/fact.h"
#include "policy/conf.h"
#include "process/access_worker.h"
#include "process/parent.h"
#include "process/smtp_worker.h"
#include "process/tcp_worker.h"

static const char usage[] =
	"usage: gatepost run [-c FILE]\n"
	"\n"
	"Runs the gateway in the foreground. FILE: gatepost.conf(5), " GATEPOST_CONFIG
	" if not given.\n"
	"SIGHUP reloads, SIGUSR2 goes on as the program that is installed now, SIGTERM lets sessions end and stops, a second SIGTERM stops at once.\n";

int cmd_run(int argc, char **argv)
{
	static const struct worker_protocol *const protocols[] = { &smtp_worker, &tcp_worker, &pop3_worker, &imap_worker, NULL };
	struct parent_options opt = { .load = site_load,
				      .free = site_free,
				      .protocols = protocols };
	int status, at = command_options(argc, argv, usage, &opt.path, &status);

	if (at < 0)
		return status;
	if (at < argc) {
		fprintf(stderr, "gatepost run: %s was not expected\n%s", argv[at], usage);
		return 1;
	}
	log_open("gatepost", LOG_LEVEL_INFO);
	fact_register_all();            /* the policy is written in their names */
	return parent_run(&opt);
}
