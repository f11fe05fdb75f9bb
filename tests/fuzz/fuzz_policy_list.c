/*
 * fuzz_policy_list - the text of a list file: read in memory and as an image, which must say the same
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "policy/policy_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const values[] = { "a.example", "x.a.example", "u@a.example", "192.0.2.1", "2001:db8::1", "any text", "", "/" };

static void same(const struct policy_list *a, const struct policy_list *b, const char *value)
{
	for (int type = FACT_WORD; type <= FACT_BOOL; type++)
		assert(policy_list_has(a, type, value, NULL) == policy_list_has(b, type, value, NULL));
}

/* What a line says holds for itself, if it is of that kind; in both or in none. */
static void each_line(const struct policy_list *a, const struct policy_list *b, const char *p, size_t size)
{
	for (const char *end = p + size, *nl; p < end; p = nl ? nl + 1 : end) {
		AUTO(buf) struct buf err = BUF_INIT(1000), text = BUF_INIT(LIST_ENTRY_MAX);
		const char *entry;
		size_t len, column;
		enum list_line kind;

		nl = memchr(p, '\n', (size_t)(end - p));
		kind = policy_list_line(p, (size_t)((nl ? nl : end) - p), &entry, &len, &column, &err);
		assert((kind == LINE_BAD) == (err.len > 0));
		if (kind != LINE_ENTRY && kind != LINE_TEXT)
			continue;
		assert(entry >= p && entry + len <= end);
		if (memchr(entry, 0, len) || buf_add(&text, entry, len) < 0)
			continue;
		same(a, b, buf_str(&text));
		if (kind == LINE_TEXT)
			assert(policy_list_has(a, FACT_TEXT, buf_str(&text), NULL));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(policy_list) struct policy_list *memory = policy_list_new(), *image = policy_list_new();
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024), image_errors = BUF_INIT(64 * 1024);
	int fd = memfd_create("fuzz", MFD_CLOEXEC), wrong, rc;
	char path[40];

	if (!memory || !image || fd < 0 || file_write_all(fd, data, size) < 0)
		abort();
	wrong = policy_list_read(memory, (const char *)data, size, "list", &errors);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = policy_list_load(image, path, "list", NULL, &image_errors);
	close(fd);
	assert(rc == wrong && strcmp(buf_str(&errors), buf_str(&image_errors)) == 0);
	if (rc != 0)
		return 0;
	assert(policy_list_count(memory) == policy_list_count(image));
	assert(policy_list_regexes(memory) == policy_list_regexes(image));
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		same(memory, image, values[i]);
	each_line(memory, image, (const char *)data, size);
	return 0;
}
