#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/dns_unbound.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "base/task.h"
#include "base/tls.h"
#include "command/advise.h"
#include "command/command.h"
#include "command/terminal.h"
#include "hop/mta_sts_cache.h"
#include "policy/conf.h"
#include "policy/record.h"
#include "policy/regdomain.h"

enum { WRONG = 3, ERRORS_MAX = 64 * 1024, LINE_BYTES = 16 * 1024, HTTPS_PORT = 443, DNS_TIMEOUT_MS = 5000, DNS_CACHE = 8 << 20 };

static const char usage[] =
	"usage: gatepost advise [-c FILE] [--address IP ...] [--selector NAME ...] [--json] DOMAIN\n"
	"\n"
	"Looks up what DOMAIN publishes about its mail, and says what others make of it and what to do: MX, SPF (by two\n"
	"engines), DKIM, DMARC (by two engines), the names of its addresses, DANE and MTA-STS.\n"
	"\n"
	"  -c, --config FILE     resolver, DKIM keys and outgoing addresses (" GATEPOST_CONFIG ", if it is there)\n"
	"      --address IP      mail of the domain leaves from there (may be repeated)\n"
	"      --selector NAME   look at this DKIM key, too (may be repeated)\n"
	"      --json            for programs\n"
	"  -h, --help            this text\n"
	"\n"
	"Exit status: 0 all is well; 1 something could be better; 2 something is wrong; 3 the question was wrong.\n";

struct command_advise {
	struct advise a;
	const char *conf;
	bool json;
	struct site *site;
	struct dns_conf dns;            /* without a configuration */
	struct dns_unbound *unbound;
	struct ssl_ctx_st *tls;
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "gatepost advise: %s: %s\n", what, why);
	return WRONG;
}

static int add_address(struct advise *a, const char *text)
{
	if (a->from_count == ADVISE_ADDRESSES_MAX)
		return fail("--address", "at most 16");
	return net_parse(text, &a->from[a->from_count++]) < 0 ? fail(text, "is no address, expected one such as 192.0.2.25") : 0;
}

/* 0, WRONG (said), or -1: help was printed. */
static int parse_options(struct command_advise *x, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "address", required_argument, NULL, 'A' }, { "selector", required_argument, NULL, 'S' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': x->conf = optarg; break;
		case 'A':
			if (add_address(&x->a, optarg))
				return WRONG;
			break;
		case 'S':
			if (x->a.selector_count == ADVISE_SELECTORS_MAX)
				return fail("--selector", "at most 16");
			x->a.selector[x->a.selector_count++] = optarg;
			break;
		case 'j': x->json = true; break;
		case 'h': fputs(usage, stdout); return -1;
		default: fputs(usage, stderr); return WRONG;
		}
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return WRONG;
	}
	if (domain_canonical(argv[optind], strlen(argv[optind]), x->a.domain) < 0 || domain_labels(x->a.domain) < 2)
		return fail(argv[optind], "is no domain, expected one such as example.com");
	return 0;
}

/* What comes from the DNS must do nothing to a terminal, and stays on its line. */
static void print_line(const struct advice *line)
{
	static const enum terminal_colour colours[] = { TERMINAL_GREEN, TERMINAL_YELLOW, TERMINAL_RED };
	AUTO(buf) struct buf text = BUF_INIT(LINE_BYTES);

	terminal_text(line->text, strlen(line->text), 0, &text);
	printf("%s%-4s%s  %-7s  %s\n", terminal_colour(colours[line->level]), advise_level_name(line->level), terminal_colour(TERMINAL_PLAIN), line->subject,
	       buf_str(&text));
}

static void print_json(const struct advise *a)
{
	json_t *list = json_array(), *all;
	char *text;

	for (size_t i = 0; i < a->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "level", advise_level_name(a->list[i].level), "subject", a->list[i].subject, "text",
						      record_string(a->list[i].text, strlen(a->list[i].text))));
	all = json_pack("{s:s, s:s, s:o}", "domain", a->domain, "worst", advise_level_name(advise_worst(a)), "advice", list);
	text = json_whole(all, JSON_INDENT(2));
	puts(text ? text : "null");
	free(text);
	json_decref(all);
}

static void advise_task(void *arg)
{
	struct command_advise *x = arg;
	struct advise *a = &x->a;

	if (x->tls)
		a->sts = mta_sts_cache_new(a->dns, NULL, x->tls, HTTPS_PORT);
	if (a->sts && a->site)
		mta_sts_cache_never(a->sts, a->site->outbound.never, a->site->outbound.never_count);
	advise_mx(a);
	advise_spf(a);
	advise_dkim(a);
	advise_dmarc(a);
	advise_ptr(a);
	advise_dane(a);
	advise_sts(a);
	loop_stop();
}

/* Without -c: the file of the installation, if there is one. */
static int read_conf(struct command_advise *x)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);
	const char *path = x->conf ? x->conf : GATEPOST_CONFIG;

	if (!x->conf && access(path, F_OK) < 0)
		return 0;
	fact_register_all();
	x->site = site_load_command(path, &errors, NULL);
	if (!x->site) {
		fputs(buf_str(&errors), stderr);
		return WRONG;
	}
	x->a.site = x->site;
	for (size_t i = 0; i < x->site->outbound.source_count && x->a.from_count < ADVISE_ADDRESSES_MAX; i++)
		x->a.from[x->a.from_count++] = x->site->outbound.source[i];
	return 0;
}

static int prepare(struct command_advise *x)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);
	const struct dns_conf *dns = x->site ? &x->site->dns : &x->dns;

	x->dns = (struct dns_conf){ .timeout_ms = DNS_TIMEOUT_MS, .dnssec = true, .cache_bytes = DNS_CACHE };
	if (loop_init() < 0)
		return fail("event loop", "cannot start");
	x->unbound = dns_unbound_new(dns, &errors);
	if (!x->unbound)
		return fail("resolver", buf_str(&errors));
	if (tls_client_ctx(true, NULL, &x->tls, &errors) < 0)
		x->tls = NULL;          /* no CA certificates here: no policy is fetched */
	x->a.dns = dns_unbound_dns(x->unbound);
	x->a.dnssec = dns->dnssec;
	return task_spawn("advise", advise_task, x, NULL) < 0 ? fail("task", "out of memory") : 0;
}

int cmd_advise(int argc, char **argv)
{
	struct command_advise *x = calloc(1, sizeof(*x));
	int status;

	if (!x)
		return fail("start", "out of memory");
	(void)regdomain_init(NULL);
	status = parse_options(x, argc, argv);
	if (status == 0)
		status = read_conf(x);
	if (status == 0) {
		log_open("gatepost advise", LOG_LEVEL_ERROR);
		status = prepare(x);
		if (status == 0) {
			loop_run();
			if (x->json)
				print_json(&x->a);
			for (size_t i = 0; !x->json && i < x->a.count; i++)
				print_line(&x->a.list[i]);
			status = (int)advise_worst(&x->a);
		}
		loop_unwind();
		mta_sts_cache_free(x->a.sts);
		dns_unbound_free(x->unbound);
		tls_ctx_free(x->tls);
		loop_release();
	}
	advise_release(&x->a);
	site_free(x->site);
	free(x);
	return status < 0 ? 0 : status;
}
