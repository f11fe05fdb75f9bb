/*
 * gatepost quarantine list
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/command.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "command/when.h"
#include "filters/fact.h"

enum { LIMIT = 50 };

static const char usage[] =
	"usage: gatepost quarantine list [-c FILE] [FILTERS] [--limit N] [--oldest-first] [--json]\n"
	"       gatepost quarantine list [-c FILE] --deleted [--limit N] [--json]\n"
	"\n"
	"What is kept, newest first; all FILTERS must hold.\n"
	"\n" QUARANTINE_FILTER_USAGE
	"      --limit N           at most N; 0: all (50, with --json all)\n"
	"      --oldest-first      the other way round\n"
	"      --deleted           what was deleted: when, by whom, why\n"
	"      --json              an array of objects\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

struct list {
	struct store_filter filter;
	int64_t limit;                  /* -1: not given */
	bool oldest_first, deleted, json;
	const char *conf;
	struct quarantine_printer printer;
};

/* ---- those that were deleted ---- */

static void print_deleted(const json_t *d)
{
	AUTO(buf) struct buf line = BUF_INIT(16 * 1024);
	const char *to = json_string_value(json_object_get(d, "recipients")), *subject = json_string_value(json_object_get(d, "subject"));
	const char *from = json_string_value(json_object_get(d, "sender"));
	char when[WHEN_TEXT_MAX];

	buf_addf(&line, "%-12s %.16s ", json_string_value(json_object_get(d, "id")),
		 when_text(json_integer_value(json_object_get(d, "at")), when));
	quarantine_cell(&line, json_string_value(json_object_get(d, "who")), 12);
	buf_addc(&line, ' ');
	quarantine_cell(&line, json_string_value(json_object_get(d, "why")), 10);
	buf_addc(&line, ' ');
	quarantine_cell(&line, !from ? "" : *from ? from : "<>", 24);
	buf_addc(&line, ' ');
	quarantine_recipients(&line, to ? to : "", 24);
	buf_addc(&line, ' ');
	quarantine_cell(&line, subject ? subject : "", 0);
	puts(buf_str(&line));
}

static int on_deleted(void *arg, const json_t *d)
{
	struct list *l = arg;

	if (l->json)
		quarantine_print_json(&l->printer, d);
	else {
		if (l->printer.told == 0)
			printf("%s%-12s %-16s %-12s %-10s %-24s %-24s %s%s\n", terminal_colour(TERMINAL_BOLD), "ID", "DELETED", "BY", "WHY",
			       "FROM", "TO", "SUBJECT", terminal_colour(TERMINAL_PLAIN));
		print_deleted(d);
		l->printer.told++;
	}
	return ferror(stdout) ? 1 : 0;
}

/* ---- options ---- */

/* 0, or -1 with the exit status in *status. */
static int parse_options(struct list *l, int argc, char **argv, int *status)
{
	static const struct option options[] = {
		QUARANTINE_FILTER_OPTIONS, { "config", required_argument, NULL, 'c' }, { "limit", required_argument, NULL, 'l' },
		{ "oldest-first", no_argument, NULL, 'o' }, { "deleted", no_argument, NULL, 'd' }, { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*status = QUARANTINE_FAILED;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': l->conf = optarg; break;
		case 'o': l->oldest_first = true; break;
		case 'd': l->deleted = true; break;
		case 'j': l->json = true; break;
		case 'l':
			if (quarantine_limit("list", optarg, &l->limit) < 0)
				return -1;
			break;
		case 'h':
			fputs(usage, stdout);
			*status = QUARANTINE_DONE;
			return -1;
		case '?': fputs(usage, stderr); return -1;
		default:
			if (quarantine_filter_option("list", &l->filter, c, optarg) < 0)
				return -1;
		}
	}
	if (optind < argc) {
		quarantine_fail("list", "no further argument was expected\n%s", usage);
		return -1;
	}
	if (l->limit < 0)
		l->limit = l->json ? 0 : LIMIT;
	return 0;
}

static int list_run(struct list *l)
{
	AUTO(quarantine) struct quarantine q = { 0 };
	const struct store_list what = { .filter = &l->filter, .oldest_first = l->oldest_first, .limit = l->limit };
	int64_t rc;

	if (quarantine_open(&q, "list", l->conf) < 0 || !quarantine_has_index(&q))
		return QUARANTINE_FAILED;
	quarantine_warn_incomplete(&q);
	quarantine_print_begin(&l->printer, l->json);
	rc = l->deleted ? store_view_deletions(q.view, l->limit, on_deleted, l)
			: store_view_list(q.view, &what, quarantine_print_entry, &l->printer);
	quarantine_print_end(&l->printer);
	if (rc < 0)
		return quarantine_fail("list", "%s", rc == -EBADMSG ? "the index is damaged; `gatepost quarantine reindex` makes it again"
								     : strerror((int)-rc));
	if (!l->json && l->limit > 0 && l->printer.told == l->limit && terminal_is())
		fprintf(stderr, "(the first %lld; --limit 0 shows all)\n", (long long)l->limit);
	return fflush(stdout) == 0 ? QUARANTINE_DONE : QUARANTINE_FAILED;
}

int quarantine_list(int argc, char **argv)
{
	struct list l = { .conf = GATEPOST_CONFIG, .limit = -1 };
	int status;

	setlocale(LC_CTYPE, "C.UTF-8");
	fact_register_all();
	store_filter_init(&l.filter);
	if (parse_options(&l, argc, argv, &status) == 0)
		status = list_run(&l);
	store_filter_release(&l.filter);
	return status;
}
