#include "process/keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/key_scheme.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/tls_ca.h"
#include "filters/dkim_private.h"
#include "process/keys_wire.h"

enum { SECURE_EACH = 16 * 1024, SECURE_MIN = 256 * 1024, SECURE_MAX = 64 * 1024 * 1024, SECURE_PIECE = 32 };

struct held_key {
	enum key_purpose purpose;
	EVP_PKEY *tls;                          /* one of these; none: it was left out */
	struct tls_ca *ca;
	struct dkim_private *dkim;
};

struct held_keys {
	size_t count;
	struct held_key key[];
};

/* ---- reading ---- */

/* Text with a NUL behind it, to be wiped; its length, or -errno. */
static ssize_t file_read(const char *path, char **out)
{
	int fd = file_open(path);       /* as when it was looked at: the parent's root may be one who cannot read all */
	struct stat st;
	size_t len = 0, size;
	ssize_t n = 1;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > KEY_FILE_MAX) {
		close(fd);
		return -EINVAL;
	}
	size = (size_t)st.st_size;
	*out = calloc(1, size + 1);
	while (*out && n > 0 && len < size) {
		n = read(fd, *out + len, size - len);
		len += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	return !*out ? -ENOMEM : n < 0 ? -EIO : (ssize_t)len;
}

static bool is_public_of(EVP_PKEY *key, const struct key_spec *spec)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);
	bool same = len > 0 && (size_t)len == spec->pub_len && memcmp(der, spec->pub, spec->pub_len) == 0;

	OPENSSL_free(der);
	return same;
}

static const char *tls_take(const struct key_spec *spec, const char *text, struct held_key *out)
{
	BIO *bio = BIO_new_mem_buf(text, -1);

	out->tls = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;
	BIO_free(bio);
	return !out->tls ? "it cannot be read" : is_public_of(out->tls, spec) ? NULL : "it is another key than when the configuration was read";
}

static const char *ca_take(const struct key_spec *spec, const char *text, struct held_key *out)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);

	if (!spec->cert_pem || tls_ca_new(spec->cert_pem, text, &out->ca, &err) < 0)
		return "it is not the key of the CA";
	return is_public_of(tls_ca_key(out->ca), spec) ? NULL : "it is another key than when the configuration was read";
}

static const char *dkim_take(const struct key_spec *spec, const char *text, struct held_key *out)
{
	AUTO(buf) struct buf der = BUF_INIT(KEY_PUBLIC_MAX);
	const char *why;

	out->dkim = dkim_private_read(text, strlen(text), &why);
	if (!out->dkim)
		return why;
	if (dkim_private_public(out->dkim, &der) < 0 || der.len != spec->pub_len || memcmp(der.data, spec->pub, der.len) != 0)
		return "it is another key than when the configuration was read";
	return NULL;
}

static void held_release(struct held_key *k)
{
	EVP_PKEY_free(k->tls);
	tls_ca_free(k->ca);
	dkim_private_free(k->dkim);
	k->tls = NULL;
	k->ca = NULL;
	k->dkim = NULL;
}

/* NULL, or what is wrong. */
static const char *key_take(const struct key_spec *spec, struct held_key *out)
{
	static const char *(*const takes[])(const struct key_spec *spec, const char *text, struct held_key *out) = {
		[KEY_FOR_TLS] = tls_take, [KEY_FOR_CA] = ca_take, [KEY_FOR_DKIM] = dkim_take,
	};
	char *text = NULL;
	ssize_t len = file_read(spec->path, &text);
	const char *why;

	out->purpose = spec->purpose;
	if (len < 0)
		why = len == -EINVAL ? "not a file, or too large" : strerror((int)-len);
	else
		why = spec->pub ? takes[spec->purpose](spec, text, out) : "it was not looked at";
	if (len >= 0)
		explicit_bzero(text, (size_t)len);
	free(text);
	ERR_clear_error();
	if (why)
		held_release(out);
	return why;
}

/* Where OpenSSL keeps what is private of keys: pages of their own, which are not swapped out and stand in no core file. */
static void secure_memory(size_t keys)
{
	size_t size = SECURE_MIN;

	while (size < SECURE_MAX && size < keys * SECURE_EACH)
		size *= 2;
	if (!CRYPTO_secure_malloc_initialized())
		(void)CRYPTO_secure_malloc_init(size, SECURE_PIECE);
}

