#include "policy/spool_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/durable.h"
#include "base/log.h"
#include "policy/spool_record.h"

enum { NAME_BYTES = DURABLE_NAME_MAX, ASIDE_TRIES = 100 };

int spool_file_open(int dir_fd, const char *id, const char *end)
{
	char name[NAME_BYTES];
	int fd;

	if (store_id_ms(id) < 0)
		return -EINVAL;
	snprintf(name, sizeof(name), "%s%s", id, end);
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int read_text(int fd, char **out, size_t *len)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > SPOOL_RECORD_MAX)
		return -EINVAL;
	*out = malloc((size_t)st.st_size);
	if (!*out)
		return -ENOMEM;
	*len = (size_t)st.st_size;
	return pread(fd, *out, *len, 0) == st.st_size ? 0 : -EIO;
}

static int check_message(int dir_fd, const struct spool_envelope *e, const char **why)
{
	int fd = spool_file_open(dir_fd, e->id, ".eml"), rc = 0;
	struct stat st;

	if (fd == -ENOENT || fd == -ELOOP) {
		*why = "there is no message beside the record";
		return -EINVAL;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		rc = -errno;
	} else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != e->bytes) {
		*why = "the message has not the size that the record says";
		rc = -EINVAL;
	}
	close(fd);
	return rc;
}

int spool_file_read(int dir_fd, const char *id, struct spool_envelope **out, const char **why)
{
	struct spool_envelope *e = NULL;
	const char *wrong = "the record is no plain file";
	char *text = NULL;
	size_t len = 0;
	int fd = spool_file_open(dir_fd, id, ".json"), rc;

	if (fd == -ELOOP && why)
		*why = wrong;
	if (fd < 0)
		return fd == -ELOOP ? -EINVAL : fd;
	rc = read_text(fd, &text, &len);
	close(fd);
	if (rc == 0)
		rc = spool_record_parse(text, len, RECORD_KEPT, &e, &wrong);
	free(text);
	if (rc == 0 && strcmp(e->id, id) != 0) {
		wrong = "the record is that of another";
		rc = -EINVAL;
	}
	if (rc == 0)
		rc = check_message(dir_fd, e, &wrong);
	if (rc == 0) {
		*out = e;
		return 0;
	}
	spool_envelope_free(e);
	if (rc == -EINVAL && why)
		*why = wrong;
	return rc;
}

int spool_file_write(int dir_fd, const struct spool_envelope *e)
{
	char name[NAME_BYTES], *text = spool_record_text(e);
	int rc;

	if (!text)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%s.json", e->id);
	rc = durable_replace(dir_fd, name, text, strlen(text));
	free(text);
	return rc;
}

/* Nothing that lies there is overwritten. */
static int move_aside(int dir_fd, const char *name)
{
	char to[NAME_BYTES + 32];

	if (mkdirat(dir_fd, "broken", 0700) < 0 && errno != EEXIST)
		return -errno;
	for (int i = 0; i < ASIDE_TRIES; i++) {
		if (i == 0)
			snprintf(to, sizeof(to), "broken/%s", name);
		else
			snprintf(to, sizeof(to), "broken/%s.%d", name, i);
		if (renameat2(dir_fd, name, dir_fd, to, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno == EINVAL && faccessat(dir_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) < 0)    /* a file system without NOREPLACE */
			return renameat(dir_fd, name, dir_fd, to) < 0 ? -errno : 0;
		if (errno != EEXIST && errno != EINVAL)
			return -errno;
	}
	return -EEXIST;
}

void spool_file_aside(int dir_fd, const char *id, const char *why)
{
	static const char *const ends[] = { ".json", ".eml" };
	char name[NAME_BYTES];
	bool moved = false;
	int rc = 0;

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		snprintf(name, sizeof(name), "%s%s", id, ends[i]);
		rc = move_aside(dir_fd, name);
		moved |= rc == 0;
		if (rc < 0 && rc != -ENOENT)
			log_error("spool", "error", "what cannot be used could not be moved aside", "id", id, "why", strerror(-rc), NULL);
	}
	if (moved) {
		(void)durable_sync(dir_fd, "broken");
		(void)durable_sync(dir_fd, ".");
		log_error("spool", "error", "an entry cannot be used: it has been moved to broken/", "id", id, "why", why, NULL);
	}
}

struct listing {
	char (*id)[STORE_ID_MAX];
	size_t count, room;
};

static int listing_add(struct listing *l, const char *id)
{
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		void *v = room <= SPOOL_LIST_MAX ? realloc(l->id, room * sizeof(*l->id)) : NULL;

		if (!v)
			return -ENOMEM;
		l->id = v;
		l->room = room;
	}
	snprintf(l->id[l->count++], STORE_ID_MAX, "%s", id);    /* "" too, by which an empty list is no failure */
	return 0;
}

static int id_order(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool name_is(const char *name, const char *end, char id[STORE_ID_MAX])
{
	if (strlen(name) != STORE_ID_LEN + strlen(end) || strcmp(name + STORE_ID_LEN, end) != 0)
		return false;
	memcpy(id, name, STORE_ID_LEN);
	id[STORE_ID_LEN] = 0;
	return store_id_ms(id) >= 0;
}

static int list_name(int dir_fd, const char *name, bool keeper, struct listing *records, struct listing *messages)
{
	size_t len = strlen(name);
	char id[STORE_ID_MAX];

	if (name_is(name, ".json", id))
		return listing_add(records, id);
	if (keeper && name_is(name, ".eml", id))
		return listing_add(messages, id);
	if (keeper && name[0] == '.' && len > 4 && strcmp(name + len - 4, ".tmp") == 0)
		unlinkat(dir_fd, name, 0);
	return 0;
}

char (*spool_file_list(int dir_fd, bool keeper, size_t *count))[STORE_ID_MAX]
{
	struct listing records = { 0 }, messages = { 0 };
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	while (rc == 0 && (errno = 0, e = readdir(d)))
		rc = list_name(dir_fd, e->d_name, keeper, &records, &messages);
	if (rc == 0)
		rc = -errno;
	if (rc == 0 && !records.id) {
		records.id = calloc(1, sizeof(*records.id));    /* NULL is failure */
		rc = records.id ? 0 : -ENOMEM;
	}
	closedir(d);
	if (records.count)
		qsort(records.id, records.count, sizeof(*records.id), id_order);
	for (size_t i = 0; rc == 0 && i < messages.count; i++)
		if (!records.count || !bsearch(messages.id[i], records.id, records.count, sizeof(*records.id), id_order))
			spool_file_aside(dir_fd, messages.id[i], "a message without a record: it was not acknowledged yet, or had been done with");
	free(messages.id);
	if (rc < 0) {
		free(records.id);
		errno = -rc;
		return NULL;
	}
	*count = records.count;
	return records.id;
}
