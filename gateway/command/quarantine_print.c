/*
 * Messages in quarantine as rows of a table, or as JSON: what list and search print.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/json_whole.h"
#include "base/utf8.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "command/when.h"

enum { TEXT_CHARS = 300 };

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

void quarantine_cell(struct buf *out, const char *text, int width)
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

static struct quarantine_columns columns_fit(void)
{
	int left = (terminal_is() ? terminal_columns() : 132) - (STORE_ID_LEN + 1 + 16 + 1 + 5 + 2);
	struct quarantine_columns c;

	if (left < 40)
		left = 40;
	c.rule = left / 7 < 6 ? 6 : left / 7 > 16 ? 16 : left / 7;
	c.from = (left - c.rule) * 3 / 10;
	c.to = (left - c.rule) / 4;
	c.subject = terminal_is() ? left - c.rule - c.from - c.to - 3 : 0;
	return c;
}

static void print_head(const struct quarantine_columns *c)
{
	printf("%s%-12s %-16s %5s  %-*s %-*s %-*s %s%s\n", terminal_colour(TERMINAL_BOLD), "ID", "WHEN", "SIZE", c->from, "FROM", c->to, "TO",
	       c->rule, "RULE", "SUBJECT", terminal_colour(TERMINAL_PLAIN));
}

void quarantine_recipients(struct buf *out, const char *lines, int width)
{
	char first[320], end[32] = "";
	size_t n = strcspn(lines, "\n"), more = 0;

	for (const char *p = lines; (p = strchr(p, '\n')) != NULL; p++)
		more++;
	if (more)
		snprintf(end, sizeof(end), " +%zu", more);
	snprintf(first, sizeof(first), "%.*s", (int)(n < 300 ? n : 300), lines);
	quarantine_cell(out, first, width - (int)strlen(end));
	buf_adds(out, end);
}

static void print_row(const struct quarantine_columns *c, const struct store_entry *e)
{
	AUTO(buf) struct buf line = BUF_INIT(16 * 1024);
	bool kept = strcmp(e->state, "kept") == 0, perhaps = strcmp(e->state, "perhaps-delivered") == 0;
	const char *colour = kept ? "" : terminal_colour(perhaps ? TERMINAL_YELLOW : TERMINAL_DIM);
	char when[WHEN_TEXT_MAX], size[32];

	buf_addf(&line, "%s%-12s %.16s %5s  ", colour, e->id, when_text(e->at_s, when), quarantine_size(e->bytes, size));
	quarantine_cell(&line, !e->sender ? "" : *e->sender ? e->sender : "<>", c->from);
	buf_addc(&line, ' ');
	quarantine_recipients(&line, e->recipients, c->to);
	buf_addc(&line, ' ');
	quarantine_cell(&line, e->rule ? e->rule : "", c->rule);
	buf_addc(&line, ' ');
	if (!kept)
		buf_addf(&line, "[%s] ", e->state);
	quarantine_cell(&line, e->subject ? e->subject : "", c->subject && !kept ? c->subject - (int)strlen(e->state) - 3 : c->subject);
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

void quarantine_print_json(struct quarantine_printer *p, const json_t *one)
{
	char *text = json_whole(one, JSON_COMPACT | JSON_ENSURE_ASCII);

	printf("%s%s", p->told++ ? ",\n " : "[", text ? text : "null");
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

/* ---- both ---- */

void quarantine_print_begin(struct quarantine_printer *p, bool json)
{
	*p = (struct quarantine_printer){ .json = json, .columns = columns_fit() };
}

int quarantine_print_entry(void *arg, const struct store_entry *e)
{
	struct quarantine_printer *p = arg;

	if (p->json) {
		json_t *one = entry_json(e);

		quarantine_print_json(p, one);
		json_decref(one);
	} else {
		if (p->told == 0)
			print_head(&p->columns);
		print_row(&p->columns, e);
		p->told++;
	}
	return ferror(stdout) ? 1 : 0;
}

void quarantine_print_end(struct quarantine_printer *p)
{
	if (p->json)
		puts(p->told ? "]" : "[]");
}
