/*
 * fuzz_regex - a pattern of the site's (the first line) over what strangers send (all else): machine code and interpreter say the same, unless one has
 * given up
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "policy/policy_regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *lf = memchr(data, '\n', size);
	size_t len = lf ? (size_t)(lf - data) : size, rest = lf ? size - len - 1 : 0;
	enum regex_match said[2] = { REGEX_LIMIT, REGEX_LIMIT };
	bool is_pattern[2];

	for (int jit = 0; jit < 2; jit++) {
		AUTO(buf) struct buf err = BUF_INIT(1024);
		struct policy_regex *r;
		size_t offset = 0;

		policy_regex_use_jit(jit);
		r = policy_regex_new((const char *)data, len, &offset, &err);
		is_pattern[jit] = r != NULL;
		assert(r || (err.len > 0 && offset <= len));
		if (r)
			said[jit] = policy_regex_match(r, lf ? (const char *)lf + 1 : "", rest);
		policy_regex_free(r);
	}
	assert(is_pattern[0] == is_pattern[1]);
	assert(said[0] == said[1] || said[0] == REGEX_LIMIT || said[1] == REGEX_LIMIT);
	return 0;
}
