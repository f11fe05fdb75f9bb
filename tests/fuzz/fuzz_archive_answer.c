/*
 * fuzz_archive_answer - what a box says that it has found in archives, as if the sender had taken it over: facts are UTF-8, on one line, and bounded
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

/* The reading of answers is its own. */
#include "filters/archive.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct facts *f, const char *name)
{
	const struct fact *list = facts_get_name(f, name);

	assert(!list || list->count <= FACT_LIST_MAX);
	for (size_t i = 0; list && i < list->count; i++) {
		const char *p = list->text[i];
		size_t len = strlen(p);

		for (size_t at = 0, n; at < len; at += n) {
			n = utf8_len(p + at, len - at);
			assert(n > 0 && p[at] != '\r' && p[at] != '\n');
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf answer = BUF_INIT(size + 1);
	struct facts facts = { 0 };
	struct search s = { .out = &facts };
	const char *missing;

	fact_register_all();
	charset_setup(&missing);
	if (size > 64 * 1024 || buf_add(&answer, data, size) < 0)
		return 0;
	assert(read_answer(&s, &answer) == 0);
	for (int i = 0; i < 2; i++)
		assert(memchr(s.why[i], 0, sizeof(s.why[i])));
	assert(s.begun <= size);
	check(&facts, "archive.name");
	check(&facts, "archive.extension");
	facts_release(&facts);
	return 0;
}
