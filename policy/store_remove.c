#include "policy/store_remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "policy/search_feed.h"
#include "policy/store_events.h"
#include "policy/store_file.h"
#include "policy/store_index.h"
#include "policy/store_keeper.h"

enum { DAY_S = 86400 };

static int fd_sync(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* The message first: what is left of one without it is half a message to everybody. */
static int unlink_files(int dir_fd, const char *id)
{
	static const char *const ends[] = { ".eml", ".json", ".events" };
	char day[STORE_DAY_MAX], name[64];

	if (store_id_day(id, day) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		snprintf(name, sizeof(name), "%s/%s%s", day, id, ends[i]);
		if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Every directory that lost names, once: ids that follow each other lie in the same one. */
static int days_sync(int dir_fd, const struct store_removal *list, size_t count)
{
	char done[STORE_DAY_MAX] = "", day[STORE_DAY_MAX];
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		if (list[i].rc < 0 || store_id_day(list[i].id, day) < 0 || strcmp(day, done) == 0)
			continue;
		memcpy(done, day, sizeof(done));
		rc = fd_sync(dir_fd, day);
	}
	return rc;
}

static void day_of(int64_t at_s, char out[STORE_DAY_MAX])
{
	char id[STORE_ID_MAX];

	store_id_make(at_s * 1000, 0, id);
	if (store_id_day(id, out) < 0)
		out[0] = '\0';
}

static bool is_old_day(const char *name, int64_t now_s)
{
	char yesterday[STORE_DAY_MAX];

	day_of(now_s - DAY_S, yesterday);
	return strlen(name) == 10 && strspn(name, "0123456789-") == 10 && strcmp(name, yesterday) < 0;
}

static void days_remove(int dir_fd, const struct store_removal *list, size_t count, int64_t now_s)
{
	char done[STORE_DAY_MAX] = "", day[STORE_DAY_MAX];
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		if (list[i].rc < 0 || store_id_day(list[i].id, day) < 0 || strcmp(day, done) == 0)
			continue;
		memcpy(done, day, sizeof(done));
		if (is_old_day(day, now_s))
			any |= unlinkat(dir_fd, day, AT_REMOVEDIR) == 0;
	}
	if (any)
		(void)fd_sync(dir_fd, ".");
}

void store_remove_empty_days(int dir_fd, int64_t now_s)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool any = false;

	if (fd >= 0 && !d)
		close(fd);
	for (struct dirent *e; d && (e = readdir(d));)
		if (is_old_day(e->d_name, now_s))
			any |= unlinkat(dir_fd, e->d_name, AT_REMOVEDIR) == 0;
	if (d)
		closedir(d);
	if (any)
		(void)fd_sync(dir_fd, ".");
}

/* Steps 3 and 4, of those whose rc is 0. */
static int unlink_all(int dir_fd, struct store_index *index, struct store_removal *list, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count; i++)
		if (list[i].rc == 0)
			list[i].rc = unlink_files(dir_fd, list[i].id);
	rc = days_sync(dir_fd, list, count);
	if (rc == 0)
		rc = store_index_begin(index);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (list[i].rc == 0)
			rc = store_index_unlinked(index, list[i].id);
	if (rc == 0)
		rc = store_index_commit(index);
	if (rc < 0)
		store_index_rollback(index);
	return rc;
}

/* Kept, but the index does not know it yet: its record, so that the deletion is one of a known message. */
static int index_add_file(int dir_fd, struct store_index *index, const char *id)
{
	int64_t at_ms = store_id_ms(id);
	char *text;
	size_t len;
	int rc;

	if (at_ms < 0)
		return -EINVAL;
	text = store_file_meta(dir_fd, id, &len);
	rc = store_index_add(index, id, at_ms / 1000, 0, text ? text : "{}");
	if (rc == -EINVAL)
		rc = store_index_add(index, id, at_ms / 1000, 0, "{}");
	free(text);
	return rc;
}

static int remove_one(int dir_fd, struct store_index *index, struct store_removal *r, const char *who, const char *why, int64_t now_s)
{
	int rc = store_index_remove(index, r->id, now_s, who, why);

	if (rc != -ENOENT || r->lock < 0)
		return rc;
	rc = index_add_file(dir_fd, index, r->id);
	return rc == 0 ? store_index_remove(index, r->id, now_s, who, why) : rc;
}

/* Step 2. What concerns one message alone is its own result. */
static int record_all(int dir_fd, struct store_index *index, struct store_removal *list, size_t count, const char *who, const char *why,
		      int64_t now_s)
{
	int rc = store_index_begin(index);

	for (size_t i = 0; i < count && rc == 0; i++) {
		if (list[i].rc < 0)
			continue;
		list[i].rc = remove_one(dir_fd, index, &list[i], who, why, now_s);
		if (list[i].rc < 0 && list[i].rc != -ENOENT)
			rc = list[i].rc;
	}
	if (rc == 0)
		rc = store_index_commit(index);
	if (rc < 0)
		store_index_rollback(index);
	return rc;
}

static void words_remove(int dir_fd, struct search_index *words, const struct store_removal *list, size_t count)
{
	char (*id)[STORE_ID_MAX] = calloc(count + 1, sizeof(*id));
	size_t n = 0;

	for (size_t i = 0; id && i < count; i++)
		if (list[i].rc == 0)
			memcpy(id[n++], list[i].id, STORE_ID_MAX);
	if (n > 0)
		(void)search_remove(words, dir_fd, (const char (*)[STORE_ID_MAX])id, n);
	free(id);
}

/* Whoever deletes one at this moment has its lock, and may still have to read it for its words: those are his. */
static void lock_all(int dir_fd, struct store_removal *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		list[i].lock = store_event_lock(dir_fd, list[i].id, false);
		/* Without its file there may be a row of it, or what is left of its files. */
		list[i].rc = list[i].lock >= 0 || list[i].lock == -ENOENT ? 0 : list[i].lock;
	}
}

static void unlock_all(const struct store_removal *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].lock >= 0)
			close(list[i].lock);
}

int store_remove(int dir_fd, struct store_index *index, struct search_index *words, struct store_removal *list, size_t count, const char *who, const char *why, int64_t now_s,
		 bool wait)
{
	int hold, rc;

	lock_all(dir_fd, list, count);
	hold = store_index_hold(index, wait);
	rc = hold < 0 ? hold : record_all(dir_fd, index, list, count, who, why, now_s);
	if (rc == 0 && words)
		words_remove(dir_fd, words, list, count);
	if (rc == 0)
		rc = unlink_all(dir_fd, index, list, count);
	if (rc == 0)
		days_remove(dir_fd, list, count, now_s);
	if (hold >= 0)
		close(hold);
	unlock_all(list, count);
	return rc;
}

int store_remove_pending(int dir_fd, struct store_index *index)
{
	struct store_removal *list = calloc(STORE_REMOVE_MAX, sizeof(*list));
	char (*id)[STORE_ID_MAX] = calloc(STORE_REMOVE_MAX, sizeof(*id));
	int count = list && id ? store_index_to_unlink(index, id, STORE_REMOVE_MAX) : -ENOMEM, rc = count < 0 ? count : 0, done = 0;

	for (int i = 0; i < count; i++)
		memcpy(list[i].id, id[i], STORE_ID_MAX);
	if (count > 0) {
		lock_all(dir_fd, list, (size_t)count);
		rc = unlink_all(dir_fd, index, list, (size_t)count);
		unlock_all(list, (size_t)count);
	}
	for (int i = 0; i < count; i++)
		done += list[i].rc == 0;
	free(list);
	free(id);
	return rc < 0 ? rc : done;
}
