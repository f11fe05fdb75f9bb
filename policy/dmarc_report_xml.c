#include "policy/dmarc_report_xml.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/utf8.h"

/* --- text --- */

/* Whether the sequence of UTF-8 at p is a character that XML 1.0 can hold: 2.2 excludes most of C0, U+FFFE and U+FFFF (and surrogates, which are no UTF-8). */
static bool is_xml(const char *p, size_t len)
{
	if (len == 1)
		return (unsigned char)*p >= 0x20 || *p == '\t' || *p == '\n' || *p == '\r';
	return len != 3 || (memcmp(p, "\xef\xbf\xbe", 3) != 0 && memcmp(p, "\xef\xbf\xbf", 3) != 0);
}

/* Line ends and tabs go as references: a parser would make them one line feed, or a blank. */
static const char *escape_of(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&apos;";
	case '\t':
		return "&#9;";
	case '\n':
		return "&#10;";
	case '\r':
		return "&#13;";
	}
	return NULL;
}

static void put_text(struct buf *out, const char *text)
{
	size_t len = strlen(text), n;

	for (; len && !out->failed; text += n, len -= n) {
		const char *escape = escape_of(*text);

		n = utf8_len(text, len);
		if (!n || !is_xml(text, n)) {
			n = n ? n : 1;
			buf_adds(out, UTF8_REPLACEMENT);
		} else if (escape) {
			buf_adds(out, escape);
		} else {
			buf_add(out, text, n);
		}
	}
}

/* --- elements --- */

static void put_indent(struct buf *out, int depth)
{
	for (int i = 0; i < depth; i++)
		buf_adds(out, "  ");
}

static void put_open(struct buf *out, int depth, const char *name)
{
	put_indent(out, depth);
	buf_addf(out, "<%s>\n", name);
}

static void put_close(struct buf *out, int depth, const char *name)
{
	put_indent(out, depth);
	buf_addf(out, "</%s>\n", name);
}

static void put(struct buf *out, int depth, const char *name, const char *text)
{
	put_indent(out, depth);
	buf_addf(out, "<%s>", name);
	put_text(out, text);
	buf_addf(out, "</%s>\n", name);
}

static void put_optional(struct buf *out, int depth, const char *name, const char *text)
{
	if (text)
		put(out, depth, name, text);
}

static void put_required(struct buf *out, int depth, const char *name, const char *text)
{
	put(out, depth, name, text ? text : "");
}

/* otherwise: what stands for a word that is absent; NULL: then the element is, too. */
static void put_word(struct buf *out, int depth, const char *name, const struct dmarc_report_words *w, unsigned value, const char *otherwise)
{
	const char *word = dmarc_report_word(w, value);

	put_optional(out, depth, name, word ? word : otherwise);
}

static void put_metadata(struct buf *out, const struct dmarc_report *r)
{
	put_open(out, 1, "report_metadata");
	put_required(out, 2, "org_name", r->org_name);
	put_required(out, 2, "email", r->email);
	put_optional(out, 2, "extra_contact_info", r->extra_contact);
	put_required(out, 2, "report_id", r->report_id);
	put_open(out, 2, "date_range");
	put_indent(out, 3);
	buf_addf(out, "<begin>%" PRId64 "</begin>\n", r->begin_s);
	put_indent(out, 3);
	buf_addf(out, "<end>%" PRId64 "</end>\n", r->end_s);
	put_close(out, 2, "date_range");
	if (r->error_count) {                                   /* one at most in RFC 9990; any number in RFC 7489 */
		put_indent(out, 2);
		buf_adds(out, "<error>");
		for (size_t i = 0; i < r->error_count; i++) {
			buf_adds(out, i ? "&#10;" : "");
			put_text(out, r->errors[i] ? r->errors[i] : "");
		}
		buf_adds(out, "</error>\n");
	}
	put_optional(out, 2, "generator", r->generator);
	put_close(out, 1, "report_metadata");
}

static void put_policy(struct buf *out, const struct dmarc_report_policy_published *p)
{
	put_open(out, 1, "policy_published");
	put_required(out, 2, "domain", p->domain);
	put_word(out, 2, "discovery_method", &dmarc_report_discovery_words, p->discovery, NULL);
	put_word(out, 2, "p", &dmarc_report_policy_words, p->p, "none");
	put_word(out, 2, "sp", &dmarc_report_policy_words, p->sp, NULL);
	put_word(out, 2, "np", &dmarc_report_policy_words, p->np, NULL);
	put_optional(out, 2, "fo", p->fo);
	put_word(out, 2, "adkim", &dmarc_report_mode_words, p->adkim, NULL);
	put_word(out, 2, "aspf", &dmarc_report_mode_words, p->aspf, NULL);
	put_word(out, 2, "testing", &dmarc_report_testing_words, p->testing, NULL);
	put_close(out, 1, "policy_published");
}

