/*
 * gatepost quarantine list
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/utf8.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "command/when.h"
#include "filters/fact.h"

enum { LIMIT = 50, TEXT_CHARS = 300 };

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

struct columns {
	int from, to, rule, subject;    /* widths; subject 0: as long as it is */
};

struct list {
	struct store_filter filter;
	int64_t limit;                  /* -1: not given */
	bool oldest_first, deleted, json;
	const char *conf;
	struct columns columns;
	int64_t told;
};

/* ---- cells ---- */

/* How many columns the character takes; *len: its octets. */
static int char_columns(const char *p, size_t left, size_t *len)
{
	size_t n = utf8_len(p, left);
	wchar_t w = 0;
	int columns;

	*len = n ? n : 1;
	if (n <= 1)
		return 1;
	columns = mbtowc(&w, p, n) > 0 ? wcwidth(w) : 1;
	return columns < 0 ? 1 : columns;
}

/* Text from outside in width columns (0: as many as it takes); what does not fit is cut, with a ~ for it. */
static void cell(struct buf *out, const char *text, int width)
{
	AUTO(buf) struct buf safe = BUF_INIT(8 * TEXT_CHARS + 64);
	size_t start = out->len, cut = 0, n;
	int used = 0, cut_used = 0;

	(void)terminal_text(text, strlen(text), TEXT_CHARS, &safe);
	for (size_t i = 0; i < safe.len; i += n) {
		int w = char_columns(safe.data + i, safe.len - i, &n);

		if (width && used + w > width) {
			out->len = start + cut;
			buf_addc(out, '~');
			used = cut_used + 1;
			break;
		}
		buf_add(out, safe.data + i, n);
		used += w;
		if (used < width) {
			cut = out->len - start;
			cut_used = used;
		}
	}
	while (used++ < width)
		buf_addc(out, ' ');
}

static struct columns columns_fit(void)
{
	int left = (terminal_is() ? terminal_columns() : 132) - (STORE_ID_LEN + 1 + 16 + 1 + 5 + 2);
	struct columns c;

	if (left < 40)
		left = 40;
	c.rule = left / 7 < 6 ? 6 : left / 7 > 16 ? 16 : left / 7;
	c.from = (left - c.rule) * 3 / 10;
	c.to = (left - c.rule) / 4;
	c.subject = terminal_is() ? left - c.rule - c.from - c.to - 3 : 0;
	return c;
}

static void print_head(const struct columns *c)
{
	printf("%s%-12s %-16s %5s  %-*s %-*s %-*s %s%s\n", terminal_colour(TERMINAL_BOLD), "ID", "WHEN", "SIZE", c->from, "FROM", c->to, "TO",
	       c->rule, "RULE", "SUBJECT", terminal_colour(TERMINAL_PLAIN));
}

/* The first recipient, and how many more there are. */
static void add_recipients(struct buf *out, const char *lines, int width)
{
	char first[320], end[32] = "";
	size_t n = strcspn(lines, "\n"), more = 0;

	for (const char *p = lines; (p = strchr(p, '\n')) != NULL; p++)
		more++;
	if (more)
		snprintf(end, sizeof(end), " +%zu", more);
	snprintf(first, sizeof(first), "%.*s", (int)(n < 300 ? n : 300), lines);
	cell(out, first, width - (int)strlen(end));
	buf_adds(out, end);
}

static void print_row(const struct columns *c, const struct store_entry *e)
{
	AUTO(buf) struct buf line = BUF_INIT(16 * 1024);
	bool kept = strcmp(e->state, "kept") == 0, perhaps = strcmp(e->state, "perhaps-delivered") == 0;
	const char *colour = kept ? "" : terminal_colour(perhaps ? TERMINAL_YELLOW : TERMINAL_DIM);
	char when[WHEN_TEXT_MAX], size[32];

	buf_addf(&line, "%s%-12s %.16s %5s  ", colour, e->id, when_text(e->at_s, when), quarantine_size(e->bytes, size));
	cell(&line, !e->sender ? "" : *e->sender ? e->sender : "<>", c->from);
	buf_addc(&line, ' ');
	add_recipients(&line, e->recipients, c->to);
	buf_addc(&line, ' ');
	cell(&line, e->rule ? e->rule : "", c->rule);
	buf_addc(&line, ' ');
	if (!kept)
		buf_addf(&line, "[%s] ", e->state);
	cell(&line, e->subject ? e->subject : "", c->subject && !kept ? c->subject - (int)strlen(e->state) - 3 : c->subject);
	while (line.len && line.data[line.len - 1] == ' ')
		line.len--;
	printf("%.*s%s\n", (int)line.len, buf_str(&line), *colour ? terminal_colour(TERMINAL_PLAIN) : "");
}

