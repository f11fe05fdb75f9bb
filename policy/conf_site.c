/* conf_site - the top level of gatepost.conf, and the parts that stand beside the wire: recipients,
 * tls */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/tls.h"
#include "filters/domain.h"
#include "policy/conf_table.h"

#define SITE(field) offsetof(struct site, field)

/* ---- the top level ---- */

static const char *const modes[] = { "enforce", "observe", NULL };

static void hostname_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	char name[DOMAIN_MAX];

	if (domain_canonical(value, strlen(value), name) < 0) {
		conf_error(
			c, line,
			"hostname: \"%s\" is no host name, expected one such as \"mx.example.com\"",
			value);
		return;
	}
	free(s->hostname);
	s->hostname = conf_copy(name);
}

static void authserv_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;

	/* RFC 8601 2.2: a value; one that needs no quoting is asked for, so that it is compared
	 * without surprise. */
	if (!*value ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") !=
	            strlen(value)) {
		conf_error(c, line,
		           "authserv_id: \"%s\" is no name, expected letters, digits, dots and "
		           "hyphens",
		           value);
		return;
	}
	free(s->authserv_id);
	s->authserv_id = conf_copy(value);
}

/* "example.com", or ".example.com" for all below it. */
static void domain_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	char name[DOMAIN_MAX + 1];
	bool below = value[0] == '.';

	name[0] = '.';
	if (domain_canonical(value + below, strlen(value + below), name + 1) < 0) {
		conf_error(c, line,
		           "domains: \"%s\" is no domain, expected one such as \"example.com\", or "
		           "\".example.com\" for all below it",
		           value);
		return;
	}
	conf_list_add(&s->domains, &s->domain_count, below ? name : name + 1);
}

static void user_name_read(struct conf *c, const char *option, char **to, const char *value, int line)
{
	if (!getpwnam(value)) {
		conf_error(c, line, "%s: there is no user \"%s\", expected one of this machine (systemd-sysusers makes those that come with gatepost)", option, value);
		return;
	}
	free(*to);
	*to = conf_copy(value);
}

static void user_read(struct conf *c, void *at, const char *value, int line)
{
	user_name_read(c, "user", &((struct site *)at)->user, value, line);
}

static void keeper_user_read(struct conf *c, void *at, const char *value, int line)
{
	user_name_read(c, "keeper_user", &((struct site *)at)->keeper_user, value, line);
}

static void directory_user_read(struct conf *c, void *at, const char *value, int line)
{
	user_name_read(c, "directory_user", &((struct site *)at)->directory_user, value, line);
}

static void key_user_read(struct conf *c, void *at, const char *value, int line)
{
	user_name_read(c, "key_user", &((struct site *)at)->key_user, value, line);
}

/* More than anybody has of his own: 10.0.0.0/8 and fd00::/8 are the largest that a site can have. */
static bool is_the_world(const struct net_prefix *p)
{
	if (p->addr.family == AF_INET6 && (p->addr.ip[0] & 0xfe) == 0xfc)
		return p->bits < 7;
	return p->bits < (p->addr.family == AF_INET6 ? 16 : 8);
}

static void relay_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;

	if (!conf_prefix_add(c, "relay_networks", &s->relay_networks, &s->relay_network_count, value, line))
		return;
	if (is_the_world(&s->relay_networks[s->relay_network_count - 1]))
		conf_error(c, line, "relay_networks: \"%s\" is half the world: this would be an open relay, expected networks of your own", value);
}

/* What they say of a client is believed, and what is counted of strangers is not counted of them. */
static void trusted_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;

	if (!conf_prefix_add(c, "trusted_relays", &s->trusted_relays, &s->trusted_relay_count, value, line))
		return;
	if (is_the_world(&s->trusted_relays[s->trusted_relay_count - 1])) {
		conf_error(c, line, "trusted_relays: \"%s\" is half the world: anybody there could say that he is somebody else, expected networks of relays", value);
		return;
	}
	conf_prefix_add(c, "trusted_relays", &s->client_limits.exempt, &s->client_limits.exempt_count, value, line);
	conf_prefix_add(c, "trusted_relays", &s->auth.guard.exempt, &s->auth.guard.exempt_count, value, line);
}

