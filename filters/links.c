#include "filters/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/link.h"
#include "filters/mime.h"
#include "filters/text.h"

enum { URLS_MAX = 256 * 1024 };

static const struct fact_def link_facts[] = {
	{ "link.domains", FACT_DOMAIN, true, STAGE_DATA, NULL, "the hosts that links in text and HTML lead to, each once, the first 64" },
	{ "link.addresses", FACT_IP, true, STAGE_DATA, NULL, "those of them that are addresses" },
	{ "link.cut", FACT_BOOL, false, STAGE_DATA, NULL, "there are more links than are read" },
	{ 0 },
};

struct collection {
	struct facts *out;
	struct link_host seen[LINKS_MAX];
	size_t count;
	bool cut;
};

static int collect(void *arg, const struct link_host *h)
{
	struct collection *c = arg;
	char ip[NET_TEXT_MAX];

	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->seen[i].domain, h->domain) == 0 && c->seen[i].addr.family == h->addr.family && (!h->addr.family || net_same_ip(&c->seen[i].addr, &h->addr)))
			return 0;
	if (c->count == LINKS_MAX) {
		c->cut = true;
		return 0;
	}
	c->seen[c->count++] = *h;
	return h->domain[0] ? facts_add(c->out, "link.domains", h->domain) : facts_add(c->out, "link.addresses", net_text(&h->addr, ip));
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

	if (rc == 0) {
		c->out = out;
		rc = read_links(m, c, &cut);
	}
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
