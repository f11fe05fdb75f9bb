#include "rua/rua_authorize.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/dns.h"
#include "filters/dmarc_walk.h"

static const char infix[] = "._report._dmarc.";

/* RFC 9989 section 4.10.2, for both. may wait */
static enum rua_leave same_organization(struct dmarc_walks *walks, const char *domain, const char *host)
{
	struct dmarc_walk a, b;

	if (strcmp(domain, host) == 0)
		return RUA_GRANTED;
	dmarc_walk_start(walks, domain);
	dmarc_walk_start(walks, host);
	dmarc_walk(walks, domain, &a);
	dmarc_walk(walks, host, &b);
	if (a.temperror || b.temperror)
		return RUA_UNKNOWN;
	return strcmp(a.org, b.org) == 0 ? RUA_GRANTED : RUA_DENIED;
}

/* The value of rua= in a record that dmarc_record_parse has read: the tag is there once at most. */
static const char *find_rua(const char *p, size_t len, size_t *value_len)
{
	const char *end = p + len;

	while (p < end) {
		const char *stop = memchr(p, ';', (size_t)(end - p)), *equals, *name = p;

		stop = stop ? stop : end;
		equals = memchr(p, '=', (size_t)(stop - p));
		while (name < stop && (*name == ' ' || *name == '\t'))
			name++;
		p = stop + 1;
		if (!equals || equals - name < 3 || strncasecmp(name, "rua", 3) != 0 || strspn(name + 3, " \t") < (size_t)(equals - name - 3))
			continue;
		*value_len = (size_t)(stop - equals - 1);
		return equals + 1;
	}
	return NULL;
}

/* What a record that grants says besides: another address. What is malformed is as if it were not there. */
static enum rua_leave apply(const char *text, size_t len, struct rua_uri *uri, bool *replaced, const char **why)
{
	size_t pos = 0, item_len, list_len = 0;
	const char *item, *list = find_rua(text, len, &list_len);
	struct rua_uri other;

	while (list && rua_uri_next(list, list_len, &pos, &item, &item_len)) {
		if (rua_uri_parse(item, item_len, &other))
			continue;
		if (strcmp(other.host, uri->host) != 0) {
			*why = "its host allows them with an address at another host";
			return RUA_DENIED;
		}
		if (!*replaced)
			*uri = other;
		*replaced = true;
	}
	return RUA_GRANTED;
}

static enum rua_leave read_answer(const struct dns_answer *a, struct rua_uri *uri, const char **why)
{
	enum rua_leave leave = RUA_DENIED;
	bool replaced = false;

	*why = "its host does not allow them in DNS";
	if (a->status == DNS_TEMPFAIL) {
		*why = "the DNS does not say whether its host allows them";
		return RUA_UNKNOWN;
	}
	for (size_t i = 0; a->status == DNS_OK && i < a->count; i++) {
		struct dmarc_record r;
		char *text;
		size_t len;
		int rc = dns_txt(&a->rr[i], &text, &len);

		if (rc == -ENOMEM) {
			*why = "out of memory";
			return RUA_UNKNOWN;
		}
		if (rc < 0)
			continue;
		/* What is no DMARC record is passed over (step 6). */
		if (dmarc_record_parse(text, len, &r) == 0)
			leave = apply(text, len, uri, &replaced, why);
		else
			rc = -EBADMSG;
		free(text);
		if (rc == 0 && leave == RUA_DENIED)
			return leave;
	}
	if (leave == RUA_GRANTED)
		*why = "";
	return leave;
}

/* NULL: no memory. A name that is too long is one that nobody can publish (step 4): DNS_BADNAME. */
static struct dns_lookup *ask(struct dns *dns, const char *domain, const char *host)
{
	char name[2 * DOMAIN_MAX + sizeof(infix)];
	struct dns_lookup *l = NULL;

	snprintf(name, sizeof(name), "%s%s%s", domain, infix, host);
	return dns_start(dns, name, DNS_TXT, &l) < 0 ? NULL : l;
}

void rua_authorize_start(struct dns *dns, struct dmarc_walks *walks, const char *domain, const struct rua_uri *uri, struct dns_lookup **question)
{
	*question = NULL;
	if (strcmp(domain, uri->host) == 0)
		return;
	dmarc_walk_start(walks, domain);
	dmarc_walk_start(walks, uri->host);
	/* One below the other are of one organization, most often. */
	if (!domain_within(domain, uri->host) && !domain_within(uri->host, domain))
		*question = ask(dns, domain, uri->host);
}

enum rua_leave rua_authorize(struct dns *dns, struct dmarc_walks *walks, const char *domain, struct rua_uri *uri, struct dns_lookup *question, const char **why)
{
	AUTO(dns_lookup) struct dns_lookup *own = NULL;
	enum rua_leave leave = same_organization(walks, domain, uri->host);

	*why = leave == RUA_UNKNOWN ? "the DNS does not say to which organization its host belongs" : "";
	if (leave != RUA_DENIED)
		return leave;
	if (!question)
		own = ask(dns, domain, uri->host);
	if (!question && !own) {
		*why = "out of memory";
		return RUA_UNKNOWN;
	}
	return read_answer(dns_wait(question ? question : own), uri, why);
}
