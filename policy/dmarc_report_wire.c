#include "policy/dmarc_report_wire.h"

#include <errno.h>
#include <string.h>

#include "base/varint.h"

/* --- writing --- */

static void put_signed(struct buf *out, int64_t n)
{
	varint_put(out, varint_of_signed(n));
}

static void put_text(struct buf *out, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	varint_put(out, text ? len + 1 : 0);
	buf_add(out, text ? text : "", len);
}

static void put_record(struct buf *out, const struct dmarc_report_record *rec)
{
	put_text(out, *rec->source_ip ? rec->source_ip : NULL);
	varint_put(out, rec->count);
	varint_put(out, rec->disposition);
	varint_put(out, rec->dkim_aligned);
	varint_put(out, rec->spf_aligned);
	put_text(out, rec->header_from);
	put_text(out, rec->envelope_from);
	put_text(out, rec->envelope_to);
	varint_put(out, rec->reason_count);
	for (size_t i = 0; i < rec->reason_count; i++) {
		varint_put(out, rec->reasons[i].type);
		put_text(out, rec->reasons[i].comment);
	}
	varint_put(out, rec->dkim_count);
	for (size_t i = 0; i < rec->dkim_count; i++) {
		put_text(out, rec->dkim[i].domain);
		put_text(out, rec->dkim[i].selector);
		varint_put(out, rec->dkim[i].result);
		put_text(out, rec->dkim[i].human_result);
	}
	put_text(out, rec->spf.domain);
	varint_put(out, rec->spf.scope);
	varint_put(out, rec->spf.result);
	put_text(out, rec->spf.human_result);
}

int dmarc_report_wire_write(const struct dmarc_report *r, struct buf *out)
{
	put_text(out, r->org_name);
	put_text(out, r->email);
	put_text(out, r->extra_contact);
	put_text(out, r->report_id);
	put_text(out, r->generator);
	put_signed(out, r->begin_s);
	put_signed(out, r->end_s);
	varint_put(out, r->error_count);
	for (size_t i = 0; i < r->error_count; i++)
		put_text(out, r->errors[i]);
	put_text(out, r->policy.domain);
	varint_put(out, r->policy.discovery);
	varint_put(out, r->policy.p);
	varint_put(out, r->policy.sp);
	varint_put(out, r->policy.np);
	varint_put(out, r->policy.adkim);
	varint_put(out, r->policy.aspf);
	varint_put(out, r->policy.testing);
	put_text(out, r->policy.fo);
	put_signed(out, r->policy.pct);
	varint_put(out, r->record_count);
	for (size_t i = 0; i < r->record_count && !out->failed; i++)
		put_record(out, &r->records[i]);
	return out->failed ? -ENOSPC : 0;
}

/* --- reading --- */

struct reader {
	const char *p, *end;
	struct dmarc_report *r;
	int rc;                         /* the first error; afterwards all is zero */
};

static int broken(struct reader *rd, int rc)
{
	if (!rd->rc)
		rd->rc = rc;
	return rd->rc;
}

static uint64_t get_number(struct reader *rd)
{
	const unsigned char *to;
	uint64_t n;

	if (rd->rc)
		return 0;
	to = varint_get((const unsigned char *)rd->p, (const unsigned char *)rd->end, &n);
	if (!to) {
		broken(rd, -EBADMSG);
		return 0;
	}
	rd->p = (const char *)to;
	return n;
}

static int64_t get_signed(struct reader *rd)
{
	uint64_t n = get_number(rd);

	return varint_to_signed(n);
}

static unsigned get_word(struct reader *rd, const struct dmarc_report_words *w)
{
	uint64_t n = get_number(rd);

	if (n && (n > 255 || !dmarc_report_word(w, (unsigned)n)))
		broken(rd, -EBADMSG);
	return rd->rc ? 0 : (unsigned)n;
}

static void get_text(struct reader *rd, const char **member)
{
	uint64_t n = get_number(rd);
	int rc;

	if (rd->rc || !n)
		return;
	if (--n > (uint64_t)(rd->end - rd->p) || n > DMARC_REPORT_TEXT_MAX || memchr(rd->p, '\0', n)) {
		broken(rd, -EBADMSG);
		return;
	}
	rc = dmarc_report_text(rd->r, member, rd->p, n);
	if (rc)
		broken(rd, rc);
	rd->p += n;
}

