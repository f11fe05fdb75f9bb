#include "spool/etrn.h"

#include <errno.h>
#include <string.h>

#include "policy/conf.h"

static int queue_parse(const char *p, size_t len, struct etrn *out)
{
	if (len == 0 || len > 40)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] | 0x20) : p[i];

		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) || !c)
			return -EINVAL;
		out->name[i] = c;
	}
	out->name[len] = '\0';
	return 0;
}

int etrn_parse(const char *arg, size_t len, struct etrn *out)
{
	enum etrn_kind kind = len && *arg == '@' ? ETRN_BELOW : len && *arg == '#' ? ETRN_QUEUE : ETRN_DOMAIN;
	size_t skip = kind != ETRN_DOMAIN;
	struct net_addr literal;
	struct etrn e = { .kind = kind };

	if (kind == ETRN_QUEUE) {
		if (queue_parse(arg + 1, len - 1, &e) < 0)
			return -EINVAL;
	} else if (smtp_domain_parse(arg + skip, len - skip, 0, e.name, &literal) != ADDRESS_OK || literal.family) {
		return -EINVAL;
	}
	*out = e;
	return 0;
}

/* a is b, or lies below it. */
static bool is_below(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);

	return na >= nb && strcmp(a + na - nb, b) == 0 && (na == nb || a[na - nb - 1] == '.');
}

bool etrn_is_ours(const struct etrn *e, const struct site *site)
{
	if (e->kind == ETRN_QUEUE)
		return strcmp(e->name, "backend") == 0;
	if (site_accepts(site, e->name))
		return true;
	for (size_t i = 0; e->kind == ETRN_BELOW && i < site->domain_count; i++)
		if (is_below(site->domains[i] + (site->domains[i][0] == '.'), e->name))
			return true;
	return false;
}
