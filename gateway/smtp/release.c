#include "smtp/release.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/filter.h"
#include "filters/txn.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "hop/mx_hop.h"
#include "hop/return_path.h"
#include "policy/conf.h"
#include "policy/record.h"
#include "smtp/route.h"
#include "smtp/smtp_owner.h"
#include "smtp/smtp_session.h"
#include "smtp/smtp_address.h"

static int64_t deadline(int budget_ms)
{
	return budget_ms ? clock_ms() + budget_ms : 0;
}

/* --- the events --- */

static bool can_record(const struct release *r)
{
	return !r->error[0];
}

/* What the events must not be silent about could not be written: nothing more is done. */
static int record(struct release *r, const char *what, json_t *detail)
{
	int rc = detail ? store_event_append(r->dir_fd, r->id, what, r->who, detail) : -ENOMEM;

	json_decref(detail);
	if (rc < 0)
		snprintf(r->error, sizeof(r->error), "\"%s\" cannot be recorded: %s", what, strerror(-rc));
	return rc;
}

static json_t *names(const struct release *r, enum release_result result)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->rcpt_count; i++)
		if (r->rcpt[i].result == result)
			json_array_append_new(list, json_string(r->rcpt[i].name));
	return list;
}

static json_t *words(const char *s)
{
	return record_string(s, strlen(s));
}

/* Of its own recipients, those that have not been released to. */
static json_int_t count_left(const struct release *r)
{
	json_int_t n = 0;

	for (size_t i = 0; i < r->rcpt_count && !r->instead; i++)
		n += r->rcpt[i].result != RELEASE_DONE && release_before(r, r->rcpt[i].name) != STORE_STATE_RELEASED;
	return n;
}

static int record_begin(struct release *r)
{
	return record(r, STORE_EVENT_BEGIN, json_pack("{s:o}", "rcpt", names(r, RELEASE_PENDING)));
}

/* Those that are to have the result now held, with the server's reply. */
static void settle(struct release *r, enum release_result from, enum release_result to, const char *reply)
{
	for (size_t i = 0; i < r->rcpt_count; i++) {
		if (r->rcpt[i].result != from)
			continue;
		r->rcpt[i].result = to;
		snprintf(r->rcpt[i].reply, sizeof(r->rcpt[i].reply), "%s", reply);
	}
}

/* One event for all that were refused; each with his own words, where these differ. */
static void record_failed(struct release *r)
{
	json_t *list = json_array(), *replies = json_object(), *detail;
	const char *first = NULL;
	bool same = true;

	for (size_t i = 0; i < r->rcpt_count; i++) {
		struct release_rcpt *one = &r->rcpt[i];

		if ((one->result != RELEASE_REFUSED && one->result != RELEASE_LATER) || one->recorded)
			continue;
		one->recorded = true;
		first = first ? first : one->reply;
		same &= strcmp(one->reply, first) == 0;
		json_array_append_new(list, json_string(one->name));
		json_object_set_new(replies, one->name, words(one->reply));
	}
	if (first) {
		detail = json_pack("{s:O, s:s}", "rcpt", list, "backend", r->backend);
		if (same)
			json_object_set_new(detail, "reply", words(first));
		else
			json_object_set(detail, "replies", replies);
		record(r, STORE_EVENT_FAILED, detail);
	}
	json_decref(list);
	json_decref(replies);
}

/* --- the dialogue --- */

static void reply_text(const struct smtp_reply *r, char *out)
{
	snprintf(out, RELEASE_REPLY_MAX, "%d %s", r->code, buf_str(&r->text));
	for (char *p = out; *p; p++)
		if (*p == '\n')
			*p = ' ';
}

static enum release_result result_of(const struct smtp_reply *r)
{
	return r->code / 100 == 2 ? RELEASE_DONE : r->code / 100 == 5 ? RELEASE_REFUSED : RELEASE_LATER;
}

/* No reply that could be shown: why, in words. */
static enum release_result no_reply(const struct release *r, int rc, char *out)
{
	const struct smtp_client *c = r->smtp;

