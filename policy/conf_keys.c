/*
 * conf_keys - gatepost.conf: the files with private keys
 *
 * They are read by a child of this process (base/aside.h), which looks at each key and sends back what is wrong, and public keys: whoever reads a configuration, the
 * parent of all processes above all, never has a private key in its memory. Files with certificates, too, are read so: a key may stand beside
 * them in the same file.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/aside.h"
#include "base/tls.h"
#include "base/tls_ca.h"
#include "policy/conf_table.h"

enum { ANSWER_MAX = 16 * 1024 * 1024 };

/* What a child says: a tag, a number, a length, and so many bytes. */
enum { TAG_ERROR = 'E', TAG_WARNING = 'W', TAG_PUBLIC = 'P', TAG_TEXT = 'T' };

struct job {
	struct conf *c;
	void (*work)(const struct job *j, struct buf *out);
	const char *option, *path;      /* of a certificate */
	int line;
};

static void put(struct buf *out, int tag, size_t number, const void *p, size_t len)
{
	uint32_t head[3] = { (uint32_t)tag, (uint32_t)number, (uint32_t)len };

	buf_add(out, head, sizeof(head));
	buf_add(out, p, len);
}

/* The child: the work, then what it has said. */
static void child(void *arg, struct buf *out)
{
	const struct job *j = arg;
	struct conf *c = j->c;
	size_t errors = c->error_count, said = c->warnings ? c->warnings->len : 0;

	conf_way_out = NULL;            /* that is the parent's */
	j->work(j, out);
	for (size_t i = errors; i < c->error_count; i++)
		put(out, TAG_ERROR, (size_t)c->error[i].line, c->error[i].text, strlen(c->error[i].text));
	if (c->warnings && c->warnings->len > said)
		put(out, TAG_WARNING, 0, c->warnings->data + said, c->warnings->len - said);
	if (out->failed)
		conf_no_memory();       /* an error that is not told would be none */
}

static void take(struct conf *c, int tag, size_t number, const char *p, size_t len, char **text)
{
	if (tag == TAG_ERROR)
		conf_error(c, (int)number, "%.*s", (int)len, p);
	else if (tag == TAG_WARNING && c->warnings)
		buf_add(c->warnings, p, len);
	else if (tag == TAG_TEXT && text && !*text)
		*text = strndup(p, len);
	else if (tag == TAG_PUBLIC && number < c->site->keys.count && key_list_public(&c->site->keys, number, p, len) < 0)
		conf_no_memory();
}

/* text, if not NULL, becomes what the child has sent as such. */
static void run(struct job *j, char **text)
{
	AUTO(buf) struct buf out = BUF_INIT(ANSWER_MAX);
	int rc = aside_run(child, j, &out);
	size_t at = 0;
	uint32_t head[3];

	if (rc < 0)
		conf_error(j->c, j->line, "%s: cannot be looked at: %s", j->option, strerror(-rc));
	while (rc == 0 && out.len - at >= sizeof(head)) {
		memcpy(head, out.data + at, sizeof(head));
		at += sizeof(head);
		if (head[2] > out.len - at)
			break;
		take(j->c, (int)head[0], head[1], out.data + at, head[2], text);
		at += head[2];
	}
}

/* ---- certificates ---- */

/* Of a file that has a private key: everything else. */
static void put_without_keys(char *text, struct buf *out)
{
	AUTO(buf) struct buf rest = BUF_INIT(CONF_TEXT_MAX + 1);
	bool in_key = false;
	char *line;

	while ((line = strsep(&text, "\n"))) {
		if (strstr(line, "-----BEGIN") && strstr(line, "PRIVATE KEY"))
			in_key = true;
		if (!in_key) {
			buf_adds(&rest, line);
			buf_adds(&rest, text ? "\n" : "");
		}
		if (in_key && strstr(line, "-----END"))
			in_key = false;
	}
	put(out, TAG_TEXT, 0, buf_str(&rest), rest.len);
}

static void certificate_work(const struct job *j, struct buf *out)
{
	size_t len;
	char *text = conf_file(j->c, j->option, j->path, j->line, &len);

	if (text)
		put_without_keys(text, out);
}

void conf_certificate(struct conf *c, const char *option, const char *path, int line, char **out)
{
	struct job j = { c, certificate_work, option, path, line };

	free(*out);
	*out = NULL;
	run(&j, out);
}

/* ---- keys ---- */

int conf_key_add(struct conf *c, enum key_purpose purpose, const char *option, const char *path, int line)
{
	char *full = conf_path(c, path);
	int i = key_list_add(&c->site->keys, purpose, full);

	free(full);
	if (i < 0)
		conf_no_memory();
	c->key = conf_grow(c->key, &c->key_count, sizeof *c->key);
	c->key[c->key_count - 1] = (struct conf_key){ .option = option, .path = conf_copy(path), .line = line };
	return i;
}

