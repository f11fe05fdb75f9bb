/* conf_milter - gatepost.conf: mail filters that speak the milter protocol */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/conf_table.h"

#define MILTER(field) offsetof(struct milter_conf, field)

enum { MILTERS_MAX = 16, MACRO_NAME_MAX = 64, MACROS_BYTES_MAX = 2000 };

/* What Postfix sends by default (postconf -d milter_connect_macros and so on), and Sendmail nearly. */
static const char *const default_macros[MILTER_MOMENTS] = {
	[MILTER_AT_CONNECT] = "j {daemon_name} {daemon_addr} v _",
	[MILTER_AT_HELO] = "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}",
	[MILTER_AT_MAIL] = "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}",
	[MILTER_AT_RCPT] = "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
	[MILTER_AT_DATA] = "i",
	[MILTER_AT_END] = "i",
	[MILTER_AT_HEADER_END] = "i",
};

/* "inet:8891@localhost" and "inet:localhost:8891", "unix:/run/x.sock" and "local:/run/x.sock", as milters and mail servers write them. */
static void address_read(struct conf *c, void *at, const char *value, int line)
{
	AUTO(buf) struct buf text = BUF_INIT(2000);
	const char *p = value, *sign;

	if (strncmp(p, "inet:", 5) == 0)
		p += 5;
	else if (strncmp(p, "inet6:", 6) == 0)
		p += 6;
	sign = p == value ? NULL : strchr(p, '@');
	if (sign && strchr(sign, ':') && sign[1] != '[')
		buf_addf(&text, "[%s]:%.*s", sign + 1, (int)(sign - p), p);
	else if (sign)
		buf_addf(&text, "%s:%.*s", sign + 1, (int)(sign - p), p);
	else if (strncmp(p, "local:", 6) == 0)
		buf_addf(&text, "unix:%s", p + 6);
	else
		buf_adds(&text, p);
	conf_daemon_address(c, at, buf_str(&text), line);
}

/* The words of Postfix, too. */
static void away_read(struct conf *c, void *at, const char *value, int line)
{
	struct milter_conf *m = at;

	if (strcmp(value, "defer") == 0 || strcmp(value, "tempfail") == 0)
		m->daemon.away = DAEMON_AWAY_DEFER;
	else if (strcmp(value, "pass") == 0 || strcmp(value, "accept") == 0)
		m->daemon.away = DAEMON_AWAY_PASS;
	else
		conf_error(c, line, "away: \"%.60s\" is none, expected defer or pass", value);
}

static void direction_read(struct conf *c, void *at, const char *value, int line)
{
	static const char *const words[] = { "inbound", "submission", "outbound", NULL };
	struct milter_conf *m = at;

	for (unsigned i = 0; words[i]; i++)
		if (strcmp(value, words[i]) == 0) {
			m->directions |= 1u << i;
			return;
		}
	conf_error(c, line, "directions: \"%.60s\" is none, expected inbound, submission or outbound", value);
}

static void listener_read(struct conf *c, void *at, const char *value, int line)
{
	struct milter_conf *m = at;

	conf_list_add(&m->listeners, &m->listener_count, value);
}

/* "i", "{auth_authen}" */
static bool macro_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 1)
		return isgraph((unsigned char)name[0]) && !strchr("{},", name[0]);
	if (len < 3 || len > MACRO_NAME_MAX || name[0] != '{' || name[len - 1] != '}')
		return false;
	for (size_t i = 1; i < len - 1; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	return true;
}

/* One more of a moment. The names are kept as the protocol says them, with blanks between. */
static void macro_read(struct conf *c, void *at, enum milter_moment moment, const char *option, const char *value, int line)
{
	struct milter_conf *m = at;
	char *was = m->macros[moment], *now;

	if (!macro_ok(value)) {
		conf_error(c, line, "%s: \"%.80s\" is no macro, expected one such as \"i\" or \"{auth_authen}\"", option, value);
		return;
	}
	if (was && strlen(was) > MACROS_BYTES_MAX) {
		conf_error(c, line, "%s: more than %d octets of names", option, MACROS_BYTES_MAX);
		return;
	}
	if (asprintf(&now, "%s%s%s", was ? was : "", was ? " " : "", value) < 0)
		conf_no_memory();
	free(was);
	m->macros[moment] = now;
}

