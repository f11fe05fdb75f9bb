/* conf_wire - gatepost.conf: the servers that mail goes to */
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define BACKEND(field) offsetof(struct backend_conf, field)

static const char *const proxy_words[] = { "no", "v1", "v2", NULL };
/* As enum listener_protocol. */
static const char *const protocols[] = { "smtp", "tcp", "pop3", "imap", NULL };
static const char *const tls_modes[] = { "off", "opportunistic", "required", NULL };
/* As enum tls_version. */
static const char *const tls_versions[] = { "1.0", "1.1", "1.2", "1.3", NULL };

/* The port behind the last colon of "host:port", 25 when there is none. -1: it is no port.
 * *host_len: of what stands before. */
static int host_port(const char *text, size_t *host_len)
{
	const char *colon = strrchr(text, ':');
	long port = 0;

	*host_len = colon ? (size_t)(colon - text) : strlen(text);
	if (!colon)
		return 25;
	if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1] ||
	    strlen(colon + 1) > 5)
		return -1;
	port = strtol(colon + 1, NULL, 10);
	return port >= 1 && port <= 65535 ? (int)port : -1;
}

bool conf_server(struct conf *c, const char *option, const char *value, int line, char **host_out, unsigned short *port_out)
{
	struct net_addr literal;
	char host[DOMAIN_MAX];         /* a literal is shorter */
	size_t len;
	int port = host_port(value, &len);

	if (net_parse_port(value, 25, &literal) == 0 && literal.port != 0) {
		net_text(&literal, host);
		port = literal.port;
	} else if (port < 0 || domain_canonical(value, len, host) < 0 ||
	           strspn(host, "0123456789.") == strlen(host)) {
		conf_error(c, line,
		           "%s: \"%s\" is no server, expected one such as \"10.0.0.5:25\", "
		           "\"[2001:db8::5]:25\" or \"mail.internal.example:25\"",
		           option, value);
		return false;
	}
	free(*host_out);
	*host_out = conf_copy(host);
	*port_out = (unsigned short)port;
	return true;
}

static void backend_address(struct conf *c, void *at, const char *value, int line)
{
	struct backend_conf *b = at;

	conf_server(c, "address", value, line, &b->host, &b->port);
}

static void backend_tls_name(struct conf *c, void *at, const char *value, int line)
{
	struct backend_conf *b = at;
	char name[DOMAIN_MAX];

	if (domain_canonical(value, strlen(value), name) < 0) {
		conf_error(c, line,
		           "tls_name: \"%s\" is no host name, expected the one in the server's "
		           "certificate",
		           value);
		return;
	}
	free(b->tls_name);
	b->tls_name = conf_copy(name);
}

static const struct conf_option backend_options[] = {
	{ "protocol", CONF_WORD, BACKEND(protocol), "smtp", .words = protocols },
	{ "address", CONF_CUSTOM, 0, .read = backend_address },
	CONF_NUMBER("priority", CONF_INT, BACKEND(priority), "10", 0, 1000),
	CONF_NUMBER("max_sessions", CONF_INT, BACKEND(max_sessions), "0", 0, 100000),
	CONF_NUMBER("max_sessions_wait", CONF_DURATION_MS, BACKEND(max_sessions_wait_ms), "10s", 0,
	            300000),
	{ "tls", CONF_WORD, BACKEND(tls), "opportunistic", .words = tls_modes },
	CONF_OPTION("implicit_tls", CONF_BOOL, BACKEND(implicit_tls), "no"),
	{ "tls_name", CONF_CUSTOM, 0, .read = backend_tls_name },
	CONF_OPTION("tls_ca", CONF_FILE, BACKEND(tls_ca_pem), NULL),
	{ "tls_min", CONF_WORD, BACKEND(tls_min), "1.2", .words = tls_versions },
	{ "tls_security_level", CONF_CUSTOM, 0, .read = conf_tls_level_read },
	{ "tls_ciphers", CONF_CUSTOM, 0, .read = conf_tls_ciphers_read },
	{ "tls_pin", CONF_LIST, 0, .read = conf_tls_pin_read },
	CONF_OPTION("xclient", CONF_BOOL, BACKEND(xclient), "no"),
	{ "proxy", CONF_WORD, BACKEND(proxy), "no", .words = proxy_words },
	CONF_OPTION("reuse", CONF_BOOL, BACKEND(reuse), "yes"),
	CONF_OPTION("spool", CONF_BOOL, BACKEND(spool), "no"),
	CONF_NUMBER("reuse_idle", CONF_DURATION_MS, BACKEND(reuse_idle_ms), "30s", 0, 3600000),
	CONF_NUMBER("reuse_messages", CONF_INT, BACKEND(reuse_max), "100", 1, 100000),
	CONF_NUMBER("connect_timeout", CONF_DURATION_MS, BACKEND(connect_timeout_ms), "10s", 100,
	            300000),
	CONF_NUMBER("probe_interval", CONF_DURATION_MS, BACKEND(probe_interval_ms), "60s", 1000,
	            3600000),
	{ 0 },
};

static void *backend_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	struct backend_conf *b;

	if (!conf_title_ok(c, "backend", title, line))
		return NULL;
	s->backend = conf_grow(s->backend, &s->backend_count, sizeof *s->backend);
	b = &s->backend[s->backend_count - 1];
	b->name = conf_copy(title);
	b->tls_level = TLS_LEVEL_DEFAULT;
	b->line = line;
	return b;
}

static void backend_close(struct conf *c, void *at, int line)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct backend_conf *b = at;
	struct ssl_ctx_st *ctx = NULL;
	struct net_addr literal;

	if (!conf_given(c, "address"))
		conf_error(c, line,
		           "backend %s: has no address, expected one such as address = "
		           "\"10.0.0.5:25\"",
		           b->name);
	if (!conf_given(c, "protocol"))
		b->protocol = conf_protocol_by_port(b->port);
	if (!conf_given(c, "implicit_tls"))
		b->implicit_tls = conf_implicit_by_port(b->port);
	conf_mailbox_backend(c, b, line);
	if (b->tls_ca_pem && tls_client_ctx(true, b->tls_ca_pem, &ctx, &err) < 0)
		conf_error(c, line, "backend %s: tls_ca: %s, expected certificates as PEM", b->name,
		           buf_str(&err));
	tls_ctx_free(ctx);
	if (b->tls != TLS_REQUIRED && (b->tls_ca_pem || b->tls_name))
		conf_warning(c, line,
		             "backend %s: tls_ca and tls_name play no part without tls = required",
		             b->name);
	conf_backend_tls_check(c, b, line);
	if (b->tls == TLS_REQUIRED && !b->tls_name && !b->tls_pin_count && b->host && net_parse(b->host, &literal) == 0)
		conf_warning(c, line,
		             "backend %s: its certificate must hold the address %s, as tls_name is "
		             "not set",
		             b->name, b->host);
	if (b->host && !b->tls_name)
		b->tls_name = conf_copy(b->host);
}

const struct conf_section conf_backend = { "backend", "name", backend_options, backend_open,
	                                   backend_close };
