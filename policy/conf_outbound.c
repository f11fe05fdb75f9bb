/* conf_outbound - gatepost.conf: how mail of our own goes out to the world */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/conf_table.h"

#define OUT(field) offsetof(struct site, outbound.field)

enum { VIA_MAX = 8 };

/* What no name in the DNS leads to: not addresses of one host, or addresses of every host. */
static const char *const never_default[] = {
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8",
};

static void via_read(struct conf *c, void *at, const char *value, int line)
{
	struct outbound_conf *o = &((struct site *)at)->outbound;
	struct outbound_via v = { 0 };

	if (!conf_server(c, "via", value, line, &v.host, &v.port))
		return;
	if (o->via_count == VIA_MAX) {
		conf_error(c, line, "via: more than %d servers", VIA_MAX);
		free(v.host);
		return;
	}
	o->via = conf_grow(o->via, &o->via_count, sizeof *o->via);
	o->via[o->via_count - 1] = v;
}

static void source_read(struct conf *c, void *at, const char *value, int line)
{
	struct outbound_conf *o = &((struct site *)at)->outbound;
	struct net_addr a;

	if (net_parse(value, &a) < 0) {
		conf_error(c, line, "source: \"%s\" is no address, expected one such as \"192.0.2.25\"", value);
		return;
	}
	for (size_t i = 0; i < o->source_count; i++)
		if (o->source[i].family == a.family)
			conf_error(c, line, "source: \"%s\" is the second of its kind, expected one for IPv4 and one for IPv6", value);
	o->source = conf_grow(o->source, &o->source_count, sizeof *o->source);
	o->source[o->source_count - 1] = a;
}

static void never_read(struct conf *c, void *at, const char *value, int line)
{
	struct outbound_conf *o = &((struct site *)at)->outbound;

	if (strcmp(value, "none") != 0)
		conf_prefix_add(c, "never", &o->never, &o->never_count, value, line);
}

static void password_read(struct conf *c, void *at, const char *value, int line)
{
	conf_password(c, "password_file", value, line, &((struct site *)at)->outbound.password);
}

static const struct conf_option outbound_options[] = {
	{ "via", CONF_LIST, 0, .read = via_read },
	CONF_OPTION("username", CONF_TEXT, OUT(username), NULL),
	{ "password_file", CONF_CUSTOM, 0, .read = password_read },
	CONF_NUMBER("port", CONF_INT, OUT(port), "25", 1, 65535),
	{ "source", CONF_LIST, 0, .read = source_read },
	{ "never", CONF_LIST, 0, .read = never_read },
	CONF_NUMBER("max_sessions", CONF_INT, OUT(max_sessions), "20", 1, 10000),
	CONF_NUMBER("max_sessions_wait", CONF_DURATION_MS, OUT(max_sessions_wait_ms), "10s", 0, 300000),
	CONF_NUMBER("connect_timeout", CONF_DURATION_MS, OUT(connect_timeout_ms), "30s", 100, 300000),
	CONF_NUMBER("reuse_idle", CONF_DURATION_MS, OUT(reuse_idle_ms), "5s", 0, 300000),
	CONF_NUMBER("reuse_messages", CONF_INT, OUT(reuse_max), "20", 1, 100000),
	CONF_NUMBER("wait", CONF_DURATION_MS, OUT(wait_ms), "20s", 100, 240000),
	CONF_NUMBER("bench", CONF_DURATION_MS, OUT(bench_ms), "2m", 0, 3600000),
	{ "tls", CONF_WORD, OUT(tls.mode), "opportunistic", .words = conf_outbound_tls_words },
	CONF_OPTION("dane", CONF_BOOL, OUT(tls.dane), "yes"),
	CONF_OPTION("mta_sts", CONF_BOOL, OUT(tls.mta_sts), "yes"),
	CONF_OPTION("tls_ca", CONF_FILE, OUT(tls.ca_pem), NULL),
	{ 0 },
};

/* Whether the certificates can be used; said if not. */
static void ca_check(struct conf *c, const char *pem, int line)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct ssl_ctx_st *ctx = NULL;

	if (pem && tls_client_ctx(true, pem, &ctx, &err) < 0)
		conf_error(c, line, "outbound: tls_ca: %s, expected certificates as PEM", buf_str(&err));
	tls_ctx_free(ctx);
}

static void outbound_close(struct conf *c, void *at, int line)
{
	struct site *s = at;
	struct outbound_conf *o = &s->outbound;

	for (size_t i = 0; !conf_given(c, "never") && i < sizeof never_default / sizeof *never_default; i++)
		conf_prefix_add(c, "never", &o->never, &o->never_count, never_default[i], line);
	ca_check(c, o->tls.ca_pem, line);
	/* A password is for one host alone. */
	if (o->username && !conf_given(c, "tls"))
		o->tls.mode = OUTBOUND_TLS_VERIFIED;
	if (!o->username != !conf_given(c, "password_file"))
		conf_error(c, line, "outbound: %s without %s, expected both", o->username ? "username" : "password_file",
			   o->username ? "password_file" : "username");
	else if (o->username && o->via_count == 0)
		conf_error(c, line, "outbound: username without via: the world asks for none, expected via = { \"smart.example.net:587\" }");
}

/* A tls_policy is in place of what outbound says: the password's host, which had to have a certificate, is any then. */
static void password_check(struct conf *c, const struct outbound_conf *o)
{
	for (size_t i = 0; i < o->via_count; i++)
		for (size_t k = 0; k < o->tls.policy_count; k++) {
			const struct outbound_tls_policy *p = &o->tls.policy[k];
			size_t host = strlen(o->via[i].host), len = strlen(p->domain);
			bool its = strcasecmp(o->via[i].host, p->domain) == 0 ||
				   (p->domain[0] == '.' && host > len && strcasecmp(o->via[i].host + host - len, p->domain) == 0);

			if (its && p->mode != OUTBOUND_TLS_VERIFIED)
				conf_warning(c, p->line, "tls_policy %s: the password for %s is said to whoever answers there, expected tls = verified", p->domain,
					     o->via[i].host);
		}
}

void conf_outbound_check(struct conf *c)
{
	const struct site *s = c->site;

	if (s->outbound.username)
		password_check(c, &s->outbound);
	if (s->relay_network_count > 0 && s->outbound.tls.dane && s->outbound.tls.mode != OUTBOUND_TLS_OFF && !s->dns.dnssec)
		conf_warning(c, 0, "outbound: dane plays no part with dnssec = no in section dns");
}

const struct conf_section conf_outbound = { "outbound", NULL, outbound_options, NULL, outbound_close };
