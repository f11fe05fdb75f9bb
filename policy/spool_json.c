#include "policy/spool_json.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static json_t *base64(const char *p, size_t len)
{
	char *b64 = malloc(4 * ((len + 2) / 3) + 1);
	json_t *out = NULL;

	if (b64 && EVP_EncodeBlock((unsigned char *)b64, (const unsigned char *)p, (int)len) >= 0)
		out = json_pack("{s:s}", "base64", b64);
	free(b64);
	return out;
}

/* At most max, and no character of UTF-8 cut in two. */
static size_t cut(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	for (size_t back = 0; back < 4 && back < max; back++)
		if (((unsigned char)s[max - back] & 0xc0) != 0x80)
			return max - back;
	return max;
}

json_t *spool_json_text(const char *s, size_t max)
{
	size_t len = s ? cut(s, strlen(s), max) : 0;
	char *clean;
	json_t *out;

	if (!s)
		return json_null();
	clean = malloc(len + 1);
	if (!clean)
		return NULL;
	for (size_t i = 0; i < len; i++)
		clean[i] = is_control((unsigned char)s[i]) ? ' ' : s[i];
	errno = 0;
	out = json_stringn(clean, len);
	if (!out && errno != ENOMEM)    /* no UTF-8 */
		out = base64(clean, len);
	free(clean);
	return out;
}

bool spool_json_put(json_t *o, const char *key, const char *s, size_t max)
{
	return !s || json_object_set_new(o, key, spool_json_text(s, max)) == 0;
}

static char *decoded(const char *b64, size_t len, size_t max, size_t *out_len)
{
	size_t pad = len > 0 && b64[len - 1] == '=' ? (len > 1 && b64[len - 2] == '=' ? 2 : 1) : 0;
	char *out = len > 0 && len % 4 == 0 && len / 4 * 3 <= max + 2 ? malloc(len / 4 * 3 + 1) : NULL;
	int n = out ? EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)b64, (int)len) : -1;

	if (n < (int)pad) {
		free(out);
		return NULL;
	}
	*out_len = (size_t)n - pad;
	out[*out_len] = 0;
	return out;
}

static bool text_ok(const char *p, size_t len, size_t max)
{
	if (len > max)
		return false;
	for (size_t i = 0; i < len; i++)
		if (is_control((unsigned char)p[i]))
			return false;
	return true;
}

bool spool_json_get_text(const json_t *o, const char *key, size_t max, enum spool_json_need need, char **out)
{
	const json_t *v = json_object_get(o, key), *b64 = json_object_get(v, "base64");
	size_t len = 0;
	char *copy = NULL;

	if (!v && need == JSON_OPTIONAL) {
		free(*out);
		*out = NULL;
		return true;
	}
	if (json_is_string(v)) {
		len = json_string_length(v);
		copy = strdup(json_string_value(v));
	} else if (json_is_object(v) && json_object_size(v) == 1 && json_is_string(b64)) {
		copy = decoded(json_string_value(b64), json_string_length(b64), max, &len);
	}
	if (!copy || !text_ok(copy, len, max)) {
		free(copy);
		return false;
	}
	free(*out);
	*out = copy;
	return true;
}

bool spool_json_get_number(const json_t *o, const char *key, int64_t min, int64_t max, enum spool_json_need need, int64_t *out)
{
	const json_t *v = json_object_get(o, key);

	if (!v && need == JSON_OPTIONAL) {
		*out = 0;
		return true;
	}
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return false;
	*out = json_integer_value(v);
	return true;
}

bool spool_json_get_bool(const json_t *o, const char *key, enum spool_json_need need, bool *out)
{
	const json_t *v = json_object_get(o, key);

	if (!v && need == JSON_OPTIONAL) {
		*out = false;
		return true;
	}
	if (!json_is_boolean(v))
		return false;
	*out = json_is_true(v);
	return true;
}

bool spool_json_get_word(const json_t *o, const char *key, const char *const *words, int *out)
{
	const char *v = json_string_value(json_object_get(o, key));

	for (int i = 0; v && words[i]; i++)
		if (strcmp(v, words[i]) == 0) {
			*out = i;
			return true;
		}
	return false;
}
