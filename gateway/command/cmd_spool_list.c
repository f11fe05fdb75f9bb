/*
 * gatepost spool list
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "command/command.h"
#include "command/number.h"
#include "command/quarantine.h"
#include "command/spool_view.h"
#include "command/terminal.h"
#include "command/when.h"
#include "policy/spool_file.h"
#include "policy/spool_record.h"
#include "policy/store_meta.h"

enum { LIMIT = 50 };

static const char usage[] =
	"usage: gatepost spool list [-c FILE] [FILTERS] [--limit N] [--json]\n"
	"\n"
	"What is still to be delivered, in order of arrival; all FILTERS must hold.\n"
	"\n"
	"      --to ADDRESS        a recipient who still waits; a domain for all in it\n"
	"      --from ADDRESS      the sender; a domain; <> for the null sender\n"
	"      --route ROUTE       such as 'mx example.net', upstream, backend; mx for all of them\n"
	"      --older AGE         in the spool for longer: 30m, 4h, 2d\n"
	"      --limit N           at most N; 0: all (50, with --json all)\n"
	"      --json              an array of objects\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

struct list {
	const char *conf, *route;
	struct buf to, from;            /* as store_meta_name makes them */
	bool by_to, by_from, json;
	int64_t older_s, limit, told;
	int64_t now_s;
	/* A page, told when the keeper has been asked of it. */
	struct spool_envelope *page[SPOOL_STATES];
	char id[SPOOL_STATES][STORE_ID_MAX];
	size_t count;
};

static bool address_is(const char *address, const struct buf *wanted)
{
	AUTO(buf) struct buf name = BUF_INIT(2 * SPOOL_ADDRESS_MAX);
	const char *at, *want = buf_str(wanted);

	if (!*address || !*want)
		return *address == *want;
	if (store_meta_name(address, &name) < 0)
		return false;
	at = strrchr(buf_str(&name), '@');
	return strcmp(buf_str(&name), want) == 0 || (*want == '@' && at && strcmp(at, want) == 0);
}

static bool route_is(const char *route, const char *wanted)
{
	size_t len = strlen(wanted);

	return strncmp(route, wanted, len) == 0 && (route[len] == 0 || (route[len] == ' ' && !strchr(wanted, ' ')));
}

static bool is_meant(const struct list *l, const struct spool_envelope *e)
{
	bool to = !l->by_to, route = !l->route;

	for (size_t i = 0; i < e->rcpt_count; i++) {
		const struct spool_recipient *r = &e->rcpt[i];

		if (r->state != SPOOL_WAITING)
			continue;
		to |= l->by_to && address_is(r->address, &l->to);
		route |= l->route && route_is(r->route, l->route);
	}
	return to && route && (!l->by_from || address_is(e->sender, &l->from)) && l->now_s - e->created_s >= l->older_s;
}

/* The one that was tried last says the most. */
static const struct spool_recipient *telling(const struct spool_envelope *e)
{
	const struct spool_recipient *best = NULL;

	for (size_t i = 0; i < e->rcpt_count; i++)
		if (e->rcpt[i].state == SPOOL_WAITING && (!best || e->rcpt[i].tried_s > best->tried_s))
			best = &e->rcpt[i];
	return best;
}

static void waiting_lines(const struct spool_envelope *e, struct buf *out)
{
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (e->rcpt[i].state == SPOOL_WAITING)
			buf_addf(out, "%s%s", out->len ? "\n" : "", e->rcpt[i].address);
}

static void print_row(const struct list *l, const struct spool_envelope *e, const json_t *parts)
{
	AUTO(buf) struct buf line = BUF_INIT(64 * 1024), to = BUF_INIT(SPOOL_RECORD_MAX);
	const struct spool_recipient *r = telling(e);
	char age[16], size[32], next[SPOOL_NEXT_MAX];

	if (l->told == 0)
		printf("%s%-12s %5s %5s  %-26s %-30s %5s %-11s %-24s %s%s\n", terminal_colour(TERMINAL_BOLD), "ID", "AGE", "SIZE", "FROM", "TO", "TRIES",
		       "NEXT", "ROUTE", "LAST REPLY", terminal_colour(TERMINAL_PLAIN));
	waiting_lines(e, &to);
	buf_addf(&line, "%-12s %5s %5s  ", e->id, spool_span(l->now_s - e->created_s, age), quarantine_size(e->bytes, size));
	quarantine_cell(&line, *e->sender ? e->sender : "<>", 26);
	buf_addc(&line, ' ');
	quarantine_recipients(&line, buf_str(&to), 30);
	buf_addf(&line, " %5u %-11s ", r ? r->attempts : 0, *spool_next_text(parts, next) ? next : "-");
	quarantine_cell(&line, r ? r->route : "", 24);
	buf_addc(&line, ' ');
	quarantine_cell(&line, r ? r->reply : "", terminal_is() && terminal_columns() > 160 ? terminal_columns() - 128 : 0);
	while (line.len && line.data[line.len - 1] == ' ')
		line.len--;
	printf("%.*s\n", (int)line.len, buf_str(&line));
}

