/*
 * gatepost spool show
 */
#include <getopt.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "command/command.h"
#include "command/spool_view.h"
#include "command/terminal.h"
#include "command/when.h"
#include "policy/spool_file.h"
#include "policy/spool_record.h"

enum { CHUNK = 16 * 1024, HEADER_MAX = 256 * 1024 };

static const char usage[] =
	"usage: gatepost spool show [-c FILE] [--body] [--json] ID...\n"
	"\n"
	"All that is known of messages that are still to be delivered: envelope, what became of each recipient, header.\n"
	"\n"
	"      --body              the whole message behind it, as it is sent\n"
	"      --json              the record, and what is due when\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

struct show {
	const char *conf;
	bool body, json;
	int told;
};

static void line(const char *name, const char *text)
{
	AUTO(buf) struct buf safe = BUF_INIT(64 * 1024);

	if (!text || !*text)
		return;
	(void)terminal_text(text, strlen(text), 0, &safe);
	printf("%s%-10s%s %s\n", terminal_colour(TERMINAL_BOLD), name, terminal_colour(TERMINAL_PLAIN), buf_str(&safe));
}

static void print_recipient(const struct spool_recipient *r)
{
	char when[WHEN_TEXT_MAX], tries[80] = "";

	putchar('\n');
	line("to", r->address);
	line("state", spool_state_name(r->state));
	line("route", r->route);
	line("params", r->params);
	if (r->attempts > 0)
		snprintf(tries, sizeof(tries), "%u, the last %s", r->attempts, r->tried_s ? when_text(r->tried_s, when) : "");
	line("tries", tries);
	line("reply", r->reply);
	line("said by", r->remote);
	if (r->delay_told && r->state == SPOOL_WAITING)
		line("delay", "the sender has been told");
}

static void print_envelope(const struct spool_envelope *e, const json_t *parts)
{
	char when[WHEN_TEXT_MAX], text[120], span[16], next[SPOOL_NEXT_MAX];

	line("id", e->id);
	snprintf(text, sizeof(text), "%s, %s ago", when_text(e->created_s, when), spool_span(clock_wall_s() - e->created_s, span));
	line("kept", text);
	snprintf(text, sizeof(text), "%llu bytes", (unsigned long long)e->bytes);
	line("size", text);
	line("from", *e->sender ? e->sender : "<>");
	line("params", e->params);
	line("direction", spool_direction_name(e->direction));
	line("listener", e->listener);
	line("client", e->client);
	line("helo", e->helo);
	line("user", e->user);
	line("code", e->txn);
	line("bounce", e->credible ? "the sender can be told" : "no notification: the sender is not credible");
	line("next", spool_next_text(parts, next));
	for (size_t i = 0; i < e->rcpt_count; i++)
		print_recipient(&e->rcpt[i]);
	putchar('\n');
}

/* The header, for a person: up to the empty line, each line as it may be shown. */
static void print_header(int fd)
{
	AUTO(buf) struct buf safe = BUF_INIT(8 * HEADER_MAX);
	char *text = malloc(HEADER_MAX + 1);
	ssize_t n = text ? pread(fd, text, HEADER_MAX, 0) : -1;

	if (n > 0) {
		char *end;

		text[n] = 0;
		end = memmem(text, (size_t)n, "\r\n\r\n", 4);
		n = end ? end + 2 - text : n;
		for (char *p = text; p < text + n;) {
			char *next = memchr(p, '\n', (size_t)(text + n - p));
			size_t len = next ? (size_t)(next - p) : (size_t)(text + n - p);

			if (*p == '\t')
				buf_addc(&safe, '\t');         /* of a folded line */
			(void)terminal_text(p + (*p == '\t'), (len && p[len - 1] == '\r' ? len - 1 : len) - (*p == '\t'), 0, &safe);
			buf_addc(&safe, '\n');
			p += len + 1;
		}
		fputs(buf_str(&safe), stdout);
	}
	free(text);
}

/* As it is: for a file, or a program. */
static int print_all(int fd)
{
	char *chunk = malloc(CHUNK);
	off_t at = 0;
	ssize_t n = 0;

	while (chunk && (n = pread(fd, chunk, CHUNK, at)) > 0) {
		fwrite(chunk, 1, (size_t)n, stdout);
		at += n;
	}
	free(chunk);
	return n < 0 || !chunk ? -1 : 0;
}

static void print_json(struct show *s, const struct spool_envelope *e, json_t *parts)
{
	json_t *o = spool_record_json(e);
	char *text;

	json_object_set(o, "parts", parts ? parts : json_null());
	text = json_whole(o, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	printf("%s%s", s->told++ ? ",\n" : "[", text ? text : "null");
	free(text);
	json_decref(o);
}

static int show_one(struct spool_view *v, const char *id, void *arg)
{
	struct show *s = arg;
	AUTO(spool_envelope) struct spool_envelope *e = NULL;
	char ids[1][STORE_ID_MAX];
	const char *why = "";
	json_t *states;
	int rc = spool_file_read(v->dir_fd, id, &e, &why), fd;

	if (rc == -ENOENT) {
		spool_problem("show", "%s: it has just been delivered", id);
		return SPOOL_MISSING;
	}
	if (rc < 0)
		return spool_problem("show", "%s: it cannot be read: %s", id, rc == -EINVAL ? why : strerror(-rc));
	memcpy(ids[0], e->id, STORE_ID_MAX);
	states = spool_view_states(v, ids, 1);
	if (s->json) {
		print_json(s, e, json_object_get(states, id));
	} else {
		if (s->told++)
			puts("----");
		print_envelope(e, json_object_get(states, id));
		fd = spool_file_open(v->dir_fd, id, ".eml");
		if (fd >= 0 && s->body)
			rc = print_all(fd);
		else if (fd >= 0)
			print_header(fd);
		if (fd >= 0)
			close(fd);
	}
	json_decref(states);
	return rc < 0 ? spool_problem("show", "%s: the message cannot be read", id) : SPOOL_DONE;
}

int spool_command_show(int argc, char **argv)
{
	static const struct option options[] = {
		{ "body", no_argument, NULL, 'b' }, { "json", no_argument, NULL, 'j' }, { "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	AUTO(spool_view) struct spool_view v = { .dir_fd = -1 };
	struct show s = { .conf = GATEPOST_CONFIG };
	int c, status;

	setlocale(LC_CTYPE, "C.UTF-8");
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (c == 'c') {
			s.conf = optarg;
		} else if (c == 'b') {
			s.body = true;
		} else if (c == 'j') {
			s.json = true;
		} else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? SPOOL_DONE : SPOOL_PROBLEM;
		}
	}
	if (optind == argc)
		return spool_problem("show", "an id was expected\n%s", usage);
	if (spool_view_open(&v, "show", s.conf) < 0)
		return SPOOL_PROBLEM;
	status = spool_view_each(&v, argv + optind, argc - optind, show_one, &s);
	if (s.json)
		puts(s.told ? "]" : "[]");
	return fflush(stdout) == 0 ? status : SPOOL_PROBLEM;
}
