/* MAIL and RCPT, RFC 5321 4.1.1.2 and 4.1.1.3. */
#include "smtp/smtp_inline.h"
#include "smtp/smtp_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/load.h"
#include "base/log.h"
#include "filters/boundary.h"
#include "filters/envelope.h"
#include "filters/filter.h"
#include "filters/milter.h"
#include "hop/backend.h"
#include "hop/delivery.h"
#include "hop/return_path.h"
#include "smtp/recipient.h"
#include "smtp/smtp_auth.h"
#include "smtp/smtp_history.h"
#include "smtp/smtp_owner.h"
#include "smtp/smtp_told.h"

enum { PARAMS_MAX = 1024, CLASSES_MAX = 64 };

static const char other_way_reply[] = "452 4.5.3 mail for this recipient goes another way: in a transaction of its own, please";
static const char split_reply[] = "452 4.5.3 this recipient in a transaction of its own, please";

/* MAIL */

/* What the parameters ask for and we cannot do, as a reply; NULL if all is well. */
static const char *refuse_mail(const struct smtp_session *s, const struct smtp_command *c, const struct smtp_caps *caps)
{
	const struct site *site = s->svc->site;

	if (c->has_size && c->size > smtp_size_max(s, caps))
		return "552 5.3.4 the message is larger than is taken here";
	if (c->smtputf8 && !caps->smtputf8)
		return "553 5.6.7 the mail server behind takes no internationalized addresses";
	if (c->body == BODY_8BITMIME && !caps->eightbit && !site->eightbit_pass)
		return "554 5.6.3 the mail server behind takes no 8-bit content";
	if (!caps->dsn && (c->ret != RET_NONE || c->envid[0]))
		return "555 5.5.4 DSN is not offered";
	if (c->prdr && !site->prdr)
		return "555 5.5.4 PRDR is not offered";
	return NULL;
}

static int fill_sender(struct smtp_txn *t, struct smtp_command *c, const struct smtp_caps *caps)
{
	AUTO(buf) struct buf params = BUF_INIT(PARAMS_MAX);

	t->utf8 = c->smtputf8;
	t->eightbit = c->body == BODY_8BITMIME;
	t->prdr = c->prdr;
	if (!caps->eightbit)
		c->body = BODY_NONE;
	if (smtp_command_params(c, &params) < 0)
		return -ENOMEM;
	t->txn.env.from = strdup(c->path.text);
	t->txn.env.from_domain = strdup(c->path.domain);
	t->txn.env.params = buf_steal(&params);
	t->txn.env.size_declared = c->has_size ? c->size : 0;
	return t->txn.env.from && t->txn.env.from_domain && t->txn.env.params ? 0 : -ENOMEM;
}

static int begin_transaction(struct smtp_session *s, struct smtp_command *c, const struct smtp_caps *caps)
{
	struct smtp_txn *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	s->t = t;
	s->state = SMTP_MAIL;
	if (s->trusted && !s->client.relay) {
		t->origin = calloc(1, sizeof(*t->origin));
		if (!t->origin)
			return -ENOMEM;
		boundary_begin(t->origin, &s->client);
		if (smtp_told_begin(s, t->origin) < 0)
			return -ENOMEM;
	}
	txn_init(&t->txn, s->svc->site, s->svc->dns, t->origin ? t->origin : &s->client);
	t->txn.state = s->svc->state;
	t->txn.daemons = s->svc->daemons;
	t->txn.milters = s->milters;
	t->number = ++s->transactions;
	t->start_ms = clock_ms();
	snprintf(t->txn.id, sizeof(t->txn.id), "%s-%u", s->id, t->number);
	t->txn.stage = STAGE_MAIL;
	return fill_sender(t, c, caps);
}

/* What is pipelined behind it has nothing to belong to. */
static int put_off(struct smtp_session *s, const char *reply)
{
	s->put_off = true;
	return reply ? smtp_say(s, reply) : 0;
}

