#include "filters/signed_change.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "filters/dkim_header.h"
#include "filters/dkim_tag.h"

static const char *const of_arc[] = { "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results" };

struct pair {
	struct dkim_header *came, *sent;
	size_t names, bytes;            /* how many of h= may still be looked at */
};

static void pair_cleanup(struct pair *p)
{
	dkim_header_free(p->came);
	dkim_header_free(p->sent);
}

static int pair_read(struct pair *p, const struct message *came, const char *sent, size_t len)
{
	int rc = 0;

	p->came = dkim_header_new();
	p->sent = dkim_header_new();
	if (!p->came || !p->sent)
		return -ENOMEM;
	for (size_t i = 0; i < message_field_count(came) && rc == 0; i++)
		rc = dkim_header_add(p->came, message_field(came, i)->raw, message_field(came, i)->raw_len);
	if (rc == 0)
		rc = dkim_header_add_text(p->sent, sent, len);
	if (rc == 0)
		rc = dkim_header_ready(p->came);
	return rc < 0 ? rc : dkim_header_ready(p->sent);
}

static bool same_field(const struct dkim_field *a, const struct dkim_field *b)
{
	return a == b || (a && b && a->len == b->len && memcmp(a->raw, b->raw, a->len) == 0);
}

static void rewind_both(struct pair *p)
{
	dkim_header_rewind(p->came, SIZE_MAX);
	dkim_header_rewind(p->sent, SIZE_MAX);
}

static bool same_name(struct pair *p, const char *name)
{
	const struct dkim_field *a, *b;

	rewind_both(p);
	do {
		a = dkim_header_up(p->came, name, strlen(name));
		b = dkim_header_up(p->sent, name, strlen(name));
		if (!same_field(a, b))
			return false;
	} while (a);
	return true;
}

/* One more name of h=: within the bounds. */
static bool same_named(struct pair *p, const char *name, size_t len)
{
	const struct dkim_field *a = dkim_header_up(p->came, name, len), *b = dkim_header_up(p->sent, name, len);

	if (p->names-- == 0 || (a && a->len > p->bytes))
		return false;
	p->bytes -= a ? a->len : 0;
	return same_field(a, b);
}

/* What a signature covers is chosen anew. */
static bool same_covered(struct pair *p, const struct dkim_field *signature)
{
	struct dkim_tags tags;
	const struct dkim_tag *h;
	const char *body, *item;
	size_t len, pos = 0;

	body = dkim_field_body(signature, &len);
	if (dkim_tags_parse(body, len, &tags) || !(h = dkim_tags_find(&tags, "h")))
		return true;            /* it is none */
	rewind_both(p);
	while (dkim_tag_item(h, &pos, &item, &len))
		if (!same_named(p, item, len))
			return false;
	return true;
}

int signed_change(const struct message *came, const char *sent, size_t len, char *const *name, size_t count)
{
	__attribute__((cleanup(pair_cleanup))) struct pair p = { .names = SIGNED_CHANGE_NAMES_MAX, .bytes = SIGNED_CHANGE_BYTES_MAX };
	int rc = pair_read(&p, came, sent, len);

	if (rc < 0)
		return rc;
	if (!same_name(&p, "From"))
		return 1;
	for (size_t i = 0; i < count; i++)
		if (!same_name(&p, name[i]))
			return 1;
	for (size_t i = 0; i < sizeof(of_arc) / sizeof(*of_arc); i++)
		if (!same_name(&p, of_arc[i]))
			return 1;
	for (size_t i = 0; i < dkim_header_count(p.came); i++) {
		const struct dkim_field *f = dkim_header_at(p.came, i);

		if ((dkim_field_is(f, "DKIM-Signature") || dkim_field_is(f, "ARC-Message-Signature")) && !same_covered(&p, f))
			return 1;
	}
	return 0;
}

int signed_change_chain(const struct message *came, const char *sent, size_t len, bool *any)
{
	__attribute__((cleanup(pair_cleanup))) struct pair p = { .names = SIGNED_CHANGE_NAMES_MAX, .bytes = SIGNED_CHANGE_BYTES_MAX };
	int rc = pair_read(&p, came, sent, len), other = 0;

	if (rc < 0)
		return rc;
	*any = false;
	for (size_t i = 0; i < sizeof(of_arc) / sizeof(*of_arc); i++) {
		other |= !same_name(&p, of_arc[i]);
		dkim_header_rewind(p.sent, SIZE_MAX);
		*any |= dkim_header_up(p.sent, of_arc[i], strlen(of_arc[i])) != NULL;
	}
	return other;
}