static void bypass_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;

	conf_prefix_add(c, "bypass", &s->bypass, &s->bypass_count, value, line);
}

/* A field name (RFC 5322 2.2) that is the site's own: not one that means something to others. */
static void client_header_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	size_t len = strlen(value);

	if (len < 3 || len > 60 || (value[0] | 32) != 'x' || value[1] != '-' ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != len) {
		conf_error(c, line, "client_header: \"%s\" is no name of a header field of the site's own, expected one such as \"X-Client-Address\"",
			   value);
		return;
	}
	free(s->client_header);
	s->client_header = conf_copy(value);
}

static const struct conf_option top_options[] = {
	{ "hostname", CONF_CUSTOM, 0, .read = hostname_read },
	{ "authserv_id", CONF_CUSTOM, 0, .read = authserv_read },
	{ "domains", CONF_LIST, 0, .read = domain_read },
	{ "relay_networks", CONF_LIST, 0, .read = relay_read },
	{ "trusted_relays", CONF_LIST, 0, .read = trusted_read },
	{ "bypass", CONF_LIST, 0, .read = bypass_read },
	{ "client_header", CONF_CUSTOM, 0, .read = client_header_read },
	{ "mode", CONF_WORD, SITE(mode), "enforce", .words = modes },
	CONF_OPTION("policy", CONF_PATH, SITE(policy_path), "policy.conf"),
	CONF_OPTION("allow_list", CONF_PATH, SITE(allow_path), NULL),
	{ "user", CONF_CUSTOM, 0, .read = user_read },
	{ "keeper_user", CONF_CUSTOM, 0, .read = keeper_user_read },
	{ "key_user", CONF_CUSTOM, 0, .read = key_user_read },
	{ "directory_user", CONF_CUSTOM, 0, .read = directory_user_read },
	CONF_OPTION("sandbox", CONF_BOOL, SITE(sandbox), "yes"),
	{ "user_map", CONF_CUSTOM, 0, .read = conf_user_map_read },
	CONF_NUMBER("workers", CONF_INT, SITE(workers), "0", 0, 256),
	CONF_OPTION("state_dir", CONF_PATH, SITE(state_dir), "/var/lib/gatepost"),
	CONF_OPTION("control", CONF_PATH, SITE(control_path), NULL),
	CONF_NUMBER("known_senders", CONF_DURATION_S, SITE(known_s), "60d", 0, 400 * 86400),
	CONF_NUMBER("temperror_max", CONF_DURATION_S, SITE(temperror_max_s), "4h", 0, 7 * 86400),
	CONF_NUMBER("dnsbl_test_interval", CONF_DURATION_S, SITE(dnsbl_test_interval_s), "1h", 60,
	            86400),
	{ 0 },
};

static int text_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void hostname_default(struct conf *c, struct site *s)
{
	char name[256] = "";

	if (s->hostname)
		return;
	gethostname(name, sizeof name - 1);
	hostname_read(c, s, *name ? name : "localhost", 0);
	if (!s->hostname)
		s->hostname = conf_copy("localhost");   /* an error has been said */
	else if (!strchr(s->hostname, '.'))
		conf_warning(c, 0,
		             "hostname: is not set and this machine's, \"%s\", has no domain; "
		             "others may refuse it",
		             s->hostname);
}

