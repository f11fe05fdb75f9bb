/*
 * dmarc_record - the text of one DMARC policy record, RFC 9989 section 4.7 and 4.8
 *
 * A strict reader: the first tag must be v=DMARC1, to the letter; of the rest, what is malformed is
 * as if it were not there. Unknown tags, and those that RFC 9989 dropped (pct, rf, ri), are
 * skipped. A tag that is known and comes twice makes the list invalid, as RFC 6376 3.2 has it for
 * every list of tags. No I/O here.
 */
#ifndef DMARC_RECORD_H
#define DMARC_RECORD_H

#include <stdbool.h>
#include <stddef.h>

enum dmarc_policy { DMARC_P_NONE, DMARC_P_QUARANTINE, DMARC_P_REJECT };
enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO };
enum dmarc_fo { DMARC_FO_ALL = 1, DMARC_FO_ANY = 2, DMARC_FO_DKIM = 4, DMARC_FO_SPF = 8 };

enum { DMARC_RECORD_TEXT_MAX = 64 };

struct dmarc_record {
	bool has_p, has_sp, has_np;
	enum dmarc_policy p, sp, np;    /* valid when has_ says so */
	bool strict_dkim, strict_spf;   /* adkim=s, aspf=s */
	bool testing;                   /* t=y */
	enum dmarc_psd psd;
	bool rua, ruf;                  /* there is at least one valid address for reports */
	unsigned fo;                    /* bits of enum dmarc_fo */
};

/* 0, or -EBADMSG when p[0..len) is no DMARC record. *out is written on 0 only. */
int dmarc_record_parse(const char *p, size_t len, struct dmarc_record *out);

/* A piece of a record's text. */
struct dmarc_uri {
	const char *p;
	size_t len;
};

/* The valid addresses of rua= in p[0..len), the text of a record, with the size that may follow one ("mailto:a@example.com!10m"), in order: at most max of them. Their number. */
size_t dmarc_record_rua(const char *p, size_t len, struct dmarc_uri *out, size_t max);

/* "1:d:s" for the bits of fo. Returns out. */
enum { DMARC_FO_TEXT_MAX = 8 };
const char *dmarc_fo_text(unsigned fo, char out[DMARC_FO_TEXT_MAX]);

/* Whether it says anything about policy: a valid p, or a valid rua, which stands for p=none (RFC
 * 9989 4.10.1). */
bool dmarc_record_applies(const struct dmarc_record *r);

/*
 * What a receiver should do with a failure. own: the record stands at the author domain; exists:
 * the author domain does. An own record's p; else np for a domain that does not exist, or sp; np
 * falls back to sp, sp to p. t= is not applied here.
 */
enum dmarc_policy dmarc_record_policy(const struct dmarc_record *r, bool own, bool exists);

/* One step milder, for t=y. */
enum dmarc_policy dmarc_policy_milder(enum dmarc_policy p);
const char *dmarc_policy_name(enum dmarc_policy p);

/* The policy anew, from what was read: "v=DMARC1; p=reject; sp=none". Only what RFC 7489 knows of
 * it. Returns out. */
const char *dmarc_record_text(const struct dmarc_record *r, char out[DMARC_RECORD_TEXT_MAX]);

#endif
