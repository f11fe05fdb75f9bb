#include "command/cmd_history.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "base/net.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/history_show.h"
#include "command/number.h"
#include "command/terminal.h"
#include "command/when.h"
#include "policy/conf.h"
#include "policy/history_store.h"

enum { LIMIT = 100, PATH_BYTES = 1100, DAY_S = 86400, ADDRESS_BYTES = 600, CODE_BYTES = 32, OUTPUT_BYTES = 4 << 20 };

static const char usage[] =
	"usage: gatepost history [-c FILE] [FILTERS] [--limit N] [-v | --json] [CODE]\n"
	"\n"
	"What happened to which mail: a line for each verdict, newest first. CODE is what replies have in\n"
	"parentheses, or a session's id (sid= in the log). Exit status 1 when there is none.\n"
	"\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n"
	"      --from ADDRESS      sender of the envelope or of the header; a domain for all in it; <> for the null sender\n"
	"      --to ADDRESS        recipient; a domain for all in it\n"
	"      --client IP         who brought it\n"
	"      --message-id ID     with or without <>\n"
	"      --verdict WORD      what was done: accept, reject, greylist, defer, quarantine, backend-refused...\n"
	"      --rule NAME         the rule that decided\n"
	"      --quarantine ID     what was kept under this id\n"
	"      --since WHEN        7d, 12h, 2026-11-20, '2026-11-20 14:30', today, yesterday, tuesday\n"
	"      --until WHEN        before then\n"
	"      --on DAY            2026-11-20, today, yesterday, tuesday\n"
	"      --limit N           at most N; 0: all (100)\n"
	"  -v, --verbose           everything: the rule, every fact and its reason\n"
	"      --json              an array of objects\n"
	"  -h, --help              this text\n";

struct history {
	const char *name;               /* of the command, for messages */
	const char *conf;
	struct history_query q;
	size_t limit;
	bool verbose, json;
	/* What q points to. */
	char from[ADDRESS_BYTES], to[ADDRESS_BYTES], client[NET_TEXT_MAX], code[CODE_BYTES];

	struct history_store *store;
	size_t shown;
	bool more;
};

static int fail(const struct history *h, const char *what, const char *detail)
{
	AUTO(buf) struct buf shown = BUF_INIT(4096);

	terminal_text(what, strlen(what), 100, &shown);
	fflush(stdout);
	fprintf(stderr, "gatepost %s: %s: %s\n", h->name, buf_str(&shown), detail);
	return 1;
}

/* "a@example.com", "<a@example.com>", "@example.com", "example.com", "<>". */
static int address_option(const struct history *h, const char *text, char *out, const char **query)
{
	size_t len = strlen(text);

	if (len >= 2 && text[0] == '<' && text[len - 1] == '>')
		text++, len -= 2;
	if (len + 2 > ADDRESS_BYTES)
		return fail(h, text, "longer than any address");
	snprintf(out, ADDRESS_BYTES, "%s%.*s", !memchr(text, '@', len) && memchr(text, '.', len) ? "@" : "", (int)len, text);
	*query = out;
	return 0;
}

static int client_option(struct history *h, const char *text)
{
	struct net_addr a;

	if (net_parse(text, &a) < 0)
		return fail(h, text, "not an address, expected IPv4 or IPv6");
	net_text(&a, h->client);
	h->q.client = h->client;
	return 0;
}

static int when_option(const struct history *h, const char *text, int64_t *out_ms)
{
	int64_t at_s;

	if (when_parse(text, clock_wall_s(), &at_s) < 0 || at_s <= 0)
		return fail(h, text, "no moment, expected one such as " WHEN_EXPECTED);
	*out_ms = at_s * 1000;
	return 0;
}

