/*
 * login_shared - what the workers of one machine know together of logins, so that the state need not be asked in the ordinary case
 *
 * A table in shared memory: of a network, an account, or an account from a network it can say "nothing is counted against it". Whatever it does
 * not say has to be asked: after a start, when an entry had to give way to another, when a failure has been counted. It holds hashes with
 * a key of its own, so nobody can choose names that meet, and there are no names in it.
 *
 * Who asks the state looks first, and notes what he learnt afterwards; a failure that was counted in between makes the note void. Nobody waits.
 */
#ifndef LOGIN_SHARED_H
#define LOGIN_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"

enum { LOGIN_SHARED_BUCKETS = 1 << 15, LOGIN_SHARED_SLOTS = 7, LOGIN_SHARED_MAX_S = 3600 };

struct login_shared {
	struct siphash_key key;
	struct login_shared_bucket {
		_Atomic uint64_t failures;      /* counted so far of what is in here */
		_Atomic uint64_t slot[LOGIN_SHARED_SLOTS];      /* 40 bits of the hash, 24 bits of time; 0: empty */
	} bucket[LOGIN_SHARED_BUCKETS];
};

/* What somebody has looked for. */
struct login_mark {
	uint64_t hash;
	uint64_t failures;              /* of the bucket, then */
	bool clean;                     /* nothing is counted against it */
};

/* t is zeroed memory. */
void login_shared_init(struct login_shared *t);

/* now_s: of clock_ms(), which is the same in all processes. */
void login_shared_look(struct login_shared *t, const char *text, size_t len, int64_t now_s, struct login_mark *out);

/* The state, asked since m was looked for, has nothing against it. It is believed for for_s, LOGIN_SHARED_MAX_S at most. */
void login_shared_note(struct login_shared *t, const struct login_mark *m, int64_t now_s, int64_t for_s);

/* A failure has been counted; called when the state has it. */
void login_shared_failed(struct login_shared *t, const struct login_mark *m);

#endif
