#include "filters/spf_engine.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/spf_eval.h"
#include "filters/spf_libspf2.h"
#include "filters/spf_macro.h"

const char *spf_code_name(enum spf_code c)
{
	static const char *const names[] = { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror" };

	return names[c];
}

void spf_result_release(struct spf_result *r)
{
	free(r->domain);
	free(r->mechanism);
	free(r->why);
	free(r->explanation);
	*r = (struct spf_result){ 0 };
}

int spf_result_set(struct spf_result *r, enum spf_code code, const char *why_fmt, ...)
{
	va_list ap;
	char *why;
	int n;

	va_start(ap, why_fmt);
	n = vasprintf(&why, why_fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	free(r->why);
	r->why = why;
	r->code = code;
	return 0;
}

const char *spf_domain_unfit(const char *domain)
{
	size_t label = 0, len = strlen(domain);
	bool dot = false;

	if (len > 0 && domain[len - 1] == '.')
		len--;
	if (len == 0)
		return "there is no domain";
	if (domain[0] == '[')
		return "an address literal is no domain";
	if (len > SPF_NAME_MAX)
		return "the domain is longer than 253 bytes";
	for (size_t i = 0; i <= len; i++) {
		unsigned char c = (unsigned char)domain[i];

		if (i == len || c == '.') {
			if (label == 0)
				return "the domain has an empty label";
			if (label > 63)
				return "the domain has a label of more than 63 bytes";
			label = 0;
			dot |= i < len;
			continue;
		}
		if (c <= ' ' || c > '~')
			return "the domain is not plain ASCII";
		label++;
	}
	return dot ? NULL : "the domain has one label only";
}

/* Section 4.3: without local part it is "postmaster"; section 2.4: the null sender is postmaster@HELO. */
static int identity_init(struct spf_identity *id, const struct spf_query *q)
{
	const char *helo = q->helo ? q->helo : "";
	const char *s = q->sender && q->sender[0] ? q->sender : NULL;
	const char *at = s ? strrchr(s, '@') : NULL;
	const char *domain = at ? at + 1 : s ? s : helo;
	int local_len = at ? (int)(at - s) : 0;
	size_t len;
	char *p;

	if (asprintf(&id->sender, "%.*s@%s", local_len ? local_len : 10, local_len ? s : "postmaster", domain) < 0) {
		id->sender = NULL;
		return -ENOMEM;
	}
	id->buffer = strdup(id->sender);
	if (!id->buffer)
		return -ENOMEM;
	p = strrchr(id->buffer, '@');
	*p++ = '\0';
	id->local = id->buffer;
	id->domain = p;
	len = strlen(p);
	if (len > 0 && p[len - 1] == '.')
		p[len - 1] = '\0';
	return 0;
}

static void identity_release(struct spf_identity *id)
{
	free(id->sender);
	free(id->buffer);
}

/* ::ffff:192.0.2.1 is 192.0.2.1 (section 5). */
static void unmap(struct net_addr *a)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (a->family != AF_INET6 || memcmp(a->ip, mapped, 12) != 0)
		return;
	a->family = AF_INET;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
}

static int check(enum engine engine, const struct spf_query *q, const struct spf_identity *id, struct dns *dns, struct spf_result *out)
{
	const char *unfit = spf_domain_unfit(id->domain);

	out->domain = strdup(unfit ? "" : id->domain);
	if (!out->domain)
		return -ENOMEM;
	for (char *p = out->domain; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (unfit)
		return spf_result_set(out, SPF_NONE, "%s", unfit);
	if (engine == ENGINE_LIBRARY)
		return spf_libspf2_check(q, id, dns, out);
	return spf_eval_check(q, id, dns, out);
}

int spf_check(enum engine engine, const struct spf_query *q, struct dns *dns, struct spf_result *out)
{
	struct spf_identity id = { 0 };
	struct spf_query own = *q;
	int rc;

	*out = (struct spf_result){ 0 };
	unmap(&own.client);
	rc = identity_init(&id, &own);
	if (rc == 0)
		rc = check(engine, &own, &id, dns, out);
	identity_release(&id);
	if (rc < 0)
		spf_result_release(out);
	return rc;
}