int smtp_do_mail(struct smtp_session *s, struct smtp_command *c)
{
	const struct site *site = s->svc->site;
	struct smtp_caps caps;
	const char *refusal;
	char reply[DELIVERY_REPLY_MAX];
	int rc;

	if (s->transactions >= (unsigned)site->limits.transactions) {
		s->state = SMTP_CLOSING;
		return smtp_say(s, "421 4.7.0 that is all for one session, please connect again");
	}
	refusal = smtp_auth_required(s);
	if (refusal)
		return smtp_refuse(s, refusal);
	if (load_memory_short(s->svc->load))
		return put_off(s, "452 4.3.1 short of memory, try again later");
	rc = smtp_limit_mail(s);
	if (rc != 0)
		return rc < 0 ? rc : put_off(s, NULL);
	smtp_offered(s, &caps);
	refusal = refuse_mail(s, c, &caps);
	if (refusal) {
		log_notice("mail-refused", "sid", s->id, "client", s->client.ip, "from", c->path.text, "reply", smtp_with_id(s, refusal, reply),
			   NULL);
		smtp_history_mail(s, c->path.text, reply);
		return smtp_refuse(s, reply);
	}
	if (smtp_milter_begin(s) < 0)
		return put_off(s, "452 4.3.1 out of memory, try again later");
	if (begin_transaction(s, c, &caps) < 0) {
		smtp_transaction_end(s);
		return put_off(s, "452 4.3.1 out of memory, try again later");
	}
	filters_start(&s->t->txn, STAGE_HELO, s->svc->needed);
	filters_start(&s->t->txn, STAGE_MAIL, s->svc->needed);
	return smtp_say(s, "250 2.1.0 ok");
}

/* RCPT */

static void recipient_release(struct recipient *r)
{
	free(r->address);
	free(r->params);
	free(r->domain);
}

/*
 * The address with its domain as it was judged: what of an international name is mapped to what
 * (fullwidth letters and dots, for one) is not left to the server behind, which could relay by it.
 */
static char *judged_address(const struct smtp_mailbox *to, const char *domain)
{
	size_t local = strlen(to->text) - strlen(to->domain);
	char *address;

	if (!to->utf8)
		return strdup(to->text);
	return asprintf(&address, "%.*s%s", (int)local, to->text, domain) < 0 ? NULL : address;
}

static int fill_recipient(struct smtp_session *s, const struct smtp_command *c, struct recipient *r)
{
	AUTO(buf) struct buf params = BUF_INIT(PARAMS_MAX);
	char domain[SMTP_DOMAIN_MAX + 1];

	if (smtp_command_params(c, &params) < 0)
		return -ENOMEM;
	if (smtp_domain_ascii(c->path.domain, domain) < 0)
		snprintf(domain, sizeof(domain), "%s", c->path.domain);
	r->address = judged_address(&c->path, domain);
	r->params = buf_steal(&params);
	r->domain = strdup(domain);
	r->local = !c->path.domain[0] || site_accepts(s->svc->site, domain);
	r->direction = recipient_direction(&s->client, r->local);
	return r->address && r->params && r->domain ? 0 : -ENOMEM;
}

/*
 * Of another class than the first recipient: the policy may treat the two differently, and without PRDR the client hears one reply for both.
 */
static bool of_another_class(const struct smtp_session *s, const struct recipient *r)
{
	const struct policy *p = s->svc->site->policy;
	const char *first[CLASSES_MAX], *mine[CLASSES_MAX];
	size_t n;

	if (!s->svc->site->split_retry || s->t->prdr || s->t->txn.env.rcpt_count == 0)
		return false;
	n = policy_classes(p, s->t->txn.env.rcpt[0].address, first, CLASSES_MAX);
	return policy_classes(p, r->address, mine, CLASSES_MAX) != n || memcmp(first, mine, n * sizeof(*mine)) != 0;
}

/* What goes to the spool, or may yet, is kept by one request: more recipients than that has room for would be 451 for the whole message, each time. */
static bool too_many_to_spool(const struct smtp_session *s)
{
	bool spooled = s->t->spooled;

	for (size_t i = 0; i < s->t->leg_count; i++)
		spooled |= s->t->leg[i]->spooled;
	return s->svc->spool && (spooled || (s->client.relay && !s->login)) && s->t->txn.env.rcpt_count >= SPOOL_RECIPIENTS_MAX;
}

/* The door: nobody outside the site's domains, whatever the policy says; and no address that is a second address in disguise. */
static const char *refuse_recipient(const struct smtp_session *s, const struct smtp_command *c, struct recipient *r,
				    struct route *route)
{
	const struct smtp_limits *lim = &s->svc->site->limits;
	struct smtp_caps caps;
	const char *refusal;

