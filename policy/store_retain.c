#include "policy/store_retain.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/search_index.h"
#include "policy/store_index.h"
#include "policy/store_remove.h"

enum {
	A_STEP = 16,
	SAY_MS = 60 * 1000,
	HOUR_S = 3600,
	FORGET_S = 366 * 86400,
	FORGET_ROWS = 1000,
};

static void say(struct store_retain *t, int64_t *count, enum log_level level, const char *what)
{
	struct log_line l;

	if (*count == 0)
		return;
	log_start(&l, level, "store");
	log_str(&l, "what", what);
	log_num(&l, "messages", *count);
	log_emit(&l);
	*count = 0;
	t->said_ms = clock_ms();
}

void store_retain_say(struct store_retain *t)
{
	say(t, &t->expired, LOG_LEVEL_INFO, "deleted: their time was over");
	say(t, &t->too_much, LOG_LEVEL_WARNING, "deleted before their time: too much is kept");
}

/* Mail that is to be kept waits for us: while somebody else is at the words (a reindex empties them in one go) nothing is deleted. */
static bool words_are_free(struct search_index *words)
{
	int rc;

	search_index_impatient(words);
	rc = search_index_begin(words);
	search_index_rollback(words);
	return rc != -EBUSY;
}

static int delete_due(struct store_retain *t, int dir_fd, struct store_index *x, const char *search_path, const struct store_retention *r,
		      int64_t now_s)
{
	struct store_removal list[A_STEP] = { 0 };
	char id[A_STEP][STORE_ID_MAX];
	struct search_index *words = NULL;
	const char *why;
	int count = store_retention_due(x, r, now_s, id, A_STEP, &why), rc, gone = 0;

	if (count <= 0)
		return count;
	for (int i = 0; i < count; i++)
		memcpy(list[i].id, id[i], STORE_ID_MAX);
	if (search_index_join(search_path, &words) == 0 && !words_are_free(words)) {
		search_index_close(words);
		return 0;
	}
	rc = store_remove(dir_fd, x, words, list, (size_t)count, "gatepost", why, now_s, false);
	search_index_close(words);
	for (int i = 0; rc == 0 && i < count; i++)
		gone += list[i].rc == 0;
	if (strcmp(why, "expired") == 0)
		t->expired += gone;
	else
		t->too_much += gone;
	/* None: somebody is at all of them. Next time. */
	return rc < 0 ? rc : gone > 0;
}

static void hourly(struct store_retain *t, int dir_fd, struct store_index *x, int64_t now_s)
{
	if (now_s - t->hourly_s < HOUR_S && now_s >= t->hourly_s)
		return;
	t->hourly_s = now_s;
	store_remove_empty_days(dir_fd, now_s);
	(void)store_index_forget(x, now_s - FORGET_S, FORGET_ROWS);
}

int store_retain_step(struct store_retain *t, int dir_fd, struct store_index *x, const char *search_path, const struct store_retention *r,
		      int64_t now_s)
{
	int rc = store_remove_pending(dir_fd, x);

	if (rc == 0)
		rc = delete_due(t, dir_fd, x, search_path, r, now_s);
	if (rc == 0)
		hourly(t, dir_fd, x, now_s);
	if (t->said_ms == 0 || clock_ms() - t->said_ms >= SAY_MS)
		store_retain_say(t);
	return rc > 0 ? 1 : rc;
}
