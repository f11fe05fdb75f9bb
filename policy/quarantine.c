#include "policy/quarantine.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/message.h"

enum { HEADER_SHOWN = 998 };            /* bytes of Subject and Message-ID that are noted */

static json_t *bytes_value(const char *p, size_t len)
{
	json_t *text = json_stringn(p, len), *object;
	char *b64;
	int n;

	if (text)
		return text;
	b64 = malloc(4 * ((len + 2) / 3) + 1);
	if (!b64)
		return NULL;
	n = EVP_EncodeBlock((unsigned char *)b64, (const unsigned char *)p, (int)len);
	object = json_pack("{s:s#}", "b64", b64, n);
	free(b64);
	return object;
}

static json_t *text_value(const char *s)
{
	return bytes_value(s, strlen(s));
}

static void set(json_t *o, const char *key, const char *s)
{
	if (s)
		json_object_set_new(o, key, text_value(s));
}

static json_t *fact_value(const struct fact *f)
{
	const struct fact_def *def = fact_def(f->id);
	json_t *list;

	if (f->state == FACT_TEMPERROR)
		return json_string("temperror");
	if (def->type == FACT_NUMBER)
		return json_integer(f->number);
	if (def->type == FACT_BOOL)
		return json_boolean(f->number != 0);
	if (!def->list)
		return f->count > 0 ? text_value(f->text[0]) : json_null();
	list = json_array();
	for (size_t i = 0; i < f->count; i++)
		json_array_append_new(list, text_value(f->text[i]));
	return list;
}

static void facts_add_to(const struct facts *facts, json_t *values, json_t *why)
{
	for (size_t i = 0; i < facts->count; i++) {
		const struct fact *f = &facts->v[i];

		if (f->state == FACT_UNKNOWN)
			continue;
		json_object_set_new(values, fact_def(f->id)->name, fact_value(f));
		set(why, fact_def(f->id)->name, f->why);
	}
}

static json_t *recipients(const struct envelope *env, const bool *chosen)
{
	json_t *list = json_array();

	for (size_t i = 0; i < env->rcpt_count; i++) {
		json_t *one;

		if (chosen && !chosen[i])
			continue;
		one = json_object();
		set(one, "address", env->rcpt[i].address);
		if (env->rcpt[i].params && env->rcpt[i].params[0])
			set(one, "params", env->rcpt[i].params);
		json_array_append_new(list, one);
	}
	return list;
}

static void header(json_t *o, const char *key, const struct message *m, const char *name)
{
	const struct header_field *f = m ? message_find(m, name, 0) : NULL;
	size_t len, skip = 0;

	if (!f)
		return;
	len = f->body_len < HEADER_SHOWN ? f->body_len : HEADER_SHOWN;
	while (skip < len && (f->body[skip] == ' ' || f->body[skip] == '\t'))
		skip++;
	json_object_set_new(o, key, bytes_value(f->body + skip, len - skip));
}

static json_t *meta_object(const struct txn *t, const bool *chosen, const char *rule, const char *reason)
{
	json_t *o = json_object(), *facts = json_object(), *why = json_object();

	set(o, "tx", t->id);
	json_object_set_new(o, "at", json_integer(clock_wall_s()));
	set(o, "client", t->client->ip);
	json_object_set_new(o, "port", json_integer(t->client->addr.port));
	set(o, "helo", t->client->helo);
	set(o, "tls", t->client->tls_version);
	set(o, "from", t->env.from);
	if (t->env.params && t->env.params[0])
		set(o, "from_params", t->env.params);
	json_object_set_new(o, "rcpt", recipients(&t->env, chosen));
	set(o, "rule", rule);
	set(o, "reason", reason);
	facts_add_to(&t->client->evidence.facts, facts, why);
	facts_add_to(&t->evidence.facts, facts, why);
	json_object_set_new(o, "facts", facts);
	json_object_set_new(o, "why", why);
	header(o, "subject", t->message, "Subject");
	header(o, "message_id", t->message, "Message-ID");
	return o;
}

int quarantine_meta(const struct txn *t, const bool *chosen, const char *rule, const char *reason, struct buf *out)
{
	json_t *o = meta_object(t, chosen, rule, reason);
	char *text = json_dumps(o, JSON_COMPACT);
	int rc = text ? buf_adds(out, text) : -ENOMEM;

	json_decref(o);
	free(text);
	return rc;
}