static void put_reason(struct buf *out, const struct dmarc_report_reason *reason)
{
	bool known = reason->type && reason->type <= DMARC_REPORT_OVERRIDE_TRUSTED_FORWARDER;
	const char *word = dmarc_report_word(&dmarc_report_override_words, reason->type);

	put_open(out, 4, "reason");
	put(out, 5, "type", known ? word : "other");
	put_optional(out, 5, "comment", reason->comment || known ? reason->comment : word);
	put_close(out, 4, "reason");
}

static void put_row(struct buf *out, const struct dmarc_report_record *rec)
{
	put_open(out, 2, "row");
	put_required(out, 3, "source_ip", rec->source_ip);
	put_indent(out, 3);
	buf_addf(out, "<count>%" PRIu64 "</count>\n", rec->count);
	put_open(out, 3, "policy_evaluated");
	put_word(out, 4, "disposition", &dmarc_report_disposition_words, rec->disposition, "none");
	put_word(out, 4, "dkim", &dmarc_report_aligned_words, rec->dkim_aligned, "fail");
	put_word(out, 4, "spf", &dmarc_report_aligned_words, rec->spf_aligned, "fail");
	for (size_t i = 0; i < rec->reason_count; i++)
		put_reason(out, &rec->reasons[i]);
	put_close(out, 3, "policy_evaluated");
	put_close(out, 2, "row");
}

static void put_dkim(struct buf *out, const struct dmarc_report_dkim *dkim)
{
	put_open(out, 3, "dkim");
	put_required(out, 4, "domain", dkim->domain);
	put_required(out, 4, "selector", dkim->selector);
	put_word(out, 4, "result", &dmarc_report_dkim_words, dkim->result, "none");
	put_optional(out, 4, "human_result", dkim->human_result);
	put_close(out, 3, "dkim");
}

static void put_spf(struct buf *out, const struct dmarc_report_spf *spf)
{
	put_open(out, 3, "spf");
	put_required(out, 4, "domain", spf->domain);
	if (spf->scope == DMARC_REPORT_SCOPE_MFROM)
		put(out, 4, "scope", "mfrom");
	put_word(out, 4, "result", &dmarc_report_spf_words, spf->result, "none");
	put_optional(out, 4, "human_result", spf->human_result);
	put_close(out, 3, "spf");
}

void dmarc_report_xml_record(const struct dmarc_report_record *rec, struct buf *out)
{
	put_open(out, 1, "record");
	put_row(out, rec);
	put_open(out, 2, "identifiers");
	put_required(out, 3, "header_from", rec->header_from);
	put_optional(out, 3, "envelope_from", rec->envelope_from);
	put_optional(out, 3, "envelope_to", rec->envelope_to);
	put_close(out, 2, "identifiers");
	put_open(out, 2, "auth_results");
	for (size_t i = 0; i < rec->dkim_count; i++)
		put_dkim(out, &rec->dkim[i]);
	if (rec->spf.domain)
		put_spf(out, &rec->spf);
	put_close(out, 2, "auth_results");
	put_close(out, 1, "record");
}

void dmarc_report_xml_begin(const struct dmarc_report *r, struct buf *out)
{
	buf_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback xmlns=\"" DMARC_REPORT_NAMESPACE "\">\n");
	put(out, 1, "version", "1.0");
	put_metadata(out, r);
	put_policy(out, &r->policy);
}

void dmarc_report_xml_end(struct buf *out)
{
	buf_adds(out, "</feedback>\n");
}

int dmarc_report_xml(const struct dmarc_report *r, struct buf *out)
{
	size_t before = out->len;

	if (!r->record_count)
		return -EINVAL;
	dmarc_report_xml_begin(r, out);
	for (size_t i = 0; i < r->record_count && !out->failed; i++)
		dmarc_report_xml_record(&r->records[i], out);
	dmarc_report_xml_end(out);
	if (!out->failed)
		return 0;
	out->len = before;
	if (out->data)
		out->data[before] = '\0';
	return -ENOSPC;
}
