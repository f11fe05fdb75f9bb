/* conf_listener - gatepost.conf: what is listened on, and what is served there */
#include <stdlib.h>
#include <string.h>

#include "policy/conf_table.h"

#define LISTENER(field) offsetof(struct listener_conf, field)

enum { MAILBOX_PER_CLIENT = 2000 };       /* a mail program has five connections or more, and an office one address */

static const char *const protocols[] = { "smtp", "tcp", "pop3", "imap", NULL };
static const char *const plaintext_words[] = { "pass", "refuse", NULL };
static const char *const directions[] = { "inbound", "submission", "outbound", NULL };
static const char *const tls_words[] = { "off", "starttls", "implicit", "hide", "own-ca", "pass", NULL };

static void address_read(struct conf *c, void *at, const char *value, int line)
{
	struct listener_conf *l = at;

	if (net_parse_port(value, 25, &l->address) < 0) {
		conf_error(c, line,
		           "address: \"%s\" is no address, expected one such as \"0.0.0.0:25\" or "
		           "\"[::]:25\"",
		           value);
		memset(&l->address, 0, sizeof l->address);
	}
}

static void backends_read(struct conf *c, void *at, const char *value, int line)
{
	struct listener_conf *l = at;

	conf_list_add(&l->backends, &l->backend_count, value);
}

static void proxy_from_read(struct conf *c, void *at, const char *value, int line)
{
	struct listener_conf *l = at;

	conf_prefix_add(c, "proxy_from", &l->proxy_from, &l->proxy_from_count, value, line);
}

static const struct conf_option listener_options[] = {
	{ "protocol", CONF_WORD, LISTENER(protocol), "smtp", .words = protocols },
	{ "address", CONF_CUSTOM, 0, .read = address_read },
	{ "direction", CONF_WORD, LISTENER(direction), "inbound", .words = directions },
	{ "tls", CONF_WORD, LISTENER(tls), "starttls", .words = tls_words },
	CONF_OPTION("transparent", CONF_BOOL, LISTENER(transparent), "no"),
	CONF_NUMBER("intercept", CONF_INT, LISTENER(intercept), "0", 0, 65535),
	{ "backends", CONF_LIST, 0, .read = backends_read },
	{ "proxy_from", CONF_LIST, 0, .read = proxy_from_read },
	CONF_NUMBER("max_connections", CONF_INT, LISTENER(max_connections), "10000", 1, 1000000),
	CONF_NUMBER("max_per_client", CONF_INT, LISTENER(max_per_client), "200", 1, 1000000),
	CONF_NUMBER("idle_timeout", CONF_DURATION_MS, LISTENER(idle_timeout_ms), "1h", 1000, 7 * 24 * 3600 * 1000),
	CONF_NUMBER("login_timeout", CONF_DURATION_MS, LISTENER(login_timeout_ms), "3m", 1000, 3600 * 1000),
	{ "plaintext", CONF_WORD, LISTENER(plaintext), "pass", .words = plaintext_words },
	CONF_OPTION("scan", CONF_BOOL, LISTENER(scan), "no"),
	{ 0 },
};

static void *listener_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	struct listener_conf *l;

	if (!conf_title_ok(c, "listener", title, line))
		return NULL;
	s->listener = conf_grow(s->listener, &s->listener_count, sizeof *s->listener);
	l = &s->listener[s->listener_count - 1];
	l->name = conf_copy(title);
	l->line = line;
	return l;
}

static bool is_mailbox(enum listener_protocol p)
{
	return p == LISTENER_POP3 || p == LISTENER_IMAP;
}

const char *conf_protocol_word(enum listener_protocol p)
{
	return protocols[p];
}

/* What is spoken at a port, unless the file says otherwise. */
enum listener_protocol conf_protocol_by_port(int port)
{
	switch (port) {
	case 110:
	case 995:
		return LISTENER_POP3;
	case 143:
	case 585:
	case 993:
		return LISTENER_IMAP;
	}
	return LISTENER_SMTP;
}

