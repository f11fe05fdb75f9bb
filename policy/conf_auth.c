/* conf_auth - gatepost.conf: logins with user name and password, and those that fail */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/sasl.h"
#include "policy/conf_table.h"

#define AUTH(field) offsetof(struct site, auth.field)

static void mechanism_read(struct conf *c, void *at, const char *value, int line)
{
	struct auth_conf *a = &((struct site *)at)->auth;
	unsigned bit = sasl_find(value, strlen(value));
	size_t len = strlen(value);
	char names[SASL_NAMES_MAX];

	a->mechanisms |= bit;
	if (bit)
		return;
	if (strcasecmp(value, "EXTERNAL") == 0 || (len > 5 && strcasecmp(value + len - 5, "-PLUS") == 0))
		conf_error(c, line, "mechanisms: %s hangs on the TLS connection, which ends here; expected some of %s", value,
			   sasl_names(~0u, names));
	else
		conf_error(c, line, "mechanisms: \"%s\" is not known, expected some of %s", value, sasl_names(~0u, names));
}

static void exempt_read(struct conf *c, void *at, const char *value, int line)
{
	struct login_guard_conf *g = &((struct site *)at)->auth.guard;

	conf_prefix_add(c, "exempt", &g->exempt, &g->exempt_count, value, line);
}

static void exempt_user_read(struct conf *c, void *at, const char *value, int line)
{
	struct login_guard_conf *g = &((struct site *)at)->auth.guard;

	if (!*value || strlen(value) > SASL_USER_MAX)
		conf_error(c, line, "exempt_users: \"%s\" is no name of a user, expected 1 to %d octets", value, SASL_USER_MAX);
	else
		conf_list_add(&g->exempt_users, &g->exempt_user_count, value);
}

static const struct conf_option auth_options[] = {
	CONF_OPTION("offer", CONF_BOOL, AUTH(offer), "yes"),
	CONF_OPTION("inbound", CONF_BOOL, AUTH(inbound), "no"),
	CONF_OPTION("plaintext", CONF_BOOL, AUTH(plaintext), "no"),
	{ "mechanisms", CONF_LIST, 0, .read = mechanism_read },
	CONF_NUMBER("slow_after", CONF_INT, AUTH(guard.slow_after), "3", 0, 1000000),
	CONF_NUMBER("slow_by", CONF_DURATION_MS, AUTH(guard.slow_ms), "2s", 0, 30000),
	CONF_NUMBER("refuse_after", CONF_INT, AUTH(guard.refuse_after), "10", 0, 1000000),
	CONF_NUMBER("refuse_for", CONF_DURATION_S, AUTH(guard.refuse_s), "15m", 1, 30 * 86400),
	CONF_NUMBER("forget_after", CONF_DURATION_S, AUTH(guard.forget_s), "1h", 1, 30 * 86400),
	CONF_NUMBER("account_slow_after", CONF_INT, AUTH(guard.account_slow_after), "10", 0, 1000000),
	CONF_NUMBER("account_refuse_after", CONF_INT, AUTH(guard.account_refuse_after), "30", 0, 1000000),
	CONF_NUMBER("trust_for", CONF_DURATION_S, AUTH(guard.trust_s), "30d", 0, 3650 * 86400),
	{ "exempt", CONF_LIST, 0, .read = exempt_read },
	{ "exempt_users", CONF_LIST, 0, .read = exempt_user_read },
	{ 0 },
};

/* What a listener is for, and cannot be so. */
static void listener_warnings(struct conf *c, const struct site *s, int line)
{
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];

		if (l->protocol != LISTENER_TCP && l->tls == LISTENER_TLS_IMPLICIT && !s->tls_offer)
			conf_error(c, l->line, "listener %s: tls = implicit has no certificate with tls { offer = no }, expected offer = yes", l->name);
		if (l->protocol != LISTENER_SMTP || l->direction != DIRECTION_SUBMISSION)
			continue;
		if (!s->auth.offer)
			conf_warning(c, line, "auth: offer = no, and at listener %s nobody can send without a login", l->name);
		else if ((l->tls == LISTENER_TLS_OFF || (l->tls == LISTENER_TLS_STARTTLS && !s->tls_offer)) && !s->auth.plaintext)
			conf_warning(c, l->line, "listener %s: has no TLS, and a login is offered in clear text with auth { plaintext = yes } alone: "
				     "nobody can send there", l->name);
	}
}

/* Passwords that were encrypted on their way here and are not behind. */
static void backend_warnings(struct conf *c, const struct site *s)
{
	for (size_t i = 0; i < s->backend_count; i++)
		for (size_t k = 0; k < s->listener_count; k++) {
			const struct listener_conf *l = &s->listener[k];

			if (l->protocol != LISTENER_SMTP || !site_offers_auth(s, l) || s->backend[i].tls != TLS_OFF ||
			    !listener_has_backend(s, l, &s->backend[i]))
				continue;
			conf_warning(c, s->backend[i].line, "backend %s: has tls = off: passwords from listener %s go there in clear text",
				     s->backend[i].name, l->name);
			break;
		}
}

static void auth_close(struct conf *c, void *at, int line)
{
	struct site *s = at;
	char names[SASL_NAMES_MAX];

	if (!conf_given(c, "mechanisms"))
		s->auth.mechanisms = SASL_DEFAULT;
	if (s->auth.mechanisms & SASL_CHANNEL_BOUND)
		conf_warning(c, line, "auth: %s may be bound to the TLS connection, which ends here; a server that insists on it (Exchange: extended "
			     "protection) refuses every such login", sasl_names(s->auth.mechanisms & SASL_CHANNEL_BOUND, names));
	if (s->auth.plaintext)
		conf_warning(c, line, "auth: plaintext = yes: whoever listens on the way reads the passwords");
	listener_warnings(c, s, line);
	backend_warnings(c, s);
}

const struct conf_section conf_auth = { "auth", NULL, auth_options, NULL, auth_close };

bool site_offers_auth(const struct site *s, const struct listener_conf *l)
{
	return s->auth.offer && (l->direction == DIRECTION_SUBMISSION || (l->direction == DIRECTION_INBOUND && s->auth.inbound));
}