/* ---- JSON ---- */

static json_t *text_json(const char *s)
{
	return s ? json_string(s) : json_null();
}

static json_t *split_json(const char *text, const char *separators)
{
	json_t *list = json_array();

	while (*(text += strspn(text, separators))) {
		size_t n = strcspn(text, separators);

		json_array_append_new(list, json_stringn(text, n));
		text += n;
	}
	return list;
}

static void print_json(struct list *l, json_t *one)
{
	char *text = json_dumps(one, JSON_COMPACT | JSON_ENSURE_ASCII);

	printf("%s%s", l->told ? ",\n " : "[", text ? text : "null");
	free(text);
}

static json_t *entry_json(const struct store_entry *e)
{
	return json_pack("{s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", e->id, "at", (json_int_t)e->at_s, "bytes",
			 (json_int_t)e->bytes, "state", e->state, "sender", text_json(e->sender), "recipients",
			 split_json(e->recipients, "\n"), "client", text_json(e->client), "rule", text_json(e->rule), "message_id",
			 text_json(e->message_id), "from", text_json(e->header_from), "subject", text_json(e->subject), "classes",
			 split_json(e->classes, " "));
}

static int on_entry(void *arg, const struct store_entry *e)
{
	struct list *l = arg;

	if (l->json) {
		json_t *one = entry_json(e);

		print_json(l, one);
		json_decref(one);
	} else {
		if (l->told == 0)
			print_head(&l->columns);
		print_row(&l->columns, e);
	}
	l->told++;
	return ferror(stdout) ? 1 : 0;
}

/* ---- those that were deleted ---- */

static void print_deleted(const json_t *d)
{
	AUTO(buf) struct buf line = BUF_INIT(16 * 1024);
	const char *to = json_string_value(json_object_get(d, "recipients")), *subject = json_string_value(json_object_get(d, "subject"));
	const char *from = json_string_value(json_object_get(d, "sender"));
	char when[WHEN_TEXT_MAX];

	buf_addf(&line, "%-12s %.16s ", json_string_value(json_object_get(d, "id")),
		 when_text(json_integer_value(json_object_get(d, "at")), when));
	cell(&line, json_string_value(json_object_get(d, "who")), 12);
	buf_addc(&line, ' ');
	cell(&line, json_string_value(json_object_get(d, "why")), 10);
	buf_addc(&line, ' ');
	cell(&line, !from ? "" : *from ? from : "<>", 24);
	buf_addc(&line, ' ');
	add_recipients(&line, to ? to : "", 24);
	buf_addc(&line, ' ');
	cell(&line, subject ? subject : "", 0);
	puts(buf_str(&line));
}

static int on_deleted(void *arg, const json_t *d)
{
	struct list *l = arg;

	if (l->json)
		print_json(l, (json_t *)d);
	else {
		if (l->told == 0)
			printf("%s%-12s %-16s %-12s %-10s %-24s %-24s %s%s\n", terminal_colour(TERMINAL_BOLD), "ID", "DELETED", "BY", "WHY",
			       "FROM", "TO", "SUBJECT", terminal_colour(TERMINAL_PLAIN));
		print_deleted(d);
	}
	l->told++;
	return ferror(stdout) ? 1 : 0;
}

/* ---- options ---- */

static int parse_limit(struct list *l, const char *text)
{
	char *end;

	l->limit = strtoll(text, &end, 10);
	if (!*text || *end || l->limit < 0) {
		quarantine_fail("list", "--limit: that is no number, expected one such as 100; 0: all");
		return -1;
	}
	return 0;
}

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
			if (parse_limit(l, optarg) < 0)
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
	l->columns = columns_fit();
	rc = l->deleted ? store_view_deletions(q.view, l->limit, on_deleted, l) : store_view_list(q.view, &what, on_entry, l);
	if (l->json)
		puts(l->told ? "]" : "[]");
	if (rc < 0)
		return quarantine_fail("list", "%s", rc == -EBADMSG ? "the index is damaged; `gatepost quarantine reindex` makes it again"
								     : strerror((int)-rc));
	if (!l->json && l->limit > 0 && l->told == l->limit && terminal_is())
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
