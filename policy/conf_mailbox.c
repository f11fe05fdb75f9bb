/* conf_mailbox - gatepost.conf: what of listeners and servers for POP3 and IMAP reads well, and yet is not what anybody wants */
#include <string.h>

#include "filters/fact.h"
#include "policy/conf_table.h"
#include "policy/policy.h"

static bool is_mailbox(enum listener_protocol p)
{
	return p == LISTENER_POP3 || p == LISTENER_IMAP;
}

static void plaintext_check(struct conf *c, const struct listener_conf *l, int line)
{
	if (l->tls == LISTENER_TLS_OFF && l->plaintext == PLAINTEXT_REFUSE)
		conf_warning(c, line, "listener %s: plaintext = refuse wants TLS, and tls = off offers none: no password is taken there, expected tls = starttls or "
			     "implicit", l->name);
	else if (l->tls != LISTENER_TLS_IMPLICIT && l->plaintext == PLAINTEXT_PASS)
		conf_warning(c, line, "listener %s: passwords may come in clear text, as the server behind allows it, and whoever listens on the way reads "
			     "them; when all clients use TLS, say plaintext = refuse", l->name);
}

void conf_mailbox_listener(struct conf *c, const struct listener_conf *l, int line)
{
	int port = l->intercept ? l->intercept : l->address.port;

	if (l->protocol != LISTENER_TCP && l->tls <= LISTENER_TLS_STARTTLS && conf_implicit_by_port(port))
		conf_warning(c, line, "listener %s: clients begin with TLS on port %d, and do not get it, expected tls = implicit", l->name, port);
	if (!is_mailbox(l->protocol)) {
		if (conf_given(c, "scan") || conf_given(c, "plaintext") || conf_given(c, "login_timeout"))
			conf_warning(c, line, "listener %s: scan, plaintext and login_timeout play no part without protocol = imap or pop3", l->name);
		return;
	}
	if (conf_given(c, "direction"))
		conf_warning(c, line, "listener %s: direction plays no part without protocol = smtp", l->name);
	if (l->tls < LISTENER_TLS_HIDE)         /* said already */
		plaintext_check(c, l, line);
}

void conf_mailbox_backend(struct conf *c, const struct backend_conf *b, int line)
{
	enum listener_protocol usual = conf_protocol_by_port(b->port);

	if (is_mailbox(usual) && b->protocol != usual && b->protocol != LISTENER_TCP)
		conf_warning(c, line, "backend %s: speaks %s, and port %d is for %s, expected another port or protocol", b->name, conf_protocol_word(b->protocol),
			     b->port, conf_protocol_word(usual));
	if (b->protocol != LISTENER_TCP && conf_implicit_by_port(b->port) && (!b->implicit_tls || b->tls == TLS_OFF))
		conf_warning(c, line, "backend %s: port %d begins with TLS, expected %s", b->name, b->port,
			     b->implicit_tls ? "tls = required, or opportunistic" : "implicit_tls = yes");
}

/* --- scan = yes, and rules that hold nothing back --- */

static const struct fact *get_direction(void *arg, int id, bool *final)
{
	*final = false;
	return facts_get(arg, id);
}

static bool holds_back(enum action a)
{
	return a == ACTION_QUARANTINE || a == ACTION_REJECT || a == ACTION_DISCARD || a == ACTION_REDIRECT;
}

/* Whether a rule can hold back what is fetched, by all that is known before there is a message. */
static bool any_holds_back(const struct policy *p, struct facts *known)
{
	struct policy_facts f = { .get = get_direction, .arg = known };

	for (size_t i = 0; i < policy_rule_count(p); i++) {
		const struct rule *r = policy_rule(p, i);
		enum truth t;

		if (r->observe || (!holds_back(r->action) && r->action != ACTION_ACCEPT))
			continue;
		t = policy_truth(p, r, &f, NULL);
		if (t != TRUTH_FALSE && holds_back(r->action))
			return true;
		if (t == TRUTH_TRUE)
			return false;
	}
	return false;
}

void conf_mailbox_policy(struct conf *c)
{
	const struct site *s = c->site;
	struct facts known = { 0 };

	if (fact_find("direction", strlen("direction")) == FACT_NONE)
		return;                 /* who reads the file has no filters */
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];

		if (!is_mailbox(l->protocol) || !l->scan || (known.count == 0 && facts_set(&known, "direction", "retrieval") < 0))
			continue;
		if (!any_holds_back(s->policy, &known))
			conf_warning(c, l->line, "listener %s: scan = yes, and no rule holds back what is fetched, expected one above \"accept fetched\", "
				     "such as: quarantine bad: if direction = retrieval and attachment.extension in (exe, scr)", l->name);
	}
	facts_release(&known);
}
