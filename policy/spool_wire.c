#include "policy/spool_wire.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_whole.h"
#include "policy/spool_json.h"
#include "policy/spool_record.h"

enum { NAME_BYTES = 256 };

static const char *const kinds[] = { "taken", "for-good", "later", "untried", NULL };
static const char *const duties[] = { "deliver", "tell", "expire", NULL };

#define NUMBER_MAX INT64_MAX

static void json_cleanup(json_t **j)
{
	json_decref(*j);
}

static char *dump(json_t *o)
{
	char *text = o ? json_whole(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

static json_t *load(const char *text, size_t len)
{
	json_t *o = json_whole_load(text, len, JSON_REJECT_DUPLICATES);

	if (json_is_object(o))
		return o;
	json_decref(o);
	return NULL;
}

static bool get_id(const json_t *o, char id[STORE_ID_MAX])
{
	const char *text = json_string_value(json_object_get(o, "id"));

	if (!text || store_id_ms(text) < 0)
		return false;
	memcpy(id, text, STORE_ID_LEN + 1);
	return true;
}

static bool get_number(const json_t *o, const char *key, uint64_t *out)
{
	int64_t n = 0;

	if (!spool_json_get_number(o, key, 1, NUMBER_MAX, JSON_NEEDED, &n))
		return false;
	*out = (uint64_t)n;
	return true;
}

char *spool_wire_number(const char *key, int64_t n)
{
	return dump(json_pack("{s:I}", key, (json_int_t)n));
}

int spool_wire_number_read(const char *text, size_t len, const char *key, int64_t max, int64_t *out)
{
	AUTO(json) json_t *o = load(text, len);

	return o && spool_json_get_number(o, key, 0, max, JSON_NEEDED, out) ? 0 : -EBADMSG;
}

char *spool_wire_ask(uint64_t serial, int wait_ms)
{
	return dump(json_pack("{s:I, s:i}", "serial", (json_int_t)serial, "wait", wait_ms));
}

int spool_wire_ask_read(const char *text, size_t len, uint64_t *serial, int64_t *wait_ms)
{
	AUTO(json) json_t *o = load(text, len);

	return o && get_number(o, "serial", serial) && spool_json_get_number(o, "wait", 0, 24 * 3600 * 1000, JSON_NEEDED, wait_ms) ? 0 : -EBADMSG;
}

/* --- leases --- */

char *spool_wire_lease(const struct spool_grant *g, const struct spool_envelope *e, int64_t now_ms)
{
	json_t *record = spool_record_json(e);
	json_t *o = record ? json_pack("{s:I, s:s, s:b, s:b, s:I, s:O}", "lease", (json_int_t)g->number, "duty", duties[g->duty], "tell", g->tell, "last",
				       g->last, "left", (json_int_t)(g->until_ms - now_ms), "record", record)
			   : NULL;

	json_decref(record);
	if (o && !spool_json_put(o, "route", g->route, SPOOL_ADDRESS_MAX)) {
		json_decref(o);
		o = NULL;
	}
	return dump(o);
}

void spool_lease_free(struct spool_lease *l)
{
	if (!l)
		return;
	spool_envelope_free(l->envelope);
	free(l->route);
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

static bool lease_read(const json_t *o, int64_t now_ms, struct spool_lease *l)
{
	int64_t left_ms = 0;
	int duty = 0;

	if (!o || !get_number(o, "lease", &l->number) || !spool_json_get_word(o, "duty", duties, &duty) ||
	    !spool_json_get_bool(o, "tell", JSON_NEEDED, &l->tell) || !spool_json_get_bool(o, "last", JSON_NEEDED, &l->last) ||
	    !spool_json_get_number(o, "left", 0, SPOOL_LEASE_MS, JSON_NEEDED, &left_ms) ||
	    !spool_json_get_text(o, "route", SPOOL_ADDRESS_MAX, JSON_NEEDED, &l->route) ||
	    spool_record_read(json_object_get(o, "record"), RECORD_KEPT, &l->envelope, NULL) < 0)
		return false;
	l->duty = (enum spool_duty)duty;
	l->until_ms = now_ms + left_ms;
	for (size_t i = 0; i < l->envelope->rcpt_count; i++) {
		struct spool_recipient *r = &l->envelope->rcpt[i];

		r->due = r->state == SPOOL_WAITING && strcmp(r->route, l->route) == 0;
	}
	return true;
}

int spool_wire_lease_read(const char *text, size_t len, int64_t now_ms, struct spool_lease **out)
{
	AUTO(json) json_t *o = load(text, len);
	struct spool_lease *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->fd = -1;
	if (!lease_read(o, now_ms, l)) {
		spool_lease_free(l);
		return -EBADMSG;
	}
	*out = l;
	return 0;
}

/* --- reports --- */

static json_t *outcome_json(const struct spool_outcome *x)
{
	json_t *o = json_pack("{s:I, s:s, s:b}", "rcpt", (json_int_t)x->rcpt, "kind", kinds[x->kind], "told", x->delay_told);

	if (o && spool_json_put(o, "reply", x->reply, SPOOL_REPLY_MAX) && spool_json_put(o, "remote", x->remote, NAME_BYTES) &&
	    spool_json_put(o, "route", x->route, SPOOL_ADDRESS_MAX))
		return o;
	json_decref(o);
	return NULL;
}

char *spool_wire_report(const struct spool_lease *l, const struct spool_report *r)
{
	json_t *list = json_array();
	json_t *o = json_pack("{s:s, s:I, s:b, s:b, s:s, s:O}", "id", l->envelope->id, "lease", (json_int_t)l->number, "down", r && r->route_down, "met",
			      r && r->met, "duty", duties[l->duty], "outcome", list);
	bool ok = o != NULL;

	for (size_t i = 0; ok && r && i < r->count; i++)
		ok = json_array_append_new(list, outcome_json(&r->outcome[i])) == 0;
	if (ok && r && r->dsn_fd >= 0 && r->dsn)
		ok = json_object_set_new(o, "dsn", spool_record_json(r->dsn)) == 0;
	json_decref(list);
	if (!ok) {
		json_decref(o);
		o = NULL;
	}
	return dump(o);
}

/* A text that lives as long as the report. */
static bool keep_text(const json_t *o, const char *key, size_t max, struct spool_told *t, const char **out)
{
	char *s = NULL;

	if (!spool_json_get_text(o, key, max, JSON_OPTIONAL, &s))
		return false;
	*out = s;
	if (s)
		t->text[t->text_count++] = s;
	return true;
}

static bool outcome_read(const json_t *o, struct spool_told *t, struct spool_outcome *x)
{
	int64_t rcpt = 0;
	int kind = 0;

	if (!json_is_object(o) || !spool_json_get_number(o, "rcpt", 0, SPOOL_RECIPIENTS_MAX - 1, JSON_NEEDED, &rcpt) ||
	    !spool_json_get_word(o, "kind", kinds, &kind) || !spool_json_get_bool(o, "told", JSON_NEEDED, &x->delay_told) ||
	    !keep_text(o, "reply", SPOOL_REPLY_MAX, t, &x->reply) || !keep_text(o, "remote", NAME_BYTES, t, &x->remote) ||
	    !keep_text(o, "route", SPOOL_ADDRESS_MAX, t, &x->route) || (x->route && !*x->route))
		return false;
	x->rcpt = (size_t)rcpt;
	x->kind = (enum spool_outcome_kind)kind;
	return true;
}

static int report_read(const json_t *o, struct spool_told *t)
{
	const json_t *list = json_object_get(o, "outcome"), *dsn = json_object_get(o, "dsn");
	size_t n = json_array_size(list);
	int duty = 0, rc;

	if (!o || !get_id(o, t->id) || !get_number(o, "lease", &t->number) || !spool_json_get_bool(o, "down", JSON_NEEDED, &t->route_down) ||
	    !spool_json_get_bool(o, "met", JSON_OPTIONAL, &t->met) ||
	    !spool_json_get_word(o, "duty", duties, &duty) || !json_is_array(list) || n > SPOOL_RECIPIENTS_MAX)
		return -EBADMSG;
	t->duty = (enum spool_duty)duty;
	t->outcome = calloc(n + 1, sizeof(*t->outcome));
	t->text = calloc(3 * n + 1, sizeof(*t->text));
	if (!t->outcome || !t->text)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!outcome_read(json_array_get(list, i), t, &t->outcome[i]))
			return -EBADMSG;
	t->count = n;
	rc = dsn ? spool_record_read(dsn, RECORD_NEW, &t->dsn, NULL) : 0;
	return rc == -EINVAL ? -EBADMSG : rc;
}

int spool_wire_report_read(const char *text, size_t len, struct spool_told *out)
{
	AUTO(json) json_t *o = NULL;
	int rc;

	errno = 0;
	o = load(text, len);
	*out = (struct spool_told){ 0 };
	rc = report_read(o, out);
	return rc < 0 && errno == ENOMEM ? -ENOMEM : rc;
}

void spool_told_release(struct spool_told *t)
{
	for (size_t i = 0; i < t->text_count; i++)
		free(t->text[i]);
	free(t->text);
	free(t->outcome);
	spool_envelope_free(t->dsn);
	*t = (struct spool_told){ 0 };
}

/* --- what is held --- */

char *spool_wire_hold(const struct spool_lease *first, int64_t now_ms)
{
	json_t *list = json_array();

	for (const struct spool_lease *l = first; list && l; l = l->next) {
		json_t *o = json_pack("{s:s, s:I, s:I}", "id", l->envelope->id, "lease", (json_int_t)l->number, "left", (json_int_t)(l->until_ms - now_ms));

		if (o && l->until_ms > now_ms && spool_json_put(o, "route", l->route, SPOOL_ADDRESS_MAX))
			json_array_append(list, o);
		json_decref(o);
	}
	return dump(json_pack("{s:o}", "held", list));
}

int spool_wire_hold_read(const char *text, size_t len, void (*fn)(void *arg, const struct spool_held *h), void *arg)
{
	AUTO(json) json_t *o = load(text, len);
	json_t *list = json_object_get(o, "held"), *one;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > SPOOL_HELD_MAX)
		return -EBADMSG;
	json_array_foreach(list, i, one) {
		struct spool_held h = { .route = NULL };
		bool ok = json_is_object(one) && get_id(one, h.id) && get_number(one, "lease", &h.number) &&
			  spool_json_get_number(one, "left", 0, SPOOL_LEASE_MS, JSON_NEEDED, &h.left_ms) &&
			  spool_json_get_text(one, "route", SPOOL_ADDRESS_MAX, JSON_NEEDED, &h.route);

		if (ok)
			fn(arg, &h);
		free(h.route);
		if (!ok)
			return -EBADMSG;
	}
	return 0;
}
