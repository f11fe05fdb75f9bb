#include <stdio.h>
#include <unistd.h>

#include "command/check_dkim.h"
#include "command/check_inline.h"
#include "command/command.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/regdomain.h"
#include "process/confine.h"
#include "process/files.h"

static const char usage[] =
	"usage: gatepost check [-c FILE] [--help]\n"
	"\n"
	"Reads the configuration and the policy as `gatepost run` would, and starts nothing. "
	"Errors and warnings are on stderr as file:line: text;\n"
	"the rules, each with the stage at which it can decide, on stdout. Exit status 1 if there "
	"is an error.\n"
	"The DNS records of the keys that messages are signed with are looked up: a key that is not the one published is an error.\n";

/* What can be wrong with a site that reads well. */
static int check_site(const struct site *s)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	char why[FILES_WHY_MAX];
	AUTO(buf) struct buf warnings = BUF_INIT(8192);
	struct confine confine[ROLE_COUNT];
	int bad = 0;

	confine_raise_limits();         /* as `run` does: what is left is the system's */
	if (files_missing(s, why))
		fprintf(stderr, "%s: %s\n", s->path, why);

	if (confine_site(s, confine, &err, &warnings) < 0) {
		fputs(buf_str(&err), stderr);
		buf_clear(&err);
		bad = 1;
	}
	fputs(buf_str(&warnings), stderr);
	if (!s->user && geteuid() == 0)
		fprintf(stderr, "%s: user: is not set: what talks to the network stays root when root starts it, expected user = \"gatepost\" or another\n", s->path);
	if (filters_setup(s, &err) < 0) {
		fprintf(stderr, "%s: %s\n", s->path, buf_str(&err));
		bad = 1;
	}
	return bad | check_dkim(s);
}

int cmd_check(int argc, char **argv)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20),
		   warnings = BUF_INIT(1 << 20), rules = BUF_INIT(16 << 20);
	const char *path;
	int status, at = command_options(argc, argv, usage, &path, &status);
	struct site *s;

	if (at < 0)
		return status;
	if (at < argc) {
		fprintf(stderr, "gatepost check: %s was not expected\n%s", argv[at], usage);
		return 1;
	}
	(void)regdomain_init(NULL);
	fact_register_all();            /* the policy is written in their names */
	s = site_load(path, &errors, &warnings);
	fputs(buf_str(&errors), stderr);
	fputs(buf_str(&warnings), stderr);
	if (!s)
		return 1;
	status = check_site(s) | check_inline(s);
	if (s->policy) {
		policy_describe(s->policy, &rules);
		fputs(buf_str(&rules), stdout);
	}
	if (!status)
		printf("%s: no errors\n", path);
	site_free(s);
	return status;
}
