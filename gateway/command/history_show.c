#include "command/history_show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/terminal.h"
#include "command/when.h"
#include "policy/record.h"

enum { NAMED_RCPTS = 3, WORDS_MAX = 100, REPLY_WORDS = 120 };

static void text(struct buf *out, const char *s, size_t max)
{
	terminal_text(s, strlen(s), max, out);
}

static void address(struct buf *out, const char *s)
{
	buf_addc(out, '<');
	text(out, s, WORDS_MAX);
	buf_addc(out, '>');
}

static const char *when(int64_t at_ms, char out[WHEN_TEXT_MAX])
{
	return when_text(at_ms / 1000, out);
}

static bool refused(const char *verdict)
{
	static const char *const none[] = { "accept", "quarantine", "notice", "pass" };

	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		if (strcmp(verdict, none[i]) == 0)
			return false;
	return true;
}

static void recipients(const struct history_record *r, size_t most, struct buf *out)
{
	size_t n = r->rcpt_count < most ? r->rcpt_count : most;

	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_adds(out, ", ");
		address(out, r->rcpt[i]);
	}
	if (r->rcpt_total > n)
		buf_addf(out, "%s%zu more", n ? " and " : "", r->rcpt_total - n);
	if (!r->rcpt_total)
		buf_addc(out, '-');
}

void history_show_line(const struct history_record *r, struct buf *out)
{
	char at[WHEN_TEXT_MAX];

	buf_addf(out, "%s  %-12s ", when(r->at_ms, at), r->code);
	buf_adds(out, terminal_colour(refused(r->verdict) ? TERMINAL_RED : strcmp(r->verdict, "accept") == 0 ? TERMINAL_GREEN : TERMINAL_YELLOW));
	buf_addf(out, "%-15s", r->verdict);
	buf_addf(out, "%s  %-15s  ", terminal_colour(TERMINAL_PLAIN), r->client);
	if (r->from)
		address(out, r->from);
	else
		buf_addc(out, '-');
	buf_adds(out, " -> ");
	recipients(r, NAMED_RCPTS, out);
	if (r->action && strcmp(r->action, r->verdict) != 0)
		buf_addf(out, "  policy: %s", r->action);
	if (r->rule) {
		buf_adds(out, "  by ");
		text(out, r->rule, WORDS_MAX);
	}
	if (r->quarantine_id)
		buf_addf(out, "  kept as %s", r->quarantine_id);
	if (r->reply && refused(r->verdict)) {
		buf_adds(out, "  ");
		text(out, r->reply, REPLY_WORDS);
	}
	buf_addc(out, '\n');
}

static void member(struct buf *out, const char *name, const char *value)
{
	if (!value)
		return;
	buf_addf(out, "  %-14s ", name);
	text(out, value, 0);
	buf_addc(out, '\n');
}

