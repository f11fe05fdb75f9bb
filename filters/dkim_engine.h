/*
 * dkim_engine - who makes the canonical header of DKIM, hashes it and checks the signature: one of two engines
 *
 * dkim_engine_native chooses and hashes the fields itself (dkim_canon.h), dkim_engine_opendkim has libopendkim do it. Behind dkim_verify stands one
 * of them. It gets the header with its index (dkim_header.h), signatures that have been read (dkim_sig.h) and keys that have been read (dkim_key.h), so that
 * what is a valid signature or key is decided in one place for both. It never sees the body, whose hash (bh=) is a part of the header for it. Who
 * signs (dkim_signer.h) has the same engine make the hash. An engine asks nobody and keeps nothing. In a task the native one lets others have their turn
 * while it hashes and checks (turn.h); the library does all in one piece, so it is not given headers that take it longer than DKIM_LIBRARY_OCTETS.
 */
#ifndef DKIM_ENGINE_H
#define DKIM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/dkim_header.h"
#include "filters/dkim_key.h"
#include "filters/dkim_sig.h"

/* For each signature the library hashes the header at most once, and compares each field with every name of h=, which takes as long as an octet of hash. */
enum { DKIM_LIBRARY_OCTETS = 256 * 1024, DKIM_LIBRARY_FIELD = DKIM_FIELDS_MAX };

struct dkim_job {                       /* one signature to verify */
	size_t place;                   /* of its field in the header */
	const struct dkim_sig *sig;
	const struct dkim_key *key;     /* NULL: there is none that may be used, leave it out */
	/* the answer: */
	bool header_ok;                 /* b= is right for the header and bh= */
	const char *why;                /* not ok, or it could not be found out: in words; literal or static */
};

struct dkim_engine {
	const char *name;
	/* h is ready; jobs are in the order of their places. 0 or -errno; -EPROTO: it cannot do with that header. may wait */
	int (*verify)(struct dkim_header *h, struct dkim_job *jobs, size_t count);
	/*
	 * The hash that the signature in the field at place is one of, whatever its b= says (who signs leaves that empty but for a few letters). h is ready.
	 * 0, -ENOMEM, or -EPROTO: why (in words; static). may wait
	 */
	int (*hash)(struct dkim_header *h, size_t place, const struct dkim_sig *sig, unsigned char out[DKIM_HASH_MAX], const char **why);
};

extern const struct dkim_engine dkim_engine_native, dkim_engine_opendkim;

#endif
