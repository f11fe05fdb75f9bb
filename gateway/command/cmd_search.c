/*
 * gatepost quarantine search
 */
#include <errno.h>
#include <locale.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/command.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "filters/fact.h"
#include "policy/search_feed.h"
#include "policy/search_index.h"
#include "policy/search_query.h"
#include "policy/store_index.h"

enum { LIMIT = 50, PATH_BYTES = 1024 };

static const char usage[] =
	"usage: gatepost quarantine search [-c FILE] [FILTERS] [--limit N] [--json] WORDS...\n"
	"\n"
	"Messages with all of the WORDS in header or text, newest first; all FILTERS must hold.\n"
	"\n"
	"  rechnung            also inside of other words (of four letters or more); case, accents and umlauts do not matter\n"
	"  '\"annual invoice\"'  one after the other\n"
	"  -draft              not there\n"
	"  from:anna  to:bob@example.com  subject:'zweite mahnung'\n"
	"                      there only\n"
	"\n" QUARANTINE_FILTER_USAGE
	"      --limit N           at most N; 0: all (50, with --json all)\n"
	"      --json              an array of objects\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

struct search {
	struct store_filter filter;
	struct search_query *query;
	int64_t limit;                  /* -1: not given */
	bool json;
	const char *conf;

	struct quarantine q;
	sqlite3_stmt *next;             /* the newest message that the filter means, of an id or before it */
	char meant[STORE_ID_MAX];       /* what it said last, asked for `asked`; "": none */
	char asked[STORE_ID_MAX];
	char (*ids)[STORE_ID_MAX];
	size_t count, room;
};

/* ---- which of those that have the words the filter means ---- */

static int ask_next(struct search *s, const char *id)
{
	char beyond[STORE_ID_MAX + 1];
	int code;

	snprintf(beyond, sizeof(beyond), "%s~", id);    /* ~ sorts behind all characters of an id */
	store_filter_bind(s->next, &s->filter, false, beyond, 1);
	code = sqlite3_step(s->next);
	snprintf(s->asked, sizeof(s->asked), "%s", id);
	snprintf(s->meant, sizeof(s->meant), "%s", code == SQLITE_ROW ? (const char *)sqlite3_column_text(s->next, 0) : "");
	sqlite3_reset(s->next);
	return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -EIO;
}

static int keep(struct search *s, const char *id)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		void *more = reallocarray(s->ids, room, sizeof(*s->ids));

		if (!more)
			return -ENOMEM;
		s->ids = more;
		s->room = room;
	}
	snprintf(s->ids[s->count++], STORE_ID_MAX, "%s", id);
	return s->limit && (int64_t)s->count == s->limit ? 1 : 0;
}

/* They come newest first: what lies between an id and the next one that is meant need not be asked for. */
static int on_id(void *arg, const char *id)
{
	struct search *s = arg;
	bool between = *s->asked && strcmp(id, s->asked) <= 0 && strcmp(id, s->meant) > 0;
	int rc = between || strcmp(id, s->meant) == 0 ? 0 : ask_next(s, id);

	return rc < 0 ? rc : strcmp(id, s->meant) == 0 ? keep(s, id) : 0;
}

static int newest_first(const void *a, const void *b)
{
	return strcmp(b, a);
}

/* ---- the search ---- */

static const char *index_problem(int rc)
{
	switch (rc) {
	case -ENOENT: return "there is no full-text index yet; the running gateway, or `gatepost quarantine reindex`, makes it";
	case -EBADMSG: return "the full-text index is damaged, or of another version; `gatepost quarantine reindex` makes it again";
	case -EPROTONOSUPPORT: return "the full-text index was written by a newer gatepost";
	default: return strerror(-rc);
	}
}

static int index_join(struct search *s, struct search_index **out)
{
	const char *path = store_view_index_path(s->q.view), *slash = strrchr(path, '/');
	char name[PATH_BYTES];

	snprintf(name, sizeof(name), "%.*s" SEARCH_DB, slash ? (int)(slash - path + 1) : 0, path);
	return search_index_join(name, out);
}

