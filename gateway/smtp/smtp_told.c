#include "smtp/smtp_told.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/boundary.h"
#include "smtp/smtp_session.h"

enum { ATTRIBUTES_MAX = 16, VALUE_MAX = RECEIVED_NAME_MAX };

static bool unavailable(const char *value)
{
	return strcasecmp(value, "[UNAVAILABLE]") == 0 || strcasecmp(value, "[TEMPUNAVAIL]") == 0;
}

static int addr_take(const char *value, struct smtp_told *told)
{
	bool v6 = strncasecmp(value, "IPV6:", 5) == 0;
	struct net_addr a = { 0 };

	if (!unavailable(value) && (net_parse(v6 ? value + 5 : value, &a) < 0 || v6 != (strchr(v6 ? value + 5 : value, ':') != NULL)))
		return -EINVAL;
	told->r.addr = a;
	return 0;
}

static int helo_take(const char *value, struct smtp_told *told)
{
	told->r.helo[0] = '\0';
	if (unavailable(value))
		return 0;
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return -EINVAL;
	strcpy(told->r.helo, value);         /* VALUE_MAX is its size */
	return 0;
}

static int proto_take(const char *value, struct smtp_told *told)
{
	if (strcasecmp(value, "ESMTP") != 0 && strcasecmp(value, "SMTP") != 0 && !unavailable(value))
		return -EINVAL;
	told->r.esmtp = strcasecmp(value, "ESMTP") == 0;
	return 0;
}

/* LOCAL: it began on the relay, whatever else is said of it. */
static int source_take(const char *value, struct smtp_told *told)
{
	if (strcasecmp(value, "LOCAL") == 0)
		told->source_local = true;
	else if (strcasecmp(value, "REMOTE") == 0)
		told->source_local = false;
	else if (!unavailable(value))
		return -EINVAL;
	return 0;
}

static int nothing_take(const char *value, struct smtp_told *told)
{
	return 0;
}

static const struct {
	const char *name;
	bool xclient, xforward;
	int (*take)(const char *value, struct smtp_told *told);
} attributes[] = {
	{ "ADDR", true, true, addr_take },	   { "HELO", true, true, helo_take },	      { "PROTO", true, true, proto_take },  { "NAME", true, true, nothing_take },
	{ "PORT", true, true, nothing_take },	   { "LOGIN", true, false, nothing_take },    { "DESTADDR", true, false, nothing_take },
	{ "DESTPORT", true, false, nothing_take }, { "REVERSE_NAME", true, false, nothing_take }, { "IDENT", false, true, nothing_take }, { "SOURCE", false, true, source_take },
};

static int attribute(const char *p, size_t len, bool forward, struct smtp_told *told)
{
	const char *eq = memchr(p, '=', len);
	size_t n = eq ? (size_t)(eq - p) : 0;
	char value[VALUE_MAX];

	for (size_t i = 0; n > 0 && i < sizeof(attributes) / sizeof(*attributes); i++) {
		if (strlen(attributes[i].name) != n || strncasecmp(p, attributes[i].name, n) != 0 || !(forward ? attributes[i].xforward : attributes[i].xclient))
			continue;
		return n + 1 == len || smtp_xtext_decode(eq + 1, len - n - 1, value, sizeof(value)) <= 0 ? -EINVAL : attributes[i].take(value, told);
	}
	return -EINVAL;
}

int smtp_told_parse(const char *arg, size_t len, bool forward, struct smtp_told *told)
{
	struct smtp_told new = { .how = forward ? BOUNDARY_XFORWARD : BOUNDARY_XCLIENT };
	const char *end = arg + len;
	unsigned count = 0;

	/* What was said in another way is not mixed with it. */
	if (told->how == new.how)
		new = *told;
	while (arg < end) {
		const char *word = arg;

		while (arg < end && *arg != ' ')
			arg++;
		if (arg > word && (++count > ATTRIBUTES_MAX || attribute(word, (size_t)(arg - word), forward, &new) < 0))
			return -EINVAL;
		arg += arg < end;
	}
	if (count == 0)
		return -EINVAL;
	*told = new;
	return 0;
}

/* ---- the session ---- */

static int take(struct smtp_session *s, const struct smtp_command *c, bool forward)
{
	if (!s->trusted || s->client.relay)
		return -ENOENT;
	if (!s->told)
		s->told = calloc(1, sizeof(*s->told));
	if (!s->told)
		return -ENOMEM;
	return smtp_told_parse(c->arg, c->arg_len, forward, s->told);
}

static int refuse(struct smtp_session *s, int rc)
{
	return smtp_refuse(s, rc == -ENOENT ? "502 5.5.1 command not implemented" : rc == -ENOMEM ? "452 4.3.1 out of memory, try again later" :
										     "501 5.5.4 bad attribute or value");
}

int smtp_do_xforward(struct smtp_session *s, struct smtp_command *c)
{
	int rc = take(s, c, true);

	return rc < 0 ? refuse(s, rc) : smtp_say(s, "250 2.0.0 ok");
}

int smtp_do_xclient(struct smtp_session *s, struct smtp_command *c)
{
	int rc;

	if (s->told && s->trusted)      /* another client: nothing of the one before is its */
		memset(s->told, 0, sizeof(*s->told));
	rc = take(s, c, false);
	if (rc < 0)
		return refuse(s, rc);
	smtp_transaction_end(s);
	free(s->client.helo);
	s->client.helo = NULL;
	s->state = SMTP_GREETED;
	return smtp_sayf(s, "220 %s ESMTP", s->svc->site->hostname);
}

int smtp_told_begin(struct smtp_session *s, struct client *origin)
{
	struct received r;

	if (!s->told || s->told->how == BOUNDARY_DIRECT)
		return 0;
	r = s->told->r;
	if (s->told->source_local)
		r.addr.family = 0;
	return boundary_told(origin, s->svc->site, &r, s->told->how);
}

void smtp_told_end(struct smtp_session *s)
{
	if (s->told && s->told->how == BOUNDARY_XFORWARD)
		memset(s->told, 0, sizeof(*s->told));
}

void smtp_told_forget(struct smtp_session *s)
{
	free(s->told);
	s->told = NULL;
}

const struct client *smtp_told_client(const struct smtp_session *s)
{
	const struct client *c = s->t ? s->t->origin : NULL;

	return c && (c->boundary == BOUNDARY_XCLIENT || c->boundary == BOUNDARY_XFORWARD) ? c : &s->client;
}
