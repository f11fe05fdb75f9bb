/* conf_domain - gatepost.conf: domains with servers of their own */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define DOMAIN(field) offsetof(struct domain_conf, field)

enum { DOMAIN_SECTIONS_MAX = 1000 };

/* Each element is an owner for now: one name, or several with blanks between them. */
static void backends_read(struct conf *c, void *at, const char *value, int line)
{
	struct domain_conf *d = at;
	struct domain_owner *o;

	d->owner = conf_grow(d->owner, &d->owner_count, sizeof *d->owner);
	o = &d->owner[d->owner_count - 1];
	for (const char *p = value; *p;) {
		size_t len = strcspn(p, " \t");
		char name[64];

		snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), p);
		if (len)
			conf_list_add(&o->backends, &o->backend_count, name);
		p += len + strspn(p + len, " \t");
	}
	if (!o->backend_count)
		conf_error(c, line, "domain %s: backends: an empty name, expected that of a backend", d->domain);
}

static const struct conf_option domain_options[] = {
	{ "backends", CONF_LIST, 0, .read = backends_read },
	CONF_OPTION("learn", CONF_BOOL, DOMAIN(learn), "no"),
	{ 0 },
};

static void *domain_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	bool below = title[0] == '.';
	char name[DOMAIN_MAX + 1] = ".";
	struct domain_conf *d;

	if (domain_canonical(title + below, strlen(title) - below, name + below) < 0) {
		conf_error(c, line, "domain: \"%.200s\" is no domain, expected one such as \"example.org\", or \".example.org\" for all below", title);
		return NULL;
	}
	for (size_t i = 0; i < s->domain_section_count; i++)
		if (strcmp(s->domain[i].domain, name) == 0) {
			conf_error(c, line, "domain %s: comes twice, first on line %d", name, s->domain[i].line);
			return NULL;
		}
	if (s->domain_section_count == DOMAIN_SECTIONS_MAX) {
		conf_error(c, line, "domain: more than %d of them", DOMAIN_SECTIONS_MAX);
		return NULL;
	}
	s->domain = conf_grow(s->domain, &s->domain_section_count, sizeof *s->domain);
	d = &s->domain[s->domain_section_count - 1];
	d->domain = conf_copy(name);
	d->line = line;
	return d;
}

static void owner_free(struct domain_owner *o)
{
	for (size_t i = 0; i < o->backend_count; i++)
		free(o->backends[i]);
	free(o->backends);
	free(o->name);
}

/* Without learn all are one. */
static void join(struct domain_conf *d)
{
	for (size_t i = 1; i < d->owner_count; i++) {
		for (size_t k = 0; k < d->owner[i].backend_count; k++)
			conf_list_add(&d->owner[0].backends, &d->owner[0].backend_count, d->owner[i].backends[k]);
		owner_free(&d->owner[i]);
	}
	d->owner_count = 1;
}

static void domain_close(struct conf *c, void *at, int line)
{
	struct domain_conf *d = at;

	if (!d->owner_count) {
		conf_error(c, line, "domain %s: has no backends, expected backends = { \"name\" }", d->domain);
		return;
	}
	if (!d->learn)
		join(d);
	if (d->owner_count == 1 && d->learn)
		conf_warning(c, line, "domain %s: learn = yes plays no part with one owner, expected several elements in backends", d->domain);
	if (d->owner_count > DOMAIN_OWNERS_MAX)
		conf_error(c, line, "domain %s: more than %d owners", d->domain, DOMAIN_OWNERS_MAX);
}

const struct conf_section conf_domain = { "domain", "domain", domain_options, domain_open, domain_close };

static bool owner_names(const struct domain_owner *o, const char *backend)
{
	for (size_t i = 0; i < o->backend_count; i++)
		if (strcmp(o->backends[i], backend) == 0)
			return true;
	return false;
}

bool site_domain_names(const struct site *s, const struct backend_conf *b)
{
	for (size_t i = 0; i < s->domain_section_count; i++)
		for (size_t k = 0; k < s->domain[i].owner_count; k++)
			if (owner_names(&s->domain[i].owner[k], b->name))
				return true;
	return false;
}

/* Its backends are there, speak SMTP, and come once. */
static void backends_check(struct conf *c, const struct domain_conf *d)
{
	for (size_t i = 0; i < d->owner_count; i++)
		for (size_t k = 0; k < d->owner[i].backend_count; k++) {
			const char *name = d->owner[i].backends[k];
			const struct backend_conf *b = site_backend(c->site, name);
			bool twice = false;

			for (size_t n = 0; n < k; n++)
				twice |= strcmp(d->owner[i].backends[n], name) == 0;
			for (size_t n = 0; n < i; n++)
				twice |= owner_names(&d->owner[n], name);
			if (!b)
				conf_error(c, d->line, "domain %s: there is no backend \"%s\"", d->domain, name);
			else if (b->protocol != LISTENER_SMTP)
				conf_error(c, d->line, "domain %s: backend %s speaks %s, expected one that speaks smtp", d->domain, name,
					   conf_protocol_word(b->protocol));
			else if (twice)
				conf_error(c, d->line, "domain %s: names backend %s twice", d->domain, name);
		}
}

