#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "command/command.h"
#include "command/report_make.h"
#include "command/report_names.h"
#include "command/report_show.h"
#include "command/report_sum.h"
#include "command/terminal.h"
#include "policy/dmarc_report_file.h"
#include "policy/record.h"

enum { SOURCES_SHOWN = 50, BLOCK = 64 * 1024, WHY_MAX = 64 * 1024, FILE_MAX = 4096 };

static const char usage[] =
	"usage: gatepost report [--all] [--names [-c FILE]] [--json] FILE...\n"
	"\n"
	"Reads DMARC aggregate reports, as others send them about your domains, and says what they mean: who reports, what passed and\n"
	"what failed, from which addresses, why, and what to do about it. Reports about the same domain are added up.\n"
	"A FILE is XML, or gzip or zip with it, or a whole mail message that carries one; - is standard input.\n"
	"\n"
	"      --all           all sources, not the 50 with most messages\n"
	"      --names         ask the DNS for the names of the sources that are shown; without this nothing is asked\n"
	"  -c, --config FILE   the resolver for that (" GATEPOST_CONFIG ", if it is there)\n"
	"      --json          for programs: all sources\n"
	"  -h, --help          this text\n"
	"\n"
	"Exit status 1 if a file could not be read, or some of it not.\n"
	"\n"
	"gatepost report make DOMAIN DAY prints the report that this gateway makes: see its --help.\n";

struct command_report {
	bool all, json, names;
	const char *conf;
	struct report_sum *sum;
	const char *file;               /* the present one */
	json_t *wrong;
	int status;
	bool starved;
};

/* --- files --- */

static void on_wrong(void *arg, const char *why)
{
	struct command_report *x = arg;
	AUTO(buf) struct buf shown = BUF_INIT(WHY_MAX);

	terminal_text(x->file, strlen(x->file), FILE_MAX, &shown);
	buf_adds(&shown, ": ");
	terminal_text(why, strlen(why), 0, &shown);
	fprintf(stderr, "gatepost report: %s\n", buf_str(&shown));
	if (x->json)
		json_array_append_new(x->wrong, json_pack("{s:o, s:o}", "file", record_string(x->file, strlen(x->file)), "why", record_string(why, strlen(why))));
	x->status = 1;
}

static void on_report(void *arg, struct dmarc_report *r)
{
	struct command_report *x = arg;

	if (report_sum_add(x->sum, r) < 0)
		x->starved = true;
}

/* What a box reads is a file: of a pipe a copy is made, in memory, no larger than what is read. */
static int copy_of(int fd)
{
	char *block = malloc(BLOCK);
	int copy = block ? memfd_create("report", MFD_CLOEXEC) : -1, rc = copy < 0 ? -errno : 0;
	size_t total = 0;
	ssize_t n = 1;

	while (!rc && n > 0 && total <= DMARC_REPORT_FILE_MAX) {
		n = read(fd, block, BLOCK);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			rc = -errno;
		else
			rc = file_write_all(copy, block, (size_t)n);
		total += n > 0 ? (size_t)n : 0;
	}
	free(block);
	if (rc && copy >= 0)
		close(copy);
	return rc ? rc : copy;
}

static void read_file(struct command_report *x, const char *path)
{
	const struct dmarc_report_file found = { on_report, on_wrong, x };
	bool standard = strcmp(path, "-") == 0;
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), copy, rc;

	x->file = standard ? "standard input" : path;
	copy = fd < 0 ? -errno : copy_of(fd);
	if (fd >= 0 && !standard)
		close(fd);
	rc = copy < 0 ? copy : dmarc_report_file(copy, &found);
	if (rc < 0)
		on_wrong(x, strerror(-rc));
	if (copy >= 0)
		close(copy);
}

/* --- what is printed --- */

static void print_words(struct command_report *x)
{
	for (size_t i = 0; i < x->sum->domain_count; i++) {
		AUTO(buf) struct buf out = BUF_INIT(REPORT_SHOW_MAX);

		report_show(&x->sum->domain[i], x->all ? 0 : SOURCES_SHOWN, &out);
		if (i)
			putchar('\n');
		fwrite(buf_str(&out), 1, out.len, stdout);
		if (out.failed)
			x->starved = true;
	}
}

/* -1: go on; else the exit status. */
static int read_options(struct command_report *x, int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' }, { "names", no_argument, NULL, 'n' }, { "config", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (c == 'a') {
			x->all = true;
		} else if (c == 'n') {
			x->names = true;
		} else if (c == 'c') {
			x->conf = optarg;
		} else if (c == 'j') {
			x->json = true;
		} else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 1;
		}
	}
	if (optind < argc)
		return -1;
	fputs(usage, stderr);
	return 1;
}

int cmd_report(int argc, char **argv)
{
	static char make[] = "gatepost report make";
	struct command_report x = { 0 };
	int rc;

	if (argc > 1 && strcmp(argv[1], "make") == 0) {
		argv[1] = make;         /* getopt puts it before what it has to say */
		return report_make(argc - 1, argv + 1);
	}
	rc = read_options(&x, argc, argv);
	if (rc >= 0)
		return rc;
	rc = dmarc_report_file_setup();         /* while no octet of a report is in memory */
	if (rc < 0) {
		fprintf(stderr, "gatepost report: %s\n", strerror(-rc));
		return 1;
	}
	x.sum = report_sum_new();
	x.wrong = json_array();
	for (int i = optind; x.sum && i < argc; i++)
		read_file(&x, argv[i]);
	x.starved |= !x.sum || report_sum_finish(x.sum) < 0;
	if (!x.starved && x.names && report_names(x.sum, x.all || x.json ? 0 : SOURCES_SHOWN, x.conf) < 0)
		x.status = 1;
	if (!x.starved && x.json)
		x.starved = report_json(x.sum, x.wrong, stdout) < 0;
	else if (!x.starved)
		print_words(&x);
	if (x.starved)
		fprintf(stderr, "gatepost report: no memory for all of it\n");
	report_sum_free(x.sum);
	json_decref(x.wrong);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "gatepost report: output: %s\n", strerror(errno));
		x.status = 1;
	}
	return x.status || x.starved;
}
