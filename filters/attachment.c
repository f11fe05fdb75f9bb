#include "filters/attachment.h"

#include <errno.h>
#include <string.h>

#include "filters/parts.h"

static const struct fact_def mime_facts[] = {
	{ "attachment.name", FACT_TEXT, true, STAGE_DATA, NULL, "names of attachments, decoded" },
	{ "attachment.extension", FACT_TEXT, true, STAGE_DATA, NULL,
	  "what follows the last dot of those names, in lower case: exe" },
	{ "attachment.type", FACT_TEXT, true, STAGE_DATA, NULL, "types of attachments: application/zip" },
	{ "mime.parts", FACT_NUMBER, false, STAGE_DATA, NULL, "parts of the message that have no parts themselves, 1,000 at most" },
	{ "mime.depth", FACT_NUMBER, false, STAGE_DATA, NULL, "how deep they are nested; 0 for a message of one part" },
	{ "mime.broken", FACT_BOOL, false, STAGE_DATA, NULL, "its structure is malformed, or past a limit" },
	{ "mime.unread", FACT_BOOL, false, STAGE_DATA, NULL, "it could not be looked at: whatever reads it was ended" },
	{ 0 },
};

struct search {
	struct facts *out;
	struct mime *mime;
};

/* Once; what no longer fits is not passed over in silence. */
static int add(struct search *s, const char *fact, const char *value)
{
	int rc = facts_add_once(s->out, fact, value);

	if (rc != -ENOSPC)
		return rc;
	mime_set_broken(s->mime, "more attachments than are listed");
	return 0;
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct search *s = arg;
	char extension[MIME_EXTENSION_MAX + 1];
	bool plain = part->container || strncmp(part->type, "text/", 5) == 0;
	int rc = 0;

	if (plain && !part->attachment && part->name_count == 0)
		return 0;
	rc = add(s, "attachment.type", part->type);
	for (size_t i = 0; rc == 0 && i < part->name_count; i++) {
		rc = add(s, "attachment.name", part->names[i]);
		if (rc == 0 && mime_extension(part->names[i], extension))
			rc = add(s, "attachment.extension", extension);
	}
	return rc;
}

static const char *const lists[] = { "attachment.name", "attachment.extension", "attachment.type" };
enum { LISTS = sizeof(lists) / sizeof(*lists) };

static int set_numbers(struct facts *out, const struct mime *mime)
{
	const char *why = mime_broken(mime);
	int rc = facts_set_num(out, "mime.parts", (int64_t)mime_parts(mime));

	if (rc == 0)
		rc = facts_set_num(out, "mime.depth", mime_depth(mime));
	if (rc == 0)
		rc = facts_set_bool(out, "mime.broken", why);
	return rc < 0 || !why ? rc : facts_why(out, "mime.broken", "%s", why);
}

static int unpack(struct message *m, struct facts *out)
{
	struct search s = { .out = out };
	struct parts_reader reader = { .part = on_part, .arg = &s };
	AUTO(parts) struct parts *parts = parts_new(&reader);
	int rc = parts ? facts_set_bool(out, "mime.unread", false) : -ENOMEM;

	if (rc < 0)
		return rc;
	s.mime = parts_mime(parts);
	for (int i = 0; rc == 0 && i < LISTS; i++)
		rc = facts_set_empty(out, lists[i]);
	if (rc == 0)
		rc = parts_read(parts, m);
	for (int i = 0; rc < 0 && i < LISTS; i++)       /* half a list is none */
		facts_temperror(out, lists[i], strerror(-rc));
	return rc < 0 ? rc : set_numbers(out, s.mime);
}

/* It may be better next time, and is deferred for that where the verdict hangs on it; a rule can decide at once. */
static int unread(struct facts *out, const char *why)
{
	int rc = facts_set_bool(out, "mime.unread", true);

	if (rc == 0)
		rc = facts_why(out, "mime.unread", "%s", why);
	if (rc == 0)
		rc = facts_set_bool(out, "mime.broken", true);
	if (rc == 0)
		rc = facts_why(out, "mime.broken", "%s", why);
	for (int i = 0; rc == 0 && i < LISTS; i++)
		rc = facts_temperror(out, lists[i], why);
	if (rc == 0)
		rc = facts_temperror(out, "mime.parts", why);
	return rc < 0 ? rc : facts_temperror(out, "mime.depth", why);
}

const struct filter filter_mime = {
	.name = "mime",
	.scope = SCOPE_TXN,
	.stage = STAGE_DATA,
	.facts = mime_facts,
	.unpack = unpack,
	.unread = unread,
};
