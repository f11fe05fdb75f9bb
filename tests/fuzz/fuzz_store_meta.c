/*
 * fuzz_store_meta - the metadata of a kept message, which may have been edited, and what somebody asks for: names are in the one form in which they are
 * compared
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/store_meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_name(void *arg, const char *name)
{
	for (const char *p = name; *p; p++)
		assert(*p < 'A' || *p > 'Z');
	assert(++*(int *)arg <= 2 * STORE_META_PARTIES + 4);
	return 0;
}

static void asked(const char *text)
{
	AUTO(buf) struct buf once = BUF_INIT(8192), twice = BUF_INIT(8192);

	if (store_meta_name(text, &once) < 0)
		return;
	if (once.len == 0) {
		assert(strcmp(text, "<>") == 0 || !*text);
		return;
	}
	assert(store_meta_name(buf_str(&once), &twice) == 0 && strcmp(buf_str(&once), buf_str(&twice)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	struct store_meta m;
	int rc = store_meta_read((const char *)data, size, &m), from = 0, to = 0;

	assert(text && (rc == 0 || rc == -EINVAL));
	if (rc == 0) {
		assert(store_meta_from(&m, on_name, &from) == 0 && store_meta_to(&m, on_name, &to) == 0);
		assert(m.classes.len == 0 || (m.classes.data[0] == ' ' && m.classes.data[m.classes.len - 1] == ' '));
	}
	store_meta_release(&m);
	asked(text);
	free(text);
	return 0;
}
