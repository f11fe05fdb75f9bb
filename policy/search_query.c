#include "policy/search_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"

enum { TERM_BYTES_MAX = 4096 };

struct search_query *search_query_new(void)
{
	struct search_query *q = calloc(1, sizeof(*q));

	if (q)
		q->terms = calloc(SEARCH_TERMS_MAX, sizeof(*q->terms));
	if (q && !q->terms) {
		free(q);
		q = NULL;
	}
	return q;
}

static void alternative_clear(struct search_alternative *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->words[i].text);
	a->count = 0;
}

static void term_clear(struct search_term *t)
{
	for (size_t i = 0; i < t->count; i++)
		alternative_clear(&t->alternatives[i]);
	t->count = 0;
}

void search_query_free(struct search_query *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->count; i++)
		term_clear(&q->terms[i]);
	free(q->terms);
	free(q);
}

static int add_word(void *arg, const struct search_word *w)
{
	struct search_alternative *a = arg;
	char *text = a->count < SEARCH_TERM_WORDS_MAX ? strdup(w->text) : NULL;

	if (!text)
		return a->count < SEARCH_TERM_WORDS_MAX ? -ENOMEM : -E2BIG;
	a->words[a->count++] = (struct search_query_word){ .text = text, .chars = w->chars, .kind = w->kind };
	return 0;
}

static bool same(const struct search_alternative *a, const struct search_alternative *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->words[i].text, b->words[i].text) != 0)
			return false;
	return true;
}

/* The last character of a row stands there only where the row ended: in what is asked it goes on. */
static void drop_last(struct search_alternative *a)
{
	if (a->count > 1 && a->words[a->count - 1].kind == SEARCH_LAST && a->words[a->count - 2].kind == SEARCH_PAIR)
		free(a->words[--a->count].text);
}

static int add_alternative(struct search_term *t, const char *p, size_t len)
{
	struct search_alternative *a = &t->alternatives[t->count];
	int rc = search_words(p, len, add_word, a);

	if (rc == 0) {
		drop_last(a);
		for (size_t i = 0; i < t->count; i++)
			if (same(a, &t->alternatives[i]))
				rc = -EEXIST;
	}
	if (rc < 0 || a->count == 0)
		alternative_clear(a);
	else
		t->count++;
	return rc == -EEXIST ? 0 : rc;
}

/* "Gebühr" to "Gebuehr" (apart), or "Gebuehr" to "Gebuhr", which "Gebühr" is as a word. Octets, so that the rest stays as it is. */
static void umlauts(const char *p, size_t len, bool apart, struct buf *out)
{
	static const struct { char text[4]; const char *wide, *narrow; } pairs[] = {
		{ "ä", "ae", "" }, { "ö", "oe", "" }, { "ü", "ue", "" }, { "Ä", "ae", "" }, { "Ö", "oe", "" }, { "Ü", "ue", "" },
		{ "a\xcc\x88", "ae", "" }, { "o\xcc\x88", "oe", "" }, { "u\xcc\x88", "ue", "" }, { "A\xcc\x88", "ae", "" },
		{ "O\xcc\x88", "oe", "" }, { "U\xcc\x88", "ue", "" }, { "ae", "", "a" }, { "oe", "", "o" }, { "ue", "", "u" },
		{ "Ae", "", "a" }, { "Oe", "", "o" }, { "Ue", "", "u" }, { "AE", "", "a" }, { "OE", "", "o" }, { "UE", "", "u" },
	};

	for (size_t i = 0; i < len;) {
		size_t n = 1, k;

		for (k = 0; k < sizeof(pairs) / sizeof(*pairs); k++) {
			const char *to = apart ? pairs[k].wide : pairs[k].narrow;

			n = strlen(pairs[k].text);
			if (*to && n <= len - i && memcmp(p + i, pairs[k].text, n) == 0) {
				buf_adds(out, to);
				break;
			}
		}
		if (k == sizeof(pairs) / sizeof(*pairs)) {
			n = 1;
			buf_addc(out, p[i]);
		}
		i += n;
	}
}

static int term_fill(struct search_term *t, const char *p, size_t len)
{
	AUTO(buf) struct buf apart = BUF_INIT(2 * TERM_BYTES_MAX), together = BUF_INIT(2 * TERM_BYTES_MAX);
	int rc = add_alternative(t, p, len);

	umlauts(p, len, true, &apart);
	umlauts(p, len, false, &together);
	if (rc == 0 && (apart.failed || together.failed))
		rc = -ENOMEM;
	if (rc == 0)
		rc = add_alternative(t, buf_str(&apart), apart.len);
	return rc == 0 ? add_alternative(t, buf_str(&together), together.len) : rc;
}

static enum search_field field_of(const char **p, const char *end)
{
	static const struct { const char *name; enum search_field field; } names[] = {
		{ "from:", SEARCH_FROM }, { "to:", SEARCH_TO }, { "subject:", SEARCH_SUBJECT },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		size_t n = strlen(names[i].name);

		if ((size_t)(end - *p) > n && strncasecmp(*p, names[i].name, n) == 0) {
			*p += n;
			return names[i].field;
		}
	}
	return SEARCH_ANYWHERE;
}

static int say(struct search_query *q, int rc, const char *p, size_t len)
{
	if (rc == -E2BIG)
		snprintf(q->error, sizeof(q->error), "a phrase of more than %d words", SEARCH_TERM_WORDS_MAX);
	else if (rc == -EINVAL)
		snprintf(q->error, sizeof(q->error), "%.*s: there is no word in it", len < 100 ? (int)len : 100, p);
	else
		snprintf(q->error, sizeof(q->error), "out of memory");
	return rc == -ENOMEM ? rc : -EINVAL;
}

/* One term: [-][field:]text, text without its quotation marks. */
static int add_term(struct search_query *q, bool negated, enum search_field field, const char *p, size_t len)
{
	struct search_term *t;
	int rc;

	if (q->count == SEARCH_TERMS_MAX) {
		snprintf(q->error, sizeof(q->error), "more than %d terms", SEARCH_TERMS_MAX);
		return -EINVAL;
	}
	t = &q->terms[q->count];
	t->negated = negated;
	t->field = field;
	rc = len > TERM_BYTES_MAX ? -E2BIG : term_fill(t, p, len);
	if (rc == 0 && t->count == 0)
		rc = -EINVAL;
	if (rc < 0) {
		term_clear(t);
		return say(q, rc, p, len);
	}
	q->count++;
	return 0;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int search_query_add(struct search_query *q, const char *text)
{
	const char *end = text + strlen(text);
	bool whole = !strchr(text, '"');
	int rc = 0;

	while (text < end && rc == 0) {
		enum search_field field;
		const char *stop;
		bool negated, quoted;

		while (text < end && blank(*text))
			text++;
		if (text == end)
			break;
		negated = *text == '-';
		text += negated;
		field = field_of(&text, end);
		quoted = text < end && *text == '"';
		text += quoted;
		for (stop = text; stop < end && (quoted ? *stop != '"' : whole || (!blank(*stop) && *stop != '"'));)
			stop++;
		rc = add_term(q, negated, field, text, (size_t)(stop - text));
		text = stop + (quoted && stop < end);
	}
	return rc;
}

int search_query_check(struct search_query *q)
{
	for (size_t i = 0; i < q->count; i++)
		if (!q->terms[i].negated)
			return 0;
	snprintf(q->error, sizeof(q->error), q->count ? "one word at least must be there, not only be missing"
						      : "no words to search for");
	return -EINVAL;
}
