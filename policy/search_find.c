/*
 * search_find - search_index_find: a query as an expression of FTS5, and its results
 */
#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#include "base/buf.h"
#include "policy/search_doc.h"
#include "policy/search_impl.h"
#include "policy/search_index.h"
#include "policy/search_query.h"
#include "policy/sqlite_file.h"

enum {
	EXPRESSION_MAX = 1024 * 1024,
	PARTS_MAX = 200,                /* words that one is part of: of those seen first, and again of those seen last */
	CANDIDATES_MAX = 20 * PARTS_MAX,/* that have all of its parts, somewhere */
};

struct find {
	struct search_index *x;
	const struct search_term *term;
	struct buf *out;
	bool many;
};

/* Words are letters and digits: between quotation marks they are a string of FTS5, whatever they are. */
static void say_word(struct find *f, const char *word, size_t len)
{
	buf_addc(f->out, '"');
	buf_adds(f->out, search_mark(f->term->field));
	buf_add(f->out, word, len);
	buf_addc(f->out, '"');
}

static void say_or_word(struct find *f, const char *word, size_t len)
{
	buf_adds(f->out, " OR ");
	say_word(f, word, len);
}

/* The words that a statement yields and that have `part` in them, PARTS_MAX at most. How many, or -errno. */
static int say_words(struct find *f, sqlite3_stmt *st, const char *part)
{
	int found = 0, seen = 0, code;

	while ((code = sqlite3_step(st)) == SQLITE_ROW && found < PARTS_MAX && seen++ < CANDIDATES_MAX) {
		const char *word = (const char *)sqlite3_column_text(st, 0);

		if (!word || !strstr(word, part) || strcmp(word, part) == 0)
			continue;
		say_or_word(f, word, (size_t)sqlite3_column_bytes(st, 0));
		found++;
	}
	if (code == SQLITE_ROW)
		f->many = true;
	return code == SQLITE_ROW || code == SQLITE_DONE ? found : sqlite_error(code);
}

/* Words seen early are the frequent ones, as a rule; those seen last are of the newest mail. */
static int say_compounds(struct find *f, const char *part)
{
	static const char *const sql[] = {
		"SELECT v.word FROM parts p CROSS JOIN vocabulary v ON v.num = p.rowid WHERE p.parts MATCH ?1 ORDER BY p.rowid",
		"SELECT v.word FROM parts p CROSS JOIN vocabulary v ON v.num = p.rowid WHERE p.parts MATCH ?1 ORDER BY p.rowid DESC",
	};
	AUTO(buf) struct buf match = BUF_INIT(2 * SEARCH_GRAMS_MAX);
	int rc = 0, more = 1;

	search_grams(part, "\"", &match);
	for (int i = 0; i < 2 && rc == 0 && more; i++) {
		sqlite3_stmt *st = NULL;

		f->many = false;
		rc = sqlite_error(sqlite3_prepare_v2(f->x->sql, sql[i], -1, &st, NULL));
		if (rc == 0)
			rc = sqlite_error(sqlite3_bind_text(st, 1, buf_str(&match), (int)match.len, SQLITE_STATIC));
		if (rc == 0)
			rc = say_words(f, st, part);
		more = f->many;
		rc = rc < 0 ? rc : 0;
		sqlite3_finalize(st);
	}
	return rc;
}

/* A character of a row stands at the beginning of a pair, or last. */
static int say_pairs(struct find *f, const char *character)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite_error(sqlite3_prepare_v2(
		f->x->sql, "SELECT word FROM vocabulary WHERE word >= ?1 AND word < ?1 || char(0x10ffff) ORDER BY num", -1, &st, NULL));

	if (rc == 0)
		rc = sqlite_error(sqlite3_bind_text(st, 1, character, -1, SQLITE_STATIC));
	if (rc == 0)
		rc = say_words(f, st, character);
	sqlite3_finalize(st);
	return rc < 0 ? rc : 0;
}

static int say_alternative(struct find *f, const struct search_alternative *a)
{
	const struct search_query_word *w = &a->words[0];

	for (size_t i = 0; i < a->count; i++) {
		if (i)
			buf_adds(f->out, " + ");
		say_word(f, a->words[i].text, strlen(a->words[i].text));
	}
	if (a->count > 1 && a->words[a->count - 1].kind == SEARCH_LAST)
		buf_addc(f->out, '*');
	if (a->count > 1)
		return 0;
	if (w->kind == SEARCH_LAST)
		return say_pairs(f, w->text);
	return w->kind == SEARCH_LETTERS && w->chars >= SEARCH_PART_CHARS ? say_compounds(f, w->text) : 0;
}

static int say_term(struct find *f, const struct search_term *t, bool *many)
{
	int rc = 0;

	f->term = t;
	buf_addc(f->out, '(');
	for (size_t i = 0; i < t->count && rc == 0; i++) {
		if (i)
			buf_adds(f->out, " OR ");
		f->many = false;
		rc = say_alternative(f, &t->alternatives[i]);
		*many |= f->many;
	}
	buf_addc(f->out, ')');
	return rc;
}

/* (wanted AND wanted) NOT unwanted NOT unwanted */
static int say_query(struct search_index *x, const struct search_query *q, struct buf *out, bool *many)
{
	struct find f = { .x = x, .out = out };
	int rc = 0;

	for (int negated = 0; negated < 2; negated++) {
		const char *between = negated ? " NOT " : "(";

		for (size_t i = 0; i < q->count && rc == 0; i++) {
			if (q->terms[i].negated != (negated == 1))
				continue;
			buf_adds(out, between);
			between = negated ? " NOT " : " AND ";
			rc = say_term(&f, &q->terms[i], many);
		}
		if (!negated)
			buf_addc(out, ')');
	}
	return rc == 0 && out->failed ? -E2BIG : rc;
}

int search_index_find(struct search_index *x, const struct search_query *q, int (*on_id)(void *arg, const char *id), void *arg,
		      bool *many)
{
	AUTO(buf) struct buf match = BUF_INIT(EXPRESSION_MAX);
	sqlite3_stmt *st = NULL;
	bool more = false;
	int rc = say_query(x, q, &match, &more), code = SQLITE_DONE;

	if (rc == 0)
		rc = sqlite_error(sqlite3_prepare_v2(x->sql, "SELECT d.id FROM words w CROSS JOIN doc d ON d.num = w.rowid "
						    "WHERE w.words MATCH ?1 ORDER BY w.rowid DESC", -1, &st, NULL));
	if (rc == 0)
		rc = sqlite_error(sqlite3_bind_text(st, 1, buf_str(&match), (int)match.len, SQLITE_STATIC));
	while (rc == 0 && (code = sqlite3_step(st)) == SQLITE_ROW)
		rc = on_id(arg, (const char *)sqlite3_column_text(st, 0));
	if (rc == 0)
		rc = sqlite_error(code);
	sqlite3_finalize(st);
	if (many)
		*many = more;
	return rc;
}
