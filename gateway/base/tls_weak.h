/*
 * tls_weak - a server whose handshakes fail, remembered over all workers
 *
 * Opportunistic TLS that fails is followed by a session in clear text, at once; so that not every session pays for both, TLS is then left out for
 * TLS_WEAK_MS. After that one session tries it again, while the others still do without. In shared memory; zeroed: nothing is known.
 */
#ifndef TLS_WEAK_H
#define TLS_WEAK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TLS_WEAK_MS = 5 * 60 * 1000, TLS_WEAK_TRY_MS = 30 * 1000 };

struct tls_weak {
	_Atomic int64_t until_ms;       /* clock_ms; 0: it is well */
	_Atomic int64_t since_s;        /* wall clock, of the first failure */
	_Atomic uint64_t sessions;      /* that did without since then */
};

/* Whether TLS is to be left out now; the session is counted. */
bool tls_weak_skip(struct tls_weak *w);
/* Whether it is left out at present; nothing is changed. */
bool tls_weak_is(const struct tls_weak *w);
/* A handshake has failed, or was completed. true: that is news, worth a line. */
bool tls_weak_failed(struct tls_weak *w);
bool tls_weak_worked(struct tls_weak *w);

#endif