	if (r->hop && r->hop->refusal[0]) {
		snprintf(out, RELEASE_REPLY_MAX, "%s", r->hop->refusal);
		return rc == -EACCES ? RELEASE_REFUSED : RELEASE_LATER;
	}
	if (!c && r->refusal[0]) {
		snprintf(out, RELEASE_REPLY_MAX, "%s", r->refusal);
		return rc == -EACCES ? RELEASE_REFUSED : RELEASE_LATER;
	}
	if (rc == -ENOTSUP)
		snprintf(out, RELEASE_REPLY_MAX, "the server takes no internationalized addresses (SMTPUTF8)");
	else if (rc == -EINVAL)
		snprintf(out, RELEASE_REPLY_MAX, "an address cannot be said in SMTP");
	else if (c && c->why[0])
		snprintf(out, RELEASE_REPLY_MAX, "%s", c->why);
	else if (rc == -EHOSTUNREACH)
		snprintf(out, RELEASE_REPLY_MAX, "no mail server answers");
	else
		snprintf(out, RELEASE_REPLY_MAX, rc == -EBUSY ? "all sessions with the mail server are taken" : "%s", strerror(-rc));
	return rc == -ENOTSUP || rc == -EINVAL ? RELEASE_REFUSED : RELEASE_LATER;
}

/* A session with the mail server behind, which knows the client where that is possible. 0 or -errno. may wait */
static int take_backend(struct release *r, struct backend_group *g, int64_t until)
{
	int rc = backend_take_for(g, r->client.addr.family ? &r->client : NULL, until, &r->session, r->refusal);

	if (rc < 0) {
		r->session = NULL;
		return rc;
	}
	r->smtp = r->session->client;
	snprintf(r->backend, sizeof(r->backend), "%s", backend_name(r->session->backend));
	r->told_client = r->session->identity;
	return 0;
}

/* A session with a server of the world. may wait */
static int take_hop(struct release *r, struct outbound *o, const struct route *way, int64_t until)
{
	int rc;

	r->hop = mx_hop_new(o, way->kind == ROUTE_MX ? way->domain : NULL, true);
	if (!r->hop)
		return -ENOMEM;
	rc = next_hop_take(r->hop, until);
	snprintf(r->backend, sizeof(r->backend), "%s", r->hop->name);
	r->smtp = rc == 0 ? r->hop->client : NULL;
	r->told_client = false;
	return rc;
}

static void give_back(struct release *r)
{
	if (r->session) {
		r->session->identity = true;    /* what was said of one message's client is never said of another's */
		backend_give(r->session, !r->session->client->broken);
	}
	next_hop_free(r->hop);
	r->session = NULL;
	r->hop = NULL;
	r->smtp = NULL;
}

/* A session with MAIL said. false: those that are pending are settled. may wait */
static bool begin(struct release *r, struct backend_group *g, struct outbound *o, const struct route *way)
{
	int64_t until = deadline(r->site->timeouts.budget_ms);
	struct smtp_content content = { .message = r->message, .edit = r->edit, .edit_count = r->edit_count };
	char reply[RELEASE_REPLY_MAX], path[SRS_ADDRESS_MAX];
	enum release_result result;
	int rc = route_behind(way) ? take_backend(r, g, until) : take_hop(r, o, way, until);

	if (rc == 0)
		rc = smtp_client_mail(r->smtp, r->hop ? return_path(r->site, r->hop, r->from, path) : r->from, r->params, smtp_content_size(&content), until);
	if (rc == 0) {
		result = result_of(&r->smtp->reply);
		reply_text(&r->smtp->reply, reply);
	} else {
		result = no_reply(r, rc, reply);
	}
	if (result != RELEASE_DONE)
		settle(r, RELEASE_PENDING, result, reply);
	return result == RELEASE_DONE;
}

/* RCPT of one. false: the session is of no more use. may wait */
static bool add(struct release *r, struct release_rcpt *one, bool more_later)
{
	struct smtp_client *c = r->smtp;
	int rc = smtp_client_rcpt(c, one->address, one->params, deadline(r->site->timeouts.budget_ms));

	if (rc < 0) {
		one->result = no_reply(r, rc, one->reply);
		return !c->broken;
	}
	/* Too many for one transaction (RFC 5321 4.5.3.1.10): the rest in another. */
	if (c->reply.code == 452 && more_later)
		return true;
	one->result = result_of(&c->reply) == RELEASE_DONE ? RELEASE_HELD : result_of(&c->reply);
	reply_text(&c->reply, one->reply);
	one->unknown = one->result == RELEASE_REFUSED && smtp_reply_unknown(one->reply);
	return !c->closing;
}

