#include "process/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/log.h"
#include "base/tls.h"
#include "policy/key_list.h"
#include "process/directory.h"
#include "process/statedir_owner.h"

enum { PATH_BYTES = 1024, PEM_MAX = 64 * 1024 };

static const struct { const char *name; mode_t mode; enum channel_role role; const char *file; } parts[] = {
	{ "tls", 0700, ROLE_PARENT, NULL },
	{ "empty", 0555, ROLE_PARENT, NULL },
	{ "state", 0700, ROLE_STATE, "state.db" },
	{ "quarantine", 0700, ROLE_STORE, "quarantine.db" },
	{ "history", 0700, ROLE_HISTORY, "history.db" },
	{ "spool", 0700, ROLE_SPOOL, NULL },
	{ DIRECTORY_COPY_DIR, 0700, ROLE_DIRECTORY, NULL },
};

static int failed(struct buf *err, const char *dir, const char *name, const char *what, int rc)
{
	buf_addf(err, "state_dir %s/%s: %s: %s\n", dir, name, what, strerror(-rc));
	return rc;
}

/* A new directory is there for good when the one that it lies in is on stable storage. */
static int make_durable(const char *path)
{
	char above[PATH_BYTES + 4];
	int fd;

	if (mkdir(path, 0755) < 0)
		return errno == EEXIST ? 0 : -errno;
	snprintf(above, sizeof(above), "%s/..", path);
	fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	return 0;
}

/* With the directories above it. */
static int make_path(const char *path)
{
	char p[PATH_BYTES];
	int rc;

	if ((size_t)snprintf(p, sizeof(p), "%s", path) >= sizeof(p))
		return -ENAMETOOLONG;
	for (char *s = p + 1; *s; s++)
		if (*s == '/') {
			*s = 0;
			rc = make_durable(p);
			if (rc < 0)
				return rc;
			*s = '/';
		}
	return make_durable(p);
}

/*
 * A file that an earlier run under another user has left would make every write fail: say so now.
 */
static int check_owner(int dir, int i, const char *path, uid_t uid, struct buf *err)
{
	struct stat st;
	int rc;

	if (!parts[i].file)
		return 0;
	(void)setfsuid(uid);            /* root may be one who cannot look into all */
	rc = fstatat(dir, parts[i].file, &st, AT_SYMLINK_NOFOLLOW);
	(void)setfsuid(geteuid());
	if (rc < 0 || st.st_uid == uid)
		return 0;
	buf_addf(err,
		 "state_dir %s/%s/%s belongs to uid %u, gatepost writes as uid %u; to hand it "
		 "over: chown -R %u %s/%s\n",
		 path, parts[i].name, parts[i].file, (unsigned)st.st_uid, (unsigned)uid,
		 (unsigned)uid, path, parts[i].name);
	return -EACCES;
}

/*
 * The part is another's: what it holds is handed over. What was root's when no user was named, too, where nobody but root could put anything there.
 */
static int hand_over(int fd, const struct stat *st, int i, const char *path, const struct confine of[ROLE_COUNT], struct buf *err)
{
	const struct confine *c = &of[parts[i].role];
	struct statedir_owners o = { .to = c->uid, .to_group = c->gid };
	size_t given;
	int rc;

	for (int role = ROLE_WORKER; role < ROLE_COUNT && o.from_count < 4; role++)
		if (of[role].drop && (role == ROLE_WORKER || role == ROLE_STATE || role == ROLE_KEYS || role == ROLE_DIRECTORY))
			o.from[o.from_count++] = of[role].uid;
	if (st->st_uid != 0 || !(st->st_mode & (S_IWGRP | S_IWOTH)))
		o.from[o.from_count++] = st->st_uid;
	rc = statedir_give(fd, &o, &given);
	if (rc < 0)
		return failed(err, path, parts[i].name, "cannot be handed over to its user", rc);
	if (given) {
		struct log_line l;

		log_start(&l, LOG_LEVEL_NOTICE, "start");
		log_str(&l, "what", "files are handed over to the user whose they are now");
		log_str(&l, "directory", parts[i].name);
		log_num(&l, "uid", (int64_t)c->uid);
		log_num(&l, "count", (int64_t)given);
		log_emit(&l);
	}
	return 0;
}