static void memberf(struct buf *out, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void memberf(struct buf *out, const char *name, const char *fmt, ...)
{
	char value[1600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	member(out, name, value);
}

static void timings(const struct history_record *r, struct buf *out)
{
	static const char *const names[] = { "data", "checks", "mail server", "all" };
	const int ms[] = { r->ms_data, r->ms_checks, r->ms_backend, r->ms };
	bool any = false;

	for (int i = 0; i < 4; i++) {
		if (ms[i] < 0)
			continue;
		if (!any)
			buf_addf(out, "  %-14s ", "took");
		buf_addf(out, "%s%d ms %s", any ? ", " : "", ms[i], names[i]);
		any = true;
	}
	if (any)
		buf_addc(out, '\n');
}

static void policy(const struct history_record *r, struct buf *out)
{
	if (!r->action && !r->rule)
		memberf(out, "policy", "had come to no verdict");
	else if (!r->rule)
		memberf(out, "policy", "%s, by no rule", r->action);
	else
		memberf(out, "policy", "%s by %s (line %d): %s", r->action ? r->action : "undecided", r->rule, r->rule_line,
			r->rule_text ? r->rule_text : "");
}

/* What else rules did, a line for each. */
static void notes(const char *all, struct buf *out)
{
	for (bool first = true; all; first = false) {
		const char *end = strchr(all, '\n');
		size_t len = end ? (size_t)(end - all) : strlen(all);

		buf_addf(out, "  %-14s ", first ? "rules, too" : "");
		terminal_text(all, len, 0, out);
		buf_addc(out, '\n');
		all = end ? end + 1 : NULL;
	}
}

static bool named(const char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static void fact(const struct fact *f, bool cut, struct buf *out)
{
	AUTO(buf) struct buf value = BUF_INIT(128 * 1024);

	record_fact_text(f, &value);
	buf_addf(out, "    %-24s ", fact_def(f->id)->name);
	terminal_text(value.len ? value.data : "-", value.len ? value.len : 1, 0, out);
	if (cut)
		buf_adds(out, " [cut]");
	if (f->why) {
		buf_adds(out, "   (");
		text(out, f->why, 0);
		buf_addc(out, ')');
	}
	buf_addc(out, '\n');
}

static void facts(const struct history_record *r, const char *const *cut, const char *const *lost, struct buf *out)
{
	buf_addf(out, "  facts, known at %s\n", stage_name(r->stage));
	for (size_t i = 0; r->facts[0] && i < r->facts[0]->count; i++)
		fact(&r->facts[0]->v[i], named(cut, fact_def(r->facts[0]->v[i].id)->name), out);
	for (; lost && *lost; lost++) {
		buf_adds(out, "    ");
		text(out, *lost, 0);
		buf_adds(out, " [of another version]\n");
	}
}

void history_show_all(const struct history_record *r, const char *const *cut, const char *const *lost, struct buf *out)
{
	AUTO(buf) struct buf to = BUF_INIT(256 * 1024);
	char at[WHEN_TEXT_MAX];

	buf_addf(out, "%s  %s  %s%s%s\n", when(r->at_ms, at), r->code, terminal_colour(TERMINAL_BOLD), r->verdict, terminal_colour(TERMINAL_PLAIN));
	memberf(out, "client", "%s%s%s", r->client, r->helo ? ", HELO " : "", r->helo ? r->helo : "");
	if (r->from)
		memberf(out, "from", "<%s>", r->from);
	recipients(r, HISTORY_RCPT_MAX, &to);
	if (r->rcpt_total)
		buf_addf(out, "  %-14s %s\n", "to", buf_str(&to));
	member(out, "message-id", r->message_id);
	member(out, "subject", r->subject);
	if (r->bytes)
		memberf(out, "octets", "%llu", (unsigned long long)r->bytes);
	policy(r, out);
	notes(r->notes, out);
	member(out, "reply", r->reply);
	member(out, "mail server", r->backend);
	member(out, "quarantine", r->quarantine_id);
	timings(r, out);
	facts(r, cut, lost, out);
}

/* For programs */

static json_t *strings(const char *const *s, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, record_text(s[i]));
	return list;
}

static json_t *lines(const char *all)
{
	json_t *list = json_array();

	while (all) {
		const char *end = strchr(all, '\n');

		json_array_append_new(list, record_string(all, end ? (size_t)(end - all) : strlen(all)));
		all = end ? end + 1 : NULL;
	}
	return list;
}

static json_t *names(const char *const *s)
{
	size_t n = 0;

	while (s && s[n])
		n++;
	return strings(s, n);
}

static json_t *fact_json(const struct fact *f)
{
	const struct fact_def *d = fact_def(f->id);

	if (f->state == FACT_TEMPERROR)
		return json_pack("{s:o}", "temperror", record_text(f->why ? f->why : ""));
	if (d->type == FACT_BOOL)
		return json_boolean(f->number);
	if (d->type == FACT_NUMBER)
		return json_integer(f->number);
	return d->list ? strings((const char *const *)f->text, f->count) : record_text(f->count ? f->text[0] : "");
}

static json_t *milliseconds(int ms)
{
	return ms < 0 ? json_null() : json_integer(ms);
}

json_t *history_json(const struct history_record *r, const char *const *cut, const char *const *lost)
{
	json_t *values = json_object(), *whys = json_object(), *o;

	for (size_t i = 0; r->facts[0] && i < r->facts[0]->count; i++) {
		const struct fact *f = &r->facts[0]->v[i];

		json_object_set_new(values, fact_def(f->id)->name, fact_json(f));
		if (f->why)
			json_object_set_new(whys, fact_def(f->id)->name, record_text(f->why));
	}
	o = json_pack("{s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:I}", "time", (double)r->at_ms / 1000,
		      "code", record_text(r->code), "verdict", record_text(r->verdict), "client", record_text(r->client),
		      "helo", record_text(r->helo), "from", record_text(r->from), "to", strings(r->rcpt, r->rcpt_count),
		      "recipients", (json_int_t)r->rcpt_total, "message_id", record_text(r->message_id),
		      "subject", record_text(r->subject), "bytes", (json_int_t)r->bytes);
	json_object_set_new(o, "policy", json_pack("{s:o, s:o, s:i, s:o}", "action", record_text(r->action), "rule", record_text(r->rule),
						   "line", r->rule_line, "text", record_text(r->rule_text)));
	json_object_set_new(o, "notes", lines(r->notes));
	json_object_set_new(o, "reply", record_text(r->reply));
	json_object_set_new(o, "backend", record_text(r->backend));
	json_object_set_new(o, "quarantine", record_text(r->quarantine_id));
	json_object_set_new(o, "ms", json_pack("{s:o, s:o, s:o, s:o}", "data", milliseconds(r->ms_data), "checks", milliseconds(r->ms_checks),
					       "backend", milliseconds(r->ms_backend), "all", milliseconds(r->ms)));
	json_object_set_new(o, "stage", json_string(stage_name(r->stage)));
	json_object_set_new(o, "filters", names(r->ran));
	json_object_set_new(o, "facts", values);
	json_object_set_new(o, "why", whys);
	json_object_set_new(o, "cut", names(cut));
	json_object_set_new(o, "lost", names(lost));
	return o;
}
