/* release_sign - what stands above a message that is released: signatures of what one of ours has sent, the seal of what came from outside */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "filters/message.h"
#include "policy/authres.h"
#include "policy/conf.h"
#include "policy/record_facts.h"
#include "smtp/release.h"
#include "smtp/sealing.h"
#include "smtp/signing.h"

enum { RESULTS_MAX = 64 * 1024 };

/* The header as it leaves: with what the edits add to it, without what they leave out. */
static int header_of(struct release *r, struct buf *out)
{
	size_t edit = 0, at = 0;

	for (size_t i = 0; i < message_field_count(r->message); i++) {
		const struct header_field *h = message_field(r->message, i);
		bool left_out = false;

		for (; edit < r->edit_count && r->edit[edit].off == at; edit++) {
			buf_add(out, r->edit[edit].text, r->edit[edit].text_len);
			left_out |= r->edit[edit].len > 0;
		}
		if (!left_out)
			buf_add(out, h->raw, h->raw_len);
		at += h->raw_len;
	}
	return out->failed ? -ENOMEM : 0;
}

static int edit_first(struct release *r)
{
	struct smtp_edit *edit = reallocarray(r->edit, r->edit_count + 1, sizeof(*edit));

	if (!edit)
		return -ENOMEM;
	memmove(edit + 1, edit, r->edit_count * sizeof(*edit));
	*edit = (struct smtp_edit){ .off = 0, .text = r->signatures.data, .text_len = r->signatures.len };
	r->edit = edit;
	r->edit_count++;
	return 0;
}

/* What Authentication-Results would say of it: a list of results, authserv-id first. */
static int results_of(struct release *r, struct facts *facts, struct buf *out)
{
	static const char name[] = "Authentication-Results:";
	struct client client = { .helo = (char *)json_string_value(json_object_get(json_object_get(r->meta, "client"), "helo")) };
	struct txn t = { .site = r->site, .client = &client, .env = { .from = r->from }, .evidence = { .facts = *facts } };
	AUTO(buf) struct buf field = BUF_INIT(RESULTS_MAX);
	int rc;

	if (r->client.addr.family)
		net_text(&r->client.addr, client.ip);
	rc = authres_make(&t, r->site->authserv_id, &field);
	if (rc == 0)
		authres_gather(field.data + sizeof(name) - 1, field.len - (sizeof(name) - 1), r->site->authserv_id, out);
	return rc < 0 ? rc : sealing_results_end(r->site, out);
}

/* Of a message that somebody fetched nothing was checked; one whose header a line breaks off that is no field has no place for a seal. */
static bool can_be_sealed(const struct release *r)
{
	return r->site->arc_seal && !release_fetched(r) && message_field_count(r->message) > 0 && !message_header_broken(r->message);
}

/*
 * What was found of the chain that came. Where a milter had sealed the message, or taken seals away, before it was kept, the chain that it has is another one, of
 * which nothing is known.
 */
static enum arc_cv found_of(const struct release *r, const struct facts *facts)
{
	int arc = fact_find("arc", 3), instance = fact_find("arc.instance", 12);
	const struct fact *count = instance == FACT_NONE ? NULL : facts_get(facts, instance);
	struct arc_sets *sets = calloc(1, sizeof(*sets));
	bool same;

	for (size_t i = 0; sets && i < message_field_count(r->message); i++)
		arc_sets_field(sets, message_field(r->message, i)->raw, message_field(r->message, i)->raw_len);
	same = sets && (!count || (count->state == FACT_KNOWN && count->number == (int64_t)sets->count));
	free(sets);
	return same && arc != FACT_NONE ? sealing_found(facts_get(facts, arc)) : ARC_CV_UNREAD;
}

/* may wait */
static void seal(struct release *r, const struct buf *header)
{
	AUTO(buf) struct buf results = BUF_INIT(2 * RESULTS_MAX);
	struct sealing s = { .site = r->site, .id = r->id, .message = r->message, .arrived = r->message, .header = header->data, .len = header->len };
	struct facts facts = { 0 };
	int rc = record_facts(r->meta, &facts);

	if (rc == 0)
		rc = results_of(r, &facts, &results);
	s.results = buf_str(&results);
	s.found = found_of(r, &facts);
	facts_release(&facts);
	if (rc == 0 && results.len)
		sealing_make(&s, &r->signatures);
	else
		log_error("seal-failed", "tx", r->id, "domain", r->site->arc_seal->domain, "error", strerror(rc < 0 ? -rc : EINVAL), "why", "no memory", NULL);
}

int release_sign(struct release *r)
{
	AUTO(buf) struct buf header = BUF_INIT(message_body_offset(r->message) + RESULTS_MAX);
	bool ours = release_is_ours(r);
	int rc;

	if (r->signatures.len || message_field_count(r->message) == 0 || (!ours && !can_be_sealed(r)))
		return 0;
	buf_init(&r->signatures, ours ? (size_t)SIGNING_MAX : (size_t)ARC_SEAL_MAX);
	rc = header_of(r, &header);
	if (rc == 0 && header.len && ours)
		rc = signing_make(r->site, r->message, r->id, header.data, header.len, &r->signatures);
	else if (rc == 0 && header.len)
		seal(r, &header);
	if (rc == 0 && r->signatures.len)
		rc = edit_first(r);
	if (rc == 0 || ours)
		return rc;
	log_error("seal-failed", "tx", r->id, "domain", r->site->arc_seal->domain, "error", strerror(-rc), "why", "no memory", NULL);
	buf_release(&r->signatures);
	return 0;
}
