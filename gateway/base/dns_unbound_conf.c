#include "base/dns_unbound_conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unbound-event.h>
#include <unbound.h>
#include <unistd.h>

#include "base/dns.h"
#include "base/net.h"
#include "base/task.h"
#include "policy/conf.h"

enum { SOCKETS_MAX = 4096, SOCKETS_MIN = 64, CONFIG_MAX = 1 << 20, OPTION_MAX = 320, CACHE_DEFAULT_BYTES = 32 << 20 };

/* The root's key signing keys, as IANA publishes them: KSK-2017 and KSK-2024. */
static const char root_anchor[] =
	". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"
	". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16\n";

struct maker {
	const struct dns_conf *conf;
	struct ub_ctx *ctx;
	struct buf *err;
	FILE *log;                      /* what the library complains about meanwhile */
	char *log_text;
	size_t log_len;
};

/* "dns: what "value": why". Returns -1. */
static int wrong(struct maker *m, const char *what, const char *value, const char *why)
{
	const char *said;

	buf_addf(m->err, "dns: %s \"%s\": %s", what, value, why);
	if (m->log)
		fflush(m->log);
	said = m->log_text ? strstr(m->log_text, "error: ") : NULL;
	if (said)
		buf_addf(m->err, " (%.*s)", (int)strcspn(said + 7, "\n"), said + 7);
	return -1;
}

static int option(struct maker *m, const char *name, const char *value)
{
	int rc = ub_ctx_set_option(m->ctx, name, value);

	return rc ? wrong(m, name, value, ub_strerror(rc)) : 0;
}

static int option_num(struct maker *m, const char *name, size_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", value);
	return option(m, name, text);
}

/* ---- names ---- */

/* Whether zone is under, or is; both without final dot; "." is above all. */
static bool zone_in(const char *zone, const char *under)
{
	size_t n = strlen(zone), k = strlen(under);

	if (strcmp(under, ".") == 0 || strcmp(under, "") == 0)
		return true;
	return n >= k && strcasecmp(zone + n - k, under) == 0 && (n == k || zone[n - k - 1] == '.');
}

/* A zone's name without its final dot ("." stays); only what can stand in a line of configuration. 0 or -1. */
static int zone_text(struct maker *m, const char *what, const char *zone, char *out)
{
	size_t n = strlen(zone);

	if (strcmp(zone, ".") == 0) {
		strcpy(out, ".");
		return 0;
	}
	if (n > 0 && zone[n - 1] == '.')
		n--;
	snprintf(out, DNS_NAME_MAX, "%.*s", (int)(n < DNS_NAME_MAX ? n : 0), zone);
	if (!dns_name_ok(out) || strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") != strlen(out))
		return wrong(m, what, zone, "not a zone's name, expected one such as \"corp.example\"");
	return 0;
}

/* ---- numbers ---- */

static int set_numbers(struct maker *m)
{
	size_t cache = m->conf->cache_bytes > 0 ? m->conf->cache_bytes : CACHE_DEFAULT_BYTES;
	struct rlimit files = { 0 };
	size_t sockets = SOCKETS_MAX;
	int rc = 0;

	/* Each question in the air has a socket; those beyond wait in the library. Sessions need descriptors too. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 4 < sockets)
		sockets = files.rlim_cur / 4 < SOCKETS_MIN ? SOCKETS_MIN : files.rlim_cur / 4;
	rc |= option_num(m, "outgoing-range:", sockets);
	rc |= option_num(m, "num-queries-per-thread:", SOCKETS_MAX);
	rc |= option_num(m, "outgoing-num-tcp:", 64);
	/* A server that was away is asked again after seconds, not after a quarter of an hour; and is given up sooner. */
	rc |= option_num(m, "infra-host-ttl:", 5);
	rc |= option_num(m, "infra-cache-max-rtt:", 2000);
	/* One thread: caches in one piece. */
	rc |= option_num(m, "msg-cache-slabs:", 1);
	rc |= option_num(m, "rrset-cache-slabs:", 1);
	rc |= option_num(m, "infra-cache-slabs:", 1);
	rc |= option_num(m, "key-cache-slabs:", 1);
	rc |= option_num(m, "msg-cache-size:", cache / 3);
	rc |= option_num(m, "rrset-cache-size:", cache / 3 * 2);
	return rc;
}

/* ---- DNSSEC ---- */

static int add_anchors(struct maker *m, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\r\n"), blank = strspn(text, " \t");
		char *line;
		int rc;

		if (blank < n && !strchr(";#", text[blank])) {
			line = strndup(text, n);
			rc = !line || ub_ctx_add_ta(m->ctx, line) ? wrong(m, "trust_anchor", line ? line : "", "expected a DS or DNSKEY record") : 0;
			free(line);
			if (rc < 0)
				return rc;
		}
		text += n + strspn(text + n, "\r\n");
	}
	return 0;
}

