/*
 * dmarc_report - one DMARC aggregate report, RFC 9990 (and RFC 7489, section 7.2, before it): who saw how much mail of a domain, and what became of it
 *
 *     struct dmarc_report *r = dmarc_report_new();
 *     struct dmarc_report_record *rec;
 *     int rc = dmarc_report_text(r, &r->org_name, "example.net", 11);
 *     r->begin_s = ...;
 *     rec = dmarc_report_record(r, "192.0.2.1", 17, &rc);
 *     rec->disposition = DMARC_REPORT_DISPOSITION_NONE;
 *     rc = dmarc_report_dkim(r, rec, "example.org", "s1", DMARC_REPORT_DKIM_PASS, NULL);
 *     ...
 *     dmarc_report_free(r);
 *
 * The report owns all that is in it: strings go in as copies by dmarc_report_text(), rows of its lists by the functions below, which know the
 * bounds; all other members are set freely. A string that is NULL is not there at all, "" is there and empty (envelope_from of a bounce). A word that
 * is 0 is absent: an optional element, or one that a reporter forgot. Strings are cut at DMARC_REPORT_TEXT_MAX octets, never within a character
 * of UTF-8; what they hold is otherwise anybody's: foreign text, to be made safe by whoever shows or writes it.
 *
 * dmarc_report_xml.h writes one, dmarc_report_read.h reads one. Pure: no I/O, no clock.
 */
#ifndef DMARC_REPORT_H
#define DMARC_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"

enum {
	DMARC_REPORT_TEXT_MAX = 1024,           /* octets of one string */
	DMARC_REPORT_ERRORS_MAX = 32,
	DMARC_REPORT_RECORDS_MAX = 100000,
	DMARC_REPORT_REASONS_MAX = 16,          /* of one record */
	DMARC_REPORT_DKIM_MAX = 100,            /* signatures of one record: RFC 9990, "DKIM Signatures in Aggregate Reports" */
	DMARC_REPORT_OCTETS_MAX = 64 << 20,     /* all strings and lists of one report together */
};

/* The words, as their tables below spell them. */
enum dmarc_report_policy { DMARC_REPORT_POLICY_NONE = 1, DMARC_REPORT_POLICY_QUARANTINE, DMARC_REPORT_POLICY_REJECT };
enum dmarc_report_mode { DMARC_REPORT_MODE_RELAXED = 1, DMARC_REPORT_MODE_STRICT };             /* "r", "s" */
enum dmarc_report_testing { DMARC_REPORT_TESTING_NO = 1, DMARC_REPORT_TESTING_YES };            /* "n", "y" */
enum dmarc_report_discovery { DMARC_REPORT_DISCOVERY_PSL = 1, DMARC_REPORT_DISCOVERY_TREEWALK };

/* What was done with the mail by DMARC's word. pass: it passed under a policy that asks for something (RFC 9990); none: nothing was done. */
enum dmarc_report_disposition {
	DMARC_REPORT_DISPOSITION_NONE = 1, DMARC_REPORT_DISPOSITION_PASS, DMARC_REPORT_DISPOSITION_QUARANTINE, DMARC_REPORT_DISPOSITION_REJECT,
};

/* Whether DKIM (SPF) passed for a domain that is aligned with the author's. */
enum dmarc_report_aligned { DMARC_REPORT_ALIGNED_PASS = 1, DMARC_REPORT_ALIGNED_FAIL };

/* Why the disposition is not what the policy asks for. The last two are of RFC 7489 only: read, never written. */
enum dmarc_report_override {
	DMARC_REPORT_OVERRIDE_LOCAL_POLICY = 1, DMARC_REPORT_OVERRIDE_MAILING_LIST, DMARC_REPORT_OVERRIDE_OTHER, DMARC_REPORT_OVERRIDE_POLICY_TEST_MODE,
	DMARC_REPORT_OVERRIDE_TRUSTED_FORWARDER, DMARC_REPORT_OVERRIDE_FORWARDED, DMARC_REPORT_OVERRIDE_SAMPLED_OUT,
};

/* RFC 8601, 2.7.1 and 2.7.2. */
enum dmarc_report_dkim_result {
	DMARC_REPORT_DKIM_NONE = 1, DMARC_REPORT_DKIM_PASS, DMARC_REPORT_DKIM_FAIL, DMARC_REPORT_DKIM_POLICY, DMARC_REPORT_DKIM_NEUTRAL,
	DMARC_REPORT_DKIM_TEMPERROR, DMARC_REPORT_DKIM_PERMERROR,
};
enum dmarc_report_spf_result {
	DMARC_REPORT_SPF_NONE = 1, DMARC_REPORT_SPF_PASS, DMARC_REPORT_SPF_FAIL, DMARC_REPORT_SPF_SOFTFAIL, DMARC_REPORT_SPF_NEUTRAL,
	DMARC_REPORT_SPF_TEMPERROR, DMARC_REPORT_SPF_PERMERROR, DMARC_REPORT_SPF_POLICY,
};
enum dmarc_report_scope { DMARC_REPORT_SCOPE_MFROM = 1, DMARC_REPORT_SCOPE_HELO };              /* helo: RFC 7489 only */

