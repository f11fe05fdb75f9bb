#include "directory/directory_copy.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "directory/directory_table.h"

static const char magic[16] = "gatepost-dir 2\n";

struct head {
	char magic[16];
	int64_t born_ms;
	uint64_t serial, count;
};

struct part_head {
	char name[DIRECTORY_NAME_MAX];
	unsigned char conf[DIRECTORY_HASH], who[DIRECTORY_HASH];
	int64_t refreshed_ms;
	uint64_t len;
};

enum { BYTES_MAX = 1 << 30 };

static void hash_text(EVP_MD_CTX *md, const char *p)
{
	if (p)
		EVP_DigestUpdate(md, p, strlen(p));
	EVP_DigestUpdate(md, "", 1);
}

static void hash_question(EVP_MD_CTX *md, const struct directory_conf *c)
{
	hash_text(md, c->base);
	hash_text(md, c->filter);
	hash_text(md, c->schema == DIRECTORY_DOMINO ? "names" : "");
	for (size_t i = 0; i < c->attribute_count; i++)
		hash_text(md, c->attribute[i]);
}

static void hash_who(EVP_MD_CTX *md, const struct directory_conf *c)
{
	hash_text(md, c->bind_dn);
	for (size_t i = 0; i < c->server_count; i++) {
		const unsigned char more[] = { (unsigned char)(c->server[i].port >> 8), (unsigned char)c->server[i].port };

		hash_text(md, c->server[i].host);
		EVP_DigestUpdate(md, more, sizeof(more));
	}
}

static void hash_of(void (*what)(EVP_MD_CTX *, const struct directory_conf *), const struct directory_conf *c, unsigned char out[DIRECTORY_HASH])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned n = 0;

	memset(out, 0, DIRECTORY_HASH);
	if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
		what(md, c);
		EVP_DigestFinal_ex(md, out, &n);
	}
	EVP_MD_CTX_free(md);
}

void directory_copy_hash(const struct directory_conf *c, unsigned char out[DIRECTORY_HASH])
{
	hash_of(hash_question, c, out);
}

void directory_copy_who(const struct directory_conf *c, unsigned char out[DIRECTORY_HASH])
{
	hash_of(hash_who, c, out);
}

static bool part_read(const unsigned char **p, size_t *len, struct directory_part *out)
{
	struct part_head h;

	if (*len < sizeof(h))
		return false;
	memcpy(&h, *p, sizeof(h));
	*p += sizeof(h);
	*len -= sizeof(h);
	if (h.len > *len || !memchr(h.name, '\0', sizeof(h.name)))
		return false;
	memcpy(out->name, h.name, sizeof(out->name));
	memcpy(out->conf, h.conf, sizeof(out->conf));
	memcpy(out->who, h.who, sizeof(out->who));
	out->refreshed_ms = h.refreshed_ms;
	out->text = (const char *)*p;
	out->len = (size_t)h.len;
	*p += h.len;
	*len -= (size_t)h.len;
	return true;
}

int directory_copy_parse(const void *bytes, size_t len, struct directory_copy *out)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	const unsigned char *p = bytes;
	struct head h;

	if (len < sizeof(h) + sizeof(hash))
		return -EBADMSG;
	len -= sizeof(hash);
	memcpy(&h, p, sizeof(h));
	if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.count > DIRECTORIES_MAX || !SHA256(p, len, hash) || memcmp(hash, p + len, sizeof(hash)) != 0)
		return -EBADMSG;
	*out = (struct directory_copy){ .born_ms = h.born_ms, .serial = h.serial, .count = (size_t)h.count };
	p += sizeof(h);
	len -= sizeof(h);
	for (size_t i = 0; i < out->count; i++)
		if (!part_read(&p, &len, &out->part[i]))
			return -EBADMSG;
	return len == 0 ? 0 : -EBADMSG;
}