static void print_json(const struct list *l, const struct spool_envelope *e, json_t *parts)
{
	json_t *o = spool_record_json(e);
	char *text;

	if (!o)
		return;
	json_object_set_new(o, "age", json_integer((json_int_t)(l->now_s - e->created_s)));
	json_object_set(o, "parts", parts ? parts : json_null());
	text = json_whole(o, JSON_COMPACT | JSON_ENSURE_ASCII);
	printf("%s%s", l->told ? ",\n " : "[", text ? text : "null");
	free(text);
	json_decref(o);
}

static void page_end(struct list *l, struct spool_view *v)
{
	json_t *states = l->count ? spool_view_states(v, l->id, l->count) : NULL;

	for (size_t i = 0; i < l->count; i++) {
		json_t *parts = json_object_get(states, l->id[i]);

		if (l->json)
			print_json(l, l->page[i], parts);
		else
			print_row(l, l->page[i], parts);
		l->told++;
		spool_envelope_free(l->page[i]);
	}
	l->count = 0;
	json_decref(states);
}

static int list_run(struct list *l)
{
	AUTO(spool_view) struct spool_view v = { .dir_fd = -1 };
	size_t count = 0, unread = 0;
	char (*id)[STORE_ID_MAX];

	if (spool_view_open(&v, "list", l->conf) < 0)
		return SPOOL_PROBLEM;
	id = spool_file_list(v.dir_fd, false, &count);
	if (!id)
		return spool_problem("list", "the spool cannot be read: %s", strerror(errno));
	for (size_t i = 0; i < count && (l->limit == 0 || l->told + (int64_t)l->count < l->limit) && !ferror(stdout); i++) {
		struct spool_envelope *e = NULL;
		int rc = spool_file_read(v.dir_fd, id[i], &e, NULL);

		unread += rc < 0 && rc != -ENOENT;      /* delivered meanwhile */
		if (rc < 0)
			continue;
		if (!is_meant(l, e)) {
			spool_envelope_free(e);
			continue;
		}
		memcpy(l->id[l->count], id[i], STORE_ID_MAX);
		l->page[l->count++] = e;
		if (l->count == SPOOL_STATES)
			page_end(l, &v);
	}
	free(id);
	page_end(l, &v);
	if (l->json)
		puts(l->told ? "]" : "[]");
	if (unread)
		spool_problem("list", "%zu entries cannot be read: they are put aside at the next start", unread);
	if (!l->json && l->limit > 0 && l->told == l->limit && terminal_is())
		fprintf(stderr, "(the first %lld; --limit 0 shows all)\n", (long long)l->limit);
	return fflush(stdout) == 0 && !unread ? SPOOL_DONE : SPOOL_PROBLEM;
}

static int set_name(const char *option, const char *text, struct buf *out, bool *set)
{
	*set = true;
	if (store_meta_name(text, out) == 0)
		return 0;
	spool_problem("list", "--%s %s: an address, a domain or <> was expected", option, text);
	return -1;
}

/* 0, or -1 with the exit status in *status. */
static int parse_options(struct list *l, int argc, char **argv, int *status)
{
	static const struct option options[] = {
		{ "to", required_argument, NULL, 't' }, { "from", required_argument, NULL, 'f' }, { "route", required_argument, NULL, 'r' },
		{ "older", required_argument, NULL, 'o' }, { "limit", required_argument, NULL, 'l' }, { "json", no_argument, NULL, 'j' },
		{ "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*status = SPOOL_PROBLEM;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': l->conf = optarg; break;
		case 'r': l->route = optarg; break;
		case 'j': l->json = true; break;
		case 't':
			if (set_name("to", optarg, &l->to, &l->by_to) < 0)
				return -1;
			break;
		case 'f':
			if (set_name("from", optarg, &l->from, &l->by_from) < 0)
				return -1;
			break;
		case 'o':
			if (when_duration(optarg, &l->older_s) < 0) {
				spool_problem("list", "--older %s: a length of time was expected, such as 30m, 4h, 2d", optarg);
				return -1;
			}
			break;
		case 'l':
			if (number_parse(optarg, INT32_MAX, &l->limit) < 0) {
				spool_problem("list", "--limit %s: a number was expected", optarg);
				return -1;
			}
			break;
		case 'h': *status = SPOOL_DONE; /* fall through */
		default: fputs(usage, c == 'h' ? stdout : stderr); return -1;
		}
	}
	if (optind < argc) {
		spool_problem("list", "no further argument was expected\n%s", usage);
		return -1;
	}
	if (l->limit < 0)
		l->limit = l->json ? 0 : LIMIT;
	return 0;
}

int spool_command_list(int argc, char **argv)
{
	struct list *l = calloc(1, sizeof(*l));
	int status = SPOOL_PROBLEM;

	if (!l)
		return status;
	*l = (struct list){ .conf = GATEPOST_CONFIG, .limit = -1, .now_s = clock_wall_s(), .to = BUF_INIT(2 * SPOOL_ADDRESS_MAX),
			    .from = BUF_INIT(2 * SPOOL_ADDRESS_MAX) };
	setlocale(LC_CTYPE, "C.UTF-8");
	if (parse_options(l, argc, argv, &status) == 0)
		status = list_run(l);
	buf_release(&l->to);
	buf_release(&l->from);
	free(l);
	return status;
}
