/*
 * Any bytes as text and as a query: words are UTF-8 of letters and digits, bounded; what a query becomes is an expression that FTS5 takes; and
 * what was indexed is found by what it was made of.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "policy/record.h"
#include "policy/search_index.h"
#include "policy/search_query.h"

static const char id[] = "0g3c1h3ta001";

static int on_word(void *arg, const struct search_word *w)
{
	size_t n;

	assert(w->len > 0 && w->len <= SEARCH_WORD_BYTES && w->text[w->len] == 0 && w->chars > 0 && w->chars <= SEARCH_WORD_CHARS);
	for (size_t i = 0; i < w->len; i += n) {
		unsigned char c = (unsigned char)w->text[i];

		n = utf8_len(w->text + i, w->len - i);
		assert(n > 0);
		assert(c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'));
	}
	++*(int *)arg;
	return 0;
}

static int on_id(void *arg, const char *found)
{
	assert(strcmp(found, id) == 0);
	++*(int *)arg;
	return 0;
}

/* One long phrase of a text is found in it. */
static void ask(struct search_index *x, const char *text, bool must)
{
	AUTO(search_query) struct search_query *q = search_query_new();
	bool other = false;
	int found = 0;

	assert(q);
	if (search_query_add(q, text) < 0 || search_query_check(q) < 0)
		return;
	for (size_t i = 0; i < q->count; i++)
		other |= q->terms[i].negated || q->terms[i].field != SEARCH_ANYWHERE;
	assert(search_index_find(x, q, on_id, &found, NULL) == 0);
	assert(!must || other || q->count > 1 || found == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct search_index *x;
	char *text = strndup((const char *)data, size);
	json_t *record = json_pack("{s:o}", "text", record_string(text, strlen(text)));
	int words = 0;

	assert(search_words((const char *)data, size, on_word, &words) == 0);
	assert(words <= (int)(20 * size));
	assert(x || search_index_open(":memory:", &x) == 0);
	assert(search_index_begin(x) == 0 && search_index_add(x, id, record) == 0);
	ask(x, text, strlen(text) < 1000);
	assert(search_index_remove(x, id, record) == 0);
	ask(x, text, false);
	search_index_rollback(x);
	json_decref(record);
	free(text);
	return 0;
}
