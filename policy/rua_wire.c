#include "policy/rua_wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/net.h"
#include "base/varint.h"
#include "base/version.h"

/* Writing */

void rua_put_text(struct buf *out, const char *s)
{
	size_t len = strlen(s);

	varint_put(out, len);
	buf_add(out, s, len);
}

void rua_put_head(struct buf *out, const struct rua_head *h)
{
	const struct rua_published *p = &h->published;

	varint_put(out, RUA_WIRE_VERSION);
	rua_put_text(out, h->domain);
	varint_put(out, p->p);
	varint_put(out, p->sp);
	varint_put(out, p->np);
	varint_put(out, p->adkim);
	varint_put(out, p->aspf);
	varint_put(out, p->testing);
	rua_put_text(out, p->fo);
	varint_put(out, h->messages);
	varint_put(out, h->merged);
	varint_put(out, h->left_out);
	varint_put(out, h->partial);
	varint_put(out, h->rua_count);
	for (size_t i = 0; i < h->rua_count; i++)
		rua_put_text(out, h->rua[i]);
}

void rua_put_row(struct buf *out, const struct rua_message *m, size_t *common)
{
	size_t begin = out->len;

	rua_put_text(out, m->client);
	varint_put(out, m->disposition);
	varint_put(out, m->dkim);
	varint_put(out, m->spf);
	varint_put(out, m->reason);
	rua_put_text(out, m->header_from);
	*common = out->len - begin;
	rua_put_text(out, m->comment);
	rua_put_text(out, m->envelope_from);
	varint_put(out, m->spf_result);
	rua_put_text(out, m->spf_domain);
	varint_put(out, m->signature_count);
	for (size_t i = 0; i < m->signature_count; i++) {
		rua_put_text(out, m->signature[i].domain);
		rua_put_text(out, m->signature[i].selector);
		varint_put(out, m->signature[i].result);
	}
}

/* Reading */

struct rua_reader rua_reader(const void *p, size_t len)
{
	/* Of nothing there may be no address. */
	const unsigned char *begin = p && len ? p : (const unsigned char *)"";

	return (struct rua_reader){ begin, begin + (p ? len : 0), false };
}

uint64_t rua_get_number(struct rua_reader *r)
{
	const unsigned char *to;
	uint64_t v;

	to = r->bad ? NULL : varint_get(r->p, r->end, &v);
	if (!to) {
		r->bad = true;
		r->p = r->end;
		return 0;
	}
	r->p = to;
	return v;
}

const char *rua_get_octets(struct rua_reader *r, size_t max, size_t *len)
{
	uint64_t n = rua_get_number(r);
	const char *s = (const char *)r->p;

	if (r->bad || n > max || n > (size_t)(r->end - r->p)) {
		r->bad = true;
		r->p = r->end;
		return NULL;
	}
	r->p += n;
	*len = (size_t)n;
	return s;
}

const char *rua_get_text(struct rua_reader *r, size_t max, size_t *len)
{
	const char *s = rua_get_octets(r, max, len);

	if (s && memchr(s, 0, *len)) {
		r->bad = true;
		r->p = r->end;
		return NULL;
	}
	return s;
}

/* A value of a word's table, or, where that may be, 0. */
static unsigned get_value(struct rua_reader *r, const struct dmarc_report_words *words, bool optional)
{
	uint64_t v = rua_get_number(r);

	if ((v == 0 && optional) || (v <= 255 && v > 0 && dmarc_report_word(words, (unsigned)v)))
		return (unsigned)v;
	r->bad = true;
	return 0;
}

/* A piece of what is read: not ended by a NUL. */
struct text {
	const char *p;
	size_t len;
};

static struct text get_piece(struct rua_reader *r, size_t max)
{
	struct text t = { "", 0 };
	const char *p = rua_get_text(r, max, &t.len);

	if (p)
		t.p = p;
	return t;
}

struct head {
	struct text domain, fo, rua[RUA_ADDRESSES_MAX];
	struct rua_published published;
	uint64_t messages, merged, left_out, partial, rua_count;
};

static int head_read(struct rua_reader *r, struct head *h)
{
	struct rua_published *p = &h->published;

	*h = (struct head){ 0 };
	if (rua_get_number(r) != RUA_WIRE_VERSION)
		r->bad = true;
	h->domain = get_piece(r, DOMAIN_MAX - 1);
	p->p = get_value(r, &dmarc_report_policy_words, false);
	p->sp = get_value(r, &dmarc_report_policy_words, true);
	p->np = get_value(r, &dmarc_report_policy_words, true);
	p->adkim = get_value(r, &dmarc_report_mode_words, true);
	p->aspf = get_value(r, &dmarc_report_mode_words, true);
	p->testing = get_value(r, &dmarc_report_testing_words, true);
	h->fo = get_piece(r, sizeof(p->fo) - 1);
	h->messages = rua_get_number(r);
	h->merged = rua_get_number(r);
	h->left_out = rua_get_number(r);
	h->partial = rua_get_number(r);
	h->rua_count = rua_get_number(r);
	if (h->rua_count > RUA_ADDRESSES_MAX || h->partial > 1)
		r->bad = true;
	for (uint64_t i = 0; i < h->rua_count && !r->bad; i++)
		h->rua[i] = get_piece(r, RUA_URI_MAX);
	return r->bad ? -EBADMSG : 0;
}