/* From the beginning of that day to that of the next, which may be 23 or 25 hours later. */
static int day_option(struct history *h, const char *text)
{
	char day[WHEN_TEXT_MAX];
	int64_t next_s;

	if (when_option(h, text, &h->q.since_ms))
		return 1;
	when_text(h->q.since_ms / 1000, day);
	day[10] = 0;
	(void)when_parse(day, clock_wall_s(), &next_s);
	h->q.since_ms = next_s * 1000;
	when_text(next_s + DAY_S + DAY_S / 4, day);
	day[10] = 0;
	(void)when_parse(day, clock_wall_s(), &next_s);
	h->q.until_ms = next_s * 1000;
	return 0;
}

/* As the log has them: a word that is none of these would find nothing, and look as if nothing had happened. */
static int verdict_option(struct history *h, const char *text)
{
	static const char *const words[] = { "accept", "reject", "defer", "greylist", "quarantine", "discard", "backend-refused", "backend-deferred",
					     "perhaps-delivered", "unknown-recipient", "recipient-deferred", "mail-refused", "split", "spool",
					     "spool-delivered", "spool-failed", "spool-expired", "notice", "pass", "client-gone",
					     "timeout", "smuggling", "shutdown" };
	AUTO(buf) struct buf expected = BUF_INIT(1024);

	h->q.verdict = text;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcmp(words[i], text) == 0)
			return 0;
		buf_addf(&expected, "%s%s", i ? ", " : "no verdict, expected one of ", words[i]);
	}
	return fail(h, text, buf_str(&expected));
}

static int limit_option(struct history *h, const char *text)
{
	int64_t n;

	if (number_parse(text, INT_MAX, &n) < 0)
		return fail(h, text, "no number, expected one such as 100; 0: all");
	h->limit = (size_t)n;
	return 0;
}

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' },     { "from", required_argument, NULL, 'F' },
	{ "to", required_argument, NULL, 'T' },         { "client", required_argument, NULL, 'C' },
	{ "message-id", required_argument, NULL, 'M' }, { "msgid", required_argument, NULL, 'M' },
	{ "verdict", required_argument, NULL, 'V' },    { "rule", required_argument, NULL, 'R' },
	{ "quarantine", required_argument, NULL, 'Q' }, { "since", required_argument, NULL, 'S' },
	{ "until", required_argument, NULL, 'U' },      { "on", required_argument, NULL, 'O' },
	{ "limit", required_argument, NULL, 'L' },      { "verbose", no_argument, NULL, 'v' },
	{ "json", no_argument, NULL, 'j' },             { "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* 0; 1: said on stderr; -1: help was asked for. */
static int one_option(struct history *h, int c)
{
	switch (c) {
	case 'c': h->conf = optarg; return 0;
	case 'F': return address_option(h, optarg, h->from, &h->q.from);
	case 'T': return address_option(h, optarg, h->to, &h->q.to);
	case 'C': return client_option(h, optarg);
	case 'M': h->q.message_id = optarg; return 0;
	case 'V': return verdict_option(h, optarg);
	case 'R': h->q.rule = optarg; return 0;
	case 'Q': h->q.quarantine_id = optarg; return 0;
	case 'S': return when_option(h, optarg, &h->q.since_ms);
	case 'U': return when_option(h, optarg, &h->q.until_ms);
	case 'O': return day_option(h, optarg);
	case 'L': return limit_option(h, optarg);
	case 'v': h->verbose = true; return 0;
	case 'j': h->json = true; return 0;
	case 'h': fputs(usage, stdout); return -1;
	default: fputs(usage, stderr); return 1;
	}
}

static int parse(struct history *h, int argc, char **argv)
{
	int c, rc = 0;

	optind = 1;
	while (rc == 0 && (c = getopt_long(argc, argv, "c:vh", options, NULL)) != -1)
		rc = one_option(h, c);
	if (rc)
		return rc;
	if (argc - optind > 1) {
		fputs(usage, stderr);
		return 1;
	}
	if (argc - optind == 1) {
		h->q.code = history_code(argv[optind], h->code, sizeof(h->code));
		if (!h->q.code)
			return fail(h, argv[optind], "no code, expected one such as 5f3c0a12b4-2");
	}
	return 0;
}

static const char alphabet[] = "0123456789abcdefABCDEF";

const char *history_code(const char *text, char *out, size_t size)
{
	const char *open = strrchr(text, '(');
	size_t len, digits;

	if (open)
		text = open + 1;
	len = strcspn(text, open ? ")" : " ");
	digits = strspn(text, alphabet);
	if (text[len] && strspn(text + len, ") \r\n") != strlen(text + len))
		return NULL;
	if (digits < 4 || len >= size || digits > len)
		return NULL;
	if (digits < len && (text[digits] != '-' || digits + 1 == len || strspn(text + digits + 1, "0123456789") != len - digits - 1))
		return NULL;
	memcpy(out, text, len);
	out[len] = 0;
	return out;
}

/* Showing */

static int show(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_SHOW_MAX);
	struct history *h = arg;

	if (h->limit && h->shown == h->limit) {
		h->more = true;
		return 1;
	}
	if (h->json) {
		json_t *o = history_json(r, cut, lost);
		char *text = json_whole(o, JSON_COMPACT | JSON_ENSURE_ASCII);

		printf("%s%s", h->shown ? ",\n" : "[", text ? text : "null");
		free(text);
		json_decref(o);
	} else {
		if (h->verbose)
			history_show_all(r, cut, lost, &out);
		else
			history_show_line(r, &out);
		fwrite(buf_str(&out), 1, out.len, stdout);
	}
	h->shown++;
	return 0;
}

