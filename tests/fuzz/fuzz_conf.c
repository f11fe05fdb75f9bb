/*
 * fuzz_conf - the text of gatepost.conf: what is refused is refused with a reason, and what reads reads the same once more, and for a command, too
 *
 * The files that it may name lie in a directory of its own, beside it. Texts that could name others (a slash that is not in a network, an escape, a
 * variable of the environment) are passed over.
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "filters/filter.h"
#include "policy/conf.h"
#include "support/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/gatepost-fuzz-XXXXXX";
static char path[64];

static void put(const char *name, const void *p, size_t len)
{
	char at[64];
	int fd;

	snprintf(at, sizeof(at), "%s/%s", dir, name);
	fd = open(at, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert(fd >= 0 && write(fd, p, len) == (ssize_t)len);
	close(fd);
}

static void clean(void)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

static void begin(void)
{
	static const struct { const char *name, *text; } files[] = {
		{ "policy.conf", "reject if spf = fail\naccept\n" }, { "redis-password", "secret\n" }, { "srs-secret", "0123456789abcdef0123456789abcdef\n" },
		{ "recipients", "a@example.com\n@example.com\n" }, { "users", "ann store\n" }, { "anchor", ". IN DS 20326 8 2 abcd\n" }, { "empty", "" },
	};
	AUTO(buf) struct buf pem = BUF_INIT(8192);
	AUTO(dkim_private) struct dkim_private *dkim = dkim_private_make(DKIM_KEY_ED25519, 0);
	struct certificate *ca = certificate_new("ca", NULL, -1000, 1000000), *cert = certificate_new("mx.example.com", ca, -1000, 1000000);

	fact_register_all();
	assert(mkdtemp(dir));
	atexit(clean);
	snprintf(path, sizeof(path), "%s/gatepost.conf", dir);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		put(files[i].name, files[i].text, strlen(files[i].text));
	put("ca.pem", certificate_pem(ca), strlen(certificate_pem(ca)));
	put("ca.key", certificate_key_pem(ca), strlen(certificate_key_pem(ca)));
	put("cert.pem", certificate_pem(cert), strlen(certificate_pem(cert)));
	put("key.pem", certificate_key_pem(cert), strlen(certificate_key_pem(cert)));
	assert(dkim && dkim_private_pem(dkim, &pem) == 0);
	put("dkim.pem", pem.data, pem.len);
	certificate_free(cert);
	certificate_free(ca);
}

static bool plain(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of slashes: those of comments, those before a digit, and those between letters. */
static bool harmless(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char next = i + 1 < len ? p[i + 1] : '\n', before = i > 0 ? p[i - 1] : '\n';

		if (p[i] == '\\' && ((next >= '0' && next <= '9') || next == 'x'))
			return false;
		if (p[i] == '$' && next == '{')
			return false;
		if (p[i] == '/' && next != '*' && before != '*' && !(next >= '0' && next <= '9') && !(plain(before) && plain(next)))
			return false;
	}
	return true;
}

/* Each is a line, and says of what file it is. */
static void lines(const struct buf *b)
{
	const char *end = b->len ? b->data + b->len : NULL;

	for (const char *p = b->data; p && p < end; p = strchr(p, '\n') + 1)
		assert(strncmp(p, dir, strlen(dir)) == 0);
	assert(!b->failed && (b->len == 0 || b->data[b->len - 1] == '\n'));
	assert(b->len == 0 || !memchr(b->data, 0, b->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20), again = BUF_INIT(1 << 20), command = BUF_INIT(1 << 20), warnings = BUF_INIT(1 << 20);
	struct site *site, *twin;

	if (!harmless((const char *)data, size))
		return -1;
	if (!path[0])
		begin();
	put("gatepost.conf", data, size);
	site = site_load(path, &errors, &warnings);
	twin = site_load(path, &again, NULL);
	assert(!site == (errors.len > 0) && !twin == !site);
	assert(errors.len == again.len && (errors.len == 0 || memcmp(errors.data, again.data, errors.len) == 0));
	lines(&errors);
	lines(&warnings);
	site_free(twin);
	twin = site_load_command(path, &command, NULL);
	assert(twin || command.len > 0);
	assert(twin || !site);
	if (site) {
		assert(site->hostname && site->backend_count == twin->backend_count && site->listener_count == twin->listener_count);
		for (size_t i = 0; i < site->listener_count; i++)
			for (size_t k = 0; k < site->backend_count; k++)
				(void)listener_has_backend(site, &site->listener[i], &site->backend[k]);
		(void)site_accepts(site, "example.com");
		(void)site_sni(site, "mx.example.com");
	}
	site_free(twin);
	site_free(site);
	return 0;
}
