/* conf_dns - gatepost.conf: the resolver, the servers of single zones, and DNS lists */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define SITE(field) offsetof(struct site, field)
#define DNSBL(field) offsetof(struct dnsbl_conf, field)

/* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53" as libunbound writes them: address@port. */
static bool server_text(struct conf *c, const char *option, const char *value, int line, char *out,
                        size_t size)
{
	struct net_addr a;
	char ip[NET_TEXT_MAX];

	if ((net_parse(value, &a) < 0 && net_parse_port(value, 53, &a) < 0)) {
		conf_error(c, line,
		           "%s: \"%s\" is no server, expected an address such as \"192.0.2.53\" or "
		           "\"192.0.2.53:5353\"",
		           option, value);
		return false;
	}
	snprintf(out, size, "%s@%u", net_text(&a, ip), a.port ? a.port : 53u);
	return true;
}

static struct dns_zone_forward *forward_get(struct dns_conf *d, const char *zone)
{
	struct dns_zone_forward *f;

	for (size_t i = 0; i < d->forward_count; i++)
		if (strcmp(d->forward[i].zone, zone) == 0)
			return &d->forward[i];
	d->forward = conf_grow(d->forward, &d->forward_count, sizeof *d->forward);
	f = &d->forward[d->forward_count - 1];
	f->zone = conf_copy(zone);
	return f;
}

static void forward_read(struct conf *c, void *at, const char *value, int line)
{
	struct dns_conf *d = &((struct site *)at)->dns;
	char text[NET_TEXT_MAX + 8];
	struct dns_zone_forward *f;

	if (!server_text(c, "forward", value, line, text, sizeof text))
		return;
	f = forward_get(d, ".");
	conf_list_add(&f->servers, &f->server_count, text);
}

static void local_zone_read(struct conf *c, void *at, const char *value, int line)
{
	struct dns_conf *d = &((struct site *)at)->dns;
	char zone[256], type[32], more;

	if (sscanf(value, "%255s %31s %c", zone, type, &more) != 2)
		conf_error(c, line,
		           "local_zone: \"%s\" is none, expected a zone and its type, such as "
		           "\"example. static\"",
		           value);
	else
		conf_list_add(&d->local_zone, &d->local_zone_count, value);
}

static void local_data_read(struct conf *c, void *at, const char *value, int line)
{
	struct dns_conf *d = &((struct site *)at)->dns;
	char name[256], type[32], first;

	if (sscanf(value, "%255s %31s %c", name, type, &first) != 3)
		conf_error(c, line,
		           "local_data: \"%s\" is no record, expected name, type and data, such as "
		           "\"www.example. A 192.0.2.1\"",
		           value);
	else
		conf_list_add(&d->local_data, &d->local_data_count, value);
}

static const struct conf_option dns_options[] = {
	{ "forward", CONF_LIST, 0, .read = forward_read },
	CONF_NUMBER("timeout", CONF_DURATION_MS, SITE(dns.timeout_ms), "5s", 100, 60000),
	CONF_OPTION("dnssec", CONF_BOOL, SITE(dns.dnssec), "yes"),
	CONF_OPTION("trust_anchor", CONF_FILE, SITE(dns.trust_anchor), NULL),
	CONF_NUMBER("cache_size", CONF_SIZE, SITE(dns.cache_bytes), "64M", 1 << 20,
	            (int64_t)1 << 36),
	{ "local_zone", CONF_LIST, 0, .read = local_zone_read },
	{ "local_data", CONF_LIST, 0, .read = local_data_read },
	{ 0 },
};

static void dns_close(struct conf *c, void *at, int line)
{
	const struct dns_conf *d = &((struct site *)at)->dns;

	if (d->local_data_count > 0 && d->local_zone_count == 0)
		conf_warning(c, line,
		             "dns: local_data without local_zone: what is not in it is asked of "
		             "the world");
}

const struct conf_section conf_dns = { "dns", NULL, dns_options, NULL, dns_close };

/* ---- zone: servers of its own ---- */

/* Where a zone's options go: its place in the list may move while others are added. */
static void zone_server(struct conf *c, void *at, const char *value, int line)
{
	struct dns_zone_forward *f = at;
	char text[NET_TEXT_MAX + 8];

	if (server_text(c, "servers", value, line, text, sizeof text))
		conf_list_add(&f->servers, &f->server_count, text);
}

static const struct conf_option zone_options[] = {
	{ "servers", CONF_LIST, 0, .read = zone_server },
	{ 0 },
};

static void *zone_open(struct conf *c, const char *title, int line)
{
	char zone[DOMAIN_MAX];

	if (domain_canonical(title, strlen(title), zone) < 0) {
		conf_error(c, line,
		           "zone: \"%s\" is no domain, expected one such as \"internal.example\"",
		           title);
		return NULL;
	}
	for (size_t i = 0; i < c->site->dns.forward_count; i++) {
		if (strcmp(c->site->dns.forward[i].zone, zone) == 0) {
			conf_error(c, line, "zone %s: comes twice, expected once", zone);
			return NULL;
		}
	}
	return forward_get(&c->site->dns, zone);
}

