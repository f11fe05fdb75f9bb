#include "command/report_make.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/terminal.h"
#include "policy/conf.h"
#include "policy/dmarc_report_xml.h"
#include "policy/history_store.h"
#include "policy/rua_aggregate.h"

enum { PATH_BYTES = 1100, XML_PIECE_MAX = 1 << 20, HOST_BYTES = 256 };

static const char usage[] =
	"usage: gatepost report make [-c FILE] DOMAIN DAY\n"
	"\n"
	"The aggregate report (RFC 9990) about DOMAIN, where a DMARC record stands, of a day of UTC, as it is made\n"
	"from the history: XML, on stdout. Nothing is sent, and nothing is remembered of it. Whether the owner of the\n"
	"domain asks for reports plays no part. Exit status 1 when there was no mail.\n"
	"\n"
	"  DAY                     2026-11-20, today, yesterday; of UTC\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n"
	"  -h, --help              this text\n";

struct making {
	const char *conf;
	char domain[DOMAIN_MAX];
	int64_t day;
	/* Who reports, and where from. */
	char email[DOMAIN_MAX + 80], org[HOST_BYTES], contact[HOST_BYTES], host[HOST_BYTES];
	char path[PATH_BYTES];
	struct rua_aggregate *sums;
};

static int fail(const char *what, const char *detail)
{
	AUTO(buf) struct buf shown = BUF_INIT(4096);

	terminal_text(what, strlen(what), 100, &shown);
	fprintf(stderr, "gatepost report make: %s: %s\n", buf_str(&shown), detail);
	return 1;
}

/* A day of UTC: as the keeper counts them, and as the report says. */
static int day_read(const char *text, int64_t *out)
{
	int64_t today = clock_wall_s() / RUA_DAY_S;
	struct tm tm = { 0 };
	const char *end;
	int mday;

	if (strcmp(text, "today") == 0 || strcmp(text, "yesterday") == 0) {
		*out = today - (text[0] == 'y');
		return 0;
	}
	end = strptime(text, "%Y-%m-%d", &tm);
	if (!end || *end || tm.tm_year < 70)
		return -EINVAL;
	mday = tm.tm_mday;
	*out = timegm(&tm) / RUA_DAY_S;
	return tm.tm_mday == mday ? 0 : -EINVAL;        /* February 30 is no day of March */
}

static int parse(struct making *m, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return -1;
		}
		if (c != 'c') {
			fputs(usage, stderr);
			return 1;
		}
		m->conf = optarg;
	}
	if (argc - optind != 2) {
		fputs(usage, stderr);
		return 1;
	}
	if (domain_canonical(argv[optind], strlen(argv[optind]), m->domain) < 0)
		return fail(argv[optind], "no domain, expected one such as example.com");
	if (day_read(argv[optind + 1], &m->day) < 0)
		return fail(argv[optind + 1], "no day, expected one such as 2026-11-20, today, yesterday");
	return 0;
}

static int conf_read(struct making *m)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	struct site *site;
	int rc;

	if (admin_open(m->conf, &site, &errors) < 0) {
		fputs(buf_str(&errors), stderr);
		return 1;
	}
	rc = admin_path(site, "history/history.db", m->path, sizeof(m->path));
	snprintf(m->email, sizeof(m->email), "%s", site->rua.from ? site->rua.from : "");
	snprintf(m->org, sizeof(m->org), "%s", site->rua.org ? site->rua.org : site->hostname);
	snprintf(m->contact, sizeof(m->contact), "%s", site->rua.contact ? site->rua.contact : "");
	snprintf(m->host, sizeof(m->host), "%s", site->hostname);
	site_free(site);
	return rc < 0 ? fail("state_dir", strerror(-rc)) : 0;
}

static int add(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost)
{
	struct making *m = arg;

	return rua_aggregate_add(m->sums, r);
}

static const char *words(int rc)
{
	return rc == -ENOENT ? "there is no history yet" : rc == -EPROTONOSUPPORT ? "written by a newer gatepost" :
	       rc == -EBADMSG ? "damaged, or no database" : strerror(-rc);
}

static int history_read(struct making *m)
{
	struct history_store *store;
	int rc = history_store_open(m->path, false, &store);

	if (rc < 0)
		return fail(m->path, words(rc));
	rc = history_store_whole(store, m->day * RUA_DAY_S * 1000);
	if (rc == 0)
		rua_aggregate_partial(m->sums);
	if (rc >= 0)
		rc = history_store_each(store, m->day * RUA_DAY_S * 1000, (m->day + 1) * RUA_DAY_S * 1000, add, m);
	history_store_close(store);
	return rc < 0 ? fail(m->path, words(rc)) : 0;
}

/* As the keeper and a worker do it, one for the other. */
static int report_of(struct making *m, struct dmarc_report *out)
{
	AUTO(buf) struct buf head = BUF_INIT(RUA_HEAD_OCTETS_MAX), rows = BUF_INIT(RUA_REPORT_OCTETS_MAX + RUA_ROW_OCTETS_MAX);
	struct rua_reporter who = { m->org, m->email, m->contact[0] ? m->contact : NULL, m->host };
	int rc = rua_aggregate_count(m->sums) ? rua_aggregate_head(m->sums, 0, &head) : -ENOENT;

	if (rc == 0)
		rc = rua_aggregate_rows(m->sums, 0, &rows);
	if (rc == 0)
		rc = rua_get_report(head.data, head.len, rows.data, rows.len, out);
	return rc < 0 ? rc : rua_sign_report(out, &who, m->day);
}

/* A piece at a time: what is printed need not be in memory as a whole. */
static int print(const struct dmarc_report *r)
{
	AUTO(buf) struct buf out = BUF_INIT(XML_PIECE_MAX);

	dmarc_report_xml_begin(r, &out);
	for (size_t i = 0; i < r->record_count && !out.failed; i++) {
		fwrite(buf_str(&out), 1, out.len, stdout);
		buf_clear(&out);
		dmarc_report_xml_record(&r->records[i], &out);
	}
	dmarc_report_xml_end(&out);
	if (out.failed)
		return fail("report", strerror(ENOMEM));
	fwrite(buf_str(&out), 1, out.len, stdout);
	return fflush(stdout) == 0 ? 0 : fail("stdout", strerror(errno));
}

static int make(struct making *m)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	int rc;

	log_open("gatepost report", LOG_LEVEL_WARNING);
	fact_register_all();
	rc = conf_read(m);
	if (rc)
		return rc;
	m->sums = rua_aggregate_new(m->domain, NULL);
	if (!r || !m->sums)
		return fail("report", strerror(ENOMEM));
	rc = history_read(m);
	if (rc)
		return rc;
	rc = report_of(m, r);
	if (rc == -ENOENT)
		return fail(m->domain, "no mail of that day had a DMARC record there and was answered for good");
	if (rc < 0)
		return fail("report", strerror(-rc));
	if (m->day >= clock_wall_s() / RUA_DAY_S)
		fprintf(stderr, "gatepost report make: the day is not over: this is what has come so far\n");
	return print(r);
}

int report_make(int argc, char **argv)
{
	struct making *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return 1;
	m->conf = GATEPOST_CONFIG;
	rc = parse(m, argc, argv);
	if (rc == 0)
		rc = make(m);
	rua_aggregate_free(m->sums);
	free(m);
	return rc < 0 ? 0 : rc;
}