struct dmarc_report_words;
extern const struct dmarc_report_words dmarc_report_policy_words, dmarc_report_mode_words, dmarc_report_testing_words, dmarc_report_discovery_words,
	dmarc_report_disposition_words, dmarc_report_aligned_words, dmarc_report_override_words, dmarc_report_dkim_words, dmarc_report_spf_words,
	dmarc_report_scope_words;

/* The word for a value ("reject"), or NULL for 0 and for what is none. */
const char *dmarc_report_word(const struct dmarc_report_words *w, unsigned value);
/* The value of word[0..len), in any case of letters; 0: none of them. */
unsigned dmarc_report_value(const struct dmarc_report_words *w, const char *word, size_t len);

struct dmarc_report_policy_published {
	const char *domain;             /* where the record was found */
	enum dmarc_report_discovery discovery;
	enum dmarc_report_policy p, sp, np;
	enum dmarc_report_mode adkim, aspf;
	enum dmarc_report_testing testing;
	const char *fo;                 /* "1:d", as published */
	int pct;                        /* RFC 7489 only: read, never written; -1: not said */
};

struct dmarc_report_reason {
	enum dmarc_report_override type;
	const char *comment;
};

struct dmarc_report_dkim {
	const char *domain, *selector;
	enum dmarc_report_dkim_result result;
	const char *human_result;
};

struct dmarc_report_spf {
	const char *domain;             /* NULL: there is no SPF result in this record */
	enum dmarc_report_scope scope;
	enum dmarc_report_spf_result result;
	const char *human_result;
};

/* So many messages of one source that fared the same. */
struct dmarc_report_record {
	const char *source_ip;          /* an address as inet_ntop() writes it, IPv4 never as part of IPv6; "": a reporter gave none */
	uint64_t count;
	enum dmarc_report_disposition disposition;
	enum dmarc_report_aligned dkim_aligned, spf_aligned;
	struct dmarc_report_reason *reasons;
	size_t reason_count;
	const char *header_from, *envelope_from, *envelope_to;
	struct dmarc_report_dkim *dkim;
	size_t dkim_count;
	struct dmarc_report_spf spf;
};

struct dmarc_report {
	const char *org_name, *email, *extra_contact, *report_id, *generator;
	int64_t begin_s, end_s;         /* seconds since 1970, UTC */
	const char **errors;
	size_t error_count;
	struct dmarc_report_policy_published policy;
	struct dmarc_report_record *records;
	size_t record_count;
	struct dmarc_report_arena *arena;
};

struct dmarc_report *dmarc_report_new(void);            /* NULL: no memory */
void dmarc_report_free(struct dmarc_report *r);
AUTO_DEFINE(dmarc_report)

/* *member becomes a copy of p[0..len), cut where it is too long. 0, -ENOMEM, or -ENOSPC when the report is full: then *member is untouched. */
int dmarc_report_text(struct dmarc_report *r, const char **member, const char *p, size_t len);

/* One more error: -ENOSPC beyond DMARC_REPORT_ERRORS_MAX. */
int dmarc_report_error(struct dmarc_report *r, const char *text);

/*
 * One more record; all but these two is zero. ip: an address in text ("::ffff:192.0.2.1" becomes "192.0.2.1"), or NULL: not known. NULL, with the error in
 * *err if that is not NULL: -EINVAL (no address), -ENOSPC, -ENOMEM. Good until the next one is added: records move.
 */
struct dmarc_report_record *dmarc_report_record(struct dmarc_report *r, const char *ip, uint64_t count, int *err);

/* The address of a record anew. 0, -EINVAL: ip is none, -ENOSPC or -ENOMEM. */
int dmarc_report_source(struct dmarc_report *r, struct dmarc_report_record *rec, const char *ip);

/* One more row of a list of a record; strings may be NULL. 0, -ENOSPC (its bound, or the report's) or -ENOMEM: nothing is added. */
int dmarc_report_reason(struct dmarc_report *r, struct dmarc_report_record *rec, enum dmarc_report_override type, const char *comment);
int dmarc_report_dkim(struct dmarc_report *r, struct dmarc_report_record *rec, const char *domain, const char *selector,
		      enum dmarc_report_dkim_result result, const char *human_result);
/* The one SPF result of a record. */
int dmarc_report_spf(struct dmarc_report *r, struct dmarc_report_record *rec, const char *domain, enum dmarc_report_scope scope,
		     enum dmarc_report_spf_result result, const char *human_result);

#endif
