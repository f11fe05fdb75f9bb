/*
 * gatepost quarantine reindex
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "policy/search_feed.h"
#include "policy/store_index.h"
#include "policy/store_tidy.h"

enum { PROGRESS_MS = 2000 };

static const char usage[] =
	"usage: gatepost quarantine reindex [-c FILE]\n"
	"\n"
	"Makes the index of the quarantine again from the message files, then the full-text index, also while the gateway runs. Until it\n"
	"has ended, lists and searches are not complete. What is recorded about deleted messages is kept, where the former index can still\n"
	"be read. The full-text index takes a while; when this command is stopped the running gateway completes it.\n"
	"\n"
	"  -c, --config FILE  configuration (" GATEPOST_CONFIG ")\n";

static void progress(const struct store_tidy *t, int64_t *at_ms)
{
	if (clock_ms() < *at_ms)
		return;
	*at_ms = clock_ms() + PROGRESS_MS;
	fprintf(stderr, "%d so far\n", store_tidy_indexed(t));
}

/* The keeper, where one runs, does the same beside us: each passes over what the other has done. */
static int walk(struct store_view *v, struct store_index *index)
{
	const struct timespec pause = { 0, 2000000 };
	struct store_tidy *t = store_tidy_new(store_view_dir(v), 0, false);
	int64_t at_ms = clock_ms() + PROGRESS_MS;
	int rc;

	if (!t)
		return -errno;
	while (store_tidy_step(t, index)) {
		progress(t, &at_ms);
		nanosleep(&pause, NULL);        /* the keeper's turn */
	}
	rc = store_tidy_error(t);
	store_tidy_free(t);
	if (rc == 0 && store_index_replaced(index))
		rc = -ESTALE;
	return rc;
}

static void words_progress(void *arg, int64_t left)
{
	fprintf(stderr, "full-text index: %lld left\n", (long long)left);
}

static int words(struct quarantine *q, struct store_index *index)
{
	char dir[1024];
	int rc = admin_path(q->site, "quarantine", dir, sizeof(dir));

	if (rc == 0)
		rc = search_rebuild(dir, store_view_dir(q->view), index, words_progress, NULL);
	if (rc < 0)
		return quarantine_fail("reindex", "the full-text index: %s", strerror(-rc));
	printf("they are in the full-text index, too\n");
	return QUARANTINE_DONE;
}

int quarantine_reindex(int argc, char **argv)
{
	AUTO(quarantine) struct quarantine q = { 0 };
	struct store_index *index = NULL;
	const char *conf;
	int status, at = command_options(argc, argv, usage, &conf, &status), rc;
	int64_t count = 0;

	if (at < 0)
		return status;
	if (at < argc) {
		fputs(usage, stderr);
		return QUARANTINE_FAILED;
	}
	if (quarantine_open(&q, "reindex", conf) < 0)
		return QUARANTINE_FAILED;
	rc = store_index_afresh(store_view_index_path(q.view), false, &index);
	if (rc == 0)
		rc = walk(q.view, index);
	if (rc == 0)
		count = store_index_count(index);
	if (rc < 0) {
		store_index_close(index);
		return quarantine_fail("reindex", "%s", rc == -ESTALE ? "another one has begun it anew meanwhile" : strerror(-rc));
	}
	printf("%lld %s in the index\n", (long long)count, count == 1 ? "message is" : "messages are");
	fflush(stdout);
	status = words(&q, index);
	store_index_close(index);
	return status;
}
