#include "filters/dkim_engine.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include <opendkim/dkim.h>
#include <openssl/err.h>

#include "filters/dkim_crypto.h"
#include "filters/dkim_tag.h"

/*
 * The library selects the fields that a signature covers, brings them into canonical form and hashes them. It is not given the
 * keys: what it does with them takes ten times as long as the rest of a signature's work (OpenSSL's decoders), and all that it gets
 * wrong about keys and algorithms never reaches it. So it finds no signature good, which does not matter: its hash is what counts.
 */

struct engine {
	DKIM *dkim;
	DKIM_SIGINFO **sigs;            /* the library's */
	size_t count;
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

static int result(struct engine *e, DKIM_STAT st)
{
	int rc = error_of(st);

	e->starved |= rc == -ENOMEM;
	return rc;
}

static void engine_free(void *arg)
{
	struct engine *e = arg;

	if (!e)
		return;
	if (e->dkim && !e->starved)
		dkim_free(e->dkim);
	ERR_clear_error();
	free(e);
}

static void *engine_start(void)
{
	struct engine *e = calloc(1, sizeof(*e));
	DKIM_STAT st;

	if (!e || !library()) {
		free(e);
		return NULL;
	}
	e->dkim = dkim_verify(library(), (const unsigned char *)"gatepost", NULL, &st);
	if (!e->dkim) {
		free(e);
		return NULL;
	}
	return e;
}

/* Its list of signatures is to be that of our jobs: others it does not get, and a signature that covers such a field fails. */
static bool other_signature(const char *p, size_t len)
{
	static const char name[] = "DKIM-Signature";
	size_t n = sizeof(name) - 1;

	if (len <= n || strncasecmp(p, name, n) != 0)
		return false;
	while (n < len && (p[n] == ' ' || p[n] == '\t'))        /* obsolete syntax, RFC 5322 4.5.3 */
		n++;
	return n < len && p[n] == ':';
}

static int engine_field(void *arg, const char *p, size_t len, const struct dkim_sig *sig)
{
	struct engine *e = arg;
	DKIM_STAT st;

	if (!sig && other_signature(p, len))
		return 0;
	errno = 0;
	st = len > 0 ? dkim_header(e->dkim, (unsigned char *)p, len) : DKIM_STAT_OK;
	/* It takes no field whose name has a semicolon or a control character: nothing that anybody signs. */
	return result(e, st == DKIM_STAT_SYNTAX ? DKIM_STAT_OK : st);
}

/*
 * It counts the fields and has a place for each; behind the last one that is chosen it writes once more when h= has a name left, past its memory where every
 * field of the message has been chosen. So there is one more, of a name that h= cannot have (dkim_sig.h).
 */
static int spare_field(struct engine *e)
{
	static char field[] = "x x:";

	errno = 0;
	return result(e, dkim_header(e->dkim, (unsigned char *)field, sizeof(field) - 1));
}

static int engine_header_end(void *arg, size_t jobs)
{
	struct engine *e = arg;
	int rc = spare_field(e), n = 0;

	if (rc < 0)
		return rc;
	errno = 0;
	rc = result(e, dkim_eoh(e->dkim));
	if (rc < 0)
		return rc;
	rc = result(e, dkim_getsiglist(e->dkim, &e->sigs, &n));
	if (rc < 0)
		return rc;
	/* It has found more or fewer than we have: nobody knows then which is which. */
	if (n < 0 || (size_t)n != jobs)
		return -EPROTO;
	e->count = jobs;
	return 0;
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

static int engine_hash(void *arg, size_t i, unsigned char out[DKIM_HASH_MAX], const char **why)
{
	struct engine *e = arg;
	void *hash = NULL, *body = NULL;
	size_t hash_len = 0, body_len = 0;
	int error = dkim_sig_geterror(e->sigs[i]);

	*why = "there is no hash of the header";
	if (!hashed(error)) {
		*why = dkim_sig_geterrorstr(error);
		return -EPROTO;
	}
	if (dkim_sig_gethashes(e->sigs[i], &hash, &hash_len, &body, &body_len) != DKIM_STAT_OK || hash_len != DKIM_CRYPTO_HASH)
		return -EPROTO;
	memcpy(out, hash, DKIM_CRYPTO_HASH);
	return 0;
}

static int answer(DKIM_SIGINFO *sig, struct dkim_job *job)
{
	unsigned char signature[DKIM_KEY_BYTES_MAX];
	void *hash = NULL, *body = NULL;
	size_t hash_len = 0, body_len = 0;
	ptrdiff_t n = signature_bytes(sig, signature);
	int error = dkim_sig_geterror(sig), rc;

	job->header_ok = false;
	job->why = "the signature does not fit the header";
	if (!hashed(error)) {
		job->why = dkim_sig_geterrorstr(error);
		return 0;
	}
	if (n < 0 || dkim_sig_gethashes(sig, &hash, &hash_len, &body, &body_len) != DKIM_STAT_OK || hash_len != DKIM_CRYPTO_HASH)
		return 0;
	rc = dkim_crypto_check(job->key, hash, signature, (size_t)n);
	job->header_ok = rc == 1;
	return rc < 0 ? rc : 0;
}

static int engine_finish(void *arg, struct dkim_job *jobs, size_t count)
{
	struct engine *e = arg;
	DKIM_STAT st;
	int rc = 0;

	if (count != e->count)
		return -EPROTO;
	errno = 0;
	st = dkim_eom(e->dkim, NULL);
	if (errno == ENOMEM)
		return result(e, st);
	ERR_clear_error();
	/* These mean that nothing was hashed. */
	if (st == DKIM_STAT_NORESOURCE || st == DKIM_STAT_INTERNAL || st == DKIM_STAT_SYNTAX || st == DKIM_STAT_INVALID)
		return error_of(st);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (jobs[i].key)
			rc = answer(e->sigs[i], &jobs[i]);
	return rc;
}

const struct dkim_engine dkim_engine_opendkim = {
	.name = "libopendkim",
	.start = engine_start,
	.field = engine_field,
	.header_end = engine_header_end,
	.finish = engine_finish,
	.hash = engine_hash,
	.free = engine_free,
};
