/*
 * arc_set - the fields of an Authenticated Received Chain, gathered into its sets, RFC 8617 section 4
 *
 * Each hop that seals a message adds one set of three fields with the same instance number i=: what it saw (ARC-Authentication-Results, AAR),
 * a signature of the message (ARC-Message-Signature, AMS) and one over all sets so far (ARC-Seal, AS). Here they are read strictly and brought
 * in order, and it is said in words what is wrong with their structure (section 5.2, steps 2 and 3): a number twice, one that is missing, a set that is
 * not whole, a list of tags that cannot be read, cv= that contradicts the place in the chain. No signature is verified. No I/O, no clock.
 *
 *     struct arc_sets s = { 0 };
 *     for each field: arc_sets_field(&s, raw, len);
 *     arc_sets_end(&s);
 *     if (s.fields == 0) ...                          // no chain
 *
 * Nothing is copied: the sets point into the fields.
 */
#ifndef ARC_SET_H
#define ARC_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/dkim_sig.h"

enum { ARC_SETS_MAX = 50, ARC_FIELDS_MAX = 3 * ARC_SETS_MAX };          /* section 4.2.1: more than 50 is a chain that fails */

enum arc_kind { ARC_KIND_NONE, ARC_KIND_AAR, ARC_KIND_AMS, ARC_KIND_AS };

/* What a sealer found when it verified the chain that came to it (section 4.4). UNREAD: no cv=, or no ARC-Seal. */
enum arc_cv { ARC_CV_UNREAD, ARC_CV_NONE, ARC_CV_PASS, ARC_CV_FAIL };

struct arc_field {
	const char *raw;                /* the whole field without its final CRLF; NULL: not there */
	size_t len;
};

struct arc_set {
	struct arc_field aar, ams, as;
	enum arc_cv cv;
	const char *ams_why;            /* what is wrong with the AMS (a literal); of older sets this breaks nothing but that signature */
};

struct arc_sets {
	struct arc_set set[ARC_SETS_MAX];       /* that of instance i at i - 1 */
	size_t count;                           /* the highest instance number; all sets up to here are whole if nothing is wrong */
	size_t fields;                          /* ARC fields seen, readable or not; 0: no chain */
	enum arc_cv cv;                         /* of the newest set, whatever else is wrong */
	char why[160];                          /* what is wrong with the structure, the first thing found; "": nothing */
};

/* One ARC-Message-Signature or ARC-Seal. */
struct arc_sig {
	unsigned instance;              /* i=; 0: could not be read */
	enum arc_cv cv;                 /* of a seal */
	struct dkim_sig sig;            /* the rest, as in DKIM; identity stays empty; from_count may be 0 */
};

/* Which field this is, by its name; the case of letters does not count. */
enum arc_kind arc_kind_of(const char *raw, size_t len);
const char *arc_kind_name(enum arc_kind k);

/* A field of the message, with or without its final CRLF, in any order. False: none of ARC's. The bytes must stay as long as s is used. */
bool arc_sets_field(struct arc_sets *s, const char *raw, size_t len);
/* All fields have been given: cv and why are right after this. */
void arc_sets_end(struct arc_sets *s);

/*
 * The body of one field (after the colon). NULL, or what is wrong (a literal); what could be read is in out. Whether the algorithm is historic or the
 * signature has expired is not looked at: dkim_sig_age.
 */
const char *arc_ams_parse(const char *p, size_t len, struct arc_sig *out);
const char *arc_seal_parse(const char *p, size_t len, struct arc_sig *out);
/* i=N; and what follows it: an Authentication-Results body of RFC 8601 that has not been looked at. */
const char *arc_aar_parse(const char *p, size_t len, unsigned *instance, const char **results, size_t *results_len);

/* The body of a whole field. */
const char *arc_field_body(const struct arc_field *f, size_t *len);

#endif
