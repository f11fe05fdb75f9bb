#include "filters/link.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { HOST_MAX = 1024 };

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_slash(char c)
{
	return c == '/' || c == '\\';
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* %xx undone; no more than there was. */
static size_t percent(char *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '%' && len - i > 2 && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0) {
			p[n++] = (char)(hex(p[i + 1]) << 4 | hex(p[i + 2]));
			i += 2;
		} else {
			p[n++] = p[i];
		}
	}
	return n;
}

/* A last label of digits, or of 0x and more: no name ends so. */
static bool ends_in_number(const char *host)
{
	const char *last = strrchr(host, '.');

	last = last ? last + 1 : host;
	if (last[0] == '0' && (last[1] | 32) == 'x')
		return true;
	return last[0] && last[strspn(last, "0123456789")] == '\0';
}

static bool host_parse(const char *p, size_t len, struct link_host *out)
{
	char host[HOST_MAX + 1];
	struct in_addr v4;

	memset(out, 0, sizeof(*out));
	if (len == 0 || len > HOST_MAX)
		return false;
	memcpy(host, p, len);
	host[len] = '\0';
	if (host[0] == '[') {
		char *close = strchr(host, ']');

		if (!close || close[1])
			return false;
		*close = '\0';
		return net_parse(host + 1, &out->addr) == 0;
	}
	len = percent(host, len);
	host[len] = '\0';
	if (len == 0 || memchr(host, '\0', len))
		return false;
	if (host[len - 1] == '.')
		host[--len] = '\0';
	if (len && ends_in_number(host)) {
		if (!inet_aton(host, &v4))
			return false;
		out->addr.family = AF_INET;
		memcpy(out->addr.ip, &v4, 4);
		return true;
	}
	return domain_canonical(host, len, out->domain) == 0 && strchr(out->domain, '.');
}

/* What is between "//" and the path; stop: what ends it besides. */
static bool authority_parse(const char *p, size_t len, const char *stop, struct link_host *out)
{
	const char *host = p;
	size_t n = 0;

	while (n < len && !is_slash(p[n]) && p[n] != '?' && p[n] != '#' && (unsigned char)p[n] > ' ' && !strchr(stop, p[n]))
		n++;
	for (size_t i = 0; i < n; i++)
		if (p[i] == '@')
			host = p + i + 1;
	n -= (size_t)(host - p);
	for (size_t i = n; i > 0 && host[0] != '['; i--) {
		if (host[i - 1] == ':') {
			n = i - 1;
			break;
		}
		if (host[i - 1] < '0' || host[i - 1] > '9')
			break;
	}
	if (n && host[0] == '[') {
		const char *close = memchr(host, ']', n);

		n = close ? (size_t)(close - host) + 1 : n;
	}
	return host_parse(host, n, out);
}

/* "http:", "https:", "ftp:" at p: its length; 0: none of these. */
static size_t scheme(const char *p, size_t len)
{
	static const char *const words[] = { "http:", "https:", "ftp:" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (len >= strlen(words[i]) && strncasecmp(p, words[i], strlen(words[i])) == 0)
			return strlen(words[i]);
	return 0;
}

bool link_parse(const char *p, size_t len, struct link_host *out)
{
	size_t n, slashes = 0;

	while (len && (unsigned char)*p <= ' ') {
		p++;
		len--;
	}
	n = scheme(p, len);
	while (n + slashes < len && is_slash(p[n + slashes]))
		slashes++;
	if (slashes < 2)
		return false;
	return authority_parse(p + n + slashes, len - n - slashes, "\"<>", out);
}

/* A link at p of a text; *used: octets that need not be looked at again. */
static bool at(const char *p, size_t len, bool word_begins, size_t *used, struct link_host *out)
{
	static const char stop[] = "\"'<>(),;|`{}";
	size_t n = scheme(p, len);

	*used = 1;
	if (n && len - n > 2 && is_slash(p[n]) && is_slash(p[n + 1])) {
		*used = n + 2;
		return authority_parse(p + n + 2, len - n - 2, stop, out);
	}
	if (word_begins && len > 4 && strncasecmp(p, "www.", 4) == 0) {
		*used = 4;
		return authority_parse(p, len, stop, out);
	}
	return false;
}

int link_scan(const char *p, size_t len, int (*on)(void *arg, const struct link_host *h), void *arg)
{
	struct link_host h;

	for (size_t i = 0, used; i < len; i += used) {
		char c = (char)(p[i] | 32);
		int rc;

		used = 1;
		if (c != 'h' && c != 'f' && c != 'w')
			continue;
		if (!at(p + i, len - i, i == 0 || !(is_alnum(p[i - 1]) || strchr("./@-_\\", p[i - 1]) || (p[i - 1] & 0x80)), &used, &h))
			continue;
		rc = on(arg, &h);
		if (rc != 0)
			return rc;
	}
	return 0;
}
