#include "policy/spool_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_whole.h"
#include "policy/spool_json.h"

enum { NAME_BYTES = 256, VERSION = 1 };

#define SECONDS_MAX ((int64_t)1 << 40)
#define BYTES_MAX ((int64_t)1 << 40)

static const char *const states[] = { "waiting", "delivered", "failed", NULL };
static const char *const directions[] = { "inbound", "submission", "outbound", NULL };

const char *spool_state_name(enum spool_state s)
{
	return states[s];
}

const char *spool_direction_name(enum spool_direction d)
{
	return directions[d];
}

size_t spool_envelope_waiting(const struct spool_envelope *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->rcpt_count; i++)
		n += e->rcpt[i].state == SPOOL_WAITING;
	return n;
}

static json_t *recipient_json(const struct spool_recipient *r)
{
	json_t *o = json_pack("{s:s, s:i, s:I, s:b}", "state", states[r->state], "attempts", (int)r->attempts, "tried", (json_int_t)r->tried_s, "told",
			      r->delay_told);

	if (o && spool_json_put(o, "address", r->address, SPOOL_ADDRESS_MAX) && spool_json_put(o, "params", r->params, SPOOL_PARAMS_MAX) &&
	    spool_json_put(o, "route", r->route, SPOOL_ADDRESS_MAX) && spool_json_put(o, "reply", r->reply, SPOOL_REPLY_MAX) &&
	    spool_json_put(o, "remote", r->remote, NAME_BYTES))
		return o;
	json_decref(o);
	return NULL;
}

json_t *spool_record_json(const struct spool_envelope *e)
{
	json_t *o = json_pack("{s:i, s:I, s:I, s:s, s:b}", "spool", VERSION, "created", (json_int_t)e->created_s, "bytes", (json_int_t)e->bytes,
			      "direction", directions[e->direction], "credible", e->credible);
	json_t *list = json_array();
	bool ok = o && list && (!*e->id || spool_json_put(o, "id", e->id, STORE_ID_MAX)) &&
		  spool_json_put(o, "sender", e->sender ? e->sender : "", SPOOL_ADDRESS_MAX) &&
		  spool_json_put(o, "params", e->params ? e->params : "", SPOOL_PARAMS_MAX) && spool_json_put(o, "listener", e->listener, NAME_BYTES) &&
		  spool_json_put(o, "user", e->user, SPOOL_ADDRESS_MAX) && spool_json_put(o, "client", e->client, NAME_BYTES) &&
		  spool_json_put(o, "helo", e->helo, SPOOL_ADDRESS_MAX) && spool_json_put(o, "txn", e->txn, NAME_BYTES) &&
		  (!e->minor || json_object_set_new(o, "minor", json_true()) == 0);

	for (size_t i = 0; ok && i < e->rcpt_count; i++)
		ok = json_array_append_new(list, recipient_json(&e->rcpt[i])) == 0;
	if (ok)
		ok = json_object_set(o, "rcpt", list) == 0;
	json_decref(list);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

char *spool_record_text(const struct spool_envelope *e)
{
	json_t *o = spool_record_json(e);
	char *text = o ? json_whole(o, JSON_COMPACT) : NULL;

	json_decref(o);
	if (text && strlen(text) > SPOOL_RECORD_MAX) {
		free(text);
		return NULL;
	}
	return text;
}

/* Into a recipient that is part of e already, so that it is freed with it. */
static bool read_recipient(const json_t *o, struct spool_recipient *r)
{
	int64_t attempts = 0;
	int state = 0;

	if (!json_is_object(o) || !spool_json_get_text(o, "address", SPOOL_ADDRESS_MAX, JSON_NEEDED, &r->address) ||
	    !spool_json_get_text(o, "params", SPOOL_PARAMS_MAX, JSON_NEEDED, &r->params) ||
	    !spool_json_get_text(o, "route", SPOOL_ADDRESS_MAX, JSON_NEEDED, &r->route) ||
	    !spool_json_get_text(o, "reply", SPOOL_REPLY_MAX, JSON_NEEDED, &r->reply) ||
	    !spool_json_get_text(o, "remote", NAME_BYTES, JSON_NEEDED, &r->remote) || !spool_json_get_word(o, "state", states, &state) ||
	    !spool_json_get_number(o, "attempts", 0, 1000000, JSON_NEEDED, &attempts) ||
	    !spool_json_get_number(o, "tried", 0, SECONDS_MAX, JSON_NEEDED, &r->tried_s) ||
	    !spool_json_get_bool(o, "told", JSON_NEEDED, &r->delay_told))
		return false;
	r->attempts = (unsigned)attempts;
	r->state = (enum spool_state)state;
	return *r->address && *r->route;
}

static const char *read_recipients(const json_t *list, struct spool_envelope *e)
{
	json_t *one;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) == 0)
		return "it has no recipients";
	if (json_array_size(list) > SPOOL_RECIPIENTS_MAX)
		return "it has too many recipients";
	e->rcpt = calloc(json_array_size(list), sizeof(*e->rcpt));
	if (!e->rcpt)
		return "no memory";
	e->rcpt_room = json_array_size(list);
	json_array_foreach(list, i, one) {
		e->rcpt_count = i + 1;
		if (!read_recipient(one, &e->rcpt[i]))
			return "a recipient is not as it should be";
	}
	return NULL;
}

