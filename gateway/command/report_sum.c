#include "command/report_sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/domain.h"

const char *report_class_name(enum report_class c)
{
	static const char *const names[REPORT_CLASSES] = { "pass", "pass-dkim", "pass-spf", "forwarded", "strict", "other-domain", "broken-signature", "dns",
							   "nothing" };

	return names[c];
}

struct report_sum *report_sum_new(void)
{
	return calloc(1, sizeof(struct report_sum));
}

static void domain_release(struct report_domain *d)
{
	for (size_t i = 0; i < d->report_count; i++)
		dmarc_report_free(d->report[i]);
	for (size_t i = 0; i < d->source_count; i++)
		free(d->source[i].name);
	free(d->report);
	free(d->source);
	free(d->row);
}

void report_sum_free(struct report_sum *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->domain_count; i++)
		domain_release(&s->domain[i]);
	free(s->domain);
	free(s);
}

/* --- adding --- */

/* What it is about: where the record was found; else whom the mail said it was from. */
static const char *domain_of(const struct dmarc_report *r)
{
	if (r->policy.domain && *r->policy.domain)
		return r->policy.domain;
	for (size_t i = 0; i < r->record_count; i++)
		if (r->records[i].header_from)
			return r->records[i].header_from;
	return "";
}

static int compare_text(const char *a, const char *b)
{
	return a && b ? strcasecmp(a, b) : (a != NULL) - (b != NULL);
}

static bool is_duplicate(const struct report_domain *d, const struct dmarc_report *r)
{
	for (size_t i = 0; i < d->report_count && r->report_id && *r->report_id; i++) {
		const struct dmarc_report *had = d->report[i];

		if (had->begin_s == r->begin_s && !compare_text(had->report_id, r->report_id) && !compare_text(had->org_name, r->org_name))
			return true;
	}
	return false;
}

/* Room for one more of a list whose room is doubled. */
static void *grown(void *list, size_t count, size_t size)
{
	return count & (count - 1) ? list : reallocarray(list, count ? 2 * count : 1, size);
}

static struct report_domain *domain_find(struct report_sum *s, const char *name)
{
	struct report_domain *list;

	for (size_t i = 0; i < s->domain_count; i++)
		if (!strcasecmp(s->domain[i].name, name))
			return &s->domain[i];
	list = grown(s->domain, s->domain_count, sizeof(*list));
	if (!list)
		return NULL;
	s->domain = list;
	list[s->domain_count] = (struct report_domain){ .name = name };
	return &list[s->domain_count++];
}

int report_sum_add(struct report_sum *s, struct dmarc_report *r)
{
	struct report_domain *d = domain_find(s, domain_of(r));
	struct dmarc_report **list;

	if (d && is_duplicate(d, r)) {
		d->duplicates++;
		dmarc_report_free(r);
		return 0;
	}
	list = d ? grown(d->report, d->report_count, sizeof(struct dmarc_report *)) : NULL;
	if (!list) {
		if (d && !d->report_count)              /* its name is the report's */
			s->domain_count--;
		dmarc_report_free(r);
		return -ENOMEM;
	}
	d->report = list;
	list[d->report_count++] = r;
	return 0;
}

/* --- what a row means --- */

bool report_related(const char *domain, const struct dmarc_report_record *rec, const struct dmarc_report_policy_published *policy)
{
	const char *from = rec->header_from, *record = policy->domain;
	char one[DOMAIN_MAX], other[DOMAIN_MAX], both[DOMAIN_MAX];

	if (!domain || !from || domain_canonical(domain, strlen(domain), one) < 0 || domain_canonical(from, strlen(from), other) < 0)
		return false;
	if (domain_within(one, other) || domain_within(other, one))
		return true;
	return record && domain_canonical(record, strlen(record), both) == 0 && domain_within(one, both) && domain_within(other, both);
}

