#include "command/live.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/dns_unbound.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "command/terminal.h"
#include "policy/conf.h"
#include "policy/record.h"

enum { LINE_BYTES = 16 * 1024 };

static const char *const level_names[] = { [LIVE_OK] = "ok", [LIVE_WARN] = "warn", [LIVE_FAIL] = "FAIL" };

void live_say(struct live_part *p, enum live_level level, const char *fmt, ...)
{
	struct live_line *grown;
	va_list ap;
	char *text;
	int n;

	if (p->count == LIVE_LINES_MAX)
		return;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	grown = n < 0 ? NULL : reallocarray(p->line, p->count + 1, sizeof(*grown));
	if (!grown)
		abort();                /* a command, and no memory */
	p->line = grown;
	p->line[p->count++] = (struct live_line){ level, text };
}

struct live_part *live_add(struct live *l, char *title, void (*look)(struct live_part *p))
{
	struct live_part *grown = title ? reallocarray(l->part, l->count + 1, sizeof(*grown)) : NULL;

	if (!grown)
		abort();
	l->part = grown;
	l->part[l->count] = (struct live_part){ .live = l, .title = title, .look = look };
	return &l->part[l->count++];
}

/* --- what there is to look at --- */

static char *title(const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}

static void parts_new(struct live *l)
{
	const struct site *s = l->site;
	size_t named = 0, domains = 0;

	for (size_t i = 0; i < s->backend_count; i++)
		live_add(l, title("backend %s", s->backend[i].name), live_backend)->backend = &s->backend[i];
	if (s->verify == VERIFY_CALLOUT)
		live_add(l, title("recipients"), live_callout);
	for (size_t i = 0; i < s->directory_count; i++)
		live_add(l, title("directory %s", s->directory[i].name), live_directory)->arg = &s->directory[i];
	for (size_t i = 0; i < s->daemon_count; i++)
		live_add(l, title("daemon %s", s->daemon[i]->name), live_daemon)->arg = s->daemon[i];
	named = l->count;
	live_add(l, title("name %s", s->hostname), live_name);
	for (size_t i = 0; i < s->domain_count; i++)
		if (s->domains[i][0] != '.' && domains++ < LIVE_DOMAINS_MAX)
			live_add(l, title("domain %s", s->domains[i]), live_domain)->domain = s->domains[i];
	if (domains > LIVE_DOMAINS_MAX)
		live_say(&l->part[named], LIVE_OK, "%zu more domains are not looked at: gatepost advise looks at any", domains - LIVE_DOMAINS_MAX);
	live_add(l, title("dns"), live_dns);
	if (s->dnsbl_count)
		live_add(l, title("dnsbl"), live_lists);
}

static void part_task(void *arg)
{
	struct live_part *p = arg;

	p->look(p);
	if (task_cancelled())
		live_say(p, LIVE_WARN, "there was no time for more");
	p->task = NULL;
	if (--p->live->left == 0)
		loop_stop();
}

/* Whoever does not end in time is ended. */
static void bound_task(void *arg)
{
	struct live *l = arg;

	if (task_sleep(LIVE_PART_MS) < 0)
		return;
	for (size_t i = 0; i < l->count; i++)
		if (l->part[i].task)
			task_cancel(l->part[i].task);
}

static int look_around(struct live *l)
{
	int64_t until_ms = clock_ms() + LIVE_PART_MS - LIVE_STEP_MS;

	for (size_t i = 0; i < l->count; i++) {
		if (l->part[i].look == live_here)
			continue;
		l->part[i].until_ms = until_ms;
		if (task_spawn("live", part_task, &l->part[i], &l->part[i].task) < 0)
			return -1;
		l->left++;
	}
	if (task_spawn("live bound", bound_task, l, NULL) < 0)
		return -1;
	loop_run();
	return 0;
}

/* --- the page --- */

static void print_text(const struct live *l, size_t count[3])
{
	static const enum terminal_colour colours[] = { TERMINAL_GREEN, TERMINAL_YELLOW, TERMINAL_RED };

	for (size_t i = 0; i < l->count; i++) {
		const struct live_part *p = &l->part[i];

		printf("%s%s%s%s\n", i ? "\n" : "", terminal_colour(TERMINAL_BOLD), p->title, terminal_colour(TERMINAL_PLAIN));
		for (size_t k = 0; k < p->count; k++) {
			AUTO(buf) struct buf text = BUF_INIT(LINE_BYTES);

			terminal_text(p->line[k].text, strlen(p->line[k].text), 0, &text);
			printf("  %s%-4s%s  %s\n", terminal_colour(colours[p->line[k].level]), level_names[p->line[k].level], terminal_colour(TERMINAL_PLAIN),
			       buf_str(&text));
		}
	}
	printf("\n%zu ok, %zu warn, %zu FAIL\n", count[LIVE_OK], count[LIVE_WARN], count[LIVE_FAIL]);
}

static void print_json(const struct live *l, size_t count[3])
{
	json_t *parts = json_array(), *all;
	char *text;

	for (size_t i = 0; i < l->count; i++) {
		const struct live_part *p = &l->part[i];
		json_t *lines = json_array();

		for (size_t k = 0; k < p->count; k++)
			json_array_append_new(lines, json_pack("{s:s,s:o}", "level", level_names[p->line[k].level], "text",
							       record_string(p->line[k].text, strlen(p->line[k].text))));
		json_array_append_new(parts, json_pack("{s:s,s:o}", "subject", p->title, "found", lines));
	}
	all = json_pack("{s:I,s:I,s:I,s:o}", "ok", (json_int_t)count[LIVE_OK], "warn", (json_int_t)count[LIVE_WARN], "FAIL", (json_int_t)count[LIVE_FAIL],
			"subjects", parts);
	text = json_whole(all, JSON_INDENT(2));
	puts(text ? text : "null");
	free(text);
	json_decref(all);
}

static void live_release(struct live *l)
{
	for (size_t i = 0; i < l->count; i++) {
		for (size_t k = 0; k < l->part[i].count; k++)
			free(l->part[i].line[k].text);
		free(l->part[i].line);
		free(l->part[i].title);
	}
	free(l->part);
}

int live_run(const struct site *s, bool json)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	struct live l = { .site = s };
	struct dns_unbound *unbound = NULL;
	size_t count[3] = { 0 };
	int rc;

	log_open("gatepost check", LOG_LEVEL_ERROR);
	live_here(live_add(&l, title("this machine"), live_here));
	parts_new(&l);
	rc = loop_init();
	if (rc == 0)
		unbound = dns_unbound_new(&s->dns, &errors);
	if (unbound) {
		l.dns = dns_unbound_dns(unbound);
		rc = look_around(&l);
	}
	loop_unwind();
	if (!unbound || rc < 0) {
		fprintf(stderr, "gatepost check: %s\n", errors.len ? buf_str(&errors) : "out of memory");
		count[LIVE_FAIL] = 1;
	} else {
		for (size_t i = 0; i < l.count; i++)
			for (size_t k = 0; k < l.part[i].count; k++)
				count[l.part[i].line[k].level]++;
		(json ? print_json : print_text)(&l, count);
	}
	dns_unbound_free(unbound);
	loop_release();
	live_release(&l);
	return count[LIVE_FAIL] > 0;
}
