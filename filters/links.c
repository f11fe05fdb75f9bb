#include "filters/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/link.h"
#include "filters/mime.h"
#include "filters/text.h"
#include "policy/regdomain.h"

enum { URLS_MAX = 256 * 1024 };

static const struct fact_def link_facts[] = {
	{ "link.domains", FACT_DOMAIN, true, STAGE_DATA, NULL, "the hosts that links in text and HTML lead to, each once, 64 of them" },
	{ "link.addresses", FACT_IP, true, STAGE_DATA, NULL, "those of them that are addresses" },
	{ "link.cut", FACT_BOOL, false, STAGE_DATA, NULL, "there are more links than are read" },
	{ 0 },
};

struct seen {
	struct link_host host;
	size_t base;                    /* where in its name the registrable domain begins */
	bool again;                     /* its registrable domain has another one before it */
};

struct collection {
	struct seen seen[LINKS_MAX];
	size_t count;
	bool cut;
};

static bool same_host(const struct link_host *a, const struct link_host *b)
{
	return strcmp(a->domain, b->domain) == 0 && a->addr.family == b->addr.family && (!a->addr.family || net_same_ip(&a->addr, &b->addr));
}

static bool same_domain(const struct seen *a, const struct seen *b)
{
	return a->host.domain[0] && strcmp(a->host.domain + a->base, b->host.domain + b->base) == 0;
}

/* A host of another domain is worth more than one more of the same: whose names are made up by the hundred hides no other. False: all are of their own. */
static bool make_room(struct collection *c)
{
	for (size_t i = c->count; i-- > 0;) {
		if (!c->seen[i].again)
			continue;
		memmove(&c->seen[i], &c->seen[i + 1], (c->count - i - 1) * sizeof(*c->seen));
		c->count--;
		return true;
	}
	return false;
}

static int collect(void *arg, const struct link_host *h)
{
	struct collection *c = arg;
	struct seen new = { .host = *h, .base = (size_t)(regdomain_or_name(h->domain) - h->domain) };

	for (size_t i = 0; i < c->count; i++) {
		if (same_host(&c->seen[i].host, h))
			return 0;
		new.again = new.again || same_domain(&new, &c->seen[i]);
	}
	if (c->count == LINKS_MAX) {
		c->cut = true;
		if (new.again || !make_room(c))
			return 0;
	}
	c->seen[c->count++] = new;
	return 0;
}

static int list(const struct collection *c, struct facts *out)
{
	char ip[NET_TEXT_MAX];
	int rc = 0;

	for (size_t i = 0; i < c->count && rc == 0; i++) {
		const struct link_host *h = &c->seen[i].host;

		rc = h->domain[0] ? facts_add(out, "link.domains", h->domain) : facts_add(out, "link.addresses", net_text(&h->addr, ip));
	}
	return rc;
}

static int add(void *arg, const char *p, size_t len)
{
	struct buf *all = arg;
	int rc = buf_add(all, p, len);

	return rc < 0 ? rc : buf_addc(all, '\n');
}

static int read_links(struct message *m, struct collection *c, const char **cut)
{
	AUTO(buf) struct buf urls = BUF_INIT(URLS_MAX), text = BUF_INIT(TEXT_MESSAGE_MAX + MIME_PARTS_MAX);
	int rc = text_parts_links(m, add, &text, &urls, cut);

	for (size_t i = 0; rc == 0 && i < urls.len;) {
		const char *p = urls.data + i, *end = memchr(p, '\n', urls.len - i);
		size_t len = end ? (size_t)(end - p) : urls.len - i;
		struct link_host h;

		if (link_parse(p, len, &h))
			rc = collect(c, &h);
		i += len + 1;
	}
	return rc == 0 ? link_scan(buf_str(&text), text.len, collect, c) : rc;
}

static int nothing(struct facts *out)
{
	int rc = facts_set_empty(out, "link.domains");

	return rc < 0 ? rc : facts_set_empty(out, "link.addresses");
}

static int unpack(struct message *m, struct facts *out)
{
	struct collection *c = calloc(1, sizeof(*c));
	const char *cut = NULL;
	int rc = c ? nothing(out) : -ENOMEM;

	if (rc == 0)
		rc = read_links(m, c, &cut);
	if (rc == 0)
		rc = list(c, out);
	if (rc == 0)
		rc = facts_set_bool(out, "link.cut", c->cut || cut);
	if (rc == 0 && (c->cut || cut))
		rc = facts_why(out, "link.cut", "%s", c->cut ? "more links than are listed" : cut);
	free(c);
	return rc;
}

/* What could not be read leads nowhere, and link.cut says that there may be more. */
static int unread(struct facts *out, const char *why)
{
	int rc = nothing(out);

	if (rc == 0)
		rc = facts_set_bool(out, "link.cut", true);
	return rc < 0 ? rc : facts_why(out, "link.cut", "%s", why);
}

const struct filter filter_links = {
	.name = "links", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = link_facts, .unpack = unpack, .unread = unread,
};