static void top_close(struct conf *c, void *at, int line)
{
	struct site *s = at;

	hostname_default(c, s);
	if (!s->authserv_id)
		s->authserv_id = conf_copy(s->hostname);
	if (!conf_given(c, "domains"))
		conf_error(c, 0,
		           "domains: is not set, expected the domains whose mail is accepted");
	if (s->domain_count > 0)
		qsort(s->domains, s->domain_count, sizeof *s->domains, text_order);
	if (s->workers == 0)
		s->workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (s->workers < 1)
		s->workers = 1;
	if (s->state_dir && !s->control_path) {
		AUTO(buf) struct buf path = BUF_INIT(8192);

		buf_addf(&path, "%s/control", s->state_dir);
		s->control_path = conf_copy(buf_str(&path));
	}
}

const struct conf_section conf_top = { "", NULL, top_options, NULL, top_close };

bool site_accepts(const struct site *s, const char *domain)
{
	if (s->domain_count == 0)
		return false;
	if (bsearch(&domain, s->domains, s->domain_count, sizeof *s->domains, text_order))
		return true;
	for (const char *dot = strchr(domain, '.'); dot; dot = strchr(dot + 1, '.'))
		if (bsearch(&dot, s->domains, s->domain_count, sizeof *s->domains, text_order))
			return true;
	return false;
}

/* ---- recipients ---- */

static const char *const verifies[] = { "backend", "callout", "file", "none", "directory", NULL };

static void callout_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;

	if (net_parse_port(value, 0, &s->callout) < 0 || s->callout.port == 0) {
		conf_error(c, line,
		           "callout: \"%s\" is no address with a port, expected one such as "
		           "\"192.0.2.10:2525\"",
		           value);
		memset(&s->callout, 0, sizeof s->callout);
	}
}

/* An address or @domain, lower-case; blanks around it are dropped. NULL: it is neither. */
static char *recipient_text(char *line)
{
	char *p = line + strspn(line, " \t\r"), *at;
	char domain[DOMAIN_MAX], *out;
	AUTO(buf) struct buf b = BUF_INIT(1024);

	p[strcspn(p, "#")] = '\0';
	for (size_t n = strlen(p); n > 0 && strchr(" \t\r", p[n - 1]); n--)
		p[n - 1] = '\0';
	at = strrchr(p, '@');
	if (!at || strpbrk(p, " \t<>") || domain_canonical(at + 1, strlen(at + 1), domain) < 0)
		return NULL;
	for (char *q = p; q < at; q++)
		buf_addc(&b, *q >= 'A' && *q <= 'Z' ? (char)(*q + 32) : *q);
	buf_addf(&b, "@%s", domain);
	out = b.failed ? NULL : conf_copy(buf_str(&b));
	return out;
}

static void recipients_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	size_t len;
	char *text = conf_file(c, "file", value, line, &len), *rest = text, *entry, *path;
	int n = 0;

	if (!text)
		return;
	path = conf_path(c, value);
	while ((entry = strsep(&rest, "\n"))) {
		char *name;

		n++;
		if (!entry[strspn(entry, " \t\r")] || entry[strspn(entry, " \t\r")] == '#')
			continue;
		name = recipient_text(entry);
		if (!name) {
			buf_addf(c->other,
			         "%s:%d: \"%s\" is no recipient, expected \"user@example.com\", or "
			         "\"@example.com\" for a whole domain\n",
			         path, n, entry);
			continue;
		}
		s->verify_list =
			conf_grow(s->verify_list, &s->verify_list_count, sizeof *s->verify_list);
		s->verify_list[s->verify_list_count - 1] = name;
	}
	if (s->verify_list_count > 0)
		qsort(s->verify_list, s->verify_list_count, sizeof *s->verify_list, text_order);
	free(path);
	free(text);
}

static const struct conf_option recipients_options[] = {
	{ "verify", CONF_WORD, SITE(verify), "backend", .words = verifies },
	{ "callout", CONF_CUSTOM, 0, .read = callout_read },
	{ "file", CONF_CUSTOM, 0, .read = recipients_read },
	CONF_NUMBER("positive", CONF_DURATION_S, SITE(verify_positive_s), "7d", 0, 90 * 86400),
	CONF_NUMBER("negative", CONF_DURATION_S, SITE(verify_negative_s), "1h", 0, 7 * 86400),
	{ 0 },
};

