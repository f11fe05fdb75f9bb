#include "filters/dkim_engine.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include <opendkim/dkim.h>
#include <openssl/err.h>

#include "filters/dkim_crypto.h"
#include "filters/dkim_tag.h"
#include "filters/turn.h"

/*
 * The library selects the fields that a signature covers, brings them into canonical form and hashes them. It is not given the
 * keys: what it does with them takes ten times as long as the rest of a signature's work (OpenSSL's decoders), and all that it gets
 * wrong about keys and algorithms never reaches it. So it finds no signature good, which does not matter: its hash is what counts.
 */

struct reading {                        /* of one header */
	DKIM *dkim;
	DKIM_SIGINFO **sigs;            /* the library's */
	bool starved;                   /* it has met an allocation that failed: what it has half made it would free twice. Some KiB are lost instead */
};

static DKIM_CBSTAT key_lookup(DKIM *dkim, DKIM_SIGINFO *sig, unsigned char *buf, size_t room)
{
	return DKIM_CBSTAT_NOTFOUND;
}

/* One for the process: it holds options only. */
static DKIM_LIB *library(void)
{
	static DKIM_LIB *lib;
	unsigned flags = DKIM_LIBFLAGS_DELAYSIGPROC | DKIM_LIBFLAGS_BADSIGHANDLES;

	if (lib)
		return lib;
	lib = dkim_init(NULL, NULL);
	if (!lib)
		return NULL;
	if (dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_FLAGS, &flags, sizeof(flags)) != DKIM_STAT_OK ||
	    dkim_set_key_lookup(lib, key_lookup) != DKIM_STAT_OK) {
		dkim_close(lib);
		lib = NULL;
	}
	return lib;
}

/* What there was no memory for it may call a syntax error, or say nothing of: errno tells, which is 0 before. */
static int error_of(DKIM_STAT st)
{
	ERR_clear_error();
	if (errno == ENOMEM)
		return -ENOMEM;
	switch (st) {
	case DKIM_STAT_OK: return 0;
	case DKIM_STAT_NORESOURCE: return -ENOMEM;
	default: return -EPROTO;
	}
}

static int result(struct reading *r, DKIM_STAT st)
{
	int rc = error_of(st);

	r->starved |= rc == -ENOMEM;
	return rc;
}

static void reading_release(struct reading *r)
{
	if (r->dkim && !r->starved)
		dkim_free(r->dkim);
	ERR_clear_error();
}

static int reading_begin(struct reading *r)
{
	DKIM_STAT st;

	*r = (struct reading){ .dkim = library() ? dkim_verify(library(), (const unsigned char *)"gatepost", NULL, &st) : NULL };
	return r->dkim ? 0 : -ENOMEM;
}

/* Its list of signatures is to be that of our jobs: others it does not get, and a signature that covers such a field fails. */
static int field_give(struct reading *r, const struct dkim_field *f, bool job)
{
	DKIM_STAT st;

	if (!job && dkim_field_is(f, "DKIM-Signature"))
		return 0;
	errno = 0;
	st = f->len > 0 ? dkim_header(r->dkim, (unsigned char *)f->raw, f->len) : DKIM_STAT_OK;
	/* It takes no field whose name has a semicolon or a control character: nothing that anybody signs. */
	return result(r, st == DKIM_STAT_SYNTAX ? DKIM_STAT_OK : st);
}

/*
 * It counts the fields and has a place for each; behind the last one that is chosen it writes once more when h= has a name left, past its memory where every
 * field of the message has been chosen. So there is one more, of a name that h= cannot have (dkim_sig.h).
 */
static int spare_field(struct reading *r)
{
	static char field[] = "x x:";

	errno = 0;
	return result(r, dkim_header(r->dkim, (unsigned char *)field, sizeof(field) - 1));
}