int held_keys_read(const struct key_list *list, bool again, struct held_keys **out)
{
	struct held_keys *h = calloc(1, sizeof(*h) + list->count * sizeof(h->key[0]));
	bool bad = false;

	if (!h)
		return -ENOMEM;
	secure_memory(list->count);
	h->count = list->count;
	for (size_t i = 0; i < list->count; i++) {
		const char *why = key_take(&list->key[i], &h->key[i]);

		if (why)
			log_error("keys", "error", again ? "a key cannot be used any more: what it would sign fails" : "a key cannot be used", "file", list->key[i].path,
				  "why", why, NULL);
		bad = bad || why;
	}
	if (bad && !again) {
		held_keys_free(h);
		return -EINVAL;
	}
	*out = h;
	return 0;
}

void held_keys_free(struct held_keys *h)
{
	for (size_t i = 0; h && i < h->count; i++)
		held_release(&h->key[i]);
	free(h);
}

/* ---- answering ---- */

static int tls_sign(const struct held_key *k, const struct keys_request *r, struct buf *out)
{
	int rc = buf_reserve(out, KEY_SIGNATURE_MAX);

	if (!k->tls)
		return -ENOKEY;
	if (rc == 0)
		rc = key_scheme_sign(k->tls, r->scheme, r->p, r->len, (unsigned char *)out->data + out->len, KEY_SIGNATURE_MAX);
	if (rc > 0)
		out->len += (size_t)rc;
	return rc > 0 ? 0 : rc;
}

static int dkim_sign(const struct held_key *k, const struct keys_request *r, struct buf *out)
{
	int rc = buf_reserve(out, DKIM_PRIVATE_SIGNATURE_MAX);
	size_t n = 0;

	if (!k->dkim)
		return -ENOKEY;
	if (rc == 0)
		rc = dkim_private_sign(k->dkim, r->p, (unsigned char *)out->data + out->len, &n);
	out->len += rc == 0 ? n : 0;
	return rc;
}

int held_keys_answer(struct held_keys *h, unsigned type, const void *data, size_t len, struct buf *out)
{
	const struct held_key *k;
	struct keys_request r;

	if (!keys_request_read(type, data, len, &r) || r.number >= h->count)
		return -EPROTO;
	k = &h->key[r.number];
	if (type == CHANNEL_KEYS_SIGN && k->purpose == KEY_FOR_TLS)
		return tls_sign(k, &r, out);
	if (type == CHANNEL_KEYS_DKIM && k->purpose == KEY_FOR_DKIM)
		return dkim_sign(k, &r, out);
	if (type == CHANNEL_KEYS_MINT && k->purpose == KEY_FOR_CA)
		return k->ca ? tls_ca_sign(k->ca, r.point, r.p, r.len, out) : -ENOKEY;
	return -EPROTO;
}

/* ---- the process ---- */

static int keys_prepare(struct keeper *k)
{
	const struct rlimit none = { 0, 0 };
	struct held_keys *h = NULL;
	int rc;

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	rc = held_keys_read(k->env->keys, k->env->again, &h);
	k->data = h;
	return rc;
}

static int keys_open(struct keeper *k, const char *dir)
{
	return 0;
}

static void keys_request(struct keeper *k, struct keeper_peer *p, struct channel_msg *m)
{
	AUTO(buf) struct buf out = BUF_INIT(KEYS_ANSWER_MAX);
	int rc = m->fd < 0 ? held_keys_answer(k->data, m->type, m->data, m->len, &out) : -EPROTO;

	if (rc == -EPROTO) {
		log_error("keys", "error", "a worker asked for what none of ours does: its channel is closed", NULL);
		keeper_refuse(p);
		return;
	}
	keeper_answer(p, m->type, m->id, rc, out.data, rc == 0 ? out.len : 0, -1);
}

static void keys_round(struct keeper *k)
{
}

static void keys_close(struct keeper *k)
{
	held_keys_free(k->data);
}

const struct keeper_role keeper_keys = {
	.name = "gp-keys",
	.at_once = 1,
	.prepare = keys_prepare,
	.open = keys_open,
	.request = keys_request,
	.round = keys_round,
	.close = keys_close,
};