static void recipients_close(struct conf *c, void *at, int line)
{
	struct site *s = at;

	if (s->verify == VERIFY_CALLOUT && !conf_given(c, "callout"))
		conf_error(c, line,
		           "recipients: verify = callout without callout, expected callout = "
		           "\"192.0.2.10:2525\"");
	if (s->verify != VERIFY_CALLOUT && s->callout.family)
		conf_warning(c, line, "recipients: callout plays no part without verify = callout");
	if (s->verify == VERIFY_FILE && !conf_given(c, "file"))
		conf_error(
			c, line,
			"recipients: verify = file without file, expected file = \"recipients\"");
	if (s->verify != VERIFY_FILE && s->verify_list_count > 0)
		conf_warning(c, line, "recipients: file plays no part without verify = file");
}

const struct conf_section conf_recipients = { "recipients", NULL, recipients_options, NULL,
	                                      recipients_close };

/* ---- tls ---- */

static void certificate_read(struct conf *c, void *at, const char *value, int line)
{
	conf_certificate(c, "certificate", value, line, &c->site->tls_cert_pem);
}

static void ca_certificate_read(struct conf *c, void *at, const char *value, int line)
{
	conf_certificate(c, "ca_certificate", value, line, &c->site->tls_ca_cert_pem);
}

static void key_read(struct conf *c, void *at, const char *value, int line)
{
	if (!c->command)
		c->site->tls_key = conf_key_add(c, KEY_FOR_TLS, "key", value, line);
}

static void ca_key_read(struct conf *c, void *at, const char *value, int line)
{
	if (!c->command)
		c->site->tls_ca_key = conf_key_add(c, KEY_FOR_CA, "ca_key", value, line);
}

static const struct conf_option tls_options[] = {
	CONF_OPTION("offer", CONF_BOOL, SITE(tls_offer), "yes"),
	{ "certificate", CONF_CUSTOM, 0, .read = certificate_read },
	{ "key", CONF_CUSTOM, 0, .read = key_read },
	{ "ca_certificate", CONF_CUSTOM, 0, .read = ca_certificate_read },
	{ "ca_key", CONF_CUSTOM, 0, .read = ca_key_read },
	{ 0 },
};

/* The site's own CA. */
static void own_ca_check(struct conf *c, const struct site *s, int line)
{
	bool cert = conf_given(c, "ca_certificate"), key = conf_given(c, "ca_key");

	if (cert != key)
		conf_error(c, line, "tls: %s without %s, expected both, or neither", cert ? "ca_certificate" : "ca_key", cert ? "ca_key" : "ca_certificate");
	else if (s->tls_ca_cert_pem && s->tls_ca_key >= 0)
		conf_key_certificate(c, s->tls_ca_key, s->tls_ca_cert_pem, line, "tls");
}

static void tls_close(struct conf *c, void *at, int line)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct site *s = at;
	bool cert = conf_given(c, "certificate"), key = conf_given(c, "key");

	own_ca_check(c, s, line);
	if (cert != key)
		conf_error(c, line,
		           "tls: %s without %s, expected both, or neither for a certificate made on "
		           "first start", cert ? "certificate" : "key",
		           cert ? "key" : "certificate");
	else if (s->tls_cert_pem && s->tls_key >= 0)
		conf_key_certificate(c, s->tls_key, s->tls_cert_pem, line, "tls");
	if (cert == key && s->tls_cert_pem && tls_certificate_doubt(s->tls_cert_pem, NULL, &err))
		conf_warning(c, line, "tls: the certificate %s", buf_str(&err));
}

const struct conf_section conf_tls = { "tls", NULL, tls_options, NULL, tls_close };