/* The header without a body; after this it has hashed. */
static int reading_do(struct reading *r, const struct dkim_header *h, const struct dkim_job *jobs, size_t count)
{
	int rc = reading_begin(r), n = 0;
	size_t job = 0;
	DKIM_STAT st;

	for (size_t i = 0; i < dkim_header_count(h) && rc == 0; i++) {
		bool ours = job < count && jobs[job].place == i;

		job += ours;
		rc = field_give(r, dkim_header_at(h, i), ours);
	}
	if (rc == 0)
		rc = spare_field(r);
	if (rc < 0)
		return rc;
	errno = 0;
	rc = result(r, dkim_eoh(r->dkim));
	if (rc < 0)
		return rc;
	rc = result(r, dkim_getsiglist(r->dkim, &r->sigs, &n));
	if (rc < 0)
		return rc;
	/* It has found more or fewer than we have: nobody knows then which is which. */
	if (n < 0 || (size_t)n != count)
		return -EPROTO;
	errno = 0;
	st = dkim_eom(r->dkim, NULL);
	if (errno == ENOMEM)
		return result(r, st);
	ERR_clear_error();
	/* These mean that nothing was hashed. */
	return st == DKIM_STAT_NORESOURCE || st == DKIM_STAT_INTERNAL || st == DKIM_STAT_SYNTAX || st == DKIM_STAT_INVALID ? error_of(st) : 0;
}

/* b=, decoded: its length, or -1. */
static ptrdiff_t signature_bytes(DKIM_SIGINFO *sig, unsigned char out[DKIM_KEY_BYTES_MAX])
{
	const unsigned char *b = dkim_sig_gettagvalue(sig, false, (unsigned char *)"b");

	return b ? dkim_tag_base64((const char *)b, strlen((const char *)b), out, DKIM_KEY_BYTES_MAX) : -1;
}

/* Whether it got as far as the hash of the header (else it asserts when asked for it): it wants a key then, or more body for l=. */
static bool hashed(int error)
{
	return error == DKIM_SIGERROR_NOKEY || error == DKIM_SIGERROR_TOOLARGE_L;
}

/* The hash of the header, once it has been made. 0 or -EPROTO: why. */
static int hash_get(DKIM_SIGINFO *sig, unsigned char out[DKIM_CRYPTO_HASH], const char **why)
{
	void *hash = NULL, *body = NULL;
	size_t hash_len = 0, body_len = 0;
	int error = dkim_sig_geterror(sig);

	*why = "there is no hash of the header";
	if (!hashed(error)) {
		*why = dkim_sig_geterrorstr(error);
		return -EPROTO;
	}
	if (dkim_sig_gethashes(sig, &hash, &hash_len, &body, &body_len) != DKIM_STAT_OK || hash_len != DKIM_CRYPTO_HASH)
		return -EPROTO;
	memcpy(out, hash, DKIM_CRYPTO_HASH);
	return 0;
}

static int engine_hash(struct dkim_header *h, size_t place, const struct dkim_sig *sig, unsigned char out[DKIM_HASH_MAX], const char **why)
{
	const struct dkim_job job = { .place = place, .sig = sig };
	struct reading r;
	int rc = reading_do(&r, h, &job, 1);

	*why = "there is no hash of the header";
	if (rc == 0)
		rc = hash_get(r.sigs[0], out, why);
	reading_release(&r);
	return rc;
}

static int answer(DKIM_SIGINFO *sig, struct dkim_job *job)
{
	unsigned char hash[DKIM_CRYPTO_HASH], signature[DKIM_KEY_BYTES_MAX];
	ptrdiff_t n = signature_bytes(sig, signature);
	int rc = hash_get(sig, hash, &job->why);

	job->header_ok = false;
	if (rc < 0)
		return 0;
	job->why = "the signature does not fit the header";
	if (n < 0)
		return 0;
	rc = dkim_crypto_check(job->key, hash, signature, (size_t)n);
	job->header_ok = rc == 1;
	return rc < 0 ? rc : 0;
}

static int engine_verify(struct dkim_header *h, struct dkim_job *jobs, size_t count)
{
	struct turn turn = { 0 };
	struct reading r;
	int rc = reading_do(&r, h, jobs, count);

	for (size_t i = 0; i < count && rc == 0; i++)
		if (jobs[i].key) {
			rc = answer(r.sigs[i], &jobs[i]);
			turn_took(&turn, dkim_crypto_cost(jobs[i].key));
		}
	reading_release(&r);
	return rc;
}

const struct dkim_engine dkim_engine_opendkim = { .name = "libopendkim", .verify = engine_verify, .hash = engine_hash };
