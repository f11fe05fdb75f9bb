#include "policy/record.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "base/utf8.h"
#include "filters/filter.h"
#include "filters/rfc2047.h"
#include "filters/unpack.h"
#include "policy/conf.h"

/* Octets of a fact's value, of a header field; of all values of a list. */
enum { EXCERPT_MAX = 2048, LIST_EXCERPT_MAX = 16 * 1024, BRIEF_VALUE_MAX = 160 };

json_t *record_string(const char *p, size_t len)
{
	AUTO(buf) struct buf out = BUF_INIT(256 * 1024);

	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);

		if (n)
			buf_add(&out, p + i, n);
		else
			buf_adds(&out, UTF8_REPLACEMENT);
		i += n ? n : 1;
	}
	return json_stringn(buf_str(&out), out.len);
}

json_t *record_text(const char *s)
{
	return s ? record_string(s, strlen(s)) : json_null();
}

/* What the message says at whatever length: the record must fit the store, or nothing is kept. */
static json_t *excerpt(const char *p, size_t len)
{
	return record_string(p, len < EXCERPT_MAX ? len : EXCERPT_MAX);
}

void record_fact_text(const struct fact *f, struct buf *out)
{
	enum fact_type type = fact_def(f->id)->type;

	if (f->state == FACT_TEMPERROR)
		buf_adds(out, "temperror");
	else if (type == FACT_BOOL)
		buf_adds(out, f->number ? "yes" : "no");
	else if (type == FACT_NUMBER)
		buf_addf(out, "%lld", (long long)f->number);
	for (size_t i = 0;
	     f->state == FACT_KNOWN && i < f->count && type != FACT_BOOL && type != FACT_NUMBER;
	     i++) {
		if (i)
			buf_addc(out, ',');
		buf_adds(out, f->text[i]);
	}
}

static json_t *fact_value(const struct fact *f)
{
	const struct fact_def *d = fact_def(f->id);
	json_t *list;

	if (f->state == FACT_TEMPERROR)
		return json_pack("{s:o}", "temperror", record_text(f->why ? f->why : ""));
	if (d->type == FACT_BOOL)
		return json_boolean(f->number);
	if (d->type == FACT_NUMBER)
		return json_integer(f->number);
	if (!d->list)
		return f->count ? excerpt(f->text[0], strlen(f->text[0])) : record_text("");
	list = json_array();
	for (size_t i = 0, total = 0; i < f->count && total < LIST_EXCERPT_MAX; i++) {
		json_array_append_new(list, excerpt(f->text[i], strlen(f->text[i])));
		total += strnlen(f->text[i], EXCERPT_MAX);
	}
	return list;
}

static void add_facts(const struct facts *f, json_t *values, json_t *whys)
{
	for (size_t i = 0; i < f->count; i++) {
		const char *name = fact_def(f->v[i].id)->name;

		if (f->v[i].state == FACT_UNKNOWN)
			continue;
		json_object_set_new(values, name, fact_value(&f->v[i]));
		if (f->v[i].why)
			json_object_set_new(whys, name, record_text(f->v[i].why));
	}
}

static json_t *client_json(const struct client *c)
{
	return json_pack("{s:o, s:o, s:o, s:b, s:o, s:o}", "ip", record_text(c->ip[0] ? c->ip : NULL), "relay", record_text(c->via ? c->via->ip : NULL), "helo", record_text(c->helo),
			 "esmtp", c->esmtp, "tls", record_text(c->tls_version), "rdns",
			 record_text(facts_word(&c->evidence.facts, "client.rdns")));
}

/* What JSON cannot say as text. */
static void set_exact(json_t *o, const char *key, const char *s)
{
	size_t len = s ? strlen(s) : 0;
	json_t *plain = s ? json_stringn(s, len) : NULL;
	char *b64;

	json_decref(plain);
	if (!s || plain)
		return;
	b64 = malloc(4 * ((len + 2) / 3) + 1);
	if (b64 && EVP_EncodeBlock((unsigned char *)b64, (const unsigned char *)s, (int)len) > 0)
		json_object_set_new(o, key, json_string(b64));
	free(b64);
}

/* Of each recipient, as they share a record: the fact is that of one. */
static void set_classes(json_t *one, const struct policy *p, const char *address)
{
	const char *names[FACT_LIST_MAX];
	size_t n = p ? policy_classes(p, address, names, FACT_LIST_MAX) : 0;
	json_t *list = n ? json_array() : NULL;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, record_text(names[i]));
	if (list)
		json_object_set_new(one, "classes", list);
}

static json_t *envelope_json(const struct txn *t, const struct recipient *const *rcpt, size_t count)
{
	json_t *list = json_array(), *envelope;

	for (size_t i = 0; i < count; i++) {
		json_t *one = json_pack("{s:o, s:o}", "address", record_text(rcpt[i]->address), "params",
					record_text(rcpt[i]->params));

		set_exact(one, "address_b64", rcpt[i]->address);
		set_classes(one, t->site ? t->site->policy : NULL, rcpt[i]->address);
		json_array_append_new(list, one);
	}
	envelope = json_pack("{s:o, s:o, s:o}", "from", record_text(t->env.from), "params",
			     record_text(t->env.params), "rcpt", list);
	set_exact(envelope, "from_b64", t->env.from);
	return envelope;
}