/* Whether the transaction there holds somebody. may wait */
static bool add_all(struct release *r)
{
	size_t held = 0, limit = (size_t)r->smtp->caps.limit_rcpt;

	for (size_t i = 0; i < r->rcpt_count && (limit == 0 || held < limit); i++) {
		struct release_rcpt *one = &r->rcpt[i];

		if (one->result != RELEASE_PENDING)
			continue;
		if (!add(r, one, held > 0)) {
			char why[RELEASE_REPLY_MAX];

			snprintf(why, sizeof(why), "%s", one->reply);
			settle(r, RELEASE_HELD, RELEASE_LATER, why);
			settle(r, RELEASE_PENDING, RELEASE_LATER, why);
			return false;
		}
		if (one->result == RELEASE_PENDING)
			break;
		held += one->result == RELEASE_HELD;
	}
	return held > 0;
}

/* From here on they perhaps have it: on the disk before it is true. */
static int before_end(void *arg)
{
	struct release *r = arg;

	return record(r, STORE_EVENT_DOT, json_pack("{s:o, s:s}", "rcpt", names(r, RELEASE_HELD), "backend", r->backend));
}

static void record_done(struct release *r, json_t *list, const char *reply)
{
	json_t *detail = json_pack("{s:O, s:o, s:s, s:I, s:b}", "rcpt", list, "reply", words(reply), "backend", r->backend, "left", count_left(r),
				   "client", r->told_client);

	if (r->instead)
		json_object_set(detail, "to", list);
	record(r, STORE_EVENT_RELEASED, detail);
}

/* The message, for those that the transaction holds. may wait */
static void send_message(struct release *r)
{
	struct smtp_content content = {
		.message = r->message, .edit = r->edit, .edit_count = r->edit_count, .as_it_came = r->signatures.len == 0, .before_end = before_end, .arg = r,
	};
	json_t *held = names(r, RELEASE_HELD);
	enum release_result result;
	enum smtp_outcome outcome;
	char reply[RELEASE_REPLY_MAX];
	int rc = smtp_client_data(r->smtp, &content, deadline(r->site->timeouts.dot_budget_ms), &outcome);

	if (rc == 0) {
		result = result_of(&r->smtp->reply);
		reply_text(&r->smtp->reply, reply);
	} else {
		result = no_reply(r, rc, reply);
		if (outcome == OUTCOME_UNKNOWN)
			result = RELEASE_PERHAPS;
	}
	settle(r, RELEASE_HELD, result, reply);
	if (result == RELEASE_DONE)
		record_done(r, held, reply);
	else if (result == RELEASE_PERHAPS)
		record(r, STORE_EVENT_UNKNOWN, json_pack("{s:O, s:o, s:s}", "rcpt", held, "why", words(reply), "backend", r->backend));
	json_decref(held);
	/* a server that lost the session, or does not answer, is left alone */
	if (result == RELEASE_PERHAPS)
		settle(r, RELEASE_PENDING, RELEASE_LATER, reply);
}

void release_confirm(struct release *r, struct dns *dns)
{
	static const char fcrdns[] = "client.fcrdns";
	struct client c = { .addr = r->client.addr };
	const struct fact *f;
	const char *name;
	struct txn t;

	if (!r->client.addr.family || json_object_get(json_object_get(r->meta, "facts"), fcrdns))
		return;
	net_text(&c.addr, c.ip);
	txn_init(&t, r->site, dns, &c);
	t.stage = STAGE_CONNECT;
	f = filters_fact(&t, fact_find(fcrdns, strlen(fcrdns)));
	name = f && f->state == FACT_KNOWN && f->count && strcmp(f->text[0], "pass") == 0 ? facts_word(&c.evidence.facts, "client.rdns") : NULL;
	if (name)
		r->client.name = r->name = strdup(name);
	txn_release(&t);
	client_release(&c);
}