	if (s->t->txn.env.rcpt_count >= (size_t)lim->recipients || too_many_to_spool(s))
		return "452 4.5.3 too many recipients";
	/* Those deferred are no errors, but each costs the backend an RCPT, the state a question, the log a line. */
	if (s->t->rcpt_asked >= (unsigned)lim->recipients + (unsigned)lim->errors)
		return "452 4.5.3 too many recipients";
	refusal = return_path_back(s->svc->site, r);
	if (r->rewritten)
		r->direction = recipient_direction(&s->client, r->local);
	if (!refusal)
		refusal = route_find(s, r, route);
	if (refusal)
		return refusal;
	/* Elsewhere it is for others to know what they mean by it, and for one of ours alone. */
	if (c->path.trick && r->local && !s->login)
		return "550 5.7.1 relaying denied: % ! and @ have no place in a local part here";
	if (!s->t->txn.env.from[0] && s->t->txn.env.rcpt_count > 0 && !s->client.relay)
		return "452 4.5.3 a bounce has one recipient";
	smtp_offered(s, &caps);
	if (!caps.dsn && (c->notify || c->orcpt[0]))
		return "555 5.5.4 DSN is not offered";
	if (of_another_class(s, r))
		return split_reply;
	if (!smtp_legs_fit(s->t, route) && !smtp_spool_several(s, route))
		return other_way_reply;
	return NULL;
}

/* The recipient is taken: it and its judge go into the transaction. Judges point at recipients, which may have moved. */
static int keep_recipient(struct smtp_txn *t, struct recipient *r, struct judge *j, struct smtp_leg *leg)
{
	struct envelope *env = &t->txn.env;

	if (env->rcpt_count == t->judge_cap) {
		size_t cap = t->judge_cap ? t->judge_cap * 2 : 2;
		struct judge *judge = reallocarray(t->judge, cap, sizeof(*judge));
		struct recipient *rcpt;
		unsigned char *way;

		if (!judge)
			return -ENOMEM;
		t->judge = judge;
		way = realloc(t->way, cap);
		if (!way)
			return -ENOMEM;
		t->way = way;
		rcpt = reallocarray(env->rcpt, cap, sizeof(*rcpt));
		if (!rcpt)
			return -ENOMEM;
		env->rcpt = rcpt;
		t->judge_cap = cap;
		for (size_t i = 0; i < env->rcpt_count; i++)
			t->judge[i].rcpt = &env->rcpt[i];
	}
	env->rcpt[env->rcpt_count] = *r;
	t->judge[env->rcpt_count] = *j;
	t->judge[env->rcpt_count].rcpt = &env->rcpt[env->rcpt_count];
	t->way[env->rcpt_count] = smtp_legs_place(t, leg);
	if (leg)
		leg->rcpts++;
	env->rcpt_count++;
	memset(r, 0, sizeof(*r));
	memset(j, 0, sizeof(*j));
	return 0;
}

/* One line for a recipient that was refused, by whom ever (backend: his name, or NULL); j may be NULL. */
static void log_refused(struct smtp_session *s, const struct recipient *rcpt, struct judge *j, const struct verdict *v, const char *verdict,
			const char *reply, const char *backend)
{
	struct smtp_verdict_line line = {
		.verdict = verdict, .v = v, .reply = reply, .rcpt = &rcpt, .rcpt_count = 1, .judge = j,
		.backend = backend,
	};

	smtp_log_verdict(s, &line);
}

/* The policy's refusal, if it is certain now; NULL: go on. may wait */
static const char *policy_refusal(struct smtp_session *s, struct judge *j, enum judge_how how, const char *backend, char *reply)
{
	const struct verdict *v = &j->verdict;

	if (!judge_step(j, how) || (v->action != ACTION_REJECT && v->action != ACTION_DEFER))
		return NULL;
	if (smtp_observing(s))
		return NULL;
	smtp_with_id(s, v->reply, reply);
	log_refused(s, j->rcpt, j, v, v->greylisted ? "greylist" : action_name(v->action), reply, backend);
	return reply;
}

