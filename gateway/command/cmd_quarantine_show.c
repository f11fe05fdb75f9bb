/*
 * gatepost quarantine show
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_whole.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "command/when.h"
#include "policy/store_events.h"

enum { LINE_CHARS = 1000, EXCERPT_LINES = 30, EXCERPT_BYTES = 4096, HEADER_BYTES = 512 * 1024 };

static const char usage[] =
	"usage: gatepost quarantine show [-c FILE] [--json | --headers | --raw] ID ...\n"
	"\n"
	"Envelope, client, facts with their reasons, the rule, what was done with it since, and the beginning of its text.\n"
	"ID: as `list` shows it, or its beginning.\n"
	"\n"
	"      --headers      the header of the message as it was sent, safe for a terminal\n"
	"      --raw          the message, byte for byte; not to a terminal\n"
	"      --json         the whole record, with \"state\" and \"events\"; one object a line\n"
	"  -c, --config FILE  configuration (" GATEPOST_CONFIG ")\n";

struct show {
	const char *conf;
	bool json, headers, raw, several;
	struct quarantine q;
};

/* ---- lines ---- */

static void label(const char *name)
{
	printf("%s%-10s%s ", terminal_colour(TERMINAL_BOLD), name, terminal_colour(TERMINAL_PLAIN));
}

static void safe(const char *text, size_t len)
{
	AUTO(buf) struct buf out = BUF_INIT(8 * LINE_CHARS + 64);

	(void)terminal_text(text, len, LINE_CHARS, &out);
	fputs(buf_str(&out), stdout);
}

static void safe_text(const json_t *v)
{
	if (json_is_string(v))
		safe(json_string_value(v), json_string_length(v));
}

static const json_t *at(const json_t *o, const char *a, const char *b)
{
	o = json_object_get(o, a);
	return b ? json_object_get(o, b) : o;
}

static bool has_text(const json_t *v)
{
	return json_is_string(v) && json_string_length(v) > 0;
}

static void line_text(const char *name, const json_t *v)
{
	if (!has_text(v))
		return;
	label(name);
	safe_text(v);
	putchar('\n');
}

/* A value as it is written in a rule: words plain, lists with commas. */
static void value_text(const json_t *v)
{
	const json_t *one;
	size_t i;

	if (json_is_object(v)) {
		fputs("temperror", stdout);
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, one) {
			if (i)
				fputs(", ", stdout);
			value_text(one);
		}
		if (i == 0)
			putchar('-');
	} else if (json_is_boolean(v)) {
		fputs(json_is_true(v) ? "yes" : "no", stdout);
	} else if (json_is_integer(v)) {
		printf("%lld", (long long)json_integer_value(v));
	} else if (has_text(v)) {
		safe_text(v);
	} else {
		putchar('-');
	}
}

static void print_address(const json_t *v)
{
	putchar('<');
	safe_text(v);
	putchar('>');
}

static void print_envelope(const json_t *record)
{
	const json_t *rcpt = at(record, "envelope", "rcpt"), *one;
	const json_t *params = at(record, "envelope", "params");
	size_t i;

	label("from");
	print_address(at(record, "envelope", "from"));
	if (has_text(params)) {
		putchar(' ');
		safe_text(params);
	}
	putchar('\n');
	json_array_foreach(rcpt, i, one) {
		label("to");
		print_address(json_object_get(one, "address"));
		if (has_text(json_object_get(one, "params"))) {
			putchar(' ');
			safe_text(json_object_get(one, "params"));
		}
		putchar('\n');
	}
}

static void print_client(const json_t *record)
{
	static const struct { const char *key, *before, *behind; } parts[] = {
		{ "rdns", " (", ")" }, { "helo", " HELO ", "" }, { "tls", ", ", "" },
	};

	label("client");
	safe_text(at(record, "client", "ip"));
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (has_text(at(record, "client", parts[i].key))) {
			fputs(parts[i].before, stdout);
			safe_text(at(record, "client", parts[i].key));
			fputs(parts[i].behind, stdout);
		}
	putchar('\n');
}

