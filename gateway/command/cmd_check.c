#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "command/check_dkim.h"
#include "command/check_inline.h"
#include "command/command.h"
#include "command/live.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/regdomain.h"
#include "process/confine.h"
#include "process/files.h"

static const char usage[] =
	"usage: gatepost check [-c FILE] [--live [--json]] [--help]\n"
	"\n"
	"Reads the configuration and the policy as `gatepost run` would, and starts nothing. "
	"Errors and warnings are on stderr as file:line: text;\n"
	"the rules, each with the stage at which it can decide, on stdout. Exit status 1 if there "
	"is an error.\n"
	"The DNS records of the keys that messages are signed with are looked up: a key that is not the one published is an error.\n"
	"\n"
	"  --live        looks at the site as it is, too, and prints one page instead of the rules: servers, TLS and certificates, recipients,\n"
	"                our own name, MX and SPF, DNS, lists, the state, disk and clock. No mail is sent. Exit status 1 if something FAILs\n"
	"  --json        that page for programs\n"
	"  -c, --config  the configuration\n"
	"  -h, --help    this text\n";

struct options {
	const char *path;
	bool live, json;
};

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{ "config", required_argument, NULL, 'c' }, { "live", no_argument, NULL, 'l' }, { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*o = (struct options){ .path = GATEPOST_CONFIG };
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", table, NULL)) != -1) {
		if (c == 'c') {
			o->path = optarg;
		} else if (c == 'l') {
			o->live = true;
		} else if (c == 'j') {
			o->json = true;
		} else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 1;
		}
	}
	if (optind == argc && (o->live || !o->json))
		return -1;
	if (optind < argc)
		fprintf(stderr, "gatepost check: %s was not expected\n%s", argv[optind], usage);
	else
		fprintf(stderr, "gatepost check: --json goes with --live\n%s", usage);
	return 1;
}

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
	struct options o;
	int status = read_options(argc, argv, &o);
	struct site *s;

	if (status >= 0)
		return status;
	(void)regdomain_init(NULL);
	fact_register_all();            /* the policy is written in their names */
	s = site_load(o.path, &errors, &warnings);
	fputs(buf_str(&errors), stderr);
	fputs(buf_str(&warnings), stderr);
	if (!s)
		return 1;
	status = check_site(s) | check_inline(s);
	if (o.live) {
		status |= live_run(s, o.json);
		site_free(s);
		return status;
	}
	if (s->policy) {
		policy_describe(s->policy, &rules);
		fputs(buf_str(&rules), stdout);
	}
	if (!status)
		printf("%s: no errors\n", o.path);
	site_free(s);
	return status;
}