void conf_key_certificate(struct conf *c, int key, const char *cert_pem, int line, const char *section)
{
	c->key[key].cert_pem = cert_pem;
	c->key[key].section_line = line;
	c->key[key].section = conf_copy(section);
	if (c->site->keys.key[key].purpose == KEY_FOR_CA)
		c->site->keys.key[key].cert_pem = conf_copy(cert_pem);
}

static void put_public(EVP_PKEY *key, size_t i, struct buf *out)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	if (len > 0 && len <= KEY_PUBLIC_MAX)
		put(out, TAG_PUBLIC, i, der, (size_t)len);
	OPENSSL_free(der);
}

static void tls_key_look(struct conf *c, const struct conf_key *k, size_t i, const char *text, struct buf *out)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct ssl_ctx_st *ctx = NULL;

	if (!k->cert_pem)
		return;                 /* it could not be read, which has been said */
	if (tls_server_ctx(k->cert_pem, text, &ctx, &err) < 0)
		conf_error(c, k->section_line, "%s: %s, expected a certificate with its chain, and the key of it, as PEM", k->section, buf_str(&err));
	else
		put_public(SSL_CTX_get0_privatekey(ctx), i, out);
	tls_ctx_free(ctx);
}

static void ca_key_look(struct conf *c, const struct conf_key *k, size_t i, const char *text, struct buf *out)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	AUTO(tls_ca) struct tls_ca *ca = NULL;

	if (!k->cert_pem)
		return;
	if (tls_ca_new(k->cert_pem, text, &ca, &err) < 0)
		conf_error(c, k->section_line, "%s: %s, expected the certificate of a CA, and the key of it, as PEM", k->section, buf_str(&err));
	else
		put_public(tls_ca_key(ca), i, out);
}

static void dkim_warn(struct conf *c, const char *option, const char *path, const struct dkim_private *key, int line)
{
	char *full = conf_path(c, path);
	struct stat st;

	if (stat(full, &st) == 0 && (st.st_mode & S_IRWXO))
		conf_warning(c, line, "%s: %s: everybody on this machine may read it, expected mode 0600", option, full);
	if (dkim_private_type(key) == DKIM_KEY_RSA && dkim_private_bits(key) < DKIM_PRIVATE_BITS_GOOD)
		conf_warning(c, line, "%s: %s: has %u bits, expected at least %d", option, full, dkim_private_bits(key), DKIM_PRIVATE_BITS_GOOD);
	free(full);
}

static struct dkim_private *dkim_read(struct conf *c, const char *option, const char *path, const char *text, int line)
{
	const char *why;
	struct dkim_private *key = dkim_private_read(text, strlen(text), &why);

	if (!key)
		conf_error(c, line, "%s: %s: %s, expected one that \"gatepost dkim-key\" makes", option, path, why);
	else
		dkim_warn(c, option, path, key, line);
	return key;
}

struct dkim_private *conf_dkim_key(struct conf *c, const char *option, const char *path, int line)
{
	size_t len;
	char *text = conf_file(c, option, path, line, &len);
	struct dkim_private *key = text ? dkim_read(c, option, path, text, line) : NULL;

	if (text)
		explicit_bzero(text, len);
	free(text);
	return key;
}

static void dkim_key_look(struct conf *c, const struct conf_key *k, size_t i, const char *text, struct buf *out)
{
	AUTO(dkim_private) struct dkim_private *key = dkim_read(c, k->option, k->path, text, k->line);
	AUTO(buf) struct buf der = BUF_INIT(KEY_PUBLIC_MAX);

	if (key && dkim_private_public(key, &der) == 0)
		put(out, TAG_PUBLIC, i, der.data, der.len);
}

static void keys_work(const struct job *j, struct buf *out)
{
	static void (*const looks[])(struct conf *c, const struct conf_key *k, size_t i, const char *text, struct buf *out) = {
		[KEY_FOR_TLS] = tls_key_look, [KEY_FOR_CA] = ca_key_look, [KEY_FOR_DKIM] = dkim_key_look,
	};

	for (size_t i = 0; i < j->c->key_count; i++) {
		const struct conf_key *k = &j->c->key[i];
		size_t len;
		char *text = conf_file(j->c, k->option, k->path, k->line, &len);

		if (text)
			looks[j->c->site->keys.key[i].purpose](j->c, k, i, text, out);
		free(text);
	}
}

void conf_keys_check(struct conf *c)
{
	struct job j = { .c = c, .work = keys_work, .option = "keys" };

	if (c->key_count > 0)
		run(&j, NULL);
	for (size_t i = 0; i < c->key_count; i++) {
		free(c->key[i].path);
		free(c->key[i].section);
	}
	free(c->key);
	c->key = NULL;
	c->key_count = 0;
}