static const char *read_id(const json_t *o, enum spool_record_kind kind, struct spool_envelope *e)
{
	char *id = NULL;
	const char *why = NULL;

	if (kind == RECORD_NEW)
		return json_object_get(o, "id") ? "it has an id already" : NULL;
	if (!spool_json_get_text(o, "id", STORE_ID_LEN, JSON_NEEDED, &id) || store_id_ms(id) < 0)
		why = "it has no id";
	else
		memcpy(e->id, id, STORE_ID_LEN + 1);
	free(id);
	return why;
}

/* NULL, or what is wrong. */
static const char *read_all(const json_t *o, enum spool_record_kind kind, struct spool_envelope *e)
{
	int64_t version = 0, bytes = 0;
	const char *why;
	int direction = 0;

	if (!json_is_object(o))
		return "it is no JSON object";
	if (!spool_json_get_number(o, "spool", VERSION, VERSION, JSON_NEEDED, &version))
		return "it is of another version";
	why = read_id(o, kind, e);
	if (why)
		return why;
	if (!spool_json_get_number(o, "created", kind == RECORD_NEW ? 0 : 1, SECONDS_MAX, JSON_NEEDED, &e->created_s) ||
	    !spool_json_get_number(o, "bytes", 0, BYTES_MAX, JSON_NEEDED, &bytes))
		return "its time or its size are not as they should be";
	e->bytes = (uint64_t)bytes;
	if (!spool_json_get_text(o, "sender", SPOOL_ADDRESS_MAX, JSON_NEEDED, &e->sender) ||
	    !spool_json_get_text(o, "params", SPOOL_PARAMS_MAX, JSON_NEEDED, &e->params) ||
	    !spool_json_get_bool(o, "credible", JSON_NEEDED, &e->credible) || !spool_json_get_bool(o, "minor", JSON_OPTIONAL, &e->minor))
		return "its sender is not as it should be";
	if (!spool_json_get_word(o, "direction", directions, &direction) ||
	    !spool_json_get_text(o, "listener", NAME_BYTES, JSON_OPTIONAL, &e->listener) ||
	    !spool_json_get_text(o, "user", SPOOL_ADDRESS_MAX, JSON_OPTIONAL, &e->user) ||
	    !spool_json_get_text(o, "client", NAME_BYTES, JSON_OPTIONAL, &e->client) ||
	    !spool_json_get_text(o, "helo", SPOOL_ADDRESS_MAX, JSON_OPTIONAL, &e->helo) ||
	    !spool_json_get_text(o, "txn", NAME_BYTES, JSON_OPTIONAL, &e->txn))
		return "where it came from is not as it should be";
	e->direction = (enum spool_direction)direction;
	return read_recipients(json_object_get(o, "rcpt"), e);
}

int spool_record_read(const json_t *o, enum spool_record_kind kind, struct spool_envelope **out, const char **why)
{
	struct spool_envelope *e = spool_envelope_new();
	const char *wrong;
	int rc;

	errno = 0;
	wrong = e ? read_all(o, kind, e) : "no memory";
	if (!wrong) {
		*out = e;
		return 0;
	}
	/* What there was no memory for is not the record's fault: it is not to be put aside for that. */
	rc = !e || errno == ENOMEM ? -ENOMEM : -EINVAL;
	spool_envelope_free(e);
	if (why)
		*why = wrong;
	return rc;
}

int spool_record_parse(const char *text, size_t len, enum spool_record_kind kind, struct spool_envelope **out, const char **why)
{
	json_t *o;
	int rc;

	errno = 0;              /* it may be too long */
	o = len <= SPOOL_RECORD_MAX ? json_whole_load(text, len, JSON_REJECT_DUPLICATES) : NULL;
	if (!o && errno == ENOMEM)
		return -ENOMEM;
	rc = spool_record_read(o, kind, out, why);
	json_decref(o);
	return rc;
}