static size_t room_of(const struct head *h)
{
	size_t n = sizeof(char *) * (size_t)h->rua_count + h->domain.len + 1;

	for (uint64_t i = 0; i < h->rua_count; i++)
		n += h->rua[i].len + 1;
	return n;
}

static char *put_string(char *at, struct text t)
{
	memcpy(at, t.p, t.len);
	at[t.len] = '\0';
	return at + t.len + 1;
}

int rua_get_domain(struct rua_reader *r, struct rua_domains *d)
{
	struct rua_domain *domain;
	const char **rua;
	struct head h;
	char **text, *at;

	if (r->p == r->end && !r->bad)
		return -ENOENT;
	if (head_read(r, &h) < 0)
		return -EBADMSG;
	domain = reallocarray(d->domain, d->count + 1, sizeof(*domain));
	if (domain)
		d->domain = domain;
	text = reallocarray(d->text, d->text_count + 1, sizeof(*text));
	if (text)
		d->text = text;
	at = domain && text ? malloc(room_of(&h)) : NULL;
	if (!at)
		return -ENOMEM;
	d->text[d->text_count++] = at;
	rua = (const char **)(void *)at;
	at = (char *)(rua + h.rua_count);
	d->domain[d->count++] = (struct rua_domain){ .name = at, .rua = rua, .rua_count = (size_t)h.rua_count, .messages = h.messages };
	at = put_string(at, h.domain);
	for (uint64_t i = 0; i < h.rua_count; i++) {
		rua[i] = at;
		at = put_string(at, h.rua[i]);
	}
	return 0;
}

void rua_domains_free(struct rua_domains *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->text_count; i++)
		free(d->text[i]);
	free(d->text);
	free(d->domain);
	free(d);
}

static int published_put(const struct head *h, struct dmarc_report *out)
{
	struct dmarc_report_policy_published *p = &out->policy;
	int rc = dmarc_report_text(out, &p->domain, h->domain.p, h->domain.len);

	p->discovery = DMARC_REPORT_DISCOVERY_TREEWALK;
	p->p = h->published.p;
	p->sp = h->published.sp;
	p->np = h->published.np;
	p->adkim = h->published.adkim;
	p->aspf = h->published.aspf;
	p->testing = h->published.testing;
	if (rc == 0 && h->fo.len)
		rc = dmarc_report_text(out, &p->fo, h->fo.p, h->fo.len);
	return rc;
}

static int errors_put(const struct head *h, struct dmarc_report *out)
{
	char text[160];
	int rc = 0;

	if (h->merged) {
		snprintf(text, sizeof(text), "%llu messages are counted in rows whose envelope and results are those of others: there were too many different ones",
			 (unsigned long long)h->merged);
		rc = dmarc_report_error(out, text);
	}
	if (rc == 0 && h->left_out) {
		snprintf(text, sizeof(text), "%llu more messages are in no row: there were too many different ones", (unsigned long long)h->left_out);
		rc = dmarc_report_error(out, text);
	}
	if (rc == 0 && h->partial)
		rc = dmarc_report_error(out, "the day was read late, and there may have been more messages at its beginning");
	return rc;
}

/* A copy ended by a NUL, in one of the rooms of whoever calls. */
static const char *copy(struct text t, char *room)
{
	put_string(room, t);
	return room;
}

struct rooms {
	char one[RUA_COMMENT_MAX + DOMAIN_MAX], two[RUA_COMMENT_MAX + DOMAIN_MAX];
};

static int signatures_get(struct rua_reader *r, struct dmarc_report *out, struct dmarc_report_record *rec, struct rooms *room)
{
	uint64_t count = rua_get_number(r);
	int rc = 0;

	if (count > RUA_SIGNATURES_MAX)
		r->bad = true;
	for (uint64_t i = 0; i < count && rc == 0 && !r->bad; i++) {
		struct text domain = get_piece(r, DOMAIN_MAX - 1), selector = get_piece(r, RUA_SELECTOR_MAX - 1);
		unsigned result = get_value(r, &dmarc_report_dkim_words, false);

		if (!r->bad)
			rc = dmarc_report_dkim(out, rec, copy(domain, room->one), copy(selector, room->two), (enum dmarc_report_dkim_result)result, NULL);
	}
	return rc;
}

