#include "policy/store_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/durable.h"
#include "base/file.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "policy/search_feed.h"
#include "policy/sqlite_file.h"
#include "policy/store_clock.h"
#include "policy/store_index.h"
#include "policy/store_retain.h"
#include "policy/store_tidy.h"

enum {
	ID_TRIES = 20,
	TIDY_DAYS = 2,                  /* what a crash can have left lies in the last days */
	CLOCK_BACK_MS = 3600 * 1000,    /* it was wrong: what is kept from now on is of now */
	NAME_MAX_BYTES = 64,            /* "2026-11-22/.ID.json.tmp" */
};

#define MESSAGE_BYTES_MAX ((off_t)4 << 30)

static const char index_name[] = "quarantine.db";

struct store_keeper {
	int dir_fd, proc_fd;
	char *index_path;
	struct store_index *index;
	struct store_tidy *tidy;
	struct search_feed *feed;
	char *search_path;
	struct store_retain retain;
	struct store_clock clock;
	int64_t last_ms; /* of the last id, so that ids never go back while we live */
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int index_open(struct store_keeper *k)
{
	bool fresh = false;
	int rc = store_index_open(k->index_path, &k->index, &fresh);

	if (rc < 0)
		return rc;
	store_tidy_free(k->tidy);
	k->tidy = store_tidy_new(k->dir_fd, fresh ? 0 : TIDY_DAYS, true);
	search_feed_compare(k->feed);
	return 0;
}

/* The one that has the name: `quarantine reindex` begins afresh, and a person may remove it. */
static int index_current(struct store_keeper *k)
{
	if (k->index && store_index_replaced(k->index)) {
		store_index_close(k->index);
		k->index = NULL;
	}
	return k->index ? 0 : index_open(k);
}

/* Damaged while in use: aside with it, and a fresh one from the files. */
static int index_renew(struct store_keeper *k)
{
	int rc;

	store_index_close(k->index);
	k->index = NULL;
	rc = store_index_afresh(k->index_path, true, &k->index);
	store_index_close(k->index);
	k->index = NULL;
	return rc < 0 ? rc : index_open(k);
}

int store_keeper_open(const char *dir, int proc_fd, struct store_keeper **out)
{
	struct store_keeper *k = calloc(1, sizeof(*k));
	int rc = 0;

	if (!k) {
		close_fd(&proc_fd);
		return -ENOMEM;
	}
	k->proc_fd = proc_fd >= 0 ? proc_fd : durable_proc();
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)    /* as a rule the parent has made it */
		rc = -errno;
	k->dir_fd = rc < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rc == 0 && k->dir_fd < 0)
		rc = -errno;
	if (rc == 0 && asprintf(&k->index_path, "%s/%s", dir, index_name) < 0) {
		k->index_path = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0 && asprintf(&k->search_path, "%s/" SEARCH_DB, dir) < 0) {
		k->search_path = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0) {
		k->feed = search_feed_new(dir, k->dir_fd);
		rc = k->feed ? 0 : -ENOMEM;
	}
	if (rc < 0)
		log_error("store", "error", strerror(-rc), "path", dir, NULL);
	else
		rc = index_open(k);
	/* A disk that is full, or that fails: what need not be kept goes through meanwhile, and each message that is to be kept tries again. */
	if (k->feed && (rc == -EIO || rc == -ENOSPC)) {
		log_error("store", "error", "no index yet: nothing can be kept", "path", k->index_path, NULL);
		rc = 0;
	}
	if (rc < 0) {
		store_keeper_close(k);
		return rc;
	}
	*out = k;
	return 0;
}

void store_keeper_close(struct store_keeper *k)
{
	if (!k)
		return;
	store_retain_say(&k->retain);
	free(k->search_path);
	store_tidy_free(k->tidy);
	search_feed_free(k->feed);
	store_index_close(k->index);
	close_fd(&k->dir_fd);
	close_fd(&k->proc_fd);
	free(k->index_path);
	free(k);
}

int store_keeper_temp(struct store_keeper *k)
{
	return durable_temp(k->dir_fd);
}

