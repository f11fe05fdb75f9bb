#include "smtp/outgoing.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "policy/authres.h"
#include "policy/conf.h"
#include "smtp/trace.h"

enum { ADDED_MAX = 64 * 1024 };

size_t outgoing_bound(const struct message *m)
{
	return message_body_offset(m) + ADDED_MAX;
}

static bool is_named(const struct header_field *h, const char *name)
{
	return h->name_len == strlen(name) && strncasecmp(h->name, name, h->name_len) == 0;
}

bool outgoing_is_forged(const struct header_field *h, const struct site *site)
{
	return (is_named(h, "Authentication-Results") && authres_claims(h->body, h->body_len, site->authserv_id)) ||
	       (site->client_header && is_named(h, site->client_header));
}

static void add_lines(const struct rule *const *effects, size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++)
		if (effects[i]->action == ACTION_ADD_HEADER)
			buf_addf(out, "%s\r\n", effects[i]->argument);
}

static void add_prefixes(const struct rule *const *effects, size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++)
		if (effects[i]->action == ACTION_TAG)
			buf_adds(out, effects[i]->argument);
}

static bool has_prefix(const struct rule *const *effects, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (effects[i]->action == ACTION_TAG)
			return true;
	return false;
}

/* Never our own Received line of an earlier pass: without it a loop would not be seen. */
static bool is_removed(const struct header_field *h, const char *hostname, const struct rule *const *effects, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (effects[i]->action == ACTION_REMOVE_HEADER && is_named(h, effects[i]->argument))
			return !is_named(h, "Received") || !trace_is_ours(h, hostname);
	return false;
}

/* The field as it was, with the prefixes behind "Subject:". */
static void add_subject(const struct header_field *h, const struct rule *const *effects, size_t count, struct buf *out)
{
	size_t blanks = 0;

	while (blanks < h->body_len && h->body[blanks] == ' ')
		blanks++;
	buf_add(out, h->raw, (size_t)(h->body - h->raw));
	buf_addc(out, ' ');
	add_prefixes(effects, count, out);
	buf_add(out, h->body + blanks, h->raw_len - (size_t)(h->body - h->raw) - blanks);
}

/*
 * The empty line, as it came. A message whose header was broken off by a line that is no field has none: it gets one, so that our
 * fields do not run into its body.
 */
static int add_separator(struct message *m, size_t fields_end, struct buf *out)
{
	size_t len = message_body_offset(m) - fields_end, n;
	const char *p;
	int rc;

	if (!len)
		return message_header_broken(m) ? buf_adds(out, "\r\n") : out->failed ? -ENOSPC : 0;
	rc = message_read(m, fields_end, &p, &n);
	return rc < 0 ? rc : buf_add(out, p, n < len ? n : len);
}

int outgoing_header(const struct txn *t, bool utf8, const struct rule *const *effects, size_t effect_count, struct buf *out)
{
	const struct message *m = t->message;
	bool subject_due = has_prefix(effects, effect_count);
	size_t fields_end = 0;

	/* Of mail of our own nothing was checked, and nobody outside believes us (RFC 8601 1.2). */
	if (!t->client->relay)
		authres_make(t, t->site->authserv_id, out);
	if (!t->client->relay && t->site->add_received_spf)
		authres_received_spf(t, t->site->hostname, out);
	trace_received(t, utf8, out);
	if (!t->client->relay && t->client->ip[0])
		trace_client(t->site, t->client->ip, out);
	add_lines(effects, effect_count, out);
	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *h = message_field(m, i);

		fields_end += h->raw_len;
		if (!t->cleaned && outgoing_is_forged(h, t->site))
			continue;
		if (is_removed(h, t->site->hostname, effects, effect_count))
			continue;
		if (subject_due && is_named(h, "Subject")) {
			add_subject(h, effects, effect_count, out);
			subject_due = false;
		} else {
			buf_add(out, h->raw, h->raw_len);
		}
	}
	if (subject_due) {
		if (out->len > 0 && out->data[out->len - 1] != '\n')    /* a message (BDAT) that ends within its header */
			buf_adds(out, "\r\n");
		buf_adds(out, "Subject: ");
		add_prefixes(effects, effect_count, out);
		buf_adds(out, "\r\n");
	}
	return add_separator(t->message, fields_end, out);
}
