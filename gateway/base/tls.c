#include "base/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/tls_cert.h"
#include "base/tls_key.h"

/*
 * Forward secrecy always. CBC suites come last, for servers on Windows Server 2012 R2, whose ECDHE
 * with an RSA certificate has no others. TLS 1.3 suites are OpenSSL's own three.
 */
static const char CIPHERS[] = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES";

enum { CHAIN_MAX = 16, CA_MAX = 2000, PIECE = 4, CERT_DAYS = 3650, PEM_MAX = 64 * 1024, CA_FILE_MAX = 8 * 1024 * 1024 };

const char *tls_suites(void)
{
	return CIPHERS;
}

int tls_no_password(char *p, int size, int writing, void *arg)
{
	return 0;
}

const char *tls_error(char *out, size_t size)
{
	unsigned long e = ERR_get_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	if (!size)
		return out;
	if (reason)
		snprintf(out, size, "%s", reason);
	else if (e)
		ERR_error_string_n(e, out, size);
	else
		out[0] = '\0';
	ERR_clear_error();
	return out;
}

int tls_refuse(struct buf *err, const char *what)
{
	char why[256];

	tls_error(why, sizeof(why));
	buf_addf(err, "%s%s%s", what, *why ? ": " : "", why);
	return -EINVAL;
}

/* The reader of PEM says "no start line" at the end of the text, too. */
static bool pem_ended(void)
{
	unsigned long e = ERR_peek_last_error();
	bool ended = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;

	if (ended)
		ERR_clear_error();
	return ended;
}

static SSL_CTX *ctx_new(const SSL_METHOD *method)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(ctx, CIPHERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/*
	 * Safe although TLS begins in mid-stream: what is read before the handshake never passes
	 * through OpenSSL.
	 */
	SSL_CTX_set_read_ahead(ctx, 1);
	return ctx;
}

static int use_chain(SSL_CTX *ctx, BIO *bio, struct buf *err)
{
	X509 *cert = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL);
	int ok;

	if (!cert)
		return tls_refuse(err, "the certificate cannot be read");
	ok = SSL_CTX_use_certificate(ctx, cert);
	X509_free(cert);
	if (ok != 1)
		return tls_refuse(err, "the certificate cannot be used");
	for (int i = 0; i < CHAIN_MAX; i++) {
		cert = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL);
		if (!cert)
			return pem_ended()
				   ? 0
				   : tls_refuse(err, "a certificate of the chain cannot be read");
		if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
			X509_free(cert);
			return tls_refuse(err, "a certificate of the chain cannot be used");
		}
	}
	return tls_refuse(err, "the certificate chain is too long");
}

static int use_key(SSL_CTX *ctx, EVP_PKEY *key, struct buf *err)
{
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return tls_refuse(err, "the private key does not belong to the certificate");
	return 0;
}

static int key_read(const char *pem, EVP_PKEY **out, struct buf *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);

	*out = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;
	BIO_free(bio);
	return *out ? 0 : tls_refuse(err, "the private key cannot be read (one with a password cannot be used)");
}

/* It is the certificate's, whoever has it. */
static int key_remote(SSL_CTX *ctx, const struct tls_pair *pair, EVP_PKEY **out, struct buf *err)
{
	EVP_PKEY *pub = X509_get0_pubkey(SSL_CTX_get0_certificate(ctx));

	return pub && tls_key_new(pub, pair->by, pair->number, out) == 0 ? 0 : tls_refuse(err, "the certificate's kind of key cannot be used");
}

static int server_fill(SSL_CTX *ctx, const struct tls_pair *pair, struct buf *err)
{
	BIO *cert = BIO_new_mem_buf(pair->cert_pem, -1);
	int rc = cert ? use_chain(ctx, cert, err) : tls_refuse(err, "no memory");
	EVP_PKEY *key = NULL;

	if (rc == 0)
		rc = pair->key_pem ? key_read(pair->key_pem, &key, err) : key_remote(ctx, pair, &key, err);
	if (rc == 0)
		rc = use_key(ctx, key, err);
	EVP_PKEY_free(key);
	BIO_free(cert);
	return rc;
}

/* A name, and keys for AES-256 and HMAC, as SSL_CTX_set_tlsext_ticket_keys(3) takes them. */
static struct {
	unsigned char octets[80];
	bool made;
} ticket_keys;