/* Give fd, already fsynced, the name day/name. -EEXIST: it is taken. */
static int place(struct store_keeper *k, int fd, uint64_t bytes, const char *day, const char *name)
{
	char path[STORE_DAY_MAX + NAME_MAX_BYTES + 1];

	snprintf(path, sizeof(path), "%s/%s", day, name);
	return durable_link(k->dir_fd, k->proc_fd, fd, bytes, path);
}

/*
 * The message's descriptor comes from a worker: a regular file and nothing else, so that no read
 * waits.
 */
static int item_check(struct store_item *it)
{
	struct stat st;

	if (it->meta_len > STORE_META_MAX)
		return -EMSGSIZE;
	if (fstat(it->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > MESSAGE_BYTES_MAX)
		return -EFBIG;
	it->bytes = (uint64_t)st.st_size;
	return 0;
}

static void item_id(struct store_keeper *k, struct store_item *it, int64_t now_ms)
{
	unsigned chance = 0;

	(void)!getrandom(&chance, sizeof(chance), 0);
	if (now_ms <= k->last_ms && k->last_ms - now_ms < CLOCK_BACK_MS)
		now_ms = k->last_ms + 1;
	k->last_ms = now_ms;
	store_id_make(now_ms, chance, it->id);
	(void)store_id_day(it->id, it->day);
}

/* The metadata with what the store knows, as the file will hold it. */
static int item_json(struct store_item *it)
{
	json_t *meta;
	int rc = -EINVAL;

	free(it->json);
	it->json = NULL;
	errno = 0;
	meta = json_whole_load(it->meta, it->meta_len, JSON_ALLOW_NUL);
	if (!meta && errno == ENOMEM)
		rc = -ENOMEM;
	if (json_is_object(meta)) {
		if (json_object_set_new(meta, "kept",
					json_pack("{s:s, s:I, s:I}", "id", it->id, "at",
						  (json_int_t)(store_id_ms(it->id) / 1000), "bytes",
						  (json_int_t)it->bytes)) == 0)
			it->json = json_whole(meta, JSON_COMPACT);
		rc = it->json ? 0 : -ENOMEM;
	}
	json_decref(meta);
	return rc;
}

/* The metadata in a nameless file, and both files on stable storage. */
static int item_sync(struct store_keeper *k, struct store_item *it)
{
	int rc;

	close_fd(&it->json_fd);
	it->json_fd = store_keeper_temp(k);
	if (it->json_fd < 0)
		return it->json_fd;
	rc = file_write_all(it->json_fd, it->json, strlen(it->json));
	if (rc == 0 && fsync(it->json_fd) < 0)
		rc = -errno;
	if (rc == 0 && fsync(it->fd) < 0)
		rc = -errno;
	return rc;
}

/* *made: the directory above needs its fsync too. */
static int day_make(struct store_keeper *k, const char *day, bool *made)
{
	if (mkdirat(k->dir_fd, day, 0700) == 0)
		*made = true;
	else if (errno != EEXIST)
		return -errno;
	return 0;
}

static void item_unlink(struct store_keeper *k, const struct store_item *it)
{
	char path[NAME_MAX_BYTES];

	snprintf(path, sizeof(path), "%s/%s.eml", it->day, it->id);
	unlinkat(k->dir_fd, path, 0);
	snprintf(path, sizeof(path), "%s/%s.json", it->day, it->id);
	unlinkat(k->dir_fd, path, 0);
}

/* The metadata's name first: a message that has its name has all. */
static int item_link(struct store_keeper *k, struct store_item *it, bool *made)
{
	char name[NAME_MAX_BYTES];
	int rc = day_make(k, it->day, made);

	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "%s.json", it->id);
	rc = place(k, it->json_fd, strlen(it->json), it->day, name);
	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "%s.eml", it->id);
	rc = place(k, it->fd, it->bytes, it->day, name);
	if (rc < 0) {
		snprintf(name, sizeof(name), "%s/%s.json", it->day, it->id);
		unlinkat(k->dir_fd, name, 0);
		return rc;
	}
	it->linked = true;
	return 0;
}

static int item_place(struct store_keeper *k, struct store_item *it, int64_t now_ms, bool *made)
{
	int rc = item_check(it);

	for (int i = 0; rc == 0 && i < ID_TRIES; i++) {
		item_id(k, it, now_ms);
		rc = item_json(it);
		if (rc == 0)
			rc = item_sync(k, it);
		if (rc == 0)
			rc = item_link(k, it, made);
		if (rc != -EEXIST)
			return rc;
		rc = 0;                 /* the clock went back onto an id of before */
	}
	return rc < 0 ? rc : -EEXIST;
}

