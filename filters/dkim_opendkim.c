#include "filters/dkim_engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <opendkim/dkim.h>
#include <openssl/err.h>
#include <openssl/evp.h>

/*
 * The library's signatures are not looked at before the end (DELAYSIGPROC), so that keys can be fetched meanwhile. It never sees a key
 * record from outside: the callback writes one anew from the key that was read. All else it gets wrong
 * (rsa-sha1, q=, bodies without a final CRLF) never reaches it.
 */

struct engine {
	DKIM *dkim;
	DKIM_SIGINFO **sigs;            /* the library's */
	const struct dkim_job *jobs;    /* during finish */
	size_t count;
};

static DKIM_CBSTAT key_lookup(DKIM *dkim, DKIM_SIGINFO *sig, unsigned char *buf, size_t room)
{
	const struct engine *e = dkim_get_user_context(dkim);
	char base64[DKIM_KEY_BYTES_MAX * 4 / 3 + 8];

	for (size_t i = 0; e && e->jobs && i < e->count; i++) {
		const struct dkim_key *key = e->jobs[i].key;
		int n;

		if (e->sigs[i] != sig || !key)
			continue;
		EVP_EncodeBlock((unsigned char *)base64, key->bytes, (int)key->len);
		n = snprintf((char *)buf, room, "v=DKIM1; k=%s; p=%s", key->type == DKIM_KEY_RSA ? "rsa" : "ed25519", base64);
		return n > 0 && (size_t)n < room ? DKIM_CBSTAT_CONTINUE : DKIM_CBSTAT_NOTFOUND;
	}
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

static int error_of(DKIM_STAT st)
{
	ERR_clear_error();
	switch (st) {
	case DKIM_STAT_OK: return 0;
	case DKIM_STAT_NORESOURCE: return -ENOMEM;
	default: return -EPROTO;
	}
}

static void engine_free(void *arg)
{
	struct engine *e = arg;

	if (!e)
		return;
	if (e->dkim)
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
	dkim_set_user_context(e->dkim, e);
	return e;
}

static int engine_field(void *arg, const char *p, size_t len)
{
	struct engine *e = arg;
	DKIM_STAT st = len > 0 ? dkim_header(e->dkim, (unsigned char *)p, len) : DKIM_STAT_OK;

	/* It takes no field whose name has a semicolon or a control character: nothing that anybody signs. */
	return st == DKIM_STAT_SYNTAX ? 0 : error_of(st);
}

static int engine_header_end(void *arg, size_t jobs)
{
	struct engine *e = arg;
	int rc = error_of(dkim_eoh(e->dkim));
	int n = 0;

	if (rc < 0)
		return rc;
	rc = error_of(dkim_getsiglist(e->dkim, &e->sigs, &n));
	if (rc < 0)
		return rc;
	/* It has found more or fewer than we have: nobody knows then which is which. */
	if (n < 0 || (size_t)n != jobs)
		return -EPROTO;
	e->count = jobs;
	return 0;
}

/* It refuses a signature whose l= is more than the body that it has seen: it sees as many letters as the canonical body has bytes, or more. */
static int engine_body_grew(void *arg, size_t bytes)
{
	static const char letters[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";
	struct engine *e = arg;
	int rc = 0;

	while (bytes > 0 && rc == 0) {
		rc = error_of(dkim_body(e->dkim, (unsigned char *)letters, sizeof(letters) - 1));
		bytes -= bytes < sizeof(letters) - 1 ? bytes : sizeof(letters) - 1;
	}
	return rc;
}

static void answer(DKIM_SIGINFO *sig, struct dkim_job *job)
{
	unsigned flags = dkim_sig_getflags(sig);
	int error = dkim_sig_geterror(sig);

	if (error == DKIM_SIGERROR_NOKEY) {     /* its buffer for the record has about 1 KiB: keys of up to 5,000 bits or so */
		job->why = "the key is larger than the library takes";
		return;
	}
	if (error != DKIM_SIGERROR_OK && error != DKIM_SIGERROR_UNKNOWN && error != DKIM_SIGERROR_BADSIG) {
		job->why = dkim_sig_geterrorstr(error);
		return;
	}
	/* It has seen no body, and says BADSIG therefore; PASSED speaks of the header alone. */
	job->header_ok = (flags & DKIM_SIGFLAG_PROCESSED) && (flags & DKIM_SIGFLAG_PASSED);
	if (!job->header_ok)
		job->why = "the signature does not fit the header";
}

static int engine_finish(void *arg, struct dkim_job *jobs, size_t count)
{
	struct engine *e = arg;
	DKIM_STAT st;

	if (count != e->count)
		return -EPROTO;
	e->jobs = jobs;
	st = dkim_eom(e->dkim, NULL);
	e->jobs = NULL;
	ERR_clear_error();
	/* Its word for the whole message does not matter, as each signature is asked; these mean that none was looked at. */
	if (st == DKIM_STAT_NORESOURCE || st == DKIM_STAT_INTERNAL || st == DKIM_STAT_SYNTAX || st == DKIM_STAT_INVALID)
		return error_of(st);
	for (size_t i = 0; i < count; i++)
		if (jobs[i].key)
			answer(e->sigs[i], &jobs[i]);
	return 0;
}

const struct dkim_engine dkim_engine_opendkim = {
	.name = "libopendkim",
	.start = engine_start,
	.field = engine_field,
	.header_end = engine_header_end,
	.body_grew = engine_body_grew,
	.finish = engine_finish,
	.free = engine_free,
};
