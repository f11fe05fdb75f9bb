/*
 * gatepost quarantine export
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "filters/fact.h"
#include "policy/store_events.h"

enum { CHUNK = 2048, LINE_MAX_BYTES = 4096 };

static const char usage[] =
	"usage: gatepost quarantine export [-c FILE] [--dir DIR | --mbox] ID ...\n"
	"       gatepost quarantine export [-c FILE] --dir DIR | --mbox FILTERS\n"
	"\n"
	"Messages as they were sent: one to standard output; several as files, or as one mbox (mboxrd) on standard output.\n"
	"\n"
	"      --dir DIR      each as DIR/ID.eml; a file that is there already is left alone. Written as the user of the quarantine, to\n"
	"                     whom DIR must be writable\n"
	"      --mbox         line ends LF, \">\" before lines that begin with \"From \"\n"
	"  -c, --config FILE  configuration (" GATEPOST_CONFIG ")\n"
	"\n"
	"FILTERS mean all messages for which they hold:\n" QUARANTINE_FILTER_USAGE;

struct export {
	const char *conf, *dir;
	bool mbox;
	int dir_fd, count;
	struct store_filter filter;
	struct quarantine q;
};

static int copy(int from, int to)
{
	char chunk[CHUNK];
	ssize_t n;

	while ((n = read(from, chunk, sizeof(chunk))) > 0) {
		int rc = file_write_all(to, chunk, (size_t)n);

		if (rc < 0)
			return rc;
	}
	return n < 0 ? -errno : 0;
}

static int to_file(struct export *x, const char *id, int from)
{
	char name[STORE_ID_MAX + 8];
	int fd, rc;

	snprintf(name, sizeof(name), "%s.eml", id);
	fd = openat(x->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = copy(from, fd);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	if (rc < 0)
		unlinkat(x->dir_fd, name, 0);
	return rc;
}

/* "From sender date", with nothing in it that would break the line. */
static void from_line(const json_t *record, const char *id)
{
	const char *from = json_string_value(json_object_get(json_object_get(record, "envelope"), "from"));
	time_t at = (time_t)(store_id_ms(id) / 1000);
	char date[32];
	struct tm tm;

	fputs("From ", stdout);
	for (const char *p = from && *from ? from : "MAILER-DAEMON"; *p; p++)
		putchar(*p > ' ' && *p != 0x7f ? *p : '_');
	gmtime_r(&at, &tm);
	strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &tm);
	printf(" %s\n", date);
}

/* ">From ", ">>From ": one more is put before each (mboxrd), so that it can be undone. */
static bool wants_quote(const char *line, size_t len)
{
	size_t quotes = 0;

	while (quotes < len && line[quotes] == '>')
		quotes++;
	return len - quotes >= 5 && memcmp(line + quotes, "From ", 5) == 0;
}

static int to_mbox(const json_t *record, const char *id, int fd)
{
	FILE *f = fdopen(dup(fd), "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	bool ended = true;

	if (!f)
		return -errno;
	from_line(record, id);
	while ((n = getline(&line, &size, f)) > 0) {
		size_t len = (size_t)n;

		ended = line[len - 1] == '\n';
		len -= ended;
		if (ended && len && line[len - 1] == '\r')
			len--;
		if (wants_quote(line, len))
			putchar('>');
		fwrite(line, 1, len, stdout);
		if (ended)
			putchar('\n');
	}
	free(line);
	n = ferror(f);
	fclose(f);
	fputs(ended ? "\n" : "\n\n", stdout);
	return n || fflush(stdout) != 0 ? -EIO : 0;
}

static int export_one(void *arg, const char *id)
{
	struct export *x = arg;
	int fd = store_view_message(x->q.view, id), rc;
	json_t *record;

	if (fd < 0)
		return quarantine_fail("export", "%s: %s", id, strerror(-fd));
	if (x->dir) {
		rc = to_file(x, id, fd);
	} else if (x->mbox) {
		record = store_view_record(x->q.view, id);
		rc = to_mbox(record, id, fd);
		json_decref(record);
	} else {
		rc = copy(fd, STDOUT_FILENO);
	}
	close(fd);
	if (rc < 0)
		return quarantine_fail("export", "%s: %s", id, strerror(-rc));
	x->count++;
	/* For the record only: that this fails does not undo the export. */
	rc = store_event_append(store_view_dir(x->q.view), id, STORE_EVENT_EXPORTED, admin_who(), NULL);
	return rc < 0 ? quarantine_fail("export", "%s: exported, but not noted: %s", id, strerror(-rc)) : QUARANTINE_DONE;
}

static int export_run(struct export *x, char *const *ids, int count)
{
	int status;

	if (quarantine_open(&x->q, "export", x->conf) < 0)
		return QUARANTINE_FAILED;
	if (x->dir) {
		x->dir_fd = open(x->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (x->dir_fd < 0)
			return quarantine_fail("export", "%s: %s", x->dir, strerror(errno));
	}
	status = quarantine_meant(&x->q, ids, count, &x->filter, export_one, x);
	if (x->dir) {
		if (fsync(x->dir_fd) < 0)
			status = quarantine_fail("export", "%s: %s", x->dir, strerror(errno));
		close(x->dir_fd);
		printf("%d exported to %s\n", x->count, x->dir);
	}
	return status;
}

/* 0: the ids begin at optind; -1: said, or help was asked for, and *status. */
static int options(struct export *x, int argc, char **argv, int *status)
{
	static const struct option all[] = {
		QUARANTINE_FILTER_OPTIONS, { "config", required_argument, NULL, 'c' }, { "dir", required_argument, NULL, 'd' },
		{ "mbox", no_argument, NULL, 'm' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*status = QUARANTINE_FAILED;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", all, NULL)) != -1)
		switch (c) {
		case 'c': x->conf = optarg; break;
		case 'd': x->dir = optarg; break;
		case 'm': x->mbox = true; break;
		case 'h': *status = QUARANTINE_DONE; fputs(usage, stdout); return -1;
		case '?': fputs(usage, stderr); return -1;
		default:
			if (quarantine_filter_option("export", &x->filter, c, optarg) < 0)
				return -1;
		}
	if (!quarantine_ids_or_filter("export", argc - optind, &x->filter, usage))
		return -1;
	if (x->dir && x->mbox)
		quarantine_fail("export", "--dir or --mbox, not both");
	else if (!x->dir && !x->mbox && argc - optind != 1)
		quarantine_fail("export", "several messages go to --dir or --mbox");
	else if (!x->dir && terminal_is())
		quarantine_fail("export", "what strangers wrote is not sent to a terminal: redirect it, or use --dir");
	else
		return 0;
	return -1;
}

int quarantine_export(int argc, char **argv)
{
	struct export x = { .conf = GATEPOST_CONFIG, .dir_fd = -1 };
	int status;

	fact_register_all();
	store_filter_init(&x.filter);
	if (options(&x, argc, argv, &status) == 0) {
		status = export_run(&x, argv + optind, argc - optind);
		quarantine_close(&x.q);
	}
	store_filter_release(&x.filter);
	return status;
}