/* Who reads page by page does not hold on to the store meanwhile: its log (WAL) could not be emptied, and would grow. */
static void output_room(void)
{
	char *room = malloc(OUTPUT_BYTES);      /* stdout's until the end */

	if (room && setvbuf(stdout, room, _IOFBF, OUTPUT_BYTES) != 0)
		free(room);
}

static int report(struct history *h)
{
	int rc;

	output_room();
	rc = history_store_find(h->store, &h->q, show, h);
	if (h->json)
		puts(h->shown ? "]" : "[]");
	if (rc < 0)
		return fail(h, "history", rc == -EBADMSG ? "the database is damaged: the gateway begins it afresh when it writes to the damaged part" :
			    strerror(-rc));
	fflush(stdout);
	if (h->more)
		fprintf(stderr, "gatepost %s: there are more than %zu: ask for less, or with --limit 0\n", h->name, h->limit);
	if (!h->shown && !h->json)
		fprintf(stderr, "gatepost %s: nothing of the kind is recorded\n", h->name);
	return h->shown == 0;
}

static int run(struct history *h)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	char path[PATH_BYTES];
	struct site *site;
	int rc;

	log_open("gatepost history", LOG_LEVEL_WARNING);
	fact_register_all();
	if (admin_open(h->conf, &site, &errors) < 0) {
		fputs(buf_str(&errors), stderr);
		return 1;
	}
	rc = admin_path(site, "history/history.db", path, sizeof(path));
	site_free(site);
	if (rc == 0)
		rc = history_store_open(path, false, &h->store);
	if (rc < 0)
		return fail(h, path, rc == -ENOENT ? "there is no history yet" : rc == -EPROTONOSUPPORT ? "written by a newer gatepost" :
			    rc == -EBADMSG ? "damaged, or no database" : strerror(-rc));
	rc = report(h);
	history_store_close(h->store);
	return rc;
}

int cmd_history(int argc, char **argv)
{
	struct history *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return 1;
	h->name = "history";
	h->conf = GATEPOST_CONFIG;
	h->limit = LIMIT;
	rc = parse(h, argc, argv);
	if (rc == 0)
		rc = run(h);
	free(h);
	return rc < 0 ? 0 : rc;
}

int history_explain(const char *conf, const char *code, bool json)
{
	struct history *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return 1;
	*h = (struct history){ .name = "explain", .conf = conf, .q.code = code, .verbose = true, .json = json };
	rc = run(h);
	free(h);
	return rc;
}