/* Whether some line of the anchors begins with this zone. */
static bool has_anchor(const struct dns_conf *c, const char *zone)
{
	const char *p = c->trust_anchor;
	size_t k = strlen(zone);

	while (p && *p) {
		p += strspn(p, " \t\r\n");
		if (strncasecmp(p, zone, k) == 0 && (p[k] == ' ' || p[k] == '\t' || (p[k] == '.' && (p[k + 1] == ' ' || p[k + 1] == '\t'))))
			return true;
		p += strcspn(p, "\n");
	}
	return false;
}

static int set_dnssec(struct maker *m)
{
	if (!m->conf->dnssec)
		return option(m, "module-config:", "iterator");
	return add_anchors(m, m->conf->trust_anchor ? m->conf->trust_anchor : root_anchor);
}

/* ---- forwarding ---- */

/* "10.0.0.1", "10.0.0.1@53", "2001:db8::1@5353" */
static int server_check(struct maker *m, const char *server, bool *loopback)
{
	char host[NET_TEXT_MAX];
	struct net_addr addr;
	size_t n = strcspn(server, "@");
	const char *port = server[n] ? server + n + 1 : "53";

	snprintf(host, sizeof(host), "%.*s", (int)(n < sizeof(host) ? n : 0), server);
	if (net_parse(host, &addr) < 0 || !*port || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 ||
	    atoi(port) < 1 || atoi(port) > 65535)
		return wrong(m, "server", server, "expected an address, or address@port");
	if (net_is_loopback(&addr))
		*loopback = true;
	return 0;
}

/* The library's own calls to add a zone later get the parents of zones wrong: all are options. */
static int local_zone(struct maker *m, const char *zone, const char *type)
{
	char value[OPTION_MAX];

	snprintf(value, sizeof(value), "%.255s %s", zone, type);
	return option(m, "local-zone:", value);
}

static int forward_zone(struct maker *m, const struct dns_zone_forward *f, struct buf *config, bool *loopback)
{
	char zone[DNS_NAME_MAX];
	bool all;

	if (zone_text(m, "forward zone", f->zone, zone) < 0)
		return -1;
	all = strcmp(zone, ".") == 0;
	if (f->server_count == 0)
		return wrong(m, "forward zone", zone, "has no servers, expected at least one");
	if (!all)
		buf_addf(config, "forward-zone:\n name: \"%s\"\n", zone);
	for (size_t i = 0; i < f->server_count; i++) {
		if (server_check(m, f->servers[i], loopback) < 0)
			return -1;
		if (!all)
			buf_addf(config, " forward-addr: %s\n", f->servers[i]);
		else if (ub_ctx_set_fwd(m->ctx, f->servers[i]))
			return wrong(m, "server", f->servers[i], "expected an address, or address@port");
	}
	/* It may lie in a zone that is answered locally, or be one. */
	if (!all && local_zone(m, zone, "transparent") < 0)
		return -1;
	/* What the site's own servers say of a private zone is signed by nobody, and the public parent may deny that it exists. */
	if (m->conf->dnssec && all)
		return option(m, "insecure-lan-zones:", "yes");
	if (m->conf->dnssec && !has_anchor(m->conf, zone))
		return option(m, "domain-insecure:", zone);
	return 0;
}

/* The library has no call for a forward zone, only a file's syntax; it opens the file by name. */
static int config_give(struct maker *m, const struct buf *config)
{
	char path[64];
	int fd, rc;

	if (config->failed)
		return wrong(m, "forward", "...", "too many zones");
	fd = memfd_create("forward zones", MFD_CLOEXEC);
	if (fd < 0)
		return wrong(m, "forward", "...", "memfd_create failed");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = write(fd, config->data, config->len) == (ssize_t)config->len ? ub_ctx_config(m->ctx, path) : UB_NOMEM;
	close(fd);
	return rc ? wrong(m, "forward", "...", rc == UB_READFILE ? "cannot be handed over, expected /proc to be there" : ub_strerror(rc)) : 0;
}

