/*
 * srs - the return path of a message that a site forwards, rewritten so that SPF passes, and back: the Sender Rewriting Scheme
 *
 *     ann@sender.example             ->  SRS0=HHHHHHHH=TT=sender.example=ann@example.com
 *     SRS0=...@other.example         ->  SRS1=HHHHHHHH=other.example==...@example.com
 *     SRS1=HASH=other.example==...@x ->  SRS1=HHHHHHHH=other.example==...@example.com
 *
 * HHHHHHHH is the beginning of an HMAC (SHA-1) of the rest with a secret of the site, in base64 and compared without case, as some servers change
 * it: nobody else can make an address that this gateway would send mail on for. TT is the day, in base32, modulo 1024: an address is
 * good for a time. The form is that of Mail::SRS and its descendants, with twice their hash, as 24 bits can be guessed.
 *
 * Only the hash is ours to understand: nothing is kept. Addresses are bytes without @ signs in the domain. No I/O, no clock.
 */
#ifndef SRS_H
#define SRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SRS_SECRETS_MAX = 4, SRS_SECRET_MAX = 256, SRS_SECRET_MIN = 16, SRS_ADDRESS_MAX = 255, SRS_HASH = 8, SRS_LIFE_MAX_DAYS = 500 };

struct srs_conf {
	char *domain;                   /* that rewritten addresses are in, canonical; NULL: nothing is rewritten */
	char *secret[SRS_SECRETS_MAX];  /* the first makes hashes, all verify them */
	size_t secret_count;
	int life_s;
};

/*
 * A sender, local@domain, as the next hop is told it. 0; -EINVAL: it cannot be rewritten (a quoted local part, or none); -ENAMETOOLONG. It is for the
 * caller to leave his own domains and the null sender alone.
 */
int srs_forward(const struct srs_conf *c, const char *sender, int64_t now_s, char out[SRS_ADDRESS_MAX]);

/* Whether a local part looks like one of these. */
bool srs_is(const char *local);

/*
 * The address that local, at our domain, stands for. 0; -EINVAL: malformed; -EACCES: the hash is not ours; -ETIMEDOUT: too old.
 */
int srs_reverse(const struct srs_conf *c, const char *local, int64_t now_s, char out[SRS_ADDRESS_MAX]);

#endif
