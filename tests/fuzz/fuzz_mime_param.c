/*
 * fuzz_mime_param - the body of a Content-Type: bounds are kept, and every form in which a name is given can be had, as octets and as UTF-8
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"
#include "filters/mime_param.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void forms(const struct mime_params *ps, const char *name)
{
	for (int decoded = 0; decoded < 2; decoded++)
		for (size_t nth = 0;; nth++) {
			AUTO(buf) struct buf out = BUF_INIT(6 * MIME_PARAM_BYTES_MAX);
			int rc = mime_params_get(ps, name, nth, decoded, &out);

			assert(rc >= 0 && nth <= ps->count);
			if (rc == 0) {
				assert(out.len == 0);
				break;
			}
			for (size_t i = 0, n; decoded && i < out.len; i += n) {
				n = utf8_len(out.data + i, out.len - i);
				assert(n > 0);
			}
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mime_params ps = { 0 };
	const char *missing;

	charset_setup(&missing);
	for (int twice = 0; twice < 2; twice++) {
		assert(mime_params_parse((const char *)data, size, &ps) == 0);
		assert(strlen(ps.value) <= MIME_VALUE_MAX && ps.count <= MIME_PARAMS_MAX && ps.values.len <= MIME_PARAM_BYTES_MAX);
		for (size_t i = 0; i < ps.count; i++) {
			const struct mime_param *m = &ps.v[i];

			assert(m->name[0] && strlen(m->name) <= MIME_PARAM_NAME_MAX && m->segment >= -1);
			assert(m->at <= ps.values.len && m->len <= ps.values.len - m->at);
			if (i < 8)
				forms(&ps, m->name);
		}
		forms(&ps, "filename");
	}
	mime_params_release(&ps);
	return 0;
}