static int set_forwards(struct maker *m)
{
	AUTO(buf) struct buf config = BUF_INIT(CONFIG_MAX);
	bool loopback = false;

	for (size_t i = 0; i < m->conf->forward_count; i++)
		if (forward_zone(m, &m->conf->forward[i], &config, &loopback) < 0)
			return -1;
	if (loopback && option(m, "do-not-query-localhost:", "no") < 0)
		return -1;
	return config.len > 0 ? config_give(m, &config) : 0;
}

/* ---- local data ---- */

/* A zone that the library answers itself and that lies in a forwarded one: it no longer does. */
static int open_below(struct maker *m, const char *zone, const char *local)
{
	if (zone_in(local, zone) && ub_ctx_zone_remove(m->ctx, local) != 0)
		return wrong(m, "forward zone", zone, "could not be opened");
	return 0;
}

/* Trap 4: RFC 6303 and 6761 zones are answered locally unless the site has servers for them. */
static int open_local(struct maker *m, const char *zone)
{
	static const char *const locals[] = {
		"10.in-addr.arpa", "168.192.in-addr.arpa", "254.169.in-addr.arpa", "0.in-addr.arpa", "127.in-addr.arpa",
		"2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa", "255.255.255.255.in-addr.arpa",
		"d.f.ip6.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa", "8.b.d.0.1.0.0.2.ip6.arpa",
		"home.arpa",
	};
	char name[32];
	int rc = 0;

	for (size_t i = 0; i < sizeof(locals) / sizeof(*locals); i++)
		rc |= open_below(m, zone, locals[i]);
	for (int i = 16; i < 32; i++) {
		snprintf(name, sizeof(name), "%d.172.in-addr.arpa", i);
		rc |= open_below(m, zone, name);
	}
	for (int i = 64; i < 128; i++) {
		snprintf(name, sizeof(name), "%d.100.in-addr.arpa", i);
		rc |= open_below(m, zone, name);
	}
	return rc;
}

static int set_local(struct maker *m)
{
	const struct dns_conf *c = m->conf;
	char zone[DNS_NAME_MAX];

	/* Finishes the context: what was set before is looked at now. */
	if (ub_ctx_data_remove(m->ctx, "gatepost.invalid.") != 0)
		return wrong(m, "trust_anchor or forward", "...", "not accepted by the resolver");
	for (size_t i = 0; i < c->forward_count; i++)
		if (zone_text(m, "forward zone", c->forward[i].zone, zone) < 0 || open_local(m, zone) < 0)
			return -1;
	for (size_t i = 0; i < c->local_data_count; i++)
		if (ub_ctx_data_add(m->ctx, c->local_data[i]) != 0)
			return wrong(m, "local_data", c->local_data[i], "expected \"name. TYPE data\"");
	return 0;
}

static int set_local_zones(struct maker *m)
{
	static const char *const types[] = { "static", "transparent", "typetransparent", "redirect", "refuse", "deny", "always_nxdomain", NULL };
	const struct dns_conf *c = m->conf;

	for (size_t i = 0; i < c->local_zone_count; i++) {
		char given[DNS_NAME_MAX], zone[DNS_NAME_MAX], type[32] = "static", more;
		int n = sscanf(c->local_zone[i], "%1023s %31s %c", given, type, &more), t = 0;

		while (types[t] && strcmp(types[t], type) != 0)
			t++;
		if (n < 1 || n > 2 || !types[t])
			return wrong(m, "local_zone", c->local_zone[i], "expected a zone and its type, such as \"example. static\" or \"example. transparent\"");
		if (zone_text(m, "local_zone", given, zone) < 0 || local_zone(m, zone, type) < 0)
			return -1;
	}
	return 0;
}

struct ub_ctx *dns_unbound_context(const struct dns_conf *conf, struct buf *err)
{
	struct maker m = { .conf = conf, .err = err, .ctx = ub_ctx_create_event(loop_base()) };
	int rc;

	if (!m.ctx) {
		buf_adds(err, "dns: out of memory");
		return NULL;
	}
	m.log = open_memstream(&m.log_text, &m.log_len);
	ub_ctx_debugout(m.ctx, m.log);
	rc = set_numbers(&m);
	if (rc == 0)
		rc = set_dnssec(&m);
	if (rc == 0)
		rc = set_forwards(&m);
	if (rc == 0)
		rc = set_local_zones(&m);       /* the last that is said of a zone counts */
	if (rc == 0)
		rc = set_local(&m);
	ub_ctx_debugout(m.ctx, NULL);           /* what goes wrong later is in the answers */
	if (m.log)
		fclose(m.log);
	free(m.log_text);
	if (rc < 0) {
		ub_ctx_delete(m.ctx);
		return NULL;
	}
	return m.ctx;
}