/* Whose it is, and its mode; which only its owner may set. */
static int settle(int fd, uid_t uid, gid_t gid, mode_t mode, const struct stat *st)
{
	int own, rc = 0;

	if (st->st_uid == uid && st->st_gid == gid && (st->st_mode & 07777) == mode)
		return 0;
	if (geteuid() == 0 && fchownat(fd, "", 0, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0 || fchmod(own, mode) < 0 || (geteuid() == 0 && fchown(own, uid, gid) < 0))
		rc = -errno;
	if (own >= 0)
		close(own);
	return rc;
}

static int make_part(int top, int i, const char *path, const struct confine of[ROLE_COUNT], struct buf *err)
{
	const struct confine *c = &of[parts[i].role];
	uid_t uid = c->drop ? c->uid : geteuid();
	gid_t gid = c->drop ? c->gid : getegid();
	struct stat st = { 0 };
	int rc = 0, fd;

	if (mkdirat(top, parts[i].name, parts[i].mode) < 0 && errno != EEXIST)
		return failed(err, path, parts[i].name, "cannot make it", -errno);
	fd = openat(top, parts[i].name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		rc = failed(err, path, parts[i].name, "cannot open it", -errno);
	if (rc == 0 && c->drop && st.st_uid != uid)
		rc = hand_over(fd, &st, i, path, of, err);
	if (rc == 0 && fstat(fd, &st) == 0 && (rc = settle(fd, uid, gid, parts[i].mode, &st)) < 0)
		rc = failed(err, path, parts[i].name, "cannot set its owner and mode", rc);
	if (rc == 0)
		rc = check_owner(fd, i, path, uid, err);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int take_lock(int top, const char *path, struct buf *err)
{
	int fd = openat(top, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return failed(err, path, "lock", "cannot open it", -errno);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		buf_addf(err, "state_dir %s: another gatepost is running on it\n", path);
		close(fd);
		return -EBUSY;
	}
	return fd;
}

int statedir_open(const char *path, const struct confine of[ROLE_COUNT], int held, struct buf *err)
{
	int rc = make_path(path), top = -1, lock = -1;

	if (rc == 0) {
		top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = top < 0 ? -errno : 0;
	}
	if (rc < 0)
		buf_addf(err, "state_dir %s: %s\n", path, strerror(-rc));
	if (rc == 0) {
		lock = held >= 0 ? held : take_lock(top, path, err);
		rc = lock < 0 ? lock : 0;
	}
	for (int i = 0; rc == 0 && i < (int)(sizeof(parts) / sizeof(parts[0])); i++)
		rc = make_part(top, i, path, of, err);
	if (rc == 0 && fsync(top) < 0 && errno != EINVAL)
		rc = failed(err, path, "", "cannot be made durable", -errno);
	if (top >= 0)
		close(top);
	if (rc < 0 && lock >= 0 && held < 0)
		close(lock);
	return rc < 0 ? rc : lock;
}

static int read_all(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (rc == 0 && n > 0) {
		char chunk[4000];

		n = read(fd, chunk, sizeof(chunk) - 1);
		rc = n < 0 ? -errno : buf_add(out, chunk, (size_t)n);
	}
	close(fd);
	return rc;
}

/* Under another name first: a half-written key is no key. */
static int write_new(const char *path, const struct buf *text)
{
	char temp[PATH_BYTES + 8];
	int fd, rc = 0;

	snprintf(temp, sizeof(temp), "%s.new", path);
	unlink(temp);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text->data, text->len) != (ssize_t)text->len || fsync(fd) < 0)
		rc = errno ? -errno : -EIO;
	close(fd);
	if (rc == 0 && rename(temp, path) < 0)
		rc = -errno;
	return rc;
}

struct wish {
	const char *path, *hostname;
	char cert[PATH_BYTES], key[PATH_BYTES];
};

static int pair_get(const struct wish *w, struct buf *cert_pem, struct buf *key_pem, struct buf *err)
{
	int rc = read_all(w->cert, cert_pem), rc2 = read_all(w->key, key_pem);

	if (rc == 0 && rc2 == 0)
		return 0;
	if (rc != -ENOENT && rc != 0)
		return failed(err, w->path, "tls/cert.pem", "cannot read it", rc);
	if (rc2 != -ENOENT && rc2 != 0)
		return failed(err, w->path, "tls/key.pem", "cannot read it", rc2);
	buf_clear(cert_pem);
	buf_clear(key_pem);
	rc = tls_self_signed(w->hostname, cert_pem, key_pem);
	if (rc == 0)
		/* The key first: a certificate without one is never found. */
		rc = write_new(w->key, key_pem);
	if (rc == 0)
		rc = write_new(w->cert, cert_pem);
	return rc < 0 ? failed(err, w->path, "tls", "cannot make the self-signed certificate", rc) : 0;
}

/* What the child sends: the result, how long the public key is, it, and the certificate; or a sentence. */
static void certificate_aside(void *arg, struct buf *out)
{
	struct buf cert = BUF_INIT(PEM_MAX), key = BUF_INIT(PEM_MAX), err = BUF_INIT(4096);
	struct ssl_ctx_st *ctx = NULL;
	unsigned char *der = NULL;
	const struct wish *w = arg;
	int head[2] = { pair_get(w, &cert, &key, &err), 0 };

	if (head[0] == 0 && tls_server_ctx(buf_str(&cert), buf_str(&key), &ctx, &err) < 0) {
		buf_clear(&err);
		head[0] = failed(&err, w->path, "tls", "key.pem is not the key of cert.pem; without both, new ones are made", -EINVAL);
	}
	head[1] = ctx ? i2d_PUBKEY(SSL_CTX_get0_privatekey(ctx), &der) : 0;
	buf_add(out, head, sizeof(head));
	if (head[1] > 0)
		buf_add(out, der, (size_t)head[1]);
	buf_adds(out, head[0] < 0 ? buf_str(&err) : buf_str(&cert));
}

/* Its place in keys, or -errno. */
static int certificate_take(const struct wish *w, const struct buf *said, char **cert_pem, struct key_list *keys, struct buf *err)
{
	int head[2], i;

	if (said->len < sizeof(head))
		return -EPROTO;
	memcpy(head, said->data, sizeof(head));
	if (head[0] < 0) {
		buf_adds(err, said->data + sizeof(head));
		return head[0];
	}
	if (head[1] <= 0 || (size_t)head[1] > said->len - sizeof(head))
		return -EPROTO;
	i = key_list_add(keys, KEY_FOR_TLS, w->key);
	if (i < 0 || key_list_public(keys, (size_t)i, said->data + sizeof(head), (size_t)head[1]) < 0)
		return -ENOMEM;
	*cert_pem = strdup(said->data + sizeof(head) + head[1]);
	return *cert_pem ? i : -ENOMEM;
}

int statedir_certificate(const char *path, const char *hostname, char **cert_pem, struct key_list *keys, struct buf *err)
{
	AUTO(buf) struct buf said = BUF_INIT(2 * PEM_MAX);
	struct wish w = { .path = path, .hostname = hostname };
	int rc;

	snprintf(w.cert, sizeof(w.cert), "%s/tls/cert.pem", path);
	snprintf(w.key, sizeof(w.key), "%s/tls/key.pem", path);
	rc = aside_run(certificate_aside, &w, &said);
	if (rc == 0) {
		(void)buf_str(&said);           /* with a NUL behind it */
		rc = certificate_take(&w, &said, cert_pem, keys, err);
		if (rc >= 0 || err->len)
			return rc;
	}
	return failed(err, path, "tls", "cannot make the self-signed certificate", rc);
}
