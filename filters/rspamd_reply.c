#include "filters/rspamd_reply.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_whole.h"

const char *const rspamd_actions[] = {
	"no_action", "greylist", "add_header", "rewrite_subject", "soft_reject", "reject", "discard", "quarantine", "custom", NULL,
};

/* "rewrite subject" as "rewrite_subject". */
static const char *action_of(const char *text)
{
	char word[32];
	size_t i;

	for (i = 0; i < sizeof(word) - 1 && text[i]; i++)
		word[i] = text[i] == ' ' ? '_' : text[i];
	word[i] = '\0';
	for (i = 0; strcmp(rspamd_actions[i], "custom") != 0; i++)
		if (strcmp(rspamd_actions[i], word) == 0)
			return rspamd_actions[i];
	return "custom";
}

static bool number(const json_t *o, int64_t *out)
{
	double v;

	if (!json_is_number(o))
		return false;
	v = floor(json_number_value(o));
	*out = v > RSPAMD_SCORE_MAX ? RSPAMD_SCORE_MAX : v < -RSPAMD_SCORE_MAX ? -RSPAMD_SCORE_MAX : (int64_t)v;
	return true;
}

static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (name[i] <= 0x20 || name[i] > 0x7e)
			return false;
	return len > 0 && len <= RSPAMD_SYMBOL_MAX;
}

static int symbols(json_t *o, struct rspamd_reply *out)
{
	size_t most = json_object_size(o) < RSPAMD_SYMBOLS_MAX ? json_object_size(o) : RSPAMD_SYMBOLS_MAX;
	const char *name;
	json_t *one;

	out->symbol = calloc(most + 1, sizeof(*out->symbol));
	if (!out->symbol)
		return -ENOMEM;
	json_object_foreach(o, name, one) {
		if (out->symbol_count == most)
			break;
		if (!name_ok(name))
			continue;
		out->symbol[out->symbol_count] = strdup(name);
		if (!out->symbol[out->symbol_count++])
			return -ENOMEM;
	}
	return 0;
}

static void error_words(const char *text, struct rspamd_reply *out)
{
	size_t i;

	for (i = 0; i < RSPAMD_SYMBOL_MAX && text[i]; i++)
		out->error[i] = text[i] >= 0x20 && text[i] <= 0x7e ? text[i] : '?';
	out->error[i] = '\0';
}

static int read_object(json_t *o, struct rspamd_reply *out)
{
	const json_t *error = json_object_get(o, "error"), *action = json_object_get(o, "action");

	if (json_is_string(error) && *json_string_value(error)) {
		error_words(json_string_value(error), out);
		return 0;
	}
	out->skipped = json_is_true(json_object_get(o, "is_skipped"));
	if (out->skipped)
		return 0;
	if (!json_is_string(action) || !number(json_object_get(o, "score"), &out->score) || !json_is_object(json_object_get(o, "symbols")))
		return -EBADMSG;
	out->action = action_of(json_string_value(action));
	out->has_required = number(json_object_get(o, "required_score"), &out->required);
	return symbols(json_object_get(o, "symbols"), out);
}

int rspamd_reply_read(const char *p, size_t len, struct rspamd_reply *out)
{
	struct rspamd_reply r = { 0 };
	json_t *o = json_whole_load(p, len, 0);
	int rc;

	if (!o)
		return errno == ENOMEM ? -ENOMEM : -EBADMSG;
	rc = json_is_object(o) ? read_object(o, &r) : -EBADMSG;
	json_decref(o);
	if (rc < 0) {
		rspamd_reply_release(&r);
		return rc;
	}
	*out = r;
	return 0;
}

void rspamd_reply_release(struct rspamd_reply *r)
{
	for (size_t i = 0; i < r->symbol_count; i++)
		free(r->symbol[i]);
	free(r->symbol);
	memset(r, 0, sizeof(*r));
}
