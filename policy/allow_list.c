#include "policy/allow_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/file.h"
#include "policy/policy_list.h"

enum { LOCK_TRIES = 500, LOCK_PAUSE_MS = 10, TEMPORARY_TRIES = 100 };

struct place {
	int dir;                        /* locked */
	char *path, *name;              /* what is replaced; its last component (in path) */
};

static void place_release(struct place *p)
{
	if (p->dir >= 0)
		close(p->dir);          /* and the lock with it */
	free(p->path);
}

/* Links are followed to the file itself. One that leads nowhere is an error: where would it go? */
static char *real_path(const char *path)
{
	char *real = realpath(path, NULL);
	struct stat st;

	if (real || errno != ENOENT)
		return real;
	if (lstat(path, &st) == 0) {
		errno = ENOENT;
		return NULL;
	}
	return strdup(path);
}

static int lock(int dir)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		struct timespec pause = { 0, LOCK_PAUSE_MS * 1000000L };

		if (flock(dir, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

static int place_find(const char *path, struct place *p)
{
	const char *dir = ".";
	char *slash;

	p->path = real_path(path);
	if (!p->path) {
		int rc = -errno;

		return rc < 0 ? rc : -ENOMEM;
	}
	slash = strrchr(p->path, '/');
	p->name = slash ? slash + 1 : p->path;
	if (slash == p->path)
		dir = "/";
	else if (slash)
		dir = p->path;
	if (slash)
		*slash = '\0';
	p->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0)
		return -errno;
	return *p->name ? lock(p->dir) : -EISDIR;
}

/* 0 and what is in the file; -ENOENT when there is none. */
static int text_read(const struct place *p, struct buf *out, struct stat *st)
{
	int fd = openat(p->dir, p->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY), rc = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	if (fstat(fd, st) < 0)
		rc = -errno;
	else if (!S_ISREG(st->st_mode))
		rc = -EINVAL;
	while (rc == 0 && n != 0) {
		if (buf_reserve(out, 65536) < 0) {
			rc = -EFBIG;
			break;
		}
		n = read(fd, out->data + out->len, 65536);
		if (n > 0)
			out->len += (size_t)n;
		else if (n < 0 && errno != EINTR)
			rc = -errno;
	}
	close(fd);
	return rc;
}

/* The entry is one of the file's lines already. */
static bool has_line(const struct buf *text, const char *entry)
{
	const char *p = text->data, *end = p + text->len;
	size_t len = strlen(entry);

	while (p < end) {
		AUTO(buf) struct buf err = BUF_INIT(200);
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end, *is;
		size_t is_len, column;

		if (policy_list_line(p, (size_t)(stop - p), &is, &is_len, &column, &err) == LINE_ENTRY &&
		    is_len == len && strncasecmp(is, entry, len) == 0)
			return true;
		p = nl ? nl + 1 : end;
	}
	return false;
}

/* "entry  # comment", the comment made harmless. */
static void line_add(const char *entry, const char *comment, struct buf *out)
{
	buf_adds(out, entry);
	if (comment && *comment) {
		buf_adds(out, "  # ");
		for (size_t i = 0; i < ALLOW_COMMENT_MAX && comment[i]; i++)
			buf_addc(out, (unsigned char)comment[i] < 0x20 || comment[i] == 0x7f ? ' ' : comment[i]);
	}
	buf_addc(out, '\n');
}

/* Read back, the line is this one entry and nothing else. */
static int entry_check(const char *entry, const char *line, size_t line_len, struct buf *err)
{
	AUTO(policy_list) struct policy_list *l = policy_list_new();
	const char *is = NULL;
	size_t is_len = 0, column;

	if (!l)
		return -ENOMEM;
	if (strpbrk(entry, "\n\r") ||
	    policy_list_line(line, line_len - 1, &is, &is_len, &column, err) != LINE_ENTRY || is_len != strlen(entry) ||
	    memcmp(is, entry, is_len) != 0) {
		buf_clear(err);
		buf_adds(err, "what a line of a list cannot hold, expected a mailbox, a domain, an address or a network");
		return -EINVAL;
	}
	return policy_list_add(l, entry, is_len, false, err);
}

/* A file of its own beside the other, complete and on disk; its name goes to name. */
static int temporary_write(const struct place *p, const struct buf *text, const struct stat *st, char *name, size_t size)
{
	int fd = -1, rc;

	for (int i = 0; fd < 0 && i < TEMPORARY_TRIES; i++) {
		snprintf(name, size, ".%.200s.%d.%d", p->name, (int)getpid(), i);
		fd = openat(p->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			return -errno;
	}
	if (fd < 0)
		return -EEXIST;
	rc = file_write_all(fd, text->data, text->len);
	if (rc == 0 && st->st_nlink && (st->st_uid != geteuid() || st->st_gid != getegid()) && fchown(fd, st->st_uid, st->st_gid) < 0)
		rc = -errno;
	if (rc == 0 && (fchmod(fd, st->st_nlink ? st->st_mode & 0777 : 0644) < 0 || fsync(fd) < 0))
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc < 0)
		unlinkat(p->dir, name, 0);
	return rc;
}

static int replace(const struct place *p, const struct buf *text, const struct stat *st)
{
	char name[256];
	int rc = temporary_write(p, text, st, name, sizeof(name));

	if (rc < 0)
		return rc;
	if (renameat(p->dir, name, p->dir, p->name) < 0) {
		rc = -errno;
		unlinkat(p->dir, name, 0);
		return rc;
	}
	return fsync(p->dir) < 0 ? -errno : 0;
}

static int add(struct place *p, const char *path, const char *entry, const struct buf *line, struct buf *err)
{
	AUTO(buf) struct buf text = BUF_INIT(LIST_FILE_BYTES_MAX);
	AUTO(policy_list) struct policy_list *l = policy_list_new();
	struct stat st = { .st_nlink = 0 };
	int rc = place_find(path, p);

	if (rc == 0)
		rc = text_read(p, &text, &st);
	if (rc == -ENOENT && p->dir >= 0 && !st.st_nlink)
		rc = buf_reserve(&text, 1); /* a new one */
	if (rc < 0)
		return rc;
	if (!l)
		return -ENOMEM;
	if (text.len && policy_list_read(l, text.data, text.len, path, err) > 0)
		return -EINVAL;
	if (text.len && has_line(&text, entry))
		return 1;
	if (text.len && text.data[text.len - 1] != '\n')
		buf_addc(&text, '\n');
	if (buf_add(&text, line->data, line->len) < 0 || text.failed)
		return -EFBIG;
	return replace(p, &text, &st);
}

int allow_list_add(const char *path, const char *entry, const char *comment, struct buf *err)
{
	AUTO(buf) struct buf line = BUF_INIT(2 * LIST_ENTRY_MAX + ALLOW_COMMENT_MAX + 16), why = BUF_INIT(1000);
	struct place p = { .dir = -1 };
	size_t said = err->len;
	int rc;

	line_add(entry, comment, &line);
	if (line.failed)
		rc = -EINVAL;
	else
		rc = entry_check(entry, line.data, line.len, &why);
	if (rc < 0) {
		buf_addf(err, "\"%.80s\": %s\n", entry, why.len ? buf_str(&why) : strerror(-rc));
		return rc;
	}
	rc = add(&p, path, entry, &line, err);
	place_release(&p);
	if (rc < 0 && err->len == said)
		buf_addf(err, "%s: %s\n", path, rc == -EINVAL ? "not a file" : strerror(-rc));
	return rc;
}
