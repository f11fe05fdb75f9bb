#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/command.h"
#include "command/routes.h"
#include "command/routes_servers.h"
#include "command/routes_test.h"
#include "filters/fact.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/regdomain.h"

static const char usage[] =
	"usage: gatepost routes [-c FILE] [--pass-when-down]\n"
	"       gatepost routes --undo\n"
	"       gatepost routes [-c FILE] --test[=ADDRESS]\n"
	"\n"
	"Prints the ip and nft commands that bring connections to the transparent listeners of the configuration, as a shell script for the gateway, and\n"
	"changes nothing itself:\n"
	"    gatepost routes | sh\n"
	"\n"
	"  --pass-when-down  while Gatepost does not run connections pass unchecked; without it they are refused\n"
	"  --undo            prints how to remove it all\n"
	"  --test[=ADDRESS]  connects to each backend from the ADDRESS of a client (default 192.0.2.1, 2001:db8::1), with the interception in place, as root:\n"
	"                    whether the server's answers come back through this machine; if not, the route to add there. Exit status 1: some do not\n"
	"  -c, --config      the configuration\n"
	"  -h, --help        this text\n";

struct options {
	const char *path, *client;
	bool undo, test, pass_when_down;
};

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "undo", no_argument, NULL, 'u' },
		{ "pass-when-down", no_argument, NULL, 'p' },
		{ "test", optional_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*o = (struct options){ .path = GATEPOST_CONFIG };
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", table, NULL)) != -1) {
		if (c == 'c') {
			o->path = optarg;
		} else if (c == 'u') {
			o->undo = true;
		} else if (c == 'p') {
			o->pass_when_down = true;
		} else if (c == 't') {
			o->test = true;
			o->client = optarg;
		} else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "gatepost routes: %s was not expected\n%s", argv[optind], usage);
		return 1;
	}
	return -1;
}

static int run(const struct site *s, const struct options *o)
{
	AUTO(buf) struct buf text = BUF_INIT(8 << 20), err = BUF_INIT(64 * 1024);
	struct routes_server *server = NULL;
	size_t count = 0;
	int status;

	if (routes_servers(s, &server, &count, &err) < 0) {
		fprintf(stderr, "%s", buf_str(&err));
		free(server);
		return 1;
	}
	if (o->test) {
		status = routes_test(s, server, count, o->client);
		free(server);
		return status;
	}
	routes_text(s, server, count, o->pass_when_down, &text);
	free(server);
	return fputs(buf_str(&text), stdout) < 0 || fflush(stdout) != 0;
}

int cmd_routes(int argc, char **argv)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20), warnings = BUF_INIT(1 << 20);
	struct options o;
	struct site *s;
	int status = read_options(argc, argv, &o);

	if (status >= 0)
		return status;
	if (o.undo) {
		routes_undo(&errors);
		fputs(buf_str(&errors), stdout);
		return 0;
	}
	(void)regdomain_init(NULL);
	fact_register_all();
	s = site_load(o.path, &errors, &warnings);
	fputs(buf_str(&errors), stderr);
	if (!s)
		return 1;
	status = run(s, &o);
	site_free(s);
	return status;
}