int tls_tickets_renew(void)
{
	ERR_clear_error();
	ticket_keys.made = RAND_priv_bytes(ticket_keys.octets, sizeof(ticket_keys.octets)) == 1;
	ERR_clear_error();
	return ticket_keys.made ? 0 : -EIO;
}

int tls_server_ctx(const char *cert_pem, const char *key_pem, struct ssl_ctx_st **out,
		   struct buf *err)
{
	const struct tls_pair pair = { .cert_pem = cert_pem, .key_pem = key_pem };

	return tls_server_ctx_pair(&pair, out, err);
}

int tls_server_ctx_pair(const struct tls_pair *pair, struct ssl_ctx_st **out, struct buf *err)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method());
	int rc;

	if (!ctx)
		return tls_refuse(err, "no TLS context");
	SSL_CTX_set_dh_auto(ctx, 1);
	/* One ticket is what a mail client can use. */
	SSL_CTX_set_num_tickets(ctx, 1);
	if (ticket_keys.made && SSL_CTX_set_tlsext_ticket_keys(ctx, ticket_keys.octets, sizeof(ticket_keys.octets)) != 1) {
		SSL_CTX_free(ctx);
		return tls_refuse(err, "the keys of tickets cannot be used");
	}
	/*
	 * Tickets resume sessions; a cache would be memory for each. Resumption wants a name for
	 * its context.
	 */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"gatepost", 8);
	rc = server_fill(ctx, pair, err);
	if (rc) {
		SSL_CTX_free(ctx);
		return rc;
	}
	*out = ctx;
	return 0;
}

int tls_server_ctx_bare(struct ssl_ctx_st **out, struct buf *err)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method());

	if (!ctx)
		return tls_refuse(err, "no TLS context");
	SSL_CTX_set_dh_auto(ctx, 1);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	*out = ctx;
	return 0;
}

static int trust_pem(SSL_CTX *ctx, const char *ca_pem, void (*between)(void), struct buf *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio = BIO_new_mem_buf(ca_pem, -1);
	int count, rc = 0;

	if (!bio)
		return tls_refuse(err, "no memory");
	for (count = 0; count < CA_MAX && rc == 0; count++) {
		X509 *cert = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL);

		if (!cert) {
			if (!pem_ended() || count == 0)
				rc = tls_refuse(err, "the CA certificates cannot be read");
			break;
		}
		if (X509_STORE_add_cert(store, cert) != 1)
			rc = tls_refuse(err, "a CA certificate cannot be used");
		X509_free(cert);
		if (between && count % PIECE == PIECE - 1)
			between();
	}
	BIO_free(bio);
	return rc;
}

/*
 * One file with all, where distributions keep it: OpenSSL's own default may be a directory that is
 * read when needed.
 */
int tls_system_cas(char **out, struct buf *err)
{
	const char *named = getenv(X509_get_default_cert_file_env());
	const char *const files[] = {
		named ? named : "/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		X509_get_default_cert_file(),
	};

	ERR_clear_error();
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && (i == 0 || !named); i++) {
		struct buf text = BUF_INIT(CA_FILE_MAX);
		char piece[2048];
		FILE *f = fopen(files[i], "re");
		size_t n;

		while (f && (n = fread(piece, 1, sizeof(piece), f)) > 0 && buf_add(&text, piece, n) == 0)
			;
		if (f)
			fclose(f);
		*out = text.len > 0 && !text.failed ? buf_steal(&text) : NULL;
		buf_release(&text);
		if (*out)
			return 0;
	}
	return tls_refuse(err,
		      "the system has no CA certificates to verify with (package ca-certificates)");
}

static int trust_system(SSL_CTX *ctx, struct buf *err)
{
	char *text = NULL;
	int rc = tls_system_cas(&text, err);

	if (rc == 0)
		rc = trust_pem(ctx, text, NULL, err);
	free(text);
	return rc;
}

int tls_client_ctx(bool verify, const char *ca_pem, struct ssl_ctx_st **out, struct buf *err)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method());
	int rc = 0;

	if (!ctx)
		return tls_refuse(err, "no TLS context");
	if (verify) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
		rc = ca_pem ? trust_pem(ctx, ca_pem, NULL, err) : trust_system(ctx, err);
	} else {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		/*
		 * A weak certificate is no worse than none; TLS 1.2 and the cipher list hold all
		 * the same.
		 */
		SSL_CTX_set_security_level(ctx, 1);
	}
	if (rc) {
		SSL_CTX_free(ctx);
		return rc;
	}
	*out = ctx;
	return 0;
}

