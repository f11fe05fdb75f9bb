#include "filters/spf_engine.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "filters/spf_eval.h"
#include "filters/spf_libspf2.h"
#include "filters/spf_macro.h"

struct spf_check {
	enum engine engine;
	struct spf_query q;
	struct spf_identity id;
	struct dns *dns;
	char *helo;
	const char *unfit;              /* the domain cannot be checked */
	struct spf_eval *eval;          /* for the library it only warms the cache */
};

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

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
	free(r->record);
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
	size_t len = strlen(domain);
	char canonical[DOMAIN_MAX];

	if (len > 0 && domain[len - 1] == '.')
		len--;
	if (!is_ascii(domain) && domain_canonical(domain, len, canonical) == 0) {
		domain = canonical;                     /* RFC 8616 section 4: A-labels before anything is looked up or expanded */
		len = strlen(domain);
	}
	id->domain = strndup(domain, len);
	id->local = at && at > s ? strndup(s, (size_t)(at - s)) : strdup("postmaster");
	if (!id->domain || !id->local || asprintf(&id->sender, "%s@%s", id->local, id->domain) < 0) {
		id->sender = NULL;
		return -ENOMEM;
	}
	return 0;
}

static void identity_release(struct spf_identity *id)
{
	free(id->sender);
	free(id->local);
	free(id->domain);
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

int spf_check_begin(enum engine engine, const struct spf_query *q, struct dns *dns, struct spf_check **out)
{
	struct spf_check *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->engine = engine;
	c->dns = dns;
	c->q = *q;
	c->q.helo = c->helo = q->helo ? strdup(q->helo) : NULL;
	c->q.sender = NULL;                             /* taken apart in c->id */
	unmap(&c->q.client);
	if ((q->helo && !c->helo) || identity_init(&c->id, q) < 0)
		goto no_memory;
	c->unfit = spf_domain_unfit(c->id.domain);
	if (!c->unfit) {
		c->eval = spf_eval_begin(&c->q, &c->id, dns);
		if (!c->eval)
			goto no_memory;
	}
	*out = c;
	return 0;
no_memory:
	spf_check_free(c);
	return -ENOMEM;
}

static int finish(struct spf_check *c, struct spf_result *out)
{
	out->domain = strdup(c->unfit ? "" : c->id.domain);
	if (!out->domain)
		return -ENOMEM;
	for (char *p = out->domain; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (c->unfit)
		return spf_result_set(out, SPF_NONE, "%s", c->unfit);
	if (c->engine == ENGINE_LIBRARY)
		return spf_libspf2_check(&c->q, &c->id, c->dns, out);
	return spf_eval_finish(c->eval, out);
}

int spf_check_finish(struct spf_check *c, struct spf_result *out)
{
	int rc;

	*out = (struct spf_result){ 0 };
	rc = finish(c, out);
	if (rc < 0)
		spf_result_release(out);
	return rc;
}

void spf_check_free(struct spf_check *c)
{
	if (!c)
		return;
	spf_eval_free(c->eval);
	identity_release(&c->id);
	free(c->helo);
	free(c);
}

int spf_check(enum engine engine, const struct spf_query *q, struct dns *dns, struct spf_result *out)
{
	struct spf_check *c;
	int rc = spf_check_begin(engine, q, dns, &c);

	*out = (struct spf_result){ 0 };
	if (rc < 0)
		return rc;
	rc = spf_check_finish(c, out);
	spf_check_free(c);
	return rc;
}
