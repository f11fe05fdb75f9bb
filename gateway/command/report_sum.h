/*
 * report_sum - aggregate reports added up: by domain, by source, by what happened to its mail and why
 *
 * Reports are added one by one; report_sum_finish() sorts. Rows of several reports that say the same are one row. A report that has been added before (same
 * domain, reporter, id and beginning) is counted as a duplicate and left out. Pure: no I/O.
 */
#ifndef REPORT_SUM_H
#define REPORT_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "policy/dmarc_report.h"

/* Why mail passed DMARC or failed, as far as a row tells. The first three passed. */
enum report_class {
	REPORT_PASS,            /* by DKIM and SPF */
	REPORT_PASS_DKIM,       /* by DKIM alone: forwarded, often */
	REPORT_PASS_SPF,        /* by SPF alone */
	REPORT_FORWARDED,       /* failed; the reporter says that it came by a forwarder or a list */
	REPORT_STRICT,          /* something passed for a name of the domain, but the record wants the very same name */
	REPORT_OTHER,           /* something passed, for another domain */
	REPORT_BROKEN,          /* there was a signature of the domain, and it failed */
	REPORT_DNS,             /* nothing passed, and something could not be looked up */
	REPORT_NOTHING,         /* nothing that says it is the domain's */
	REPORT_CLASSES,
};

const char *report_class_name(enum report_class c);     /* "pass", "pass-dkim", ... */

/* domain belongs to whoever the mail of rec says it is from, as far as can be told without asking anybody: the same name, one below it or above, or both below
   the record's. */
bool report_related(const char *domain, const struct dmarc_report_record *rec, const struct dmarc_report_policy_published *policy);

struct report_row {
	const struct dmarc_report_record *rec;          /* one of those that say the same */
	const struct dmarc_report_policy_published *policy;
	enum report_class class;
	uint64_t count;
};

struct report_source {
	const char *ip;                                 /* "": not said */
	uint64_t messages, passed;
	struct report_row *row;                         /* most first */
	size_t row_count;
	char *name;                                     /* from the DNS, or NULL: foreign text */
};

struct report_domain {
	const char *name;                               /* as first written; "": not said. Foreign text */
	struct dmarc_report **report;
	size_t report_count, duplicates;
	uint64_t messages, passed;
	uint64_t disposition[5];                        /* messages, by enum dmarc_report_disposition */
	uint64_t class[REPORT_CLASSES];                 /* messages */
	uint64_t overridden;                            /* failed, and spared by the reporter with a reason */
	struct report_source *source;                   /* most messages first */
	size_t source_count;
	struct report_row *row;                         /* of all sources */
};

struct report_sum {
	struct report_domain *domain;                   /* most messages first */
	size_t domain_count;
};

struct report_sum *report_sum_new(void);                /* NULL: no memory */
void report_sum_free(struct report_sum *s);
AUTO_DEFINE(report_sum)

/* r becomes the sum's own, also on an error. 0 or -ENOMEM. */
int report_sum_add(struct report_sum *s, struct dmarc_report *r);

/* Once, behind the last one. 0 or -ENOMEM. */
int report_sum_finish(struct report_sum *s);

#endif