bool release_is_ours(const struct release *r)
{
	const char *direction = json_string_value(json_object_get(json_object_get(r->meta, "facts"), "direction"));

	return direction && (strcmp(direction, "outbound") == 0 || strcmp(direction, "internal") == 0);
}

/* The section of a recipient of ours, or NULL. */
static const struct domain_conf *section(const struct release *r, const struct release_rcpt *one)
{
	const char *at = strrchr(one->address, '@');
	char domain[SMTP_DOMAIN_MAX + 1];

	return at && smtp_domain_ascii(at + 1, domain) == 0 && site_accepts(r->site, domain) ? site_domain(r->site, domain) : NULL;
}

static const struct domain_conf *several(const struct release *r, const struct release_rcpt *one)
{
	const struct domain_conf *d = one->result == RELEASE_PENDING ? section(r, one) : NULL;

	return d && d->owner_count > 1 ? d : NULL;
}

bool release_wants_owners(const struct release *r)
{
	for (size_t i = 0; i < r->rcpt_count; i++)
		if (several(r, &r->rcpt[i]))
			return true;
	return false;
}

int release_recall(struct release *r, struct state *state)
{
	int rc = 0;

	for (size_t i = 0; i < r->rcpt_count && rc == 0; i++) {
		const struct domain_conf *d = several(r, &r->rcpt[i]);
		size_t owner = 0;

		if (!d)
			continue;
		rc = smtp_owner_recall(state, d, r->rcpt[i].address, &owner);
		if (owner < d->owner_count)
			r->rcpt[i].owner = (unsigned char)owner;
	}
	return rc;
}

static void way_of(const struct release *r, const struct release_rcpt *one, bool ours, struct route *way)
{
	const char *at = strrchr(one->address, '@');
	char domain[SMTP_DOMAIN_MAX + 1];
	const struct domain_conf *d;

	*way = (struct route){ .kind = ROUTE_BACKEND };
	if (!at || smtp_domain_ascii(at + 1, domain) < 0)
		return;
	d = section(r, one);
	if (d)
		route_of_owner(d, one->owner, way);
	else if (ours)
		route_of_ours(r->site, domain, way);
}

/* Who is unknown to one of several owners is asked of the next. */
static void try_next_owner(struct release *r)
{
	for (size_t i = 0; i < r->rcpt_count; i++) {
		struct release_rcpt *one = &r->rcpt[i];
		const struct domain_conf *d = one->result == RELEASE_REFUSED && one->unknown ? section(r, one) : NULL;
		size_t next = 0;

		if (!d)
			continue;
		one->asked |= (unsigned char)(1u << one->owner);
		while (next < d->owner_count && one->asked & 1u << next)
			next++;
		if (next == d->owner_count)
			continue;
		one->owner = (unsigned char)next;
		one->unknown = false;
		one->result = RELEASE_PENDING;
	}
}

/* Only those that go the way of the first wait for their turn now. */
static void choose_way(struct release *r, bool ours, struct route *way)
{
	bool first = true;

	for (size_t i = 0; i < r->rcpt_count; i++) {
		struct route its;

		if (r->rcpt[i].result != RELEASE_PENDING)
			continue;
		way_of(r, &r->rcpt[i], ours, &its);
		if (first)
			*way = its;
		else if (!route_same(way, &its))
			r->rcpt[i].result = RELEASE_OTHER_WAY;
		first = false;
	}
}

void release_run(struct release *r, struct backend_group *g, const struct backend_domains *domains, struct outbound *o)
{
	bool ours = release_is_ours(r);
	struct route way;

	if (release_count(r, RELEASE_PENDING) == 0 || record_begin(r) < 0)
		return;
	if (release_sign(r) < 0) {
		settle(r, RELEASE_PENDING, RELEASE_LATER, "451 4.3.0 it could not be signed: see the log");
		record_failed(r);
		return;
	}
	while (can_record(r) && release_count(r, RELEASE_PENDING) > 0) {
		choose_way(r, ours, &way);
		if (begin(r, way.kind == ROUTE_OWNER ? backend_domains_find(domains, way.domain) : g, o, &way) && add_all(r))
			send_message(r);
		give_back(r);
		try_next_owner(r);
		settle(r, RELEASE_OTHER_WAY, RELEASE_PENDING, "");
		if (can_record(r))
			record_failed(r);
	}
}