static bool was_forwarded(const struct dmarc_report_record *rec)
{
	for (size_t i = 0; i < rec->reason_count; i++) {
		const struct dmarc_report_reason *reason = &rec->reasons[i];

		if (reason->type == DMARC_REPORT_OVERRIDE_MAILING_LIST || reason->type == DMARC_REPORT_OVERRIDE_TRUSTED_FORWARDER ||
		    reason->type == DMARC_REPORT_OVERRIDE_FORWARDED)
			return true;
		/* How receivers say that ARC has made up for it. */
		if (reason->type == DMARC_REPORT_OVERRIDE_LOCAL_POLICY && reason->comment && strcasestr(reason->comment, "arc=pass"))
			return true;
	}
	return false;
}

static enum report_class class_of(const struct dmarc_report_record *rec, const struct dmarc_report_policy_published *policy)
{
	bool dkim = rec->dkim_aligned == DMARC_REPORT_ALIGNED_PASS, spf = rec->spf_aligned == DMARC_REPORT_ALIGNED_PASS;
	bool near = false, other = false, broken = false, dns = rec->spf.result == DMARC_REPORT_SPF_TEMPERROR;

	if (dkim || spf)
		return dkim && spf ? REPORT_PASS : dkim ? REPORT_PASS_DKIM : REPORT_PASS_SPF;
	if (was_forwarded(rec))
		return REPORT_FORWARDED;
	for (size_t i = 0; i < rec->dkim_count; i++) {
		const struct dmarc_report_dkim *sig = &rec->dkim[i];
		bool own = report_related(sig->domain, rec, policy);

		near |= own && sig->result == DMARC_REPORT_DKIM_PASS;
		other |= !own && sig->result == DMARC_REPORT_DKIM_PASS;
		dns |= own && sig->result == DMARC_REPORT_DKIM_TEMPERROR;
		broken |= own && sig->result != DMARC_REPORT_DKIM_PASS && sig->result != DMARC_REPORT_DKIM_NONE && sig->result != DMARC_REPORT_DKIM_TEMPERROR;
	}
	if (rec->spf.domain && rec->spf.result == DMARC_REPORT_SPF_PASS) {
		near |= report_related(rec->spf.domain, rec, policy);
		other |= !report_related(rec->spf.domain, rec, policy);
	}
	return near ? REPORT_STRICT : broken ? REPORT_BROKEN : other ? REPORT_OTHER : dns ? REPORT_DNS : REPORT_NOTHING;
}

/* --- sorting --- */

