/* conf_uribl - lists of domains: they stand among those of addresses, with what they are asked for (filters/uribl.h) */
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define AT(field) offsetof(struct dnsbl_conf, field)

static const char *const names_words[] = { "host", "registrable", NULL };
enum { SKIP_MAX = 100000 };

static void use_read(struct conf *c, void *at, const char *value, int line)
{
	static const struct { const char *word; unsigned bit; } words[] = {
		{ "links", DNSBL_USE_LINKS }, { "from", DNSBL_USE_FROM }, { "helo", DNSBL_USE_HELO }, { "dkim", DNSBL_USE_DKIM }, { "rdns", DNSBL_USE_RDNS },
	};
	struct dnsbl_conf *d = at;

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcmp(value, words[i].word) == 0) {
			d->use |= words[i].bit;
			return;
		}
	}
	conf_error(c, line, "use: \"%s\" is nothing that a list of domains can be asked for, expected links, from, helo, dkim or rdns", value);
}

static void point_read(struct conf *c, const char *option, char **at, const char *value, int line)
{
	char name[DOMAIN_MAX];

	if (domain_canonical(value, strlen(value), name) < 0) {
		conf_error(c, line, "%s: \"%s\" is no domain, expected one such as \"dbltest.com\"", option, value);
		return;
	}
	free(*at);
	*at = conf_copy(name);
}

static void listed_read(struct conf *c, void *at, const char *value, int line)
{
	point_read(c, "test_listed", &((struct dnsbl_conf *)at)->listed, value, line);
}

static void clean_read(struct conf *c, void *at, const char *value, int line)
{
	point_read(c, "test_clean", &((struct dnsbl_conf *)at)->clean, value, line);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A domain in each line, with all below it; what stands behind # is for people. */
static void skip_read(struct conf *c, void *at, const char *value, int line)
{
	struct dnsbl_conf *d = at;
	char *path = conf_path(c, value), *text, *rest, *one;
	size_t len, number = 0;

	text = conf_file(c, "skip", path, line, &len);
	free(path);
	for (rest = text; rest && (one = strsep(&rest, "\n"));) {
		char name[DOMAIN_MAX];
		size_t n;

		number++;
		one[strcspn(one, "#")] = '\0';
		one += strspn(one, " \t");
		n = strcspn(one, " \t\r");
		if (n == 0)
			continue;
		if (domain_canonical(one, n, name) < 0 || one[n + strspn(one + n, " \t\r")])
			conf_error(c, line, "skip: line %zu of %s is no domain, expected one such as \"example.com\"", number, value);
		else if (d->skip_count >= SKIP_MAX)
			conf_error(c, line, "skip: %s has more than %d domains", value, SKIP_MAX);
		else
			conf_list_add(&d->skip, &d->skip_count, name);
	}
	free(text);
	if (d->skip_count)
		qsort(d->skip, d->skip_count, sizeof(*d->skip), compare);
}

static const struct conf_option uribl_options[] = {
	CONF_NUMBER("weight", CONF_INT, AT(weight), "5", -1000, 1000),
	{ "codes", CONF_LIST, 0, .read = conf_dnsbl_code_read },
	{ "use", CONF_LIST, 0, .read = use_read },
	{ "names", CONF_WORD, AT(registrable), "host", .words = names_words },
	CONF_OPTION("addresses", CONF_BOOL, AT(addresses), "no"),
	{ "skip", CONF_CUSTOM, 0, .read = skip_read },
	CONF_NUMBER("timeout", CONF_DURATION_MS, AT(timeout_ms), "4s", 100, 60000),
	CONF_OPTION("test", CONF_BOOL, AT(test), "yes"),
	{ "test_listed", CONF_CUSTOM, 0, "test", .read = listed_read },
	{ "test_clean", CONF_CUSTOM, 0, "invalid", .read = clean_read },
	{ 0 },
};

static void *uribl_open(struct conf *c, const char *title, int line)
{
	return conf_dnsbl_add(c, "uribl", title, line);
}

static void uribl_close(struct conf *c, void *at, int line)
{
	struct dnsbl_conf *d = at;

	if (!d->use)
		d->use = DNSBL_USE_LINKS | DNSBL_USE_FROM | DNSBL_USE_HELO | DNSBL_USE_DKIM | DNSBL_USE_RDNS;
	conf_dnsbl_weights(d);
	if (d->addresses && !(d->use & DNSBL_USE_LINKS))
		conf_error(c, line, "uribl %s: addresses = yes is about addresses in links, and use has no links", d->zone);
}

void conf_uribl_policy(struct conf *c)
{
	const struct site *s = c->site;
	int id = fact_find("uribl.score", 11);

	if (!s->policy || id == FACT_NONE || (policy_filters(s->policy) & 1u << fact_owner(id)))
		return;
	for (size_t i = 0; i < s->dnsbl_count; i++)
		if (s->dnsbl[i].use) {
			conf_warning(c, 0, "uribl %s: no rule of the policy asks for uribl.score, so no domain is looked up", s->dnsbl[i].zone);
			return;
		}
}

const struct conf_section conf_uribl = { "uribl", "zone", uribl_options, uribl_open, uribl_close };