static void zone_close(struct conf *c, void *at, int line)
{
	const struct dns_zone_forward *f = at;

	if (!conf_given(c, "servers"))
		conf_error(c, line,
		           "zone %s: has no servers, expected some such as servers = { "
		           "\"10.0.0.53\" }",
		           f->zone);
}

const struct conf_section conf_zone = { "zone", "domain", zone_options, zone_open, zone_close };

/* ---- dnsbl ---- */

enum { WEIGHT_MAX = 1000 };

/* "&64": an answer whose last octet has that bit, or those bits. */
static bool bits_parse(const char *text, unsigned char *out)
{
	char *end;
	unsigned long n = text[0] == '&' && text[1] >= '0' && text[1] <= '9' ? strtoul(text + 1, &end, 10) : 0;

	if (n == 0 || n > 255 || *end)
		return false;
	*out = (unsigned char)n;
	return true;
}

/* "127.0.0.2", "127.0.0.10/31", "&64", any with "=3" behind it: a weight of its own. */
void conf_dnsbl_code_read(struct conf *c, void *at, const char *value, int line)
{
	struct dnsbl_conf *d = at;
	char text[NET_TEXT_MAX + 16], *equals, *end;
	long weight = 0;
	struct net_prefix p = { 0 };
	unsigned char bit = 0;

	snprintf(text, sizeof text, "%s", value);
	equals = strchr(text, '=');
	if (equals) {
		*equals = '\0';
		weight = strtol(equals + 1, &end, 10);
	}
	if (!bits_parse(text, &bit) && (net_parse_prefix(text, &p) < 0 || p.addr.family != AF_INET || p.bits < 8 ||
	    p.addr.ip[0] != 127)) {
		conf_error(c, line,
		           "codes: \"%s\" is no answer of a DNS list, expected one in 127.0.0.0/8 "
		           "such as \"127.0.0.2\" or \"127.0.0.10/31=3\"",
		           value);
	} else if (equals && (!equals[1] || *end || weight < -WEIGHT_MAX || weight > WEIGHT_MAX)) {
		conf_error(c, line, "codes: \"%s\" has no weight after =, expected -1000 to 1000",
		           value);
	} else if (d->code_count == sizeof d->code / sizeof *d->code) {
		conf_error(c, line, "codes: \"%s\" is one too many, expected at most %zu", value,
		           d->code_count);
	} else {
		d->code[d->code_count].codes = p;
		d->code[d->code_count].bit = bit;
		/* INT_MIN: the zone's own weight, which may stand further down; set in close. */
		d->code[d->code_count].weight = equals ? (int)weight : INT_MIN;
		d->code_count++;
	}
}

static const struct conf_option dnsbl_options[] = {
	CONF_NUMBER("weight", CONF_INT, DNSBL(weight), "5", -WEIGHT_MAX, WEIGHT_MAX),
	{ "codes", CONF_LIST, 0, .read = conf_dnsbl_code_read },
	CONF_OPTION("ipv4", CONF_BOOL, DNSBL(ipv4), "yes"),
	CONF_OPTION("ipv6", CONF_BOOL, DNSBL(ipv6), "yes"),
	CONF_NUMBER("timeout", CONF_DURATION_MS, DNSBL(timeout_ms), "4s", 100, 60000),
	CONF_OPTION("test", CONF_BOOL, DNSBL(test), "yes"),
	{ 0 },
};

struct dnsbl_conf *conf_dnsbl_add(struct conf *c, const char *section, const char *title, int line)
{
	struct site *s = c->site;
	struct dnsbl_conf *d;
	char zone[DOMAIN_MAX];

	/* 33 labels of nibbles stand before it for IPv6: 64 bytes. */
	if (domain_canonical(title, strlen(title), zone) < 0 ||
	    strlen(zone) > DOMAIN_MAX - 1 - 64) {
		conf_error(c, line,
		           "%s: \"%s\" is no domain, expected one such as \"zen.example.org\"",
		           section, title);
		return NULL;
	}
	s->dnsbl = conf_grow(s->dnsbl, &s->dnsbl_count, sizeof *s->dnsbl);
	d = &s->dnsbl[s->dnsbl_count - 1];
	d->zone = conf_copy(zone);
	d->line = line;
	return d;
}

void conf_dnsbl_weights(struct dnsbl_conf *d)
{
	for (size_t i = 0; i < d->code_count; i++)
		if (d->code[i].weight == INT_MIN)
			d->code[i].weight = d->weight;
}

static void *dnsbl_open(struct conf *c, const char *title, int line)
{
	return conf_dnsbl_add(c, "dnsbl", title, line);
}

static void dnsbl_close(struct conf *c, void *at, int line)
{
	struct dnsbl_conf *d = at;

	conf_dnsbl_weights(d);
	if (!d->ipv4 && !d->ipv6)
		conf_error(c, line, "dnsbl %s: neither ipv4 nor ipv6, expected at least one",
		           d->zone);
}

const struct conf_section conf_dnsbl = { "dnsbl", "zone", dnsbl_options, dnsbl_open, dnsbl_close };
