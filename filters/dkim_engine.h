/*
 * dkim_engine - who makes the canonical header of DKIM, hashes it and checks the signature: one of two engines
 *
 * dkim_engine_native chooses and hashes the fields itself (dkim_header.h, dkim_canon.h), dkim_engine_opendkim has libopendkim do it. Behind
 * dkim_verify stands one of them. It gets signatures that have been read (dkim_sig.h) and keys that have been read (dkim_key.h), so that what is
 * a valid signature or key is decided in one place for both. It never sees the body, whose hash (bh=) is a part of the header for it. Who
 * signs (dkim_signer.h) has the same engine make the hash. An engine asks nobody; in a task it yields while it hashes what is large.
 */
#ifndef DKIM_ENGINE_H
#define DKIM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/dkim_key.h"
#include "filters/dkim_sig.h"

struct dkim_job {                       /* one signature to verify */
	const struct dkim_key *key;     /* at finish; NULL: there is none that may be used, leave it out */
	/* the answer: */
	bool header_ok;                 /* b= is right for the header and bh= */
	const char *why;                /* not ok, or it could not be found out: in words; literal or static */
};

struct dkim_engine {
	const char *name;
	void *(*start)(void);           /* NULL: no memory */
	/*
	 * All fields in order, without their final CRLF; sig: the field is a signature that is a job, and what has been read of it, which must stay. Jobs are in the order
	 * of their fields. The bytes may go after header_end. Each returns 0 or -errno; after an error only free is called.
	 */
	int (*field)(void *e, const char *p, size_t len, const struct dkim_sig *sig);
	int (*header_end)(void *e, size_t jobs);
	int (*finish)(void *e, struct dkim_job *jobs, size_t count);            /* may yield, as hash may */
	/*
	 * After finish: the hash that the signature of job i is one of, whatever its b= says (who signs leaves that empty but for a few letters).
	 * 0 or -EPROTO: why (in words; static).
	 */
	int (*hash)(void *e, size_t i, unsigned char out[DKIM_HASH_MAX], const char **why);
	void (*free)(void *e);
};

extern const struct dkim_engine dkim_engine_native, dkim_engine_opendkim;

#endif