/* Of a message that somebody fetched: where the original lies. */
static void print_origin(const json_t *record)
{
	static const struct { const char *key, *before; } parts[] = {
		{ "protocol", "by " }, { "account", ", account " }, { "backend", " on " }, { "mailbox", ", mailbox " }, { "uid", ", message " },
	};

	if (!json_is_object(json_object_get(record, "retrieval")))
		return;
	label("fetched");
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (has_text(at(record, "retrieval", parts[i].key))) {
			fputs(parts[i].before, stdout);
			safe_text(at(record, "retrieval", parts[i].key));
		}
	if (json_is_integer(at(record, "retrieval", "of_bytes")))
		printf("; this is the beginning of its %lld bytes", (long long)json_integer_value(at(record, "retrieval", "of_bytes")));
	putchar('\n');
}

static void print_verdict(const json_t *record)
{
	const json_t *rule = at(record, "verdict", "rule");

	label("rule");
	if (json_is_object(rule)) {
		safe_text(json_object_get(rule, "name"));
		printf(", line %lld: ", (long long)json_integer_value(json_object_get(rule, "line")));
		safe_text(json_object_get(rule, "text"));
		putchar('\n');
	} else {
		puts("none");
	}
	line_text("verdict", at(record, "verdict", "action"));
	if (json_is_object(json_object_get(record, "refused"))) {
		label("refused");
		fputs("by ", stdout);
		safe_text(at(record, "refused", "backend"));
		fputs(", after others had taken it: ", stdout);
		safe_text(at(record, "refused", "reply"));
		putchar('\n');
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_facts(const json_t *record)
{
	json_t *facts = json_object_get(record, "facts"), *value;
	size_t count = json_object_size(facts), n = 0;
	const char **names = calloc(count + 1, sizeof(*names)), *name;

	json_object_foreach(facts, name, value)
		if (names && n < count)
			names[n++] = name;
	if (names)
		qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		const json_t *why = at(record, "why", names[i]);

		label(i ? "" : "facts");
		safe(names[i], strlen(names[i]));
		fputs(" = ", stdout);
		value_text(json_object_get(facts, names[i]));
		if (has_text(why)) {
			printf("%s   (", terminal_colour(TERMINAL_DIM));
			safe_text(why);
			printf(")%s", terminal_colour(TERMINAL_PLAIN));
		}
		putchar('\n');
	}
	free(names);
}

static void print_events(const json_t *events)
{
	const json_t *e;
	size_t i;

	json_array_foreach(events, i, e) {
		char when[WHEN_TEXT_MAX];
		char *detail = json_whole(json_object_get(e, "detail"), JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

		label(i ? "" : "since");
		printf("%s  ", when_text(json_integer_value(json_object_get(e, "at")), when));
		safe_text(json_object_get(e, "what"));
		fputs(" by ", stdout);
		safe_text(json_object_get(e, "who"));
		if (detail) {
			fputs("  ", stdout);
			safe(detail, strlen(detail));
		}
		putchar('\n');
		free(detail);
	}
}

static void print_excerpt(const json_t *record)
{
	const char *text = json_string_value(json_object_get(record, "text"));
	size_t left = EXCERPT_BYTES;

	if (!text || !*text)
		return;
	printf("\n");
	for (int i = 0; i < EXCERPT_LINES && *text && left > 0; i++) {
		size_t n = strcspn(text, "\n"), shown = n < left ? n : left;

		fputs("  ", stdout);
		safe(text, shown);
		putchar('\n');
		left -= shown;
		text += n + (text[n] == '\n');
	}
	if (*text)
		puts("  ...");
}

static void print_whole(const char *id, const json_t *record, const json_t *events)
{
	char when[WHEN_TEXT_MAX];

	label("message");
	printf("%s, %s\n", id, store_state_name(store_events_state(events, NULL)));
	label("kept");
	printf("%s, %lld bytes\n", when_text(store_id_ms(id) / 1000, when), (long long)json_integer_value(at(record, "kept", "bytes")));
	print_envelope(record);
	print_client(record);
	print_origin(record);
	line_text("From:", at(record, "message", "from"));
	line_text("Subject:", at(record, "message", "subject"));
	line_text("Message-ID", at(record, "message", "id"));
	print_verdict(record);
	print_facts(record);
	print_events(events);
	print_excerpt(record);
}

/* ---- the message itself ---- */

static int print_raw(int fd)
{
	char chunk[16 * 1024 / 8];
	ssize_t n;

	fflush(stdout);
	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		int rc = file_write_all(STDOUT_FILENO, chunk, (size_t)n);

		if (rc < 0)
			return rc;
	}
	return n < 0 ? -errno : 0;
}

/* Line by line up to the empty one. */
static int print_headers(int fd)
{
	AUTO(buf) struct buf head = BUF_INIT(HEADER_BYTES + 4096);
	const char *p;
	ssize_t n = 1;

	while (n > 0 && head.len < HEADER_BYTES) {
		if (buf_reserve(&head, 4096) < 0)
			return -ENOMEM;
		n = read(fd, head.data + head.len, 4096);
		if (n > 0)
			head.len += (size_t)n;
	}
	if (n < 0)
		return -errno;
	for (p = head.data; p < head.data + head.len;) {
		const char *end = memchr(p, '\n', (size_t)(head.data + head.len - p));
		size_t len = end ? (size_t)(end - p) : (size_t)(head.data + head.len - p), text = len;

		if (text && p[text - 1] == '\r')
			text--;
		if (text == 0)
			break;
		/* A tab at the beginning of a folded line is one. */
		if (*p == '\t')
			putchar('\t');
		safe(p + (*p == '\t'), text - (*p == '\t'));
		putchar('\n');
		p += len + (end != NULL);
	}
	return 0;
}

static int show_file(struct show *s, const char *id)
{
	int fd = store_view_message(s->q.view, id), rc = fd;

	if (fd >= 0) {
		rc = s->raw ? print_raw(fd) : print_headers(fd);
		close(fd);
	}
	if (rc < 0)
		return quarantine_fail("show", "%s: %s", id, rc == -ENOENT ? "its file is gone; `gatepost quarantine reindex` puts the index right"
									  : strerror(-rc));
	return QUARANTINE_DONE;
}

static int show_one(void *arg, const char *id)
{
	struct show *s = arg;
	json_t *record, *events = NULL;

	if (s->raw || s->headers)
		return show_file(s, id);
	record = store_view_record(s->q.view, id);
	if (!record)
		return quarantine_fail("show", "%s: its record cannot be read; --headers and --raw show the message", id);
	if (store_events_read(store_view_dir(s->q.view), id, &events) < 0)
		events = json_array();
	if (s->json) {
		json_object_set_new(record, "state", json_string(store_state_name(store_events_state(events, NULL))));
		json_object_set(record, "events", events);
		json_dumpf(record, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		putchar('\n');
	} else {
		if (s->several)
			putchar('\n');
		print_whole(id, record, events);
	}
	s->several = true;
	json_decref(record);
	json_decref(events);
	return QUARANTINE_DONE;
}

/* Of one that is not there any more something is known, too. */
static void tell_deleted(struct show *s, char *const *ids, int count)
{
	for (int i = 0; i < count; i++) {
		json_t *d = store_id_ms(ids[i]) < 0 ? NULL : store_view_deleted(s->q.view, ids[i]);
		char when[WHEN_TEXT_MAX];

		if (d)
			fprintf(stderr, "%s was deleted: %s, by %s, %s\n", ids[i], json_string_value(json_object_get(d, "why")),
				json_string_value(json_object_get(d, "who")), when_text(json_integer_value(json_object_get(d, "at")), when));
		json_decref(d);
	}
}

static int show_run(struct show *s, char *const *ids, int count)
{
	int status;

	if (quarantine_open(&s->q, "show", s->conf) < 0)
		return QUARANTINE_FAILED;
	status = quarantine_each(&s->q, ids, count, show_one, s);
	if (status == QUARANTINE_MISSING)
		tell_deleted(s, ids, count);
	return fflush(stdout) == 0 ? status : QUARANTINE_FAILED;
}

int quarantine_show(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' }, { "headers", no_argument, NULL, 'H' },
		{ "raw", no_argument, NULL, 'r' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct show s = { .conf = GATEPOST_CONFIG };
	int c, status;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1)
		switch (c) {
		case 'c': s.conf = optarg; break;
		case 'j': s.json = true; break;
		case 'H': s.headers = true; break;
		case 'r': s.raw = true; break;
		default:
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? QUARANTINE_DONE : QUARANTINE_FAILED;
		}
	if (optind == argc || s.json + s.headers + s.raw > 1) {
		fputs(usage, stderr);
		return QUARANTINE_FAILED;
	}
	if (s.raw && terminal_is())
		return quarantine_fail("show", "--raw: what strangers wrote is not sent to a terminal: redirect it, or use --headers");
	status = show_run(&s, argv + optind, argc - optind);
	quarantine_close(&s.q);
	return status;
}
