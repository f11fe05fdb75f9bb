#include "directory/directory_address.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/domain.h"

enum { LOCAL_MAX = 64, PARENTS_MAX = 3 };       /* RFC 5321 4.5.3.1.1 */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Any octet but controls; 8-bit ones as they are. */
static bool local_copy(const char *p, size_t len, char *out)
{
	if (len == 0 || len > LOCAL_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
		out[i] = lower(p[i]);
	}
	out[len] = '\0';
	return true;
}

static int join(const char *local, size_t len, const char *domain, size_t domain_len, char out[DIRECTORY_ADDRESS_MAX])
{
	char name[DOMAIN_MAX], text[LOCAL_MAX + 1];

	if (!local_copy(local, len, text) || domain_canonical(domain, domain_len, name) < 0)
		return -EINVAL;
	return snprintf(out, DIRECTORY_ADDRESS_MAX, "%s@%s", text, name) < DIRECTORY_ADDRESS_MAX ? 0 : -EINVAL;
}

int directory_address(const char *local, const char *domain, char out[DIRECTORY_ADDRESS_MAX])
{
	return join(local, strlen(local), domain, strlen(domain), out);
}

/* "a b", as it stands in quotes, without them; the length, or 0. */
static size_t unquote(const char *p, size_t len, char out[LOCAL_MAX])
{
	size_t n = 0;

	for (size_t i = 1; i + 1 < len; i++) {
		if (p[i] == '\\' && ++i + 1 >= len)
			return 0;
		if (n == LOCAL_MAX)
			return 0;
		out[n++] = p[i];
	}
	return n;
}

/* A name without a domain: "First Last" is written First_Last in an address. */
static int name_take(const char *p, size_t len, char out[DIRECTORY_ADDRESS_MAX])
{
	if (!local_copy(p, len, out) || out[0] == ' ' || out[len - 1] == ' ')
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (out[i] == ' ')
			out[i] = '_';
	return 0;
}

int directory_value(enum directory_schema schema, const char *p, size_t len, char out[DIRECTORY_ADDRESS_MAX])
{
	const char *colon, *at;
	char local[LOCAL_MAX];
	size_t n;

	while (len > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		len--;
	}
	while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t' || p[len - 1] == '\0'))     /* some write the NUL of their strings */
		len--;
	colon = len > 0 && *p != '"' ? memchr(p, ':', len) : NULL;
	if (colon && (colon - p != 4 || strncasecmp(p, "smtp", 4) != 0))
		return -EINVAL;
	if (colon) {
		p += 5;
		len -= 5;
	}
	at = len > 0 ? memrchr(p, '@', len) : NULL;
	if (!at)
		return schema == DIRECTORY_DOMINO && !colon && len > 0 && !memchr(p, '/', len) ? name_take(p, len, out) : -EINVAL;
	n = (size_t)(at - p);
	if (n >= 2 && p[0] == '"' && p[n - 1] == '"') {
		n = unquote(p, n, local);
		return join(local, n, at + 1, len - (size_t)(at + 1 - p), out);
	}
	return memchr(p, '@', n) ? -EINVAL : join(p, n, at + 1, len - (size_t)(at + 1 - p), out);
}

/* One more, unless it is there. */
static void form_add(struct directory_forms *f, const char *local, size_t len, const char *domain)
{
	char *to;

	if (f->count == DIRECTORY_FORMS_MAX || len == 0)
		return;
	to = f->text[f->count];
	if (snprintf(to, DIRECTORY_ADDRESS_MAX, "%.*s%s", (int)len, local, domain) >= DIRECTORY_ADDRESS_MAX)
		return;
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->text[i], to) == 0)
			return;
	f->count++;
}

static void forms_of(const struct directory_conf *c, const char *local, size_t len, const char *at, struct directory_forms *out)
{
	char name[DIRECTORY_ADDRESS_MAX];
	const char *dot = at + 1;

	form_add(out, local, len, at);
	for (int i = 0; c->subdomains && i < PARENTS_MAX && (dot = strchr(dot, '.')) && strchr(dot + 1, '.'); i++) {
		char parent[DIRECTORY_ADDRESS_MAX];

		snprintf(parent, sizeof(parent), "@%s", dot + 1);
		form_add(out, local, len, parent);
		dot++;
	}
	/* Domino: the whole address, then its local part among all names. */
	if (c->schema == DIRECTORY_DOMINO && name_take(local, len, name) == 0)
		form_add(out, name, strlen(name), "");
}

