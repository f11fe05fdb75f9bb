#include "policy/store_tidy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/store_events.h"
#include "policy/store_index.h"
#include "policy/store_keeper.h"

enum { STEP_FILES = 200, STEP_NEW = 64, STEP_MS = 20, DAYS_MAX = 20000 };

/* A message to be indexed. */
struct found {
	char id[STORE_ID_MAX];
	uint64_t bytes;
	char *meta;
	enum store_state state;
};

struct store_tidy {
	int dir_fd;
	bool keeper, all;
	char (*day)[STORE_DAY_MAX];
	size_t count, next;
	DIR *open;                      /* the day being read: day[next - 1] */
	struct found found[STEP_NEW];
	size_t found_count;
	int indexed, removed, error;
};

static bool is_day(const char *name)
{
	return strlen(name) == 10 && strspn(name, "0123456789-") == 10 && name[4] == '-' &&
	       name[7] == '-';
}

static bool is_temporary(const char *name)
{
	size_t len = strlen(name);

	return name[0] == '.' && len > 4 && strcmp(name + len - 4, ".tmp") == 0;
}

static int day_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

struct store_tidy *store_tidy_new(int dir_fd, int days, bool keeper)
{
	struct store_tidy *t = calloc(1, sizeof(*t));
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !d)
		close(fd);
	if (t) {
		t->dir_fd = dir_fd;
		t->keeper = keeper;
		t->all = days == 0;
	}
	for (struct dirent *e; t && d && (e = readdir(d)) && t->count < DAYS_MAX;) {
		void *more;

		if (keeper && is_temporary(e->d_name))
			t->removed += unlinkat(dir_fd, e->d_name, 0) == 0;
		if (!is_day(e->d_name))
			continue;
		more = reallocarray(t->day, t->count + 1, sizeof(*t->day));
		if (!more)
			break;
		t->day = more;
		memcpy(t->day[t->count++], e->d_name, 11);
	}
	if (!d) {
		free(t);
		return NULL;
	}
	closedir(d);
	if (t && t->count > 0)
		qsort(t->day, t->count, sizeof(*t->day), day_compare);
	if (t && days > 0 && t->count > (size_t)days)
		t->next = t->count - (size_t)days;
	return t;
}

static void found_clear(struct store_tidy *t)
{
	for (size_t i = 0; i < t->found_count; i++)
		free(t->found[i].meta);
	t->found_count = 0;
}

void store_tidy_free(struct store_tidy *t)
{
	if (!t)
		return;
	found_clear(t);
	if (t->open)
		closedir(t->open);
	free(t->day);
	free(t);
}

static bool there(int fd, const char *id, const char *end, struct stat *st)
{
	char name[STORE_ID_MAX + 8];

	snprintf(name, sizeof(name), "%s%s", id, end);
	return fstatat(fd, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode);
}