static json_t *field_json(const struct message *m, const char *name)
{
	const struct header_field *h = message_find(m, name, 0);
	const char *p;
	size_t n;

	if (!h)
		return json_null();
	for (p = h->body, n = h->body_len; n && (*p == ' ' || *p == '\t'); n--)
		p++;
	return excerpt(p, n);
}

/* As a person reads it. */
static json_t *decoded_json(const struct message *m, const char *name)
{
	const struct header_field *h = message_find(m, name, 0);
	AUTO(buf) struct buf text = BUF_INIT(RFC2047_TEXT_MAX);

	if (!h || rfc2047_decode(h->body, h->body_len, &text) < 0)
		return json_null();
	return excerpt(buf_str(&text), text.len);
}

static json_t *message_json(const struct message *m)
{
	if (!m)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:I}", "id", field_json(m, "Message-ID"), "from",
			 decoded_json(m, "From"), "subject", decoded_json(m, "Subject"), "size",
			 (json_int_t)message_size(m));
}

static json_t *verdict_json(const struct verdict *v)
{
	json_t *rule = json_null();

	if (v->rule)
		rule = json_pack("{s:i, s:o, s:o}", "line", v->rule->line, "name",
				 record_text(v->rule->name), "text", record_text(v->rule->text));
	return json_pack("{s:s, s:o, s:o}", "action", action_name(v->action), "rule", rule, "reply",
			 record_text(v->reply));
}

json_t *record_make(const struct txn *t, const struct recipient *const *rcpt, size_t count,
		    const struct judge *j)
{
	json_t *facts, *whys, *record;

	/* A record without one of its recipients would lose that one the message: whatever there was no memory for, there is no record then. */
	json_whole_begin();
	errno = 0;
	facts = json_object();
	whys = json_object();
	add_facts(&t->client->evidence.facts, facts, whys);
	add_facts(&t->evidence.facts, facts, whys);
	if (j)
		add_facts(&j->facts, facts, whys);
	record = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "id", t->id, "time",
			   (json_int_t)clock_wall_s(), "client", client_json(t->client), "envelope",
			   envelope_json(t, rcpt, count), "message", message_json(t->message),
			   "facts", facts, "why", whys, "verdict",
			   j ? verdict_json(&j->verdict) : json_null());
	if (!json_whole_starved() && errno != ENOMEM)
		return record;
	json_decref(record);
	return NULL;
}

void record_add_text(json_t *record, struct message *m)
{
	AUTO(buf) struct buf text = BUF_INIT(RECORD_TEXT_MAX);

	if (unpack_text(m, RECORD_TEXT_MAX, &text) == 0)
		json_object_set_new(record, "text", record_string(buf_str(&text), text.len));
}

void record_refused(json_t *record, const char *backend, const char *reply)
{
	json_object_set_new(record, "refused", json_pack("{s:o, s:o}", "backend", record_text(backend), "reply", record_text(reply)));
}

static const struct fact *find(const struct txn *t, const struct judge *j, const char *name)
{
	int id = fact_find(name, strlen(name));
	const struct fact *f = NULL;

	if (id == FACT_NONE)
		return NULL;
	if (j)
		f = facts_get(&j->facts, id);
	if (!f)
		f = facts_get(&t->evidence.facts, id);
	return f ? f : facts_get(&t->client->evidence.facts, id);
}

/* " name=value", cut: what a stranger has made long, such as a chain of seals, leaves room for what stands behind it. */
static void brief_add(const struct fact *f, struct buf *out)
{
	AUTO(buf) struct buf text = BUF_INIT(LIST_EXCERPT_MAX);
	size_t n;

	record_fact_text(f, &text);
	n = text.len < BRIEF_VALUE_MAX ? text.len : BRIEF_VALUE_MAX;
	buf_addf(out, "%s%s=%.*s%s", out->len ? " " : "", fact_def(f->id)->name, (int)n, buf_str(&text), n < text.len || text.failed ? "..." : "");
}

void record_facts_brief(const struct txn *t, const struct judge *j, struct buf *out)
{
	static const char *const brief[] = {
		"spf",           "dkim",      "dmarc",       "dmarc.policy", "arc", "arc.sealer", "arc.dmarc_sealers", "dnsbl.score", "uribl.score",
		"client.fcrdns", "helo.kind", "from.domain", "greylist",     "client.early_talker",
		"temperror.expired", "regex.gave_up", "rate.over", "virus.name", "clamd.away", "clamd.skipped",
		"rspamd.action", "rspamd.score", "rspamd.away", "rspamd.skipped", "spamd.score", "spamd.away", "spamd.skipped",
		"milter.name", "milter.reason", "milter.changes", "milter.away",
	};

	for (size_t i = 0; i < sizeof(brief) / sizeof(*brief); i++) {
		const struct fact *f = find(t, j, brief[i]);

		if (!f || (fact_def(f->id)->type == FACT_BOOL && !f->number) || (fact_def(f->id)->list && f->state == FACT_KNOWN && !f->count))
			continue;
		if (strcmp(brief[i], "arc") == 0 && f->state == FACT_KNOWN && strcmp(f->text[0], "none") == 0)
			continue;       /* most messages have no chain */
		brief_add(f, out);
	}
}
