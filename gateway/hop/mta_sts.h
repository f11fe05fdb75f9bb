/*
 * mta_sts - what a domain says of the TLS of its mail hosts: RFC 8461, the record, the policy, what it allows
 *
 * No I/O here: hop/mta_sts_cache.h fetches and remembers.
 *
 * A policy is strict in its lines and generous about what it does not know: LF or CRLF, unknown fields are passed over, of fields that come twice the first
 * counts (section 3.2), empty lines do not matter. A line that is none makes the whole invalid, and so does a pattern that is no host name.
 */
#ifndef MTA_STS_H
#define MTA_STS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"

struct dns_answer;

enum mta_sts_mode { MTA_STS_NONE, MTA_STS_TESTING, MTA_STS_ENFORCE };

enum {
	MTA_STS_ID_MAX = 32,                    /* section 3.1 */
	MTA_STS_POLICY_MAX = 64 * 1024,         /* section 3.2 */
	MTA_STS_PATTERNS_MAX = 1000,
	MTA_STS_AGE_MAX_S = 31557600,           /* a year; more counts as that */
};

struct mta_sts_policy {
	enum mta_sts_mode mode;
	int max_age_s;
	size_t count;                           /* of patterns; at least one unless the mode is none */
	int refs;                               /* who holds it */
	const char **pattern;                   /* "mx.example.com" or "*.example.com", lower-case; in one heap block with the struct */
};

/*
 * One TXT record of _mta-sts.DOMAIN. 0 and its id; -ENOENT: it is about something else; -EBADMSG: it begins as one should, and goes on as none may.
 */
int mta_sts_record(const char *p, size_t len, char id[MTA_STS_ID_MAX + 1]);

/* All of them: exactly one has to be there. 0 and its id, or -ENOENT (none, several, one that is malformed: the domain has no policy). */
int mta_sts_id(const struct dns_answer *txt, char id[MTA_STS_ID_MAX + 1]);

/* The policy's file. 0 and *out (free), -EBADMSG with a word of why, -ENOMEM. */
int mta_sts_parse(const char *p, size_t len, struct mta_sts_policy **out, const char **why);
struct mta_sts_policy *mta_sts_policy_ref(struct mta_sts_policy *p);    /* one more that frees it */
void mta_sts_policy_free(struct mta_sts_policy *p);
AUTO_DEFINE(mta_sts_policy)

/* Whether a host, by the name that its MX record gives, is one that the policy names. Section 4.1: a "*" stands for exactly one label. */
bool mta_sts_allows(const struct mta_sts_policy *p, const char *host);

const char *mta_sts_mode_word(enum mta_sts_mode mode);

/* The policy as a file that mta_sts_parse reads. 0 or -ENOSPC, -ENOMEM. */
int mta_sts_text(const struct mta_sts_policy *p, struct buf *out);

#endif
