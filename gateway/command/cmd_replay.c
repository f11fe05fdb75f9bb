/* gatepost replay: what would this policy have done with the mail of the last days? */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json_whole.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/number.h"
#include "command/terminal.h"
#include "command/when.h"
#include "policy/conf.h"
#include "policy/history_store.h"
#include "policy/policy_files.h"
#include "policy/regdomain.h"
#include "policy/replay_tally.h"

enum { ERRORS_MAX = 256 * 1024, EXAMPLES = 3, SUBJECT_SHOWN = 60, PROGRESS_EVERY = 50000, PATH_BYTES = 1100 };

static const char usage[] =
	"usage: gatepost replay [-c FILE] [--policy FILE] [--since WHEN] [--until WHEN] [--examples N] [--all] [--json]\n"
	"\n"
	"Judge the mail of the history again by another policy, and print which verdicts would change: from what,\n"
	"to what, by which rule. Nothing is asked of the network; what the record cannot tell is said.\n"
	"\n"
	"  -c, --config FILE   configuration (" GATEPOST_CONFIG ")\n"
	"  -p, --policy FILE   the policy to try; default the one of the configuration\n"
	"      --since WHEN    from then on: " WHEN_EXPECTED "\n"
	"      --until WHEN    until then\n"
	"      --examples N    of each kind of change (3)\n"
	"      --all           one line for every verdict that changes\n"
	"      --json          for programs\n"
	"  -h, --help          this text\n";

struct options {
	const char *conf, *policy, *since, *until;
	size_t examples;
	bool all, json;
};

struct run {
	const struct options *opt;
	struct replay *replay;
	struct replay_tally tally;
	bool progress;
	int rc;
};

static int fail(const char *what, const char *detail)
{
	fprintf(stderr, "gatepost replay: %s: %s\n", what, detail);
	return 1;
}

