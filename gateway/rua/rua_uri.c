#include "rua/rua_uri.h"

#include <string.h>
#include <strings.h>

#include "smtp/smtp_address.h"

static const char scheme[] = "mailto:";

static void trim(const char **p, size_t *len)
{
	while (*len > 0 && strchr(" \t", (*p)[0]) && (*p)[0])
		(*p)++, (*len)--;
	while (*len > 0 && strchr(" \t", (*p)[*len - 1]) && (*p)[*len - 1])
		(*len)--;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* "10m": RFC 7489 section 6.2. A number too large for anything is no limit. */
static bool read_size(const char *p, size_t len, uint64_t *out)
{
	static const char units[] = "kmgt";
	const char *unit = len > 0 && p[len - 1] ? strchr(units, p[len - 1] | 32) : NULL;
	uint64_t n = 0;

	if (unit)
		len--;
	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		n = n > UINT64_MAX / 10 - 1 ? UINT64_MAX : n * 10 + (uint64_t)(p[i] - '0');
	}
	for (ptrdiff_t i = 0; unit && i <= unit - units; i++)
		n = n > UINT64_MAX / 1024 ? UINT64_MAX : n * 1024;
	*out = n;
	return true;
}

/* RFC 3986 section 2.1. The length, 0: it does not fit, or is malformed. */
static size_t decode(const char *p, size_t len, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int high = i + 2 < len && p[i] == '%' ? hex(p[i + 1]) : -1, low = high >= 0 ? hex(p[i + 2]) : -1;

		if (n == room || (p[i] == '%' && low < 0))
			return 0;
		out[n++] = p[i] == '%' ? (char)(high * 16 + low) : p[i];
		if (p[i] == '%')
			i += 2;
	}
	return n;
}

const char *rua_uri_parse(const char *p, size_t len, struct rua_uri *out)
{
	const char *bang, *query;
	struct rua_uri u = { .max_bytes = UINT64_MAX };
	char text[RUA_ADDRESS_MAX];
	struct smtp_mailbox m;
	size_t n;

	trim(&p, &len);
	if (len > RUA_URI_TEXT_MAX)
		return "it is too long";
	if (len < sizeof(scheme) - 1 || strncasecmp(p, scheme, sizeof(scheme) - 1) != 0)
		return "it is no mailto: address";
	p += sizeof(scheme) - 1;
	len -= sizeof(scheme) - 1;
	/* An exclamation mark that is part of the address is percent-encoded. */
	bang = memchr(p, '!', len);
	if (bang && !read_size(bang + 1, len - (size_t)(bang + 1 - p), &u.max_bytes))
		return "its limit of size is none";
	len = bang ? (size_t)(bang - p) : len;
	query = memchr(p, '?', len);
	len = query ? (size_t)(query - p) : len;
	n = decode(p, len, text, sizeof(text) - 1);
	/* "mailto://d@example.com" is seen; a slash in front is nobody's address. */
	if (n == 0 || text[0] == '/' || smtp_mailbox_parse(text, n, 0, &m) != ADDRESS_OK)
		return "it holds no mail address";
	if (m.quoted || m.trick || m.literal || m.utf8)
		return "its mail address is none that reports are sent to";
	if (domain_canonical(m.domain, strlen(m.domain), u.host) < 0 || domain_labels(u.host) < 2)
		return "its host is no domain";
	if (strlen(m.local) + 1 + strlen(u.host) >= sizeof(u.address))
		return "it is too long";
	strcpy(u.address, m.local);
	strcat(u.address, "@");
	strcat(u.address, u.host);
	*out = u;
	return NULL;
}

bool rua_uri_next(const char *list, size_t len, size_t *pos, const char **item, size_t *item_len)
{
	const char *end;

	while (*pos < len) {
		*item = list + *pos;
		end = memchr(*item, ',', len - *pos);
		*item_len = end ? (size_t)(end - *item) : len - *pos;
		*pos += *item_len + 1;
		trim(item, item_len);
		if (*item_len > 0)
			return true;
	}
	return false;
}