int tls_client_ctx_slowly(const char *ca_pem, void (*between)(void), struct ssl_ctx_st **out, struct buf *err)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method());
	int rc = ctx ? trust_pem(ctx, ca_pem, between, err) : tls_refuse(err, "no TLS context");

	if (rc < 0) {
		SSL_CTX_free(ctx);
		return rc;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	*out = ctx;
	return 0;
}

int tls_client_ctx_lenient(struct ssl_ctx_st *verifying, struct ssl_ctx_st **out, struct buf *err)
{
	int rc = tls_client_ctx(false, NULL, out, err);

	if (rc == 0)
		SSL_CTX_set1_cert_store(*out, SSL_CTX_get_cert_store(verifying));
	return rc;
}

/* "Nov 22 09:00:00 2026 GMT" */
static void time_add(const ASN1_TIME *t, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p;
	long len;

	if (bio && ASN1_TIME_print(bio, t) == 1 && (len = BIO_get_mem_data(bio, &p)) > 0)
		buf_add(out, p, (size_t)len);
	BIO_free(bio);
}

/* A certificate for "*.example.org" has to carry that very name: any of its hosts would do to find it. */
static bool carries(X509 *cert, const char *name)
{
	char host[256];

	snprintf(host, sizeof(host), "%s%s", name[0] == '*' ? "any" : "", name + (name[0] == '*'));
	return X509_check_host(cert, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

bool tls_certificate_doubt(const char *cert_pem, const char *name, struct buf *why)
{
	BIO *bio = BIO_new_mem_buf(cert_pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, tls_no_password, NULL) : NULL;
	bool doubt = false;

	if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
		doubt = true;
		buf_adds(why, "has expired on ");
		time_add(X509_get0_notAfter(cert), why);
	} else if (cert && X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
		doubt = true;
		buf_adds(why, "is not valid before ");
		time_add(X509_get0_notBefore(cert), why);
	} else if (cert && name && !carries(cert, name)) {
		doubt = true;
		buf_addf(why, "does not carry the name %s", name);
	}
	X509_free(cert);
	BIO_free(bio);
	ERR_clear_error();
	return doubt;
}

void tls_ctx_free(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx);
}

/* A certificate for ourselves. */

static bool hostname_ok(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= 253 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
		   len;
}

static int cert_name(X509 *cert, const char *hostname)
{
	X509_NAME *name = X509_get_subject_name(cert);
	/*
	 * A common name has 64 characters at most (ub-common-name); who verifies looks at the
	 * alternative name.
	 */
	const char *cn = strlen(hostname) <= 64 ? hostname : "gatepost";
	char san[4 + 253 + 1];

	snprintf(san, sizeof(san), "DNS:%s", hostname);
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1,
					  -1, 0) &&
	       X509_set_issuer_name(cert, name) && tls_cert_extension(cert, cert, NID_subject_alt_name, san);
}

static int cert_fill(X509 *cert, EVP_PKEY *key, const char *hostname)
{
	return tls_cert_fill(cert, cert, key, CERT_DAYS) && cert_name(cert, hostname) && X509_sign(cert, key, EVP_sha256());
}

static int bio_to_buf(BIO *bio, struct buf *out)
{
	char *p;
	long len = BIO_get_mem_data(bio, &p);

	return len > 0 && len <= PEM_MAX ? buf_add(out, p, (size_t)len) : -ENOMEM;
}

static int pem_write(X509 *cert, EVP_PKEY *key, struct buf *cert_pem, struct buf *key_pem)
{
	BIO *c = BIO_new(BIO_s_mem()), *k = BIO_new(BIO_s_secmem());
	int rc = -ENOMEM;

	if (c && k && PEM_write_bio_X509(c, cert) == 1 &&
	    PEM_write_bio_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL) == 1)
		rc = bio_to_buf(c, cert_pem);
	if (rc == 0)
		rc = bio_to_buf(k, key_pem);
	BIO_free(c);
	BIO_free(k);
	return rc;
}

int tls_self_signed(const char *hostname, struct buf *cert_pem, struct buf *key_pem)
{
	EVP_PKEY *key;
	X509 *cert;
	int rc = -ENOMEM;

	if (!hostname_ok(hostname))
		return -EINVAL;
	ERR_clear_error();
	key = EVP_EC_gen("P-256");
	cert = X509_new();
	if (key && cert && cert_fill(cert, key, hostname))
		rc = pem_write(cert, key, cert_pem, key_pem);
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}