/* The metadata file as text, or NULL. */
static char *meta_read(int fd, const char *name, off_t size)
{
	int file = size > 0 && size <= 2 * STORE_META_MAX
			   ? openat(fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
			   : -1;
	char *text = file < 0 ? NULL : calloc(1, (size_t)size + 1);

	if (text && pread(file, text, (size_t)size, 0) != size) {
		free(text);
		text = NULL;
	}
	if (file >= 0)
		close(file);
	return text;
}

static enum store_state state_of(struct store_tidy *t, int fd, const char *id)
{
	json_t *events = NULL;
	enum store_state state = STORE_STATE_KEPT;
	struct stat st;

	if (!there(fd, id, ".events", &st))
		return state;
	if (store_events_read(t->dir_fd, id, &events) == 0)
		state = store_events_state(events, NULL);
	json_decref(events);
	return state;
}

static void drop(struct store_tidy *t, int fd, const char *name)
{
	if (t->keeper)
		t->removed += unlinkat(fd, name, 0) == 0;
}

static void tidy_meta(struct store_tidy *t, struct store_index *index, int fd, const char *name,
		      const char *id)
{
	struct found *f = &t->found[t->found_count];
	struct stat eml, json;

	if (store_index_has(index, id) || store_index_deleted(index, id))
		return;
	if (!there(fd, id, ".eml", &eml)) {
		drop(t, fd, name);
		return;
	}
	if (!there(fd, id, ".json", &json))
		return;
	f->meta = meta_read(fd, name, json.st_size);
	if (!f->meta) {
		log_warning("store", "error", "metadata that cannot be read", "id", id, NULL);
		return;
	}
	snprintf(f->id, sizeof(f->id), "%s", id);
	f->bytes = (uint64_t)eml.st_size;
	f->state = state_of(t, fd, id);
	t->found_count++;
}

static void tidy_file(struct store_tidy *t, struct store_index *index, const char *name)
{
	int fd = dirfd(t->open);
	char id[STORE_ID_MAX];
	struct stat st;

	if (name[0] == '.') {
		if (is_temporary(name))
			drop(t, fd, name);
		return;
	}
	snprintf(id, sizeof(id), "%.*s", STORE_ID_LEN, name);
	if (store_id_ms(id) < 0)
		return;                 /* somebody else's */
	if (strcmp(name + STORE_ID_LEN, ".json") == 0)
		tidy_meta(t, index, fd, name, id);
	else if (strcmp(name + STORE_ID_LEN, ".eml") == 0 && !there(fd, id, ".json", &st) && !store_index_has(index, id))
		drop(t, fd, name);
	else if (strcmp(name + STORE_ID_LEN, ".events") == 0 && !there(fd, id, ".eml", &st) && !store_index_has(index, id))
		drop(t, fd, name);
}

/* What has been found, in one transaction; somebody else may have indexed or deleted it meanwhile. */
static int found_write(struct store_tidy *t, struct store_index *index)
{
	int added = 0, rc = store_index_begin(index);

	for (size_t i = 0; i < t->found_count && rc == 0; i++) {
		const struct found *f = &t->found[i];

		if (store_index_has(index, f->id) || store_index_deleted(index, f->id))
			continue;
		rc = store_index_add(index, f->id, store_id_ms(f->id) / 1000, f->bytes, f->meta);
		if (rc == 0 && f->state != STORE_STATE_KEPT)
			rc = store_index_set_state(index, f->id, store_state_name(f->state));
		if (rc == -EINVAL) {
			log_warning("store", "error", "metadata that cannot be read", "id", f->id, NULL);
			rc = 0;
		} else if (rc == 0) {
			added++;
		}
	}
	if (rc == 0)
		rc = store_index_commit(index);
	if (rc < 0)
		store_index_rollback(index);
	else
		t->indexed += added;
	return rc;
}

static void tidy_done(struct store_tidy *t)
{
	struct log_line l;

	if (!t->keeper || (t->indexed == 0 && t->removed == 0))
		return;
	log_start(&l, LOG_LEVEL_NOTICE, "store");
	log_str(&l, "what", "tidied after a crash, or with a fresh index");
	log_num(&l, "indexed", t->indexed);
	log_num(&l, "removed", t->removed);
	log_emit(&l);
}

static bool tidy_next_day(struct store_tidy *t)
{
	int fd;

	if (t->open)
		closedir(t->open);
	t->open = NULL;
	while (!t->open && t->next < t->count) {
		fd = openat(t->dir_fd, t->day[t->next++],
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		t->open = fd < 0 ? NULL : fdopendir(fd);
		if (fd >= 0 && !t->open)
			close(fd);
	}
	return t->open != NULL;
}

/* true: the last day is through. */
static bool look_on(struct store_tidy *t, struct store_index *index)
{
	int64_t until_ms = clock_ms() + STEP_MS;

	for (int i = 0; i < STEP_FILES && t->found_count < STEP_NEW && (i == 0 || clock_ms() < until_ms); i++) {
		struct dirent *e = readdir(t->open);

		if (e)
			tidy_file(t, index, e->d_name);
		else if (!tidy_next_day(t))
			return true;
	}
	return false;
}

bool store_tidy_step(struct store_tidy *t, struct store_index *index)
{
	bool done = !t->open && !tidy_next_day(t);
	int rc = 0;

	if (!done)
		done = look_on(t, index);
	if (t->found_count > 0)
		rc = found_write(t, index);
	found_clear(t);
	if (rc == 0 && done && t->all && t->error == 0)
		rc = store_index_set_complete(index);
	if (rc < 0)
		t->error = rc;
	if (done)
		tidy_done(t);
	return !done;
}

int store_tidy_indexed(const struct store_tidy *t)
{
	return t->indexed;
}

int store_tidy_error(const struct store_tidy *t)
{
	return t->error;
}