static int compare_number(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_dkim(const struct dmarc_report_record *a, const struct dmarc_report_record *b)
{
	int c = compare_number(a->dkim_count, b->dkim_count);

	for (size_t i = 0; !c && i < a->dkim_count; i++) {
		c = compare_number(a->dkim[i].result, b->dkim[i].result);
		c = c ? c : compare_text(a->dkim[i].domain, b->dkim[i].domain);
		c = c ? c : compare_text(a->dkim[i].selector, b->dkim[i].selector);
		c = c ? c : compare_text(a->dkim[i].human_result, b->dkim[i].human_result);
	}
	return c;
}

static int compare_reasons(const struct dmarc_report_record *a, const struct dmarc_report_record *b)
{
	int c = compare_number(a->reason_count, b->reason_count);

	for (size_t i = 0; !c && i < a->reason_count; i++) {
		c = compare_number(a->reasons[i].type, b->reasons[i].type);
		c = c ? c : compare_text(a->reasons[i].comment, b->reasons[i].comment);
	}
	return c;
}

/* 0: they say the same but for their numbers. */
static int compare_rows(const void *x, const void *y)
{
	const struct report_row *p = x, *q = y;
	const struct dmarc_report_record *a = p->rec, *b = q->rec;
	int c = strcmp(a->source_ip, b->source_ip);

	c = c ? c : compare_number(p->class, q->class);
	c = c ? c : compare_number(a->disposition, b->disposition);
	c = c ? c : compare_text(a->header_from, b->header_from);
	c = c ? c : compare_text(a->envelope_from, b->envelope_from);
	c = c ? c : compare_text(a->envelope_to, b->envelope_to);
	c = c ? c : compare_text(a->spf.domain, b->spf.domain);
	c = c ? c : compare_number(a->spf.result, b->spf.result);
	c = c ? c : compare_number(a->spf.scope, b->spf.scope);
	c = c ? c : compare_text(a->spf.human_result, b->spf.human_result);
	c = c ? c : compare_dkim(a, b);
	return c ? c : compare_reasons(a, b);
}

static int by_count(const void *x, const void *y)
{
	const struct report_row *p = x, *q = y;
	int c = compare_number(q->count, p->count);

	return c ? c : compare_rows(x, y);
}

static int by_messages(const void *x, const void *y)
{
	const struct report_source *p = x, *q = y;
	int c = compare_number(q->messages, p->messages);

	return c ? c : strcmp(p->ip, q->ip);
}

static int by_size(const void *x, const void *y)
{
	const struct report_domain *p = x, *q = y;
	int c = compare_number(q->messages, p->messages);

	return c ? c : strcasecmp(p->name, q->name);
}

static int by_time(const void *x, const void *y)
{
	const struct dmarc_report *p = *(struct dmarc_report *const *)x, *q = *(struct dmarc_report *const *)y;
	int c = (p->begin_s > q->begin_s) - (p->begin_s < q->begin_s);

	return c ? c : compare_text(p->org_name, q->org_name);
}

static void count_row(struct report_domain *d, const struct report_row *row)
{
	const struct dmarc_report_record *rec = row->rec;

	d->messages += row->count;
	d->class[row->class] += row->count;
	d->disposition[rec->disposition] += row->count;
	if (row->class < REPORT_FORWARDED)
		d->passed += row->count;
	else if (rec->reason_count)
		d->overridden += row->count;
}

/* All rows of all reports, those that are the same as one, in the order of their sources. How many. */
static size_t gather(struct report_domain *d)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < d->report_count; i++)
		for (size_t j = 0; j < d->report[i]->record_count; j++) {
			const struct dmarc_report_record *rec = &d->report[i]->records[j];
			struct report_row *row = &d->row[count++];

			*row = (struct report_row){ rec, &d->report[i]->policy, class_of(rec, &d->report[i]->policy), rec->count };
			count_row(d, row);
		}
	qsort(d->row, count, sizeof(*d->row), compare_rows);
	for (size_t i = 0; i < count; i++)
		if (kept && !compare_rows(&d->row[kept - 1], &d->row[i]))
			d->row[kept - 1].count += d->row[i].count;
		else
			d->row[kept++] = d->row[i];
	return kept;
}

static int domain_finish(struct report_domain *d)
{
	size_t rows = 0;

	for (size_t i = 0; i < d->report_count; i++)
		rows += d->report[i]->record_count;
	d->row = calloc(rows + 1, sizeof(*d->row));
	d->source = calloc(rows + 1, sizeof(*d->source));
	if (!d->row || !d->source)
		return -ENOMEM;
	qsort(d->report, d->report_count, sizeof(struct dmarc_report *), by_time);
	rows = gather(d);
	for (size_t i = 0; i < rows; i++) {
		struct report_row *row = &d->row[i];
		struct report_source *s;

		if (!i || compare_text(row[-1].rec->source_ip, row->rec->source_ip) != 0)
			d->source[d->source_count++] = (struct report_source){ .ip = row->rec->source_ip, .row = row };
		s = &d->source[d->source_count - 1];
		s->row_count++;
		s->messages += row->count;
		s->passed += row->class < REPORT_FORWARDED ? row->count : 0;
	}
	for (size_t i = 0; i < d->source_count && d->source[i].row; i++)
		qsort(d->source[i].row, d->source[i].row_count, sizeof(struct report_row), by_count);
	qsort(d->source, d->source_count, sizeof(*d->source), by_messages);
	return 0;
}

int report_sum_finish(struct report_sum *s)
{
	for (size_t i = 0; i < s->domain_count; i++)
		if (domain_finish(&s->domain[i]) < 0)
			return -ENOMEM;
	if (s->domain_count)
		qsort(s->domain, s->domain_count, sizeof(*s->domain), by_size);
	return 0;
}