/* A text that is not the report's own yet. */
static const char *get_scratch(struct reader *rd, char out[DMARC_REPORT_TEXT_MAX + 1])
{
	uint64_t n = get_number(rd);

	if (rd->rc || !n)
		return NULL;
	if (--n > (uint64_t)(rd->end - rd->p) || n > DMARC_REPORT_TEXT_MAX) {
		broken(rd, -EBADMSG);
		return NULL;
	}
	memcpy(out, rd->p, n);
	out[n] = '\0';
	rd->p += n;
	return out;
}

static void get_lists(struct reader *rd, struct dmarc_report_record *rec)
{
	uint64_t n = get_number(rd);

	for (; n && !rd->rc; n--) {
		int rc = dmarc_report_reason(rd->r, rec, get_word(rd, &dmarc_report_override_words), NULL);

		if (rc)
			broken(rd, rc);
		else
			get_text(rd, &rec->reasons[rec->reason_count - 1].comment);
	}
	for (n = get_number(rd); n && !rd->rc; n--) {
		struct dmarc_report_dkim one = { 0 };
		int rc;

		get_text(rd, &one.domain);
		get_text(rd, &one.selector);
		one.result = get_word(rd, &dmarc_report_dkim_words);
		get_text(rd, &one.human_result);
		rc = rd->rc ? rd->rc : dmarc_report_dkim(rd->r, rec, NULL, NULL, 0, NULL);
		if (rc)
			broken(rd, rc);
		else
			rec->dkim[rec->dkim_count - 1] = one;
	}
}

static void get_record(struct reader *rd)
{
	char ip[DMARC_REPORT_TEXT_MAX + 1];
	const char *source = get_scratch(rd, ip);
	uint64_t count = get_number(rd);
	struct dmarc_report_record *rec;
	int rc;

	if (rd->rc)
		return;
	rec = dmarc_report_record(rd->r, source, count, &rc);
	if (!rec) {
		broken(rd, rc == -EINVAL ? -EBADMSG : rc);
		return;
	}
	rec->disposition = get_word(rd, &dmarc_report_disposition_words);
	rec->dkim_aligned = get_word(rd, &dmarc_report_aligned_words);
	rec->spf_aligned = get_word(rd, &dmarc_report_aligned_words);
	get_text(rd, &rec->header_from);
	get_text(rd, &rec->envelope_from);
	get_text(rd, &rec->envelope_to);
	get_lists(rd, rec);
	get_text(rd, &rec->spf.domain);
	rec->spf.scope = get_word(rd, &dmarc_report_scope_words);
	rec->spf.result = get_word(rd, &dmarc_report_spf_words);
	get_text(rd, &rec->spf.human_result);
}

static void get_policy(struct reader *rd, struct dmarc_report_policy_published *policy)
{
	int64_t pct;

	get_text(rd, &policy->domain);
	policy->discovery = get_word(rd, &dmarc_report_discovery_words);
	policy->p = get_word(rd, &dmarc_report_policy_words);
	policy->sp = get_word(rd, &dmarc_report_policy_words);
	policy->np = get_word(rd, &dmarc_report_policy_words);
	policy->adkim = get_word(rd, &dmarc_report_mode_words);
	policy->aspf = get_word(rd, &dmarc_report_mode_words);
	policy->testing = get_word(rd, &dmarc_report_testing_words);
	get_text(rd, &policy->fo);
	pct = get_signed(rd);
	if (pct < -1 || pct > 100)
		broken(rd, -EBADMSG);
	else
		policy->pct = (int)pct;
}

static void get_report(struct reader *rd)
{
	struct dmarc_report *r = rd->r;
	char text[DMARC_REPORT_TEXT_MAX + 1];

	get_text(rd, &r->org_name);
	get_text(rd, &r->email);
	get_text(rd, &r->extra_contact);
	get_text(rd, &r->report_id);
	get_text(rd, &r->generator);
	r->begin_s = get_signed(rd);
	r->end_s = get_signed(rd);
	for (uint64_t n = get_number(rd); n && !rd->rc; n--) {
		const char *error = get_scratch(rd, text);
		int rc = rd->rc ? rd->rc : dmarc_report_error(r, error ? error : "");

		if (rc)
			broken(rd, rc);
	}
	get_policy(rd, &r->policy);
	for (uint64_t n = get_number(rd); n && !rd->rc; n--)
		get_record(rd);
}

int dmarc_report_wire_read(const char *p, size_t len, struct dmarc_report **out)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	struct reader rd = { .p = p, .end = p + len, .r = r };

	if (!r)
		return -ENOMEM;
	get_report(&rd);
	if (!rd.rc && rd.p != rd.end)
		rd.rc = -EBADMSG;
	if (rd.rc)
		return rd.rc;
	*out = r;
	r = NULL;
	return 0;
}