/* One file, into memory of its own. */
static int file_read(int fd, struct directory_copy *out)
{
	struct stat st;
	size_t at = 0, size;
	char *bytes;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > BYTES_MAX)
		return -ENOENT;
	size = (size_t)st.st_size;
	bytes = malloc(size);
	if (!bytes)
		return -ENOMEM;
	while (at < size) {
		ssize_t n = pread(fd, bytes + at, size - at, (off_t)at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	rc = at == size ? directory_copy_parse(bytes, size, out) : -EIO;
	if (rc < 0)
		free(bytes);
	else
		out->bytes = bytes;
	return rc;
}

int directory_copy_read(const int fd[DIRECTORY_COPIES], struct directory_copy *out)
{
	struct directory_copy c;
	int rc = -ENOENT;

	for (int i = 0; i < DIRECTORY_COPIES; i++) {
		int got = fd[i] < 0 ? -EBADF : flock(fd[i], LOCK_EX | LOCK_NB) < 0 ? -errno : 0;

		/* That another process is writing: what is half of it now is whole soon, and no damage. */
		if (got < 0)
			continue;
		got = file_read(fd[i], &c);
		/* Damaged: emptied, so that its number does not make it the newer one, and the good one is not written over next. */
		if (got == -EBADMSG)
			(void)!ftruncate(fd[i], 0);
		(void)flock(fd[i], LOCK_UN);
		if (got < 0)
			continue;
		if (rc == 0 && c.serial <= out->serial) {
			free(c.bytes);
			continue;
		}
		if (rc == 0)
			free(out->bytes);
		*out = c;
		rc = 0;
	}
	return rc;
}

/* Which one is to be written, by the heads alone: what has none, or the lower number. */
static int older(const int fd[DIRECTORY_COPIES], int64_t born_ms, uint64_t *serial)
{
	uint64_t number[DIRECTORY_COPIES] = { 0 };

	for (int i = 0; i < DIRECTORY_COPIES; i++) {
		struct head h;

		if (pread(fd[i], &h, sizeof(h), 0) != (ssize_t)sizeof(h) || memcmp(h.magic, magic, sizeof(magic)) != 0)
			continue;
		/* Of a clock that went wrong, whoever will be started says so for ever. */
		if (h.born_ms > born_ms && h.born_ms <= clock_wall_ms())
			return -ESTALE;
		number[i] = h.serial;
	}
	*serial = (number[0] > number[1] ? number[0] : number[1]) + 1;
	return number[1] < number[0];
}

static int put(int fd, EVP_MD_CTX *md, const void *p, size_t len)
{
	return EVP_DigestUpdate(md, p, len) == 1 ? file_write_all(fd, p, len) : -EIO;
}

static int all_put(int fd, EVP_MD_CTX *md, const struct directory_copy *c)
{
	struct head h = { .born_ms = c->born_ms, .serial = c->serial, .count = c->count };
	unsigned char hash[SHA256_DIGEST_LENGTH];
	unsigned n = 0;
	int rc;

	memcpy(h.magic, magic, sizeof(h.magic));
	rc = put(fd, md, &h, sizeof(h));
	for (size_t i = 0; rc == 0 && i < c->count; i++) {
		struct part_head ph = { .refreshed_ms = c->part[i].refreshed_ms, .len = c->part[i].len };

		memcpy(ph.name, c->part[i].name, sizeof(ph.name));
		memcpy(ph.conf, c->part[i].conf, sizeof(ph.conf));
		memcpy(ph.who, c->part[i].who, sizeof(ph.who));
		rc = put(fd, md, &ph, sizeof(ph));
		if (rc == 0)
			rc = put(fd, md, c->part[i].text, c->part[i].len);
	}
	if (rc == 0 && EVP_DigestFinal_ex(md, hash, &n) != 1)
		rc = -EIO;
	return rc == 0 ? file_write_all(fd, hash, sizeof(hash)) : rc;
}

int directory_copy_write(const int fd[DIRECTORY_COPIES], struct directory_copy *c)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int which = older(fd, c->born_ms, &c->serial), rc = which < 0 ? which : 0;

	if (rc == 0 && (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1))
		rc = -ENOMEM;
	/* Two processes, of a configuration and the one before: who finds the other writing comes again with the next refresh. */
	if (rc == 0 && flock(fd[which], LOCK_EX | LOCK_NB) < 0)
		rc = -errno;
	if (rc == 0) {
		if (ftruncate(fd[which], 0) < 0 || lseek(fd[which], 0, SEEK_SET) < 0)
			rc = -errno;
		if (rc == 0)
			rc = all_put(fd[which], md, c);
		(void)flock(fd[which], LOCK_UN);
	}
	EVP_MD_CTX_free(md);
	return rc;
}