static int find(struct search *s, struct search_index *x)
{
	struct store_index *store = store_view_index(s->q.view, NULL);
	bool many = false;
	int64_t pending;
	int rc = store_filter_prepare(store_index_sql(store), &s->filter, false, "m.id", &s->next);

	if (rc == 0)
		rc = search_index_find(x, s->query, on_id, s, &many);
	sqlite3_finalize(s->next);
	if (rc < 0)
		return rc;
	pending = search_pending(x, store);
	if (pending > 0)
		fprintf(stderr, "gatepost quarantine search: %lld messages are not in the full-text index yet (the running gateway, or "
				"`gatepost quarantine reindex`, adds them)\n", (long long)pending);
	if (many)
		fprintf(stderr, "gatepost quarantine search: a word is part of very many others, not all of which were looked for; a longer "
				"one finds all\n");
	return 0;
}

static int print(struct search *s)
{
	struct quarantine_printer printer;
	int rc = 0;

	if (s->count > 1)
		qsort(s->ids, s->count, sizeof(*s->ids), newest_first);
	quarantine_print_begin(&printer, s->json);
	for (size_t i = 0; i < s->count && rc == 0; i++) {
		rc = store_view_entry(s->q.view, s->ids[i], quarantine_print_entry, &printer);
		if (rc == -ENOENT)      /* deleted meanwhile */
			rc = 0;
	}
	quarantine_print_end(&printer);
	if (!s->json && s->limit > 0 && (int64_t)s->count == s->limit && terminal_is())
		fprintf(stderr, "(the first %lld; --limit 0 shows all)\n", (long long)s->limit);
	return rc < 0 ? rc : 0;
}

static int search_run(struct search *s)
{
	struct search_index *x = NULL;
	int rc;

	if (quarantine_open(&s->q, "search", s->conf) < 0 || !quarantine_has_index(&s->q))
		return QUARANTINE_FAILED;
	quarantine_warn_incomplete(&s->q);
	rc = index_join(s, &x);
	if (rc == 0)
		rc = find(s, x);
	search_index_close(x);
	if (rc < 0)
		return quarantine_fail("search", "%s", index_problem(rc));
	rc = print(s);
	if (rc < 0)
		return quarantine_fail("search", "%s", strerror(-rc));
	return fflush(stdout) == 0 ? QUARANTINE_DONE : QUARANTINE_FAILED;
}

/* ---- options ---- */

/* "-draft" is a word that must not be there, "-c" and "-h" are options. getopt is shown no hyphen. */
enum { HYPHEN = 1 };

static void hyphens_hide(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (argv[i][0] == '-' && argv[i][1] && argv[i][1] != '-' && argv[i][2])
			argv[i][0] = HYPHEN;
}

static int add_words(struct search *s, char **words)
{
	int rc = 0;

	for (; *words && rc == 0; words++) {
		if (**words == HYPHEN)
			**words = '-';
		rc = search_query_add(s->query, *words);
	}
	if (rc == 0)
		rc = search_query_check(s->query);
	if (rc < 0) {
		AUTO(buf) struct buf shown = BUF_INIT(8192);

		(void)terminal_text(s->query->error, strlen(s->query->error), 0, &shown);
		quarantine_fail("search", "%s", buf_str(&shown));
	}
	return rc;
}

/* 0, or -1 with the exit status in *status. */
static int parse_options(struct search *s, int argc, char **argv, int *status)
{
	static const struct option options[] = {
		QUARANTINE_FILTER_OPTIONS, { "config", required_argument, NULL, 'c' }, { "limit", required_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*status = QUARANTINE_FAILED;
	hyphens_hide(argc, argv);
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': s->conf = optarg; break;
		case 'j': s->json = true; break;
		case 'l':
			if (quarantine_limit("search", optarg, &s->limit) < 0)
				return -1;
			break;
		case 'h':
			fputs(usage, stdout);
			*status = QUARANTINE_DONE;
			return -1;
		case '?': fputs(usage, stderr); return -1;
		default:
			if (quarantine_filter_option("search", &s->filter, c, optarg) < 0)
				return -1;
		}
	}
	if (s->limit < 0)
		s->limit = s->json ? 0 : LIMIT;
	return add_words(s, argv + optind) < 0 ? -1 : 0;
}

int quarantine_search(int argc, char **argv)
{
	struct search s = { .conf = GATEPOST_CONFIG, .limit = -1, .query = search_query_new() };
	int status = QUARANTINE_FAILED;

	if (!s.query)
		return quarantine_fail("search", "out of memory");
	setlocale(LC_CTYPE, "C.UTF-8");
	fact_register_all();
	store_filter_init(&s.filter);
	if (parse_options(&s, argc, argv, &status) == 0)
		status = search_run(&s);
	quarantine_close(&s.q);
	store_filter_release(&s.filter);
	search_query_free(s.query);
	free(s.ids);
	return status;
}