static int row_get(struct rua_reader *r, uint64_t count, struct dmarc_report *out, struct rooms *room)
{
	struct text client = get_piece(r, NET_TEXT_MAX - 1), from, comment, envelope, spf;
	unsigned disposition = get_value(r, &dmarc_report_disposition_words, false), dkim = get_value(r, &dmarc_report_aligned_words, false),
		 aligned = get_value(r, &dmarc_report_aligned_words, false), reason = get_value(r, &dmarc_report_override_words, true), result;
	struct dmarc_report_record *rec;
	int rc = 0;

	from = get_piece(r, DOMAIN_MAX - 1);
	comment = get_piece(r, RUA_COMMENT_MAX - 1);
	envelope = get_piece(r, DOMAIN_MAX - 1);
	result = get_value(r, &dmarc_report_spf_words, true);
	spf = get_piece(r, DOMAIN_MAX - 1);
	if (r->bad || count == 0)
		return -EBADMSG;
	rec = dmarc_report_record(out, copy(client, room->one), count, &rc);
	if (!rec)
		return rc == -ENOMEM ? rc : -EBADMSG;
	rec->disposition = (enum dmarc_report_disposition)disposition;
	rec->dkim_aligned = (enum dmarc_report_aligned)dkim;
	rec->spf_aligned = (enum dmarc_report_aligned)aligned;
	rc = dmarc_report_text(out, &rec->header_from, from.p, from.len);
	if (rc == 0)
		rc = dmarc_report_text(out, &rec->envelope_from, envelope.p, envelope.len);
	if (rc == 0 && reason)
		rc = dmarc_report_reason(out, rec, (enum dmarc_report_override)reason, comment.len ? copy(comment, room->one) : NULL);
	if (rc == 0 && result)
		rc = dmarc_report_spf(out, rec, copy(spf, room->one), DMARC_REPORT_SCOPE_MFROM, (enum dmarc_report_spf_result)result, NULL);
	if (rc == 0)
		rc = signatures_get(r, out, rec, room);
	return rc < 0 ? rc : r->bad || r->p != r->end ? -EBADMSG : 0;
}

int rua_get_rows(struct rua_reader *r, size_t count, struct dmarc_report *out)
{
	struct rooms room;
	int rc = 0;

	for (; rc == 0 && r->p < r->end && count; count--) {
		uint64_t messages = rua_get_number(r), len = rua_get_number(r);
		struct rua_reader row;

		if (r->bad || out->record_count >= RUA_ROWS_MAX || len > RUA_ROW_OCTETS_MAX || len > (size_t)(r->end - r->p))
			return -EBADMSG;
		row = rua_reader(r->p, (size_t)len);
		r->p += len;
		rc = row_get(&row, messages, out, &room);
	}
	return rc < 0 ? rc : r->p < r->end;
}

int rua_get_head(const void *p, size_t len, struct dmarc_report *out)
{
	struct rua_reader r = rua_reader(p, len);
	struct head h;
	int rc = head_read(&r, &h);

	if (rc < 0 || r.p != r.end)
		return -EBADMSG;
	rc = published_put(&h, out);
	return rc < 0 ? rc : errors_put(&h, out);
}

int rua_get_report(const void *head, size_t head_len, const void *rows, size_t rows_len, struct dmarc_report *out)
{
	struct rua_reader r = rua_reader(rows, rows_len);
	int rc = rua_get_head(head, head_len, out);

	return rc < 0 ? rc : rua_get_rows(&r, SIZE_MAX, out);
}

int rua_sign_report(struct dmarc_report *out, const struct rua_reporter *who, int64_t day)
{
	long long begin_s = day * RUA_DAY_S;
	char text[2 * DOMAIN_MAX + 32];
	int rc = dmarc_report_text(out, &out->org_name, who->org_name, strlen(who->org_name));

	if (rc == 0)
		rc = dmarc_report_text(out, &out->email, who->email, strlen(who->email));
	if (rc == 0 && who->contact)
		rc = dmarc_report_text(out, &out->extra_contact, who->contact, strlen(who->contact));
	/* The same for the same day, so that a report that comes twice is known to (RFC 9990, "Definition of Report-ID"). */
	snprintf(text, sizeof(text), "%lld.%s@%s", begin_s, out->policy.domain, who->host);
	if (rc == 0)
		rc = dmarc_report_text(out, &out->report_id, text, strlen(text));
	snprintf(text, sizeof(text), "Gatepost %s", version_text());
	if (rc == 0)
		rc = dmarc_report_text(out, &out->generator, text, strlen(text));
	out->begin_s = day * RUA_DAY_S;
	out->end_s = (day + 1) * RUA_DAY_S - 1;
	return rc;
}
