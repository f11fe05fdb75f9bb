/* report_json - aggregate reports for programs: see report_show.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_whole.h"
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

/* --- out --- */

/* Piece by piece: of a year's reports all of it at once is a hundred times as much as the longest piece. */
struct json_out {
	FILE *to;
	int rc;
};

/* o is given up. flags: JSON_EMBED: without its braces. */
static void put(struct json_out *out, json_t *o, size_t flags)
{
	/* What could not be put into an object or array is missing in it. */
	char *text = json_whole_starved() ? NULL : json_whole(o, flags | JSON_COMPACT);

	json_decref(o);
	if (text)
		fputs(text, out->to);
	else
		out->rc = -ENOMEM;
	free(text);
}

/* Between the elements of a list that stands so deep, and before the first. */
static void next(struct json_out *out, size_t i, int depth)
{
	fprintf(out->to, "%s\n%*s", i ? "," : "", 2 * depth, "");
}

static void source_out(struct json_out *out, const struct report_source *s)
{
	fputc('{', out->to);
	put(out, json_pack("{s:s, s:o, s:o, s:o, s:o}", "ip", s->ip, "name", string(s->name), "messages", number(s->messages), "passed", number(s->passed),
			   "failed", number(s->messages - s->passed)), JSON_EMBED);
	fputs(",\"rows\":[", out->to);
	for (size_t i = 0; i < s->row_count; i++) {
		next(out, i, 4);
		put(out, row_json(&s->row[i]), 0);
	}
	fputs("]}", out->to);
}

static json_t *head_json(const struct report_domain *d)
{
	json_t *classes = json_object();

	for (int c = 0; c < REPORT_CLASSES; c++)
		json_object_set_new(classes, report_class_name((enum report_class)c), number(d->class[c]));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "domain", string(d->name), "messages", number(d->messages), "passed", number(d->passed),
			 "failed", number(d->messages - d->passed), "overridden", number(d->overridden), "dispositions",
			 json_pack("{s:o, s:o, s:o}", "none", number(d->messages - d->disposition[DMARC_REPORT_DISPOSITION_QUARANTINE] -
									     d->disposition[DMARC_REPORT_DISPOSITION_REJECT]),
				   "quarantine", number(d->disposition[DMARC_REPORT_DISPOSITION_QUARANTINE]), "reject",
				   number(d->disposition[DMARC_REPORT_DISPOSITION_REJECT])),
			 "classes", classes, "duplicates", number(d->duplicates));
}

static void domain_out(struct json_out *out, const struct report_domain *d)
{
	fputc('{', out->to);
	put(out, head_json(d), JSON_EMBED);
	fputs(",\"reports\":[", out->to);
	for (size_t i = 0; i < d->report_count; i++) {
		next(out, i, 3);
		put(out, reporter_json(d->report[i]), 0);
	}
	fputs("],\"sources\":[", out->to);
	for (size_t i = 0; i < d->source_count; i++) {
		next(out, i, 3);
		source_out(out, &d->source[i]);
	}
	fputs("]}", out->to);
}

int report_json(const struct report_sum *s, json_t *wrong, FILE *to)
{
	struct json_out out = { .to = to };

	json_whole_begin();
	fputs("{\"domains\":[", to);
	for (size_t i = 0; i < s->domain_count; i++) {
		next(&out, i, 2);
		domain_out(&out, &s->domain[i]);
	}
	fputs("],\"wrong\":", to);
	put(&out, json_incref(wrong), 0);
	fputs("}\n", to);
	return out.rc;
}
