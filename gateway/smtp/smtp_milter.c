/* What milters have changed is what leaves: message, sender, recipients. */
#include "smtp/smtp_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "filters/milter.h"
#include "filters/milter_mail.h"
#include "hop/delivery.h"
#include "smtp/outgoing.h"
#include "smtp/smtp_address.h"
#include "smtp/smtp_groups.h"

static const char out_of_memory[] = "452 4.3.1 out of memory, try again later";
static const char not_asked[] = "451 4.7.1 a mail filter could not be asked, try again later";

int smtp_milter_begin(struct smtp_session *s)
{
	int rc = 0;

	if (!s->milters)
		s->milters = milters_new(s->svc->site, s->svc->daemons, &s->client, s->listener, &s->local, &rc);
	return rc;
}

/* ---- recipients ---- */

static void log_added(const struct smtp_session *s, const char *address, const char *why)
{
	log_warning("milter-recipient-refused", "tx", s->t->txn.id, "client", s->client.ip, "recipient", address, "why", why, NULL);
}

/*
 * The doors are those of RCPT: who is no one of ours sends to no other domains by way of a milter either, and no address is a second one in disguise. NULL, or
 * why not.
 */
static const char *door(const struct smtp_session *s, const char *address)
{
	struct smtp_mailbox to;
	char domain[SMTP_DOMAIN_MAX + 1];
	bool local;

	if (smtp_mailbox_parse(address, strlen(address), s->t->utf8 ? MAILBOX_UTF8 : 0, &to) != ADDRESS_OK || !to.domain[0] ||
	    smtp_domain_ascii(to.domain, domain) < 0)
		return "no address with a domain";
	local = site_accepts(s->svc->site, domain);
	if (!local && !s->client.relay && !s->login)
		return "relaying denied";
	return to.trick && local && !s->login ? "a second address in the local part" : NULL;
}

static struct delivery_target *target_of(const struct smtp_group *g, const char *address)
{
	for (size_t i = 0; i < g->target_count; i++)
		if (strcasecmp(g->target[i].address, address) == 0)
			return &g->target[i];
	return NULL;
}

/* Who was to have a copy is a recipient now: a copy may get lost. */
static void add_one(struct smtp_group *g, const struct milter_rcpt *to)
{
	struct delivery_target *t = target_of(g, to->address);

	if (!t)
		t = &g->target[g->target_count++];
	else if (!t->copy)
		return;
	*t = (struct delivery_target){ .address = to->address, .params = to->params, .instead_of = g->rcpt[0]->address };
}

