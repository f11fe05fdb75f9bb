#include "filters/milter_macro.h"

#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "policy/conf.h"

enum { SCRATCH = 600, NAME_MAX_OCTETS = 80 };

const char *milter_client_name(const struct client *c)
{
	const char *fcrdns = facts_word(&c->evidence.facts, "client.fcrdns");

	return fcrdns && strcmp(fcrdns, "pass") == 0 ? facts_word(&c->evidence.facts, "client.rdns") : NULL;
}

static const char *number(unsigned n, char *scratch)
{
	snprintf(scratch, SCRATCH, "%u", n);
	return scratch;
}

/* Of a refused recipient Sendmail and Postfix say the code and the text where others have host and address. */
static const char *refusal_part(const char *reply, bool code, char *scratch)
{
	size_t n = strlen(reply) > 4 ? strcspn(reply + 4, " ") : 0;

	if (n == 0)
		return "";
	snprintf(scratch, SCRATCH, "%.*s", code ? (int)n : 500, code ? reply + 4 : reply[4 + n] ? reply + 5 + n : "");
	return scratch;
}

/* ---- by name; NULL: not known ---- */

static const char *of_connection(const struct milter_scene *s, const char *name, char *scratch)
{
	const struct client *c = s->client ? s->client : s->txn->client;
	const char *host = milter_client_name(c);

	if (strcmp(name, "j") == 0)
		return s->txn->site->hostname;
	if (strcmp(name, "v") == 0) {
		snprintf(scratch, SCRATCH, "Gatepost %s", version_text());
		return scratch;
	}
	if (strcmp(name, "_") == 0) {
		snprintf(scratch, SCRATCH, c->addr.family == AF_INET6 ? "%s [IPv6:%s]" : "%s [%s]", host ? host : "unknown", c->ip);
		return scratch;
	}
	if (strcmp(name, "{daemon_name}") == 0)
		return s->daemon_name;
	if (strcmp(name, "{daemon_addr}") == 0 || strcmp(name, "{if_addr}") == 0)
		return s->local && s->local->family ? net_text(s->local, scratch) : NULL;
	if (strcmp(name, "{daemon_port}") == 0)
		return s->local && s->local->family ? number(s->local->port, scratch) : NULL;
	if (strcmp(name, "{client_addr}") == 0)
		return c->ip;
	if (strcmp(name, "{client_name}") == 0 || strcmp(name, "{client_ptr}") == 0)
		return host ? host : "unknown";
	if (strcmp(name, "{client_port}") == 0)
		return c->addr.port ? number(c->addr.port, scratch) : NULL;
	if (strcmp(name, "{tls_version}") == 0)
		return c->tls_version;
	if (strcmp(name, "{cipher}") == 0)
		return c->tls_cipher;
	if (strcmp(name, "{auth_type}") == 0)
		return c->auth_user ? c->auth_mechanism : NULL;
	if (strcmp(name, "{auth_authen}") == 0)
		return c->auth_user && c->auth_user[0] ? c->auth_user : NULL;
	return NULL;
}

static const char *of_message(const struct milter_scene *s, const char *name, char *scratch)
{
	const struct envelope *env = &s->txn->env;

	if (!env->from)
		return NULL;
	if (strcmp(name, "i") == 0)
		return s->txn->id;
	if (strcmp(name, "{mail_addr}") == 0)
		return env->from;
	if (strcmp(name, "{mail_host}") == 0)
		return env->from_domain && env->from_domain[0] ? env->from_domain : NULL;
	if (strcmp(name, "{mail_mailer}") == 0)
		return "smtp";
	if (strcmp(name, "{nrcpts}") == 0)
		return number((unsigned)env->rcpt_count, scratch);
	if (!s->rcpt)
		return NULL;
	if (strcmp(name, "{rcpt_addr}") == 0)
		return s->refusal ? refusal_part(s->refusal, false, scratch) : s->rcpt;
	if (strcmp(name, "{rcpt_host}") == 0)
		return s->refusal ? refusal_part(s->refusal, true, scratch) : s->rcpt_host;
	if (strcmp(name, "{rcpt_mailer}") == 0)
		return s->refusal ? "error" : "smtp";
	return NULL;
}

const char *milter_macro(const struct milter_scene *s, const char *name, char *scratch)
{
	const char *value = of_connection(s, name, scratch);

	return value ? value : of_message(s, name, scratch);
}

int milter_macro_put(const struct milter_scene *s, const char *names, enum milter_command c, struct buf *out)
{
	struct milter_macros m;
	char name[NAME_MAX_OCTETS], scratch[SCRATCH];

	milter_macros_begin(&m, out, c);
	for (int count = 0; *names && count < MILTER_SYMBOLS_MAX; count++) {
		size_t n = strcspn(names, " ,\t");
		const char *value;

		if (n > 0 && n < sizeof(name)) {
			snprintf(name, sizeof(name), "%.*s", (int)n, names);
			value = milter_macro(s, name, scratch);
			if (value)
				milter_macros_add(&m, name, value);
		}
		names += n;
		names += strspn(names, " ,\t");
	}
	return milter_macros_end(&m);
}