bool conf_implicit_by_port(int port)
{
	return port == 465 || port == 585 || port == 993 || port == 995;
}

/* What the port is for says what is served there, unless the file does. */
static void defaults_by_port(struct conf *c, struct listener_conf *l)
{
	int port = l->intercept ? l->intercept : l->address.port;

	if (!conf_given(c, "protocol"))
		l->protocol = conf_protocol_by_port(port);
	if (l->protocol == LISTENER_SMTP && (port == 587 || port == 465) && !conf_given(c, "direction"))
		l->direction = DIRECTION_SUBMISSION;
	if (is_mailbox(l->protocol) && !conf_given(c, "max_per_client"))
		l->max_per_client = MAILBOX_PER_CLIENT;
	if (l->protocol != LISTENER_TCP && conf_implicit_by_port(port) && !conf_given(c, "tls"))
		l->tls = LISTENER_TLS_IMPLICIT;
}

static void listener_close(struct conf *c, void *at, int line)
{
	struct listener_conf *l = at;

	if (!conf_given(c, "address"))
		conf_error(c, line,
		           "listener %s: has no address, expected one such as address = "
		           "\"0.0.0.0:25\"",
		           l->name);
	defaults_by_port(c, l);
	conf_mailbox_listener(c, l, line);
	if (l->intercept && !l->transparent)
		conf_error(c, line, "listener %s: intercept is for transparent = yes alone", l->name);
	if (l->tls >= LISTENER_TLS_HIDE && (l->direction != DIRECTION_OUTBOUND || !l->transparent))
		conf_error(c, line, "listener %s: tls = %s is for transparent = yes and direction = outbound alone", l->name, tls_words[l->tls]);
	for (const struct listener_conf *o = c->site->listener; l->address.family && o < l; o++)
		if (net_same_ip(&o->address, &l->address) && o->address.port == l->address.port)
			conf_error(c, line,
			           "listener %s: has the address of listener %s, expected another",
			           l->name, o->name);
}

const struct conf_section conf_listener = { "listener", "name", listener_options, listener_open,
	                                    listener_close };

static bool names(const struct listener_conf *l, const char *backend)
{
	for (size_t i = 0; i < l->backend_count; i++)
		if (strcmp(l->backends[i], backend) == 0)
			return true;
	return false;
}

static bool named_by_any(const struct site *s, const char *backend)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (names(&s->listener[i], backend))
			return true;
	return false;
}

static bool leads_to(const struct site *s, const struct backend_conf *b)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (listener_has_backend(s, &s->listener[i], b))
			return true;
	return site_domain_names(s, b) || conf_led_to(s, b);
}

static int usual_port(enum listener_protocol p)
{
	return p == LISTENER_POP3 ? 110 : p == LISTENER_IMAP ? 143 : 25;
}

/* Who adds a listener for submission, and nothing else, has none on port 25 any more. */
static void idle_backends_check(struct conf *c)
{
	const struct site *s = c->site;

	for (size_t i = 0; i < s->backend_count; i++) {
		const struct backend_conf *b = &s->backend[i];

		if (leads_to(s, b))
			continue;
		if (b->protocol == LISTENER_TCP)
			conf_warning(c, b->line, "backend %s: no listener leads to it, expected one with backends = { \"%s\" }", b->name, b->name);
		else
			conf_warning(c, b->line, "backend %s: no listener leads to it, expected one that does, such as listener %s { address = \"0.0.0.0:%d\" }",
				     b->name, protocols[b->protocol], usual_port(b->protocol));
	}
}

static void backend_name_check(struct conf *c, const struct listener_conf *l, const char *name)
{
	const struct backend_conf *b = site_backend(c->site, name);

	if (!b)
		conf_error(c, l->line, "listener %s: there is no backend \"%s\"", l->name, name);
	else if (l->protocol != LISTENER_TCP && b->protocol != l->protocol)
		conf_error(c, l->line, "listener %s: speaks %s, and backend %s speaks %s, expected one that speaks the same", l->name, protocols[l->protocol],
			   name, protocols[b->protocol]);
}

