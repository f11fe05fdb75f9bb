#include "policy/search_doc.h"

#include <errno.h>

struct doc {
	struct buf *out;
	int (*on_word)(void *arg, const struct search_word *word);
	void *arg;
	const char *mark;
	int words;
};

const char *search_mark(enum search_field field)
{
	static const char *const marks[] = {
		[SEARCH_ANYWHERE] = "", [SEARCH_FROM] = "«", [SEARCH_TO] = "»", [SEARCH_SUBJECT] = "§",
	};

	return marks[field];
}

/* Enough is no error. */
enum { ENOUGH = 1 };

static int add_word(void *arg, const struct search_word *w)
{
	struct doc *d = arg;
	int rc;

	if (d->words++ >= SEARCH_DOC_WORDS_MAX || d->out->len + w->len + 4 > d->out->max)
		return ENOUGH;
	if (d->out->len)
		buf_addc(d->out, ' ');
	buf_adds(d->out, d->mark);
	rc = buf_add(d->out, w->text, w->len);
	if (rc == 0 && d->on_word && !*d->mark)
		rc = d->on_word(d->arg, w);
	return rc;
}

static int add_text(struct doc *d, json_t *text, enum search_field field)
{
	if (!json_is_string(text))
		return 0;
	d->mark = search_mark(field);
	return search_words(json_string_value(text), json_string_length(text), add_word, d);
}

/* A string, or each of a list. */
static int add_plain(struct doc *d, json_t *value)
{
	json_t *one;
	size_t i;
	int rc = add_text(d, value, SEARCH_ANYWHERE);

	json_array_foreach(value, i, one)
		if (rc == 0)
			rc = add_text(d, one, SEARCH_ANYWHERE);
	return rc;
}

static int add_field(struct doc *d, json_t *text, enum search_field field)
{
	int rc = add_text(d, text, SEARCH_ANYWHERE);

	return rc == 0 ? add_text(d, text, field) : rc;
}

static int add_recipients(struct doc *d, json_t *envelope)
{
	json_t *rcpt;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(envelope, "rcpt"), i, rcpt)
		if (rc == 0)
			rc = add_field(d, json_object_get(rcpt, "address"), SEARCH_TO);
	return rc;
}

static int add_record(struct doc *d, json_t *record)
{
	json_t *envelope = json_object_get(record, "envelope"), *message = json_object_get(record, "message");
	json_t *client = json_object_get(record, "client"), *facts = json_object_get(record, "facts");
	json_t *rule = json_object_get(json_object_get(record, "verdict"), "rule");
	json_t *plain[] = {
		json_object_get(message, "id"), json_object_get(client, "ip"), json_object_get(client, "helo"),
		json_object_get(client, "rdns"), json_object_get(rule, "name"), json_object_get(facts, "attachment.name"),
		json_object_get(record, "text"),
	};
	int rc = add_field(d, json_object_get(message, "subject"), SEARCH_SUBJECT);

	if (rc == 0)
		rc = add_field(d, json_object_get(message, "from"), SEARCH_FROM);
	if (rc == 0)
		rc = add_field(d, json_object_get(envelope, "from"), SEARCH_FROM);
	if (rc == 0)
		rc = add_field(d, json_object_get(message, "to"), SEARCH_TO);
	if (rc == 0)
		rc = add_field(d, json_object_get(message, "cc"), SEARCH_TO);
	if (rc == 0)
		rc = add_recipients(d, envelope);
	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain) && rc == 0; i++)
		rc = add_plain(d, plain[i]);
	return rc;
}

int search_doc(json_t *record, struct buf *out, int (*on_word)(void *arg, const struct search_word *word), void *arg)
{
	struct doc d = { .out = out, .on_word = on_word, .arg = arg };
	int rc = add_record(&d, record);

	return rc == ENOUGH ? 0 : rc;
}