static int add_all(const struct smtp_session *s, struct smtp_group *g, const struct milter_mail *mail)
{
	struct delivery_target *more = reallocarray(g->target, g->target_count + mail->added_count + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	g->target = more;
	for (size_t i = 0; i < mail->added_count; i++) {
		const char *address = mail->added[i].address, *why = door(s, address);

		if (!why && s->t->txn.env.rcpt_count + i >= (size_t)s->svc->site->limits.recipients)
			why = "too many recipients";
		if (why)
			log_added(s, address, why);
		else
			add_one(g, &mail->added[i]);
	}
	return 0;
}

static bool is_deleted_rcpt(const struct smtp_session *s, const struct milter_mail *mail, const struct recipient *r)
{
	return mail->deleted && mail->deleted[r - s->t->txn.env.rcpt];
}

/* Several may be redirected to one address, which is there once, in the name of the first. */
static bool others_want(const struct smtp_session *s, const struct smtp_group *g, const struct milter_mail *mail, const char *address)
{
	for (size_t i = 0; i < g->count; i++) {
		const char *to = is_deleted_rcpt(s, mail, g->rcpt[i]) ? NULL : smtp_redirect(g->judge[i]);

		if (to && strcasecmp(to, address) == 0)
			return true;
	}
	return false;
}

/* Whether a target is there for a recipient that milters have deleted: himself, or what the policy has put in his place. */
static bool is_deleted(const struct smtp_session *s, const struct smtp_group *g, const struct milter_mail *mail, const struct delivery_target *t)
{
	const struct envelope *env = &s->t->txn.env;

	for (size_t i = 0; mail->deleted && i < env->rcpt_count; i++)
		if (mail->deleted[i] && !t->copy && (t->address == env->rcpt[i].address || t->instead_of == env->rcpt[i].address))
			return !others_want(s, g, mail, t->address);
	return false;
}

static void delete_all(const struct smtp_session *s, struct smtp_group *g, const struct milter_mail *mail)
{
	size_t n = 0;

	for (size_t i = 0; i < g->target_count; i++) {
		if (is_deleted(s, g, mail, &g->target[i]))
			log_notice("milter-recipient-deleted", "tx", s->t->txn.id, "recipient", g->target[i].address, NULL);
		else
			g->target[n++] = g->target[i];
	}
	g->target_count = n;
}

/* Who gets it when milters have had their way: those they have left, and of those they have added whom the doors let in. */
static size_t left(const struct smtp_session *s, const struct milter_mail *mail)
{
	size_t n = milter_mail_left(mail);

	for (size_t i = 0; i < mail->added_count; i++)
		n -= door(s, mail->added[i].address) != NULL;
	return n;
}

static int change_recipients(const struct smtp_session *s, struct smtp_groups *groups, const struct milter_mail *mail)
{
	struct smtp_group *first = smtp_groups_find(groups, ACTION_ACCEPT);

	if (!first || (!mail->added_count && !mail->deleted))
		return 0;
	/* Milters want it thrown away, and policy has not, or those in whose place it was to go are none whom it may go to: it goes where it was to go. */
	if (left(s, mail) == 0) {
		log_notice("milter-left-nobody", "tx", s->t->txn.id, NULL);
		return 0;
	}
	for (size_t i = 0; i < groups->count; i++)
		if (groups->group[i].fate == ACTION_ACCEPT)
			delete_all(s, &groups->group[i], mail);
	return mail->added_count ? add_all(s, first, mail) : 0;
}

/* ---- sender ---- */

/* Of the parameters that a milter gives with a sender, those that are end-to-end; the others are ours to say. */
static char *params_kept(const char *params)
{
	static const char *const known[] = { "BODY=", "SMTPUTF8", "RET=", "ENVID=" };
	AUTO(buf) struct buf out = BUF_INIT(2000);

	for (params += strspn(params, " "); *params; params += strspn(params, " ")) {
		size_t n = strcspn(params, " ");

		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (strncasecmp(params, known[i], strlen(known[i])) == 0)
				buf_addf(&out, "%s%.*s", out.len ? " " : "", (int)n, params);
		params += n;
	}
	return out.len ? buf_steal(&out) : strdup("");
}

static bool sender_ok(const struct smtp_session *s, const char *from)
{
	struct smtp_mailbox parsed;

	return !*from || smtp_mailbox_parse(from, strlen(from), s->t->utf8 ? MAILBOX_UTF8 : 0, &parsed) == ADDRESS_OK;
}

static int change_sender(struct smtp_session *s, const struct milter_mail *mail)
{
	struct envelope *env = &s->t->txn.env;
	char *from, *params;

	if (!mail->from)
		return 0;
	if (!sender_ok(s, mail->from)) {
		log_warning("milter-sender-refused", "tx", s->t->txn.id, "from", mail->from, NULL);
		return 0;
	}
	from = strdup(mail->from);
	params = mail->from_params[0] ? params_kept(mail->from_params) : strdup(env->params ? env->params : "");
	if (!from || !params) {
		free(from);
		free(params);
		return -ENOMEM;
	}
	s->t->arrived_from = env->from;
	s->t->arrived_params = env->params;
	env->from = from;
	env->params = params;
	for (size_t i = 0; i < s->t->leg_count; i++)
		if (s->t->leg[i]->delivery)
			delivery_begin_anew(s->t->leg[i]->delivery);
	return 0;
}

/* ---- message ---- */

/* A field that came and pretends to be ours; not one that a milter here has made. */
static bool stays(void *arg, const struct header_field *h)
{
	const struct smtp_session *s = arg;

	return !outgoing_is_forged(h, s->svc->site);
}

static int change_message(struct smtp_session *s)
{
	struct message *made;
	int rc = milters_made(s->milters, stays, s, &made);

	if (rc < 0 || !made)
		return rc;
	s->t->arrived = s->t->txn.message;
	s->t->txn.message = made;
	s->t->txn.cleaned = true;
	return 0;
}

static bool somebody_gets_it(const struct smtp_groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		if (groups->group[i].fate == ACTION_ACCEPT || groups->group[i].fate == ACTION_QUARANTINE)
			return true;
	return false;
}

/* The policy has given up waiting for what cannot be asked: it goes as it came. */
static bool given_up(const struct smtp_groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		for (size_t k = 0; k < groups->group[i].count; k++)
			if (!groups->group[i].judge[k]->temperror_expired)
				return false;
	return true;
}

const char *smtp_milter_change(struct smtp_session *s, struct smtp_groups *groups)
{
	const struct milter_mail *mail;
	int rc;

	if (!s->milters || smtp_observing(s) || !somebody_gets_it(groups))
		return NULL;
	/* Checks look at what has arrived. */
	smtp_carry_know(s);
	filters_fact(&s->t->txn, fact_find("milter.action", 13));
	rc = milters_message(s->milters, &s->t->txn);
	if (rc < 0 && given_up(groups))
		return NULL;
	if (rc < 0)
		return smtp_carry_none(s, groups, rc == -ENOMEM ? out_of_memory : not_asked);
	mail = milters_mail(s->milters);
	rc = change_recipients(s, groups, mail);
	if (rc == 0)
		rc = change_message(s);
	if (rc == 0)
		rc = change_sender(s, mail);
	return rc < 0 ? smtp_carry_none(s, groups, out_of_memory) : NULL;
}

void smtp_milter_restore(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;

	if (t->arrived)
		t->txn.message = t->arrived;
	t->arrived = NULL;
	t->txn.cleaned = false;
	if (t->arrived_from) {
		free(t->txn.env.from);
		free(t->txn.env.params);
		t->txn.env.from = t->arrived_from;
		t->txn.env.params = t->arrived_params;
	}
	t->arrived_from = t->arrived_params = NULL;
}