#define MACROS_READER(name, moment)                                                                \
	static void name##_read(struct conf *c, void *at, const char *value, int line)             \
	{                                                                                          \
		macro_read(c, at, moment, #name, value, line);                                     \
	}

MACROS_READER(connect_macros, MILTER_AT_CONNECT)
MACROS_READER(helo_macros, MILTER_AT_HELO)
MACROS_READER(mail_macros, MILTER_AT_MAIL)
MACROS_READER(rcpt_macros, MILTER_AT_RCPT)
MACROS_READER(data_macros, MILTER_AT_DATA)
MACROS_READER(end_of_header_macros, MILTER_AT_HEADER_END)
MACROS_READER(end_of_data_macros, MILTER_AT_END)

/* max_connections: a session with a client holds one as long as it lasts. */
static const struct conf_option milter_options[] = {
	{ "address", CONF_LIST, 0, .read = address_read },
	CONF_NUMBER("max_connections", CONF_INT, MILTER(daemon.max_connections), "1000", 1, 10000),
	CONF_NUMBER("connect_timeout", CONF_DURATION_MS, MILTER(daemon.connect_timeout_ms), "10s", 100, 60000),
	CONF_NUMBER("command_timeout", CONF_DURATION_MS, MILTER(command_ms), "30s", 100, 240000),
	CONF_NUMBER("content_timeout", CONF_DURATION_MS, MILTER(content_ms), "4m", 100, 480000),
	CONF_NUMBER("protocol", CONF_INT, MILTER(protocol), "6", MILTER_VERSION_MIN, MILTER_VERSION),
	{ "away", CONF_CUSTOM, 0, .value = "defer", .read = away_read },
	{ "directions", CONF_LIST, 0, .read = direction_read },
	{ "listeners", CONF_LIST, 0, .read = listener_read },
	CONF_OPTION("daemon_name", CONF_TEXT, MILTER(daemon_name), NULL),
	{ "connect_macros", CONF_LIST, 0, .read = connect_macros_read },
	{ "helo_macros", CONF_LIST, 0, .read = helo_macros_read },
	{ "mail_macros", CONF_LIST, 0, .read = mail_macros_read },
	{ "rcpt_macros", CONF_LIST, 0, .read = rcpt_macros_read },
	{ "data_macros", CONF_LIST, 0, .read = data_macros_read },
	{ "end_of_header_macros", CONF_LIST, 0, .read = end_of_header_macros_read },
	{ "end_of_data_macros", CONF_LIST, 0, .read = end_of_data_macros_read },
	{ 0 },
};

static void *milter_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	struct milter_conf *m;

	if (!conf_title_ok(c, "milter", title, line))
		return NULL;
	if (s->milter_count == MILTERS_MAX) {
		conf_error(c, line, "milter %s: one too many, expected at most %d", title, MILTERS_MAX);
		return NULL;
	}
	for (size_t i = 0; i < s->milter_count; i++)
		if (strcmp(s->milter[i]->daemon.name, title) == 0) {
			conf_error(c, line, "milter %s: comes twice, expected another name", title);
			return NULL;
		}
	m = calloc(1, sizeof(*m));
	if (!m)
		conf_no_memory();
	m->daemon.name = conf_copy(title);
	m->daemon.max_size = UINT64_MAX;
	s->milter = conf_grow(s->milter, &s->milter_count, sizeof(*s->milter));
	s->milter[s->milter_count - 1] = m;
	return m;
}

static void milter_close(struct conf *c, void *at, int line)
{
	struct milter_conf *m = at;

	m->daemon.timeout_ms = m->command_ms;
	if (!m->daemon.address_count && !conf_given(c, "address"))
		conf_error(c, line, "milter %s: has no address, expected one such as address = { \"inet:8891@localhost\" } or { \"unix:/run/opendkim/opendkim.sock\" }",
			   m->daemon.name);
	if (!m->directions)
		m->directions = ~0u;
	for (int i = 0; i < MILTER_MOMENTS; i++)
		if (!m->macros[i])
			m->macros[i] = conf_copy(default_macros[i]);
	m->daemon.line = line;
}

const struct conf_section conf_milter = { "milter", "name", milter_options, milter_open, milter_close };

static bool is_smtp_listener(const struct site *s, const char *name)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (strcmp(s->listener[i].name, name) == 0)
			return s->listener[i].protocol == LISTENER_SMTP;
	return false;
}

void conf_milter_check(struct conf *c)
{
	const struct site *s = c->site;

	for (size_t i = 0; i < s->milter_count; i++) {
		struct milter_conf *m = s->milter[i];

		conf_daemon_add(c, &m->daemon, m->daemon.name, m->daemon.line);
		for (size_t k = 0; k < m->listener_count; k++)
			if (!is_smtp_listener(s, m->listeners[k]))
				conf_error(c, m->daemon.line, "milter %s: \"%.80s\" is no listener that speaks SMTP", m->daemon.name, m->listeners[k]);
	}
}

void conf_milter_policy(struct conf *c)
{
	const struct site *s = c->site;
	int id = fact_find("milter.action", 13);

	if (!s->milter_count || !s->policy || id == FACT_NONE || (policy_filters(s->policy) & 1u << fact_owner(id)))
		return;
	conf_warning(c, s->milter[0]->daemon.line, "milter %s: no rule of the policy asks for milter.action: what a milter refuses is taken all the same",
		     s->milter[0]->daemon.name);
}

void conf_milter_free(struct site *s)
{
	for (size_t i = 0; i < s->milter_count; i++) {
		struct milter_conf *m = s->milter[i];

		conf_daemon_free(&m->daemon);
		for (size_t k = 0; k < m->listener_count; k++)
			free(m->listeners[k]);
		free(m->listeners);
		free(m->daemon_name);
		for (int k = 0; k < MILTER_MOMENTS; k++)
			free(m->macros[k]);
		free(m);
	}
	free(s->milter);
}
