#include "base/tls_sni.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls.h"

struct entry {
	char *name;                     /* the first member, for tls_sni_find */
	SSL_CTX *ctx;                   /* NULL: the first one */
};

/* Belongs to the context that listeners use. */
struct tls_sni {
	size_t count;
	struct entry entry[];
};

/* --- names --- */

int tls_sni_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Lower-case, without the final dot. false: no name of ours is like that. */
static bool canonical(const char *asked, char out[TLS_SNI_MAX + 1])
{
	size_t len = strlen(asked);

	if (len > 0 && asked[len - 1] == '.')
		len--;
	if (len == 0 || len > TLS_SNI_MAX || asked[0] == '*')
		return false;
	for (size_t i = 0; i < len; i++)
		out[i] = asked[i] >= 'A' && asked[i] <= 'Z' ? (char)(asked[i] | 32) : asked[i];
	out[len] = '\0';
	return true;
}

const void *tls_sni_find(const void *list, size_t count, size_t size, const char *asked)
{
	char name[TLS_SNI_MAX + 1], *key = name;
	const void *found;
	char *dot;

	if (!count || !asked || !canonical(asked, name))
		return NULL;
	found = bsearch(&key, list, count, size, tls_sni_order);
	dot = strchr(name, '.');
	if (found || !dot || dot == name)
		return found;
	/* The label before the first dot becomes the star. */
	key = dot - 1;
	*key = '*';
	return bsearch(&key, list, count, size, tls_sni_order);
}

/* --- contexts --- */

static void sni_free(struct tls_sni *t)
{
	for (size_t i = 0; t && i < t->count; i++) {
		free(t->entry[i].name);
		SSL_CTX_free(t->entry[i].ctx);
	}
	free(t);
}

static void ex_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
	sni_free(ptr);
}

/* Where a context keeps what it owns; -1: no memory. Workers have one thread. */
static int ex_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, ex_free);
	return index;
}

/* Called in the handshake, before a certificate is chosen. */
static int asked(SSL *ssl, int *alert, void *arg)
{
	const struct tls_sni *t = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct entry *e = name ? tls_sni_find(t->entry, t->count, sizeof(t->entry[0]), name) : NULL;

	if (!e)
		return SSL_TLSEXT_ERR_NOACK;
	if (e->ctx && !SSL_set_SSL_CTX(ssl, e->ctx)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return SSL_TLSEXT_ERR_OK;
}

static int entries_fill(struct tls_sni *t, const struct tls_sni_name *names, size_t count, struct buf *err)
{
	for (size_t i = 0; i < count; i++) {
		struct entry *e = &t->entry[t->count++];
		int rc;

		e->name = strdup(names[i].name);
		if (!e->name)
			return -ENOMEM;
		rc = names[i].pair.cert_pem ? tls_server_ctx_pair(&names[i].pair, &e->ctx, err) : 0;
		if (rc < 0) {
			buf_addf(err, " (%s)", names[i].name);
			return rc;
		}
	}
	qsort(t->entry, t->count, sizeof(t->entry[0]), tls_sni_order);
	return 0;
}

/* ctx owns t afterwards. */
static int attach(SSL_CTX *ctx, struct tls_sni *t, struct buf *err)
{
	int index = ex_index();

	if (index < 0 || SSL_CTX_set_ex_data(ctx, index, t) != 1)
		return tls_refuse(err, "no TLS context");
	SSL_CTX_set_tlsext_servername_callback(ctx, asked);
	SSL_CTX_set_tlsext_servername_arg(ctx, t);
	return 0;
}

int tls_sni_ctx(const struct tls_pair *first, const struct tls_sni_name *names, size_t count, struct ssl_ctx_st **out, struct buf *err)
{
	SSL_CTX *ctx = NULL;
	struct tls_sni *t;
	int rc = tls_server_ctx_pair(first, &ctx, err);

	if (rc < 0 || count == 0) {
		if (rc == 0)
			*out = ctx;
		return rc;
	}
	t = calloc(1, sizeof(*t) + count * sizeof(t->entry[0]));
	rc = t ? entries_fill(t, names, count, err) : -ENOMEM;
	if (rc == 0)
		rc = attach(ctx, t, err);
	if (rc < 0) {
		sni_free(t);
		SSL_CTX_free(ctx);
		return rc;
	}
	*out = ctx;
	return 0;
}
