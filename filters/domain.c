#include "filters/domain.h"

#include <errno.h>
#include <idn2.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_BYTES = 63, NAME_BYTES = DOMAIN_MAX - 1 };         /* RFC 1035 2.3.4 */
enum { ULABELS_BYTES = 4 * DOMAIN_MAX };        /* what is handed to libidn2 at most */

/* Lower-case ASCII, checked label by label. */
static int ascii_canonical(const char *p, size_t len, char out[DOMAIN_MAX])
{
	char name[DOMAIN_MAX];
	size_t label = 0;

	if (len > 0 && p[len - 1] == '.')
		len--;
	if (len == 0 || len > NAME_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = p[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c == '.') {
			if (label == 0)
				return -EINVAL;
			label = 0;
		} else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		           c == '_') {
			if (++label > LABEL_BYTES)
				return -EINVAL;
		} else {
			return -EINVAL;
		}
		name[i] = c;
	}
	if (label == 0)
		return -EINVAL;
	name[len] = '\0';
	memcpy(out, name, len + 1);
	return 0;
}

int domain_canonical(const char *p, size_t len, char out[DOMAIN_MAX])
{
	char *utf8;
	uint8_t *ascii = NULL;
	bool eight_bit = false;
	int rc;

	if (len > ULABELS_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\0')
			return -EINVAL;
		if ((unsigned char)p[i] >= 0x80)
			eight_bit = true;
	}
	if (!eight_bit)
		return ascii_canonical(p, len, out);
	utf8 = strndup(p, len);
	if (!utf8)
		return -EINVAL;
	rc = idn2_lookup_u8((const uint8_t *)utf8, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	free(utf8);
	if (rc != IDN2_OK)
		return -EINVAL;
	rc = ascii_canonical((const char *)ascii, strlen((const char *)ascii), out);
	idn2_free(ascii);
	return rc;
}

size_t domain_labels(const char *name)
{
	size_t n = 1;

	for (; *name; name++)
		n += *name == '.';
	return n;
}

const char *domain_tail(const char *name, size_t n)
{
	size_t have = domain_labels(name);

	for (; have > n; have--)
		name = strchr(name, '.') + 1;
	return name;
}

bool domain_within(const char *name, const char *parent)
{
	size_t n = strlen(name), m = strlen(parent);

	if (n < m || memcmp(name + n - m, parent, m) != 0)
		return false;
	return n == m || name[n - m - 1] == '.';
}