static int parse_options(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "policy", required_argument, NULL, 'p' },
		{ "since", required_argument, NULL, 'S' }, { "until", required_argument, NULL, 'U' },
		{ "examples", required_argument, NULL, 'E' }, { "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int64_t examples;
	int c;

	while ((c = getopt_long(argc, argv, "c:p:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': o->conf = optarg; break;
		case 'p': o->policy = optarg; break;
		case 'S': o->since = optarg; break;
		case 'U': o->until = optarg; break;
		case 'E':
			if (number_parse(optarg, REPLAY_EXAMPLES_MAX, &examples) < 0)
				return fail("--examples", "a number was expected, at most 100");
			o->examples = (size_t)examples;
			break;
		case 'a': o->all = true; break;
		case 'j': o->json = true; break;
		case 'h': fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); return 1;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return 1;
	}
	return 0;
}

/* 0: open. */
static int moment(const char *option, const char *text, int64_t *out_ms)
{
	int64_t at_s;

	*out_ms = 0;
	if (!text)
		return 0;
	if (when_parse(text, time(NULL), &at_s) < 0) {
		fprintf(stderr, "gatepost replay: %s %s: no moment, expected " WHEN_EXPECTED "\n", option, text);
		return 1;
	}
	*out_ms = at_s * 1000;
	return 0;
}

/* "2026-11-21 10:02:11  5f3c-2  192.0.2.1  <a@b> -> <c@d>  Subject" */
static void print_message(const char *indent, int64_t at_ms, const char *code, const char *client, const char *from, const char *rcpt,
			  const char *subject)
{
	AUTO(buf) struct buf line = BUF_INIT(64 * 1024);
	char when[WHEN_TEXT_MAX];

	buf_addf(&line, "%s%s  %s  %s  <", indent, when_text(at_ms / 1000, when), code, client);
	terminal_text(from, strlen(from), 0, &line);
	buf_adds(&line, "> -> <");
	terminal_text(rcpt, strlen(rcpt), 0, &line);
	buf_adds(&line, ">");
	if (subject) {
		buf_adds(&line, "  ");
		terminal_text(subject, strlen(subject), SUBJECT_SHOWN, &line);
	}
	puts(buf_str(&line));
}

/* "accept -> quarantine", "reject -> cannot be known: dkim (nobody had asked for it)", and by which rule. */
static void print_change(const struct replay_row *row)
{
	printf("%s -> ", row->from);
	if (row->missing == REPLAY_COMPLETE)
		printf("%s%s%s", terminal_colour(TERMINAL_BOLD), row->to, terminal_colour(TERMINAL_PLAIN));
	else
		printf("cannot be known: %s (%s)", row->fact == FACT_NONE ? "?" : fact_def(row->fact)->name, replay_missing_text(row->missing));
	if (row->temporary && row->fact != FACT_NONE)
		printf(", since %s could not be established then", fact_def(row->fact)->name);
	if (row->rule)
		printf(", %s %s", row->missing == REPLAY_COMPLETE ? "by" : "for", row->rule->name);
	else
		printf(", at the end of the policy");
}

static void print_row(const struct replay_row *row)
{
	printf("\n%" PRIu64 "  ", row->count);
	print_change(row);
	putchar('\n');
	if (row->rule)
		printf("    %d: %s\n", row->rule->line, row->rule->text);
	for (size_t i = 0; i < row->example_count; i++) {
		const struct replay_example *e = &row->example[i];

		print_message("    ", e->at_ms, e->code, e->client, e->from, e->rcpt, e->subject);
	}
}

static void print_text(const struct replay_tally *t, const char *policy)
{
	char first[WHEN_TEXT_MAX], last[WHEN_TEXT_MAX];

	if (t->records == 0) {
		printf("no records of that time\n");
		return;
	}
	printf("%" PRIu64 " record%s, %s to %s, by %s\n", t->records, t->records == 1 ? "" : "s", when_text(t->first_ms / 1000, first), when_text(t->last_ms / 1000, last), policy);
	printf("%12" PRIu64 "  verdicts on recipients\n%12" PRIu64 "  the same\n%12" PRIu64 "  would change\n%12" PRIu64 "  cannot be known from the record\n",
	       t->verdicts, t->same, t->changed, t->unknown);
	if (t->not_judged)
		printf("%12" PRIu64 "  were refused without the policy's verdict\n", t->not_judged);
	for (size_t i = 0; i < t->row_count; i++)
		print_row(&t->row[i]);
	if (t->rows_lost)
		printf("\n%" PRIu64 " more, of further kinds\n", t->rows_lost);
}

static int on_record(void *arg, const struct history_record *record, const char *const *cut, const char *const *lost)
{
	struct run *run = arg;

	/* What became of a message later: it was judged when it came, and that has its own record. */
	if (record->verdict && strncmp(record->verdict, "spool-", 6) == 0)
		return 0;
	replay_tally_record(&run->tally, record);
	replay_begin(run->replay, record, cut, lost);
	for (size_t i = 0; i < record->rcpt_count; i++) {
		const struct replay_row *row = NULL;
		struct replay_verdict v = { .fact = FACT_NONE };

		run->rc = record->action ? replay_judge(run->replay, record->rcpt[i], &v) : 0;
		if (run->rc == 0)
			run->rc = replay_tally_add(&run->tally, record, record->rcpt[i], &v, &row);
		if (run->rc < 0)
			return run->rc;
		if (row && run->opt->all && !run->opt->json) {
			print_change(row);
			print_message("  ", record->at_ms, record->code, record->client, record->from, record->rcpt[i], record->subject);
		}
	}
	if (run->progress && run->tally.records % PROGRESS_EVERY == 0)
		fprintf(stderr, "\r%" PRIu64 " records", run->tally.records);
	return 0;
}

static int print_json(const struct replay_tally *t)
{
	json_t *o = replay_tally_json(t);
	char *text = json_whole(o, JSON_INDENT(2) | JSON_REAL_PRECISION(13));       /* seconds to the millisecond */
	int status = text ? 0 : fail("--json", "out of memory");

	if (text)
		puts(text);
	free(text);
	json_decref(o);
	return status;
}

static int replay_site(const struct options *o, const struct site *site, const struct policy *policy, const char *name)
{
	struct run run = { .opt = o, .tally.examples = o->all ? 0 : o->examples, .progress = isatty(STDERR_FILENO) && !o->all };
	struct history_store *store = NULL;
	int64_t since_ms, until_ms;
	char path[PATH_BYTES];
	int rc, status = 0;

	if (moment("--since", o->since, &since_ms) || moment("--until", o->until, &until_ms))
		return 1;
	rc = admin_path(site, "history/history.db", path, sizeof(path));
	if (rc == 0)
		rc = history_store_open(path, false, &store);
	if (rc < 0)
		return fail(path, rc == -ENOENT ? "there is no history yet" : strerror(-rc));
	run.replay = replay_new(policy);
	rc = run.replay ? history_store_each(store, since_ms, until_ms, on_record, &run) : -ENOMEM;
	if (run.progress && run.tally.records >= PROGRESS_EVERY)
		fputs("\r                    \r", stderr);
	if (rc < 0) {
		status = fail("history", strerror(-rc));
	} else {
		replay_tally_sort(&run.tally);
		if (o->json)
			status = print_json(&run.tally);
		else
			print_text(&run.tally, name);
	}
	replay_free(run.replay);
	replay_tally_release(&run.tally);
	history_store_close(store);
	return status;
}

static int load(const char *path, struct policy **out)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX), warnings = BUF_INIT(ERRORS_MAX);

	*out = policy_load(path, &errors, &warnings);
	fputs(buf_str(&errors), stderr);
	fputs(buf_str(&warnings), stderr);
	return *out ? 0 : 1;
}

int cmd_replay(int argc, char **argv)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);
	struct options o = { .conf = GATEPOST_CONFIG, .examples = EXAMPLES };
	AUTO(policy) struct policy *policy = NULL;
	struct site *site = NULL;
	int status = parse_options(&o, argc, argv);

	if (status)
		return status;
	(void)regdomain_init(NULL);
	fact_register_all();
	if (o.policy && load(o.policy, &policy))        /* the caller's file: read as who they are */
		return 1;
	if (admin_open(o.conf, &site, &errors) < 0) {
		fputs(buf_str(&errors), stderr);
		return 1;
	}
	if (!o.policy)
		status = load(site->policy_path, &policy);
	if (!status && policy_set_local(policy, site->domains, site->domain_count) < 0)
		status = fail("policy", "out of memory");
	if (!status && policy_set_allowed(policy, site->allow_path, &errors) < 0) {
		fputs(buf_str(&errors), stderr);
		status = fail(site->allow_path, "cannot be read as the allow list");
	}
	if (!status)
		status = replay_site(&o, site, policy, o.policy ? o.policy : site->policy_path);
	site_free(site);
	return status;
}