/* Every day directory that got a name, once; then the one above if a day is new. */
static int batch_sync(struct store_keeper *k, const struct store_item *items, size_t count,
		      bool made)
{
	const char *done = "";
	int rc = made ? durable_sync(k->dir_fd, ".") : 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		if (items[i].linked && strcmp(items[i].day, done) != 0) {
			done = items[i].day;
			rc = durable_sync(k->dir_fd, done);
		}
	return rc;
}

static int batch_index_once(struct store_keeper *k, const struct store_item *items, size_t count)
{
	int rc = store_index_begin(k->index);

	for (size_t i = 0; i < count && rc == 0; i++)
		if (items[i].linked)
			rc = store_index_add(k->index, items[i].id, store_id_ms(items[i].id) / 1000,
					     items[i].bytes, items[i].json);
	if (rc == 0)
		rc = store_index_commit(k->index);
	if (rc < 0)
		store_index_rollback(k->index);
	return rc;
}

static int batch_index(struct store_keeper *k, const struct store_item *items, size_t count)
{
	int rc = index_current(k);

	if (rc == 0)
		rc = batch_index_once(k, items, count);
	if (rc != -EBADMSG)
		return rc;
	rc = index_renew(k);
	return rc < 0 ? rc : batch_index_once(k, items, count);
}

void store_keeper_keep(struct store_keeper *k, struct store_item *items, size_t count,
		       int64_t now_ms)
{
	bool made = false, any = false;
	int rc = 0;

	/* All begin their way to the disk together; each fsync then finds less to do. */
	for (size_t i = 0; i < count; i++)
		(void)sync_file_range(items[i].fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	for (size_t i = 0; i < count; i++) {
		items[i].json = NULL;
		items[i].json_fd = -1;
		items[i].linked = false;
		items[i].rc = item_place(k, &items[i], now_ms, &made);
		any |= items[i].linked;
	}
	if (any)
		rc = batch_sync(k, items, count, made);
	if (any && rc == 0)
		rc = batch_index(k, items, count);
	for (size_t i = 0; i < count; i++) {
		if (rc < 0 && items[i].linked) {
			item_unlink(k, &items[i]);
			items[i].rc = rc == -EBADMSG ? -EIO : rc;
		}
		if (items[i].rc == 0)
			search_feed_kept(k->feed, items[i].id);
		close_fd(&items[i].json_fd);
		free(items[i].json);
		items[i].json = NULL;
	}
}

bool store_keeper_tidy(struct store_keeper *k)
{
	int rc = index_current(k);

	if (rc < 0 || !k->tidy)
		return false;
	if (store_tidy_step(k->tidy, k->index))
		return true;
	rc = store_tidy_error(k->tidy);
	store_tidy_free(k->tidy);
	k->tidy = NULL;
	if (rc == -EBADMSG)
		(void)index_renew(k);
	else if (rc < 0 || (k->index && !store_index_complete(k->index)))
		k->tidy = store_tidy_new(k->dir_fd, 0, true);   /* from the next tick on */
	return false;
}

bool store_keeper_search(struct store_keeper *k, int budget_ms)
{
	/* While messages are still being found, their order is none. */
	if (k->tidy || !k->index)
		return false;
	return search_feed_step(k->feed, k->index, budget_ms) > 0;
}

bool store_keeper_retain(struct store_keeper *k, const struct store_retention *r, int64_t now_s)
{
	int rc = index_current(k);

	if (rc == 0)
		rc = store_retain_step(&k->retain, k->dir_fd, k->index, k->search_path, r, now_s);
	if (rc == -EBADMSG)
		(void)index_renew(k);
	return rc > 0;
}

bool store_keeper_clock(struct store_keeper *k, int64_t wall_ms, int64_t run_ms, int64_t *now_ms)
{
	bool ok = store_clock_trusted(&k->clock, k->dir_fd, wall_ms, run_ms);

	*now_ms = store_clock_now_ms(&k->clock);
	return ok;
}

int64_t store_keeper_count(struct store_keeper *k)
{
	return k->index ? store_index_count(k->index) : -1;
}