void directory_forms(const struct directory_conf *c, const char *address, struct directory_forms *out)
{
	const char *at = strrchr(address, '@');
	const char *plus = at && c->plus ? memchr(address, '+', (size_t)(at - address)) : NULL;

	out->count = 0;
	if (!at)
		return;
	forms_of(c, address, (size_t)(at - address), at, out);
	if (plus && plus > address)
		forms_of(c, address, (size_t)(plus - address), at, out);
}

/* ".example.com" is all below it. */
static bool domain_listed(const char *domain, char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(list[i]), whole = strlen(domain);

		if (list[i][0] == '.' ? whole > len && strcmp(domain + whole - len, list[i]) == 0 : strcmp(domain, list[i]) == 0)
			return true;
	}
	return false;
}

bool directory_covers(const struct directory_conf *c, const char *address)
{
	const char *at = strrchr(address, '@');

	return c->domain_count == 0 || (at && (domain_listed(at + 1, c->domain, c->domain_count) || directory_catches(c, address)));
}

bool directory_catches(const struct directory_conf *c, const char *address)
{
	const char *at = strrchr(address, '@');

	return at && domain_listed(at + 1, c->catch_all, c->catch_all_count);
}

/* RFC 4515, section 3: what means something, NUL, and, to be safe, whatever is no ASCII. */
static void value_add(struct buf *out, const char *p)
{
	for (; *p; p++)
		if (strchr("*()\\", *p) || (unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			buf_addf(out, "\\%02x", (unsigned char)*p);
		else
			buf_addc(out, *p);
}

static void term_add(struct buf *out, const char *attribute, const char *prefix, const char *value)
{
	buf_addf(out, "(%s=%s", attribute, prefix);
	value_add(out, value);
	buf_addc(out, ')');
}

/* A name as it may stand there: with "_", and with blanks. */
static void terms_add(const struct directory_conf *c, const char *attribute, const char *form, struct buf *out)
{
	char blank[DIRECTORY_ADDRESS_MAX];

	/* With its kind; the main one, "SMTP:", is found by it, too: case plays no part in the comparison of that attribute. */
	term_add(out, attribute, strcasecmp(attribute, "proxyAddresses") == 0 ? "smtp:" : "", form);
	if (strchr(form, '@') || !strchr(form, '_'))
		return;
	snprintf(blank, sizeof(blank), "%s", form);
	for (char *p = blank; *p; p++)
		if (*p == '_')
			*p = ' ';
	term_add(out, attribute, "", blank);
}

int directory_filter(const struct directory_conf *c, const struct directory_forms *f, struct buf *out)
{
	buf_addf(out, "(&%s(|", c->filter);
	for (size_t a = 0; a < c->attribute_count; a++)
		for (size_t i = 0; i < f->count; i++)
			terms_add(c, c->attribute[a], f->text[i], out);
	buf_adds(out, "))");
	return out->failed ? -ENOMEM : 0;
}

bool directory_attribute_is(const char *name, const char *attribute, long *next)
{
	size_t len = strcspn(name, ";");
	const char *option = name + len, *high;
	char *end;

	*next = -1;
	if (strlen(attribute) != len || strncasecmp(name, attribute, len) != 0)
		return false;
	for (; *option; option += strcspn(option, ";")) {
		option++;
		if (strncasecmp(option, "range=", 6) != 0)
			continue;
		high = strchr(option, '-');
		if (!high || high[1] < '0' || high[1] > '9')
			continue;               /* "*": that was all */
		errno = 0;
		*next = strtol(high + 1, &end, 10);
		if (errno || *next < 0 || *next > INT32_MAX - 1)
			*next = -1;
		else
			*next += 1;
	}
	return true;
}
