/* The list files of the policy: watched, read again, handed to the workers. They open no path; here is a view of the files. */
#include "process/parent_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/policy_files.h"

enum {
	LOOK_MS = 1000,         /* stat sees what inotify does not: links, network file systems, directories that come later */
	QUIET_MS = 300,         /* who is still writing is left alone, */
	QUIET_MAX_MS = 10 * 1000,       /* but not for ever */
};

struct parent_list {
	char *path;
	struct list_stamp known;        /* what was last read, whether or not it was good */
	struct list_stamp seen;         /* what is there now, while it differs */
	int64_t since_ms, quiet_ms;     /* from when on it differs, and is as it is now; 0: it does not */
	bool gone;                      /* that has been said */
};

static void list_watch(const char *path, const struct list_stamp *stamp, void *arg)
{
	struct parent *p = arg;
	struct parent_list *l;

	for (size_t i = 0; i < p->list_count; i++)
		if (strcmp(p->list[i].path, path) == 0)
			return;
	l = reallocarray(p->list, p->list_count + 1, sizeof(*l));
	if (!l)
		return;
	p->list = l;
	l += p->list_count;
	*l = (struct parent_list){ .path = strdup(path), .known = *stamp };
	p->list_count += l->path != NULL;
}

void parent_lists_end(struct parent *p)
{
	for (size_t i = 0; i < p->list_count; i++)
		free(p->list[i].path);
	free(p->list);
	p->list = NULL;
	p->list_count = 0;
	p->lists_ms = 0;
}

void parent_lists_begin(struct parent *p)
{
	parent_lists_end(p);
	if (p->now.site->policy)
		policy_files_each(p->now.site->policy, list_watch, p);
	if (p->list_count)
		p->lists_ms = clock_ms() + LOOK_MS;
}

static void list_refused(const struct parent_list *l, const struct buf *errors)
{
	parent_log_lines(LOG_LEVEL_ERROR, "list", "error", errors);
	log_error("list", "what", "refused: the list of before goes on", "file", l->path, NULL);
}

/* To all workers, also those that drain: whoever has a list of this file. */
static void list_hand_over(struct parent *p, const struct parent_list *l, int fd)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER)
			child_tell(&p->child[i], CHANNEL_LIST, l->path, strlen(l->path), fd);
}

static void list_replace(struct parent *p, const struct parent_list *l, struct policy_list *fresh, int64_t begun_ms)
{
	AUTO(buf) struct buf err = BUF_INIT(500);
	int fd = policy_list_take_fd(fresh), rc;
	struct log_line line;

	/* ours first: whoever is forked from now on has it */
	rc = policy_files_replace(p->now.site->policy, l->path, fd);
	if (rc < 0) {
		buf_addf(&err, "%s: %s", l->path, strerror(-rc));
		list_refused(l, &err);
	} else {
		list_hand_over(p, l, fd);
		log_start(&line, LOG_LEVEL_NOTICE, "list");
		log_str(&line, "what", "read again");
		log_str(&line, "file", l->path);
		log_num(&line, "entries", (int64_t)policy_list_count(fresh));
		log_num(&line, "ms", clock_ms() - begun_ms);
		log_emit(&line);
	}
	close(fd);
}

/* late: it has changed for so long that it is taken as it is. */
static void list_read(struct parent *p, struct parent_list *l, bool late)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	int64_t begun_ms = clock_ms();
	struct list_stamp stamp, after;
	AUTO(policy_list) struct policy_list *fresh = policy_file_read(p->now.site->policy, l->path, &stamp, &errors);

	policy_list_stamp(l->path, &after);
	if (!policy_list_stamp_same(&stamp, &after) && stamp.there && !late) {
		l->seen = after;                /* written meanwhile: once more, when that is over */
		l->quiet_ms = clock_ms();
		return;
	}
	l->known = stamp.there ? stamp : l->seen;
	l->since_ms = l->quiet_ms = 0;
	if (fresh)
		list_replace(p, l, fresh, begun_ms);
	else
		list_refused(l, &errors);
}

static void list_look(struct parent *p, struct parent_list *l)
{
	int64_t now_ms = clock_ms();
	struct list_stamp now;
	bool late;

	policy_list_stamp(l->path, &now);
	if (now.there && l->gone) {
		log_notice("list", "what", "the file is there again", "file", l->path, NULL);
		l->gone = false;
	}
	if (policy_list_stamp_same(&now, &l->known) || (!now.there && l->gone)) {
		l->since_ms = l->quiet_ms = 0;
		return;
	}
	if (!l->since_ms)
		l->since_ms = now_ms;
	late = now_ms - l->since_ms >= QUIET_MAX_MS;
	if (!l->quiet_ms || (!policy_list_stamp_same(&now, &l->seen) && !late)) {
		l->seen = now;
		l->quiet_ms = now_ms;
	} else if (now_ms - l->quiet_ms < QUIET_MS && !late) {
		return;
	} else if (now.there) {
		list_read(p, l, late);
	} else {
		log_warning("list", "warning", "the file is gone: the list of before goes on", "file", l->path, NULL);
		l->gone = true;
		l->since_ms = l->quiet_ms = 0;
	}
}

void parent_lists_look(struct parent *p)
{
	bool restless = false;

	for (size_t i = 0; i < p->list_count; i++) {
		list_look(p, &p->list[i]);
		restless |= p->list[i].since_ms != 0;
	}
	p->lists_ms = clock_ms() + (restless ? QUIET_MS : LOOK_MS);
}