/* What has been learnt of a recipient on the way. */
struct asked {
	bool known;                     /* the site's source says that he exists */
	const char *spool;              /* he is taken, and the message goes to the spool, for this reason; NULL: in session */
	struct smtp_leg *leg;           /* who was asked last; NULL: nobody */
	bool away;                      /* he is taken, though that one's next hop is away: its part goes to the spool */
};

static const char *refused_as(enum recipient_answer answer)
{
	return answer == RECIPIENT_NO ? "unknown-recipient" : answer == RECIPIENT_RESTRICTED ? "restricted-recipient" : "recipient-deferred";
}

/* Whoever the site names says whether the recipient exists. NULL: it does, or the backend will tell. may wait */
static const char *source_refusal(struct smtp_session *s, struct judge *j, const struct smtp_mailbox *to, struct asked *a, char *text)
{
	AUTO(smtp_reply) struct smtp_reply reply;
	enum recipient_answer answer;

	smtp_reply_init(&reply);
	if (!j->rcpt->local)
		return NULL;            /* the world's users are for its servers to know */
	answer = recipient_ask_for(s->svc->recipients, &s->client.addr, to, clock_ms() + s->svc->site->timeouts.budget_ms, &reply);
	if (answer == RECIPIENT_RESTRICTED && s->client.relay)
		answer = RECIPIENT_YES;
	a->known = answer == RECIPIENT_YES;
	if (answer == RECIPIENT_YES || answer == RECIPIENT_ASK)
		return NULL;
	snprintf(text, DELIVERY_REPLY_MAX, "%d %.400s", reply.code, buf_str(&reply.text));
	if (answer == RECIPIENT_NO)
		smtp_limit_note(s, USE_UNKNOWN);
	log_refused(s, j->rcpt, j, NULL, refused_as(answer), text, NULL);
	return text;
}

/* The next hop takes no more recipients in one transaction, RFC 5321 4.5.3.1.10: 452, with 4.5.3 or no further code. */
static bool is_full(const struct smtp_leg *leg, const char *reply)
{
	bool coded = reply[0] && strlen(reply) > 6 && reply[4] == '4' && reply[5] == '.';

	return leg->rcpts > 0 && strncmp(reply, "452", 3) == 0 && (!coded || strncmp(reply + 4, "4.5.3", 5) == 0);
}

/* What the answer of a->leg's next hop (NULL: of several) means. NULL: the recipient is taken. */
static const char *weigh(struct smtp_session *s, struct judge *j, struct asked *a, enum delivery_result result, char *reply)
{
	struct smtp_leg *leg = a->leg;
	bool unreached = leg && leg->delivery && delivery_unreached(leg->delivery);

	if (result == DELIVERY_TAKEN)
		return NULL;
	if (result == DELIVERY_LATER && unreached && smtp_spool_away(s, &leg->route, reply, a->known)) {
		a->away = route_behind(&leg->route);
		a->spool = a->away ? NULL : "the next hop does not answer";
		return NULL;
	}
	/* Some take 100 at once; our server would come again with the rest after minutes, the spool goes on in another transaction. */
	if (result == DELIVERY_LATER && leg && !route_behind(&leg->route) && is_full(leg, reply) && smtp_spool_several(s, &leg->route)) {
		a->spool = "more recipients than the next hop takes at once";
		return NULL;
	}
	/* A domain that takes no mail, does not exist, leads back to us: nobody's words but ours. */
	if (result == DELIVERY_REFUSED && unreached && (leg->route.kind == ROUTE_MX || leg->route.kind == ROUTE_UPSTREAM)) {
		char coded[DELIVERY_REPLY_MAX];

		memcpy(reply, smtp_with_id(s, reply, coded), DELIVERY_REPLY_MAX);
	}
	if (result == DELIVERY_REFUSED && smtp_reply_unknown(reply))
		smtp_limit_note(s, USE_UNKNOWN);
	log_refused(s, j->rcpt, j, NULL, result == DELIVERY_REFUSED ? "backend-refused" : "backend-deferred", reply, smtp_leg_backend(leg));
	return reply;
}