static bool has_any_backend(const struct site *s, const struct listener_conf *l)
{
	for (size_t i = 0; i < s->backend_count; i++)
		if (listener_has_backend(s, l, &s->backend[i]))
			return true;
	return false;
}

void conf_listener_check(struct conf *c)
{
	struct site *s = c->site;

	if (s->listener_count > SITE_LISTENERS_MAX)
		conf_error(c, s->listener[SITE_LISTENERS_MAX].line, "listener %s: more than %d", s->listener[SITE_LISTENERS_MAX].name, SITE_LISTENERS_MAX);
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];

		for (size_t k = 0; k < l->backend_count; k++)
			backend_name_check(c, l, l->backends[k]);
		if (l->tls == LISTENER_TLS_OWN_CA && !s->tls_ca_cert_pem && !c->command)
			conf_error(c, l->line, "listener %s: tls = own-ca needs ca_certificate and ca_key in section tls", l->name);
		if (l->protocol == LISTENER_TCP && l->backend_count == 0)
			conf_error(c, l->line, "listener %s: protocol = tcp needs backends = { \"name\" }", l->name);
		if (is_mailbox(l->protocol) && l->backend_count == 0 && !has_any_backend(s, l))
			conf_error(c, l->line, "listener %s: there is no backend that speaks %s, expected one such as backend store { address = \"10.0.0.5:%d\" }",
				   l->name, protocols[l->protocol], usual_port(l->protocol));
		if (l->protocol == LISTENER_SMTP && l->direction != DIRECTION_OUTBOUND && l->backend_count == 0 && s->backend_count > 0 && !has_any_backend(s, l))
			conf_warning(c, l->line, "listener %s: there is no backend that speaks smtp, and mail that comes here has nowhere to go; "
				     "if users fetch theirs here, say protocol = imap, or pop3", l->name);
		if (l->direction == DIRECTION_OUTBOUND && s->relay_network_count == 0)
			conf_warning(c, l->line, "listener %s: direction = outbound serves relay_networks alone, and there are none", l->name);
	}
	idle_backends_check(c);
}

const struct backend_conf *site_backend(const struct site *s, const char *name)
{
	for (size_t i = 0; i < s->backend_count; i++)
		if (strcmp(s->backend[i].name, name) == 0)
			return &s->backend[i];
	return NULL;
}

/* Whether there are backends that neither a listener nor a domain names. */
static bool any_free(const struct site *s, enum listener_protocol protocol)
{
	for (size_t i = 0; i < s->backend_count; i++)
		if (s->backend[i].protocol == protocol && !named_by_any(s, s->backend[i].name) && !site_domain_names(s, &s->backend[i]))
			return true;
	return false;
}

/* The listener whose backends stand for those of listeners of this protocol without any; NULL: there are backends that no listener names. */
static const struct listener_conf *stands_for_all(const struct site *s, enum listener_protocol protocol)
{
	if (any_free(s, protocol))
		return NULL;
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].protocol == protocol && s->listener[i].backend_count > 0 &&
		    (protocol != LISTENER_SMTP || s->listener[i].direction == DIRECTION_INBOUND))
			return &s->listener[i];
	return NULL;
}

bool listener_has_backend(const struct site *s, const struct listener_conf *l, const struct backend_conf *b)
{
	enum listener_protocol protocol = l ? l->protocol : LISTENER_SMTP;
	bool chosen = l && l->transparent;      /* by the client, who may choose one that a domain names */

	if (protocol != LISTENER_TCP && b->protocol != protocol)
		return false;
	if (l && l->backend_count > 0)
		return names(l, b->name);
	l = stands_for_all(s, protocol);
	if (l && names(l, b->name))
		return true;
	if (named_by_any(s, b->name))
		return false;
	return site_domain_names(s, b) ? chosen || (!l && !any_free(s, protocol)) : !l;
}

bool site_in_networks(const struct net_prefix *list, size_t count, const struct net_addr *a)
{
	for (size_t i = 0; i < count; i++)
		if (net_in(a, &list[i]))
			return true;
	return false;
}