/* Owners with the same servers have the same name, in whatever order they stand. */
static void name_owner(struct conf *c, const struct domain_conf *d, struct domain_owner *o)
{
	AUTO(buf) struct buf text = BUF_INIT(64 * 1024);

	for (size_t i = 0; i < c->site->backend_count; i++)
		if (owner_names(o, c->site->backend[i].name))
			buf_addf(&text, "%s%s", text.len ? "+" : "", c->site->backend[i].name);
	if (text.len > DOMAIN_OWNER_NAME_MAX)
		conf_error(c, d->line, "domain %s: the names of its backends are longer than %d letters together", d->domain, DOMAIN_OWNER_NAME_MAX);
	o->name = conf_copy(buf_str(&text));
}

/* Whether one of the accepted domains can be meant by it. */
static bool is_ours(const struct site *s, const struct domain_conf *d)
{
	size_t len = strlen(d->domain);

	if (site_accepts(s, d->domain))
		return true;
	for (size_t i = 0; d->domain[0] == '.' && i < s->domain_count; i++) {
		size_t n = strlen(s->domains[i]);

		if (n > len && strcmp(s->domains[i] + n - len, d->domain) == 0)
			return true;
	}
	return false;
}

/* Domains without a section of their own, where every backend belongs to a section. */
static void rest_check(struct conf *c)
{
	const struct site *s = c->site;

	for (size_t i = 0; i < s->backend_count; i++)
		if (s->backend[i].protocol == LISTENER_SMTP && !site_domain_names(s, &s->backend[i]))
			return;
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].protocol == LISTENER_SMTP && s->listener[i].backend_count > 0)
			return;
	for (size_t i = 0; i < s->domain_count; i++)
		if (!site_domain(s, s->domains[i]))
			conf_warning(c, s->domain[0].line, "%s has no section domain, and all backends belong to others: its mail goes to any of them, expected a section "
				     "for it, or a listener that names its backends", s->domains[i]);
}

static int order(const void *a, const void *b)
{
	return strcmp(((const struct domain_conf *)a)->domain, ((const struct domain_conf *)b)->domain);
}

void conf_domain_check(struct conf *c)
{
	struct site *s = c->site;

	if (!s->domain_section_count)
		return;
	for (size_t i = 0; i < s->domain_section_count; i++) {
		struct domain_conf *d = &s->domain[i];

		backends_check(c, d);
		for (size_t k = 0; k < d->owner_count; k++)
			name_owner(c, d, &d->owner[k]);
		if (!is_ours(s, d))
			conf_warning(c, d->line, "domain %s: is none of domains, and its mail is not accepted", d->domain);
	}
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].transparent && s->listener[i].protocol == LISTENER_SMTP && s->listener[i].direction != DIRECTION_OUTBOUND)
			conf_warning(c, s->listener[i].line, "listener %s: transparent = yes: the client has chosen the server, and sections domain play no part there",
				     s->listener[i].name);
	qsort(s->domain, s->domain_section_count, sizeof *s->domain, order);
	rest_check(c);
}

static int find(const void *key, const void *item)
{
	return strcmp(key, ((const struct domain_conf *)item)->domain);
}

const struct domain_conf *site_domain(const struct site *s, const char *domain)
{
	const struct domain_conf *d;

	if (!s->domain_section_count)
		return NULL;
	d = bsearch(domain, s->domain, s->domain_section_count, sizeof *s->domain, find);
	for (const char *dot = strchr(domain, '.'); dot && !d; dot = strchr(dot + 1, '.'))
		d = bsearch(dot, s->domain, s->domain_section_count, sizeof *s->domain, find);
	return d;
}

bool site_backend_serves(const struct site *s, const struct backend_conf *b, const char *domain, const struct domain_owner **owner)
{
	const struct domain_conf *d = site_domain(s, domain);

	*owner = NULL;
	for (size_t i = 0; d && i < d->owner_count && !*owner; i++)
		if (owner_names(&d->owner[i], b->name))
			*owner = &d->owner[i];
	if (d)
		return *owner != NULL;
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].protocol == LISTENER_SMTP && listener_has_backend(s, &s->listener[i], b))
			return true;
	return listener_has_backend(s, NULL, b);
}

void conf_domain_free(struct site *s)
{
	for (size_t i = 0; i < s->domain_section_count; i++) {
		for (size_t k = 0; k < s->domain[i].owner_count; k++)
			owner_free(&s->domain[i].owner[k]);
		free(s->domain[i].owner);
		free(s->domain[i].domain);
	}
	free(s->domain);
}