/* And the backend itself. NULL: it takes the recipient, or need not be asked. may wait */
static const char *backend_refusal(struct smtp_session *s, struct judge *j, const struct route *route, struct asked *a, char *reply)
{
	const struct domain_conf *d = route->kind == ROUTE_OWNER ? site_domain(s->svc->site, j->rcpt->domain) : NULL;
	enum delivery_result result;
	bool full;

	if (a->spool || s->t->spooled)
		return NULL;
	if (d && d->owner_count > 1) {
		result = smtp_owner_ask(s, d, j->rcpt, &a->leg, &a->known, reply);
		return weigh(s, j, a, result, reply);
	}
	a->leg = smtp_legs_get(s->t, route, &full);
	if (!a->leg && full)
		log_refused(s, j->rcpt, j, NULL, "split", other_way_reply, NULL);
	if (!a->leg)
		return full ? other_way_reply : "452 4.3.1 out of memory, try again later";
	if (a->leg->spooled && a->known)
		return NULL;
	result = smtp_leg_ask(s, a->leg, j->rcpt, reply);
	return weigh(s, j, a, result, reply);
}

/* NULL: the recipient is taken. Order: what the policy knows without greylisting, whether the recipient exists, greylisting. may wait */
static const char *judge_recipient(struct smtp_session *s, struct judge *j, const struct smtp_mailbox *to, const struct route *route, struct asked *a,
				   char *reply)
{
	const char *refusal = policy_refusal(s, j, JUDGE_BEFORE_GREYLIST, NULL, reply);

	if (!refusal)
		refusal = source_refusal(s, j, to, a, reply);
	if (!refusal)
		refusal = backend_refusal(s, j, route, a, reply);
	if (!refusal)
		refusal = policy_refusal(s, j, JUDGE_ALL, smtp_leg_backend(a->leg), reply);
	if (!refusal)
		judge_tell_milters(j);
	return refusal;
}

int smtp_do_rcpt(struct smtp_session *s, struct smtp_command *c)
{
	char reply[DELIVERY_REPLY_MAX];
	struct recipient r = { 0 };
	struct judge j = { 0 };
	struct asked a = { 0 };
	struct route route;
	const char *refusal = "452 4.3.1 out of memory, try again later";
	int rc = smtp_limit_rcpt(s);

	if (rc != 0)
		return rc < 0 ? rc : put_off(s, NULL);
	if (fill_recipient(s, c, &r) == 0)
		refusal = refuse_recipient(s, c, &r, &route);
	if (refusal && refusal[0] == '5') {
		if (strncmp(refusal, "550 5.7.1 relaying denied", 25) == 0 || smtp_reply_unknown(refusal))
			smtp_limit_note(s, USE_UNKNOWN);
		refusal = smtp_with_id(s, refusal, reply);
		log_refused(s, &r, NULL, NULL, "reject", refusal, NULL);
	} else if (refusal == split_reply || refusal == other_way_reply) {
		s->t->rcpt_asked++;     /* each has its line in the log */
		log_refused(s, &r, NULL, NULL, "split", refusal, NULL);
	} else if (!refusal) {
		if (!smtp_legs_fit(s->t, &route))
			a.spool = "several next hops";
		s->t->txn.stage = STAGE_RCPT;
		s->t->rcpt_asked++;
		refusal = "452 4.3.1 out of memory, try again later";
		if (judge_init(&j, &s->t->txn, &r) == 0)
			refusal = judge_recipient(s, &j, &c->path, &route, &a, reply);
	}
	if (refusal && s->milters && !j.milters_told && r.address && refusal != split_reply && refusal != other_way_reply)
		milters_refused(s->milters, &s->t->txn, r.address, r.params, refusal);
	if (!refusal && keep_recipient(s->t, &r, &j, a.leg) < 0)
		refusal = "452 4.3.1 out of memory, try again later";
	if (!refusal) {
		if (a.spool)
			smtp_spool_begin(s, a.spool);
		if (a.away)
			smtp_spool_leg(s, a.leg, "the next hop does not answer");
		s->state = SMTP_RCPT;
		rc = smtp_say(s, "250 2.1.5 ok");
	} else {
		s->put_off = s->put_off || refusal[0] == '4';
		/* That a server of the world does not want somebody is not the doing of one of ours. */
		rc = refusal[0] == '5' && !s->client.relay && !s->trusted ? smtp_refuse(s, refusal) : smtp_say(s, refusal);
	}
	judge_release(&j);
	recipient_release(&r);
	return rc;
}
