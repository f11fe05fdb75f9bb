/* report_json - aggregate reports for programs: see report_show.h */
#include <string.h>

#include "command/report_show.h"
#include "policy/record.h"

static json_t *string(const char *s)
{
	return s ? record_string(s, strlen(s)) : json_null();
}

static json_t *word(const struct dmarc_report_words *w, unsigned value)
{
	const char *s = dmarc_report_word(w, value);

	return s ? json_string(s) : json_null();
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)(n < INT64_MAX ? n : INT64_MAX));
}

static json_t *policy_json(const struct dmarc_report_policy_published *p)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "domain", string(p->domain), "p", word(&dmarc_report_policy_words, p->p), "sp",
			 word(&dmarc_report_policy_words, p->sp), "np", word(&dmarc_report_policy_words, p->np), "adkim", word(&dmarc_report_mode_words, p->adkim),
			 "aspf", word(&dmarc_report_mode_words, p->aspf), "testing", word(&dmarc_report_testing_words, p->testing), "fo", string(p->fo), "pct",
			 p->pct < 0 ? json_null() : json_integer(p->pct), "discovery_method", word(&dmarc_report_discovery_words, p->discovery));
}

static json_t *reporter_json(const struct dmarc_report *r)
{
	json_t *errors = json_array();
	uint64_t messages = 0;

	for (size_t i = 0; i < r->error_count; i++)
		json_array_append_new(errors, string(r->errors[i]));
	for (size_t i = 0; i < r->record_count; i++)
		messages += r->records[i].count;
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "org_name", string(r->org_name), "email", string(r->email), "extra_contact_info",
			 string(r->extra_contact), "report_id", string(r->report_id), "generator", string(r->generator), "begin", (json_int_t)r->begin_s, "end",
			 (json_int_t)r->end_s, "messages", number(messages), "errors", errors, "policy", policy_json(&r->policy));
}

static json_t *reasons_json(const struct dmarc_report_record *rec)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rec->reason_count; i++)
		json_array_append_new(list, json_pack("{s:o, s:o}", "type", word(&dmarc_report_override_words, rec->reasons[i].type), "comment",
						      string(rec->reasons[i].comment)));
	return list;
}

static json_t *dkim_json(const struct dmarc_report_record *rec)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rec->dkim_count; i++)
		json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o}", "domain", string(rec->dkim[i].domain), "selector", string(rec->dkim[i].selector),
						      "result", word(&dmarc_report_dkim_words, rec->dkim[i].result), "human_result",
						      string(rec->dkim[i].human_result)));
	return list;
}

static json_t *spf_json(const struct dmarc_report_spf *spf)
{
	if (!spf->domain)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o}", "domain", string(spf->domain), "scope", word(&dmarc_report_scope_words, spf->scope), "result",
			 word(&dmarc_report_spf_words, spf->result), "human_result", string(spf->human_result));
}

static json_t *row_json(const struct report_row *row)
{
	const struct dmarc_report_record *rec = row->rec;

	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "messages", number(row->count), "class", report_class_name(row->class),
			 "disposition", word(&dmarc_report_disposition_words, rec->disposition), "dkim_aligned", word(&dmarc_report_aligned_words, rec->dkim_aligned),
			 "spf_aligned", word(&dmarc_report_aligned_words, rec->spf_aligned), "header_from", string(rec->header_from), "envelope_from",
			 string(rec->envelope_from), "envelope_to", string(rec->envelope_to), "reasons", reasons_json(rec), "dkim", dkim_json(rec), "spf",
			 spf_json(&rec->spf));
}

static json_t *source_json(const struct report_source *s)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < s->row_count; i++)
		json_array_append_new(rows, row_json(&s->row[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "ip", s->ip, "name", string(s->name), "messages", number(s->messages), "passed", number(s->passed),
			 "failed", number(s->messages - s->passed), "rows", rows);
}

json_t *report_json(const struct report_domain *d)
{
	json_t *reports = json_array(), *sources = json_array(), *classes = json_object();

	for (size_t i = 0; i < d->report_count; i++)
		json_array_append_new(reports, reporter_json(d->report[i]));
	for (size_t i = 0; i < d->source_count; i++)
		json_array_append_new(sources, source_json(&d->source[i]));
	for (int c = 0; c < REPORT_CLASSES; c++)
		json_object_set_new(classes, report_class_name((enum report_class)c), number(d->class[c]));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "domain", string(d->name), "messages", number(d->messages), "passed",
			 number(d->passed), "failed", number(d->messages - d->passed), "overridden", number(d->overridden), "dispositions",
			 json_pack("{s:o, s:o, s:o}", "none", number(d->messages - d->disposition[DMARC_REPORT_DISPOSITION_QUARANTINE] -
									     d->disposition[DMARC_REPORT_DISPOSITION_REJECT]),
				   "quarantine", number(d->disposition[DMARC_REPORT_DISPOSITION_QUARANTINE]), "reject",
				   number(d->disposition[DMARC_REPORT_DISPOSITION_REJECT])),
			 "classes", classes, "duplicates", number(d->duplicates), "reports", reports, "sources", sources);
}
