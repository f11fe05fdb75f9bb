/*
 * gatepost quarantine delete, purge
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "command/when.h"
#include "filters/fact.h"
#include "policy/conf.h"
#include "policy/search_feed.h"
#include "policy/search_index.h"
#include "policy/store_index.h"
#include "policy/store_remove.h"

static const char delete_usage[] =
	"usage: gatepost quarantine delete [-c FILE] [--json] ID ...\n"
	"\n"
	"The messages are gone for good; that they were, when and by whom is kept (`list --deleted`).\n"
	"\n"
	"      --json         how many: for programs\n"
	"  -c, --config FILE  configuration (" GATEPOST_CONFIG ")\n";

static const char purge_usage[] =
	"usage: gatepost quarantine purge [-c FILE] FILTERS [--older-than TIME] [--dry-run] [--json]\n"
	"\n"
	"Deletes all messages that are meant; at least one condition must be given.\n"
	"\n" QUARANTINE_FILTER_USAGE
	"      --older-than TIME   kept for longer than 7d, 12h\n"
	"      --dry-run           only say how many they are\n"
	"      --json              the same for programs\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

/* Messages on their way out, a batch at a time: others, the keeper above all, write in between. */
struct batch {
	struct quarantine *q;
	const char *why;
	struct search_index *words;     /* opened with the first batch; or NULL */
	bool words_tried;
	struct store_removal item[STORE_REMOVE_MAX];
	size_t count;
	int64_t deleted;
	int status;
};

static void batch_results(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		const struct store_removal *r = &b->item[i];

		if (r->rc == 0) {
			b->deleted++;
		} else if (r->rc == -ENOENT) {
			/* of a purge: somebody else was quicker */
			b->status = quarantine_worse(b->status, QUARANTINE_MISSING);
		} else {
			quarantine_fail(b->q->name, "%s: %s", r->id, r->rc == -EWOULDBLOCK ? "it is being released or deleted at this moment"
											    : strerror(-r->rc));
			b->status = QUARANTINE_FAILED;
		}
	}
}

static struct search_index *words(struct batch *b)
{
	char path[1024];

	if (!b->words_tried && admin_path(b->q->site, "quarantine/" SEARCH_DB, path, sizeof(path)) == 0)
		(void)search_index_join(path, &b->words);
	b->words_tried = true;
	return b->words;
}

/* 0; or -1 when no more is to be tried. */
static int batch_flush(struct batch *b)
{
	int64_t begun_ms = clock_ms();
	struct timespec pause;
	int rc = -ESTALE;

	if (b->count == 0)
		return 0;
	for (int i = 0; i < 3 && rc == -ESTALE; i++) {
		if (!store_view_index(b->q->view, NULL))
			break;
		rc = store_remove(store_view_dir(b->q->view), store_view_index(b->q->view, NULL), words(b), b->item, b->count, admin_who(), b->why,
				  clock_wall_s(), true);
		if (rc == -ESTALE)
			(void)store_view_again(b->q->view);
	}
	if (rc == 0)
		batch_results(b);
	else
		b->status = quarantine_fail(b->q->name, "%s", rc == -ESTALE ? "the index is being made again: come back when it is there"
									     : strerror(-rc));
	b->count = 0;
	/* As long a pause as the work took. */
	pause = (struct timespec){ 0, (1 + (clock_ms() - begun_ms) % 500) * 1000000 };
	nanosleep(&pause, NULL);
	return rc < 0 ? -1 : 0;
}

static int batch_add(struct batch *b, const char *id)
{
	memcpy(b->item[b->count++].id, id, strlen(id) + 1);
	return b->count == STORE_REMOVE_MAX ? batch_flush(b) : 0;
}

static int delete_one(void *arg, const char *id)
{
	return batch_add(arg, id) < 0 ? QUARANTINE_FAILED : QUARANTINE_DONE;
}

static void tell_deleted(const struct batch *b, bool json)
{
	printf(json ? "{\"deleted\":%lld}\n" : "%lld deleted\n", (long long)b->deleted);
}

static int delete_run(struct quarantine *q, char *const *ids, int count, bool json)
{
	struct batch *b = calloc(1, sizeof(*b));
	int status;

	if (!b)
		return QUARANTINE_FAILED;
	*b = (struct batch){ .q = q, .why = "deleted" };
	status = quarantine_each(q, ids, count, delete_one, b);
	(void)batch_flush(b);
	search_index_close(b->words);
	tell_deleted(b, json);
	status = quarantine_worse(status, b->status);
	free(b);
	return status;
}

int quarantine_remove(struct quarantine *q, const char *id, const char *why)
{
	struct batch *b = calloc(1, sizeof(*b));
	int status;

	if (!b)
		return quarantine_fail(q->name, "out of memory");
	*b = (struct batch){ .q = q, .why = why };
	(void)batch_add(b, id);
	(void)batch_flush(b);
	search_index_close(b->words);
	status = b->status;
	free(b);
	return status;
}

int quarantine_delete(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	const char *conf = GATEPOST_CONFIG;
	struct quarantine q = { 0 };
	bool json = false;
	int status = QUARANTINE_FAILED, c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1)
		switch (c) {
		case 'c': conf = optarg; break;
		case 'j': json = true; break;
		default:
			fputs(delete_usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? QUARANTINE_DONE : QUARANTINE_FAILED;
		}
	if (optind == argc) {
		fputs(delete_usage, stderr);
		return QUARANTINE_FAILED;
	}
	if (quarantine_open(&q, "delete", conf) == 0 && quarantine_has_index(&q))
		status = delete_run(&q, argv + optind, argc - optind, json);
	quarantine_close(&q);
	return status;
}

struct purge {
	const char *conf;
	struct store_filter filter;
	bool dry_run, json;
	uint64_t bytes;
	struct batch batch;
	char (*id)[STORE_ID_MAX];       /* of one page */
};

static int on_entry(void *arg, const struct store_entry *e)
{
	struct purge *p = arg;

	p->bytes += e->bytes;
	if (p->dry_run)
		return 0;
	return batch_add(&p->batch, e->id) < 0 ? 1 : 0;
}

static int purge_run(struct purge *p)
{
	struct quarantine q = { 0 };
	/* The oldest first: what is cut short has done the most useful part. */
	const struct store_list l = { .filter = &p->filter, .oldest_first = true };
	char size[32];
	int64_t rc;
	int status = QUARANTINE_FAILED;

	if (quarantine_open(&q, "purge", p->conf) == 0 && quarantine_has_index(&q)) {
		quarantine_warn_incomplete(&q);
		p->batch.q = &q;
		p->batch.why = "purged";
		rc = store_view_list(q.view, &l, on_entry, p);
		if (rc < 0)
			quarantine_fail("purge", "%s", strerror((int)-rc));
		(void)batch_flush(&p->batch);
		search_index_close(p->batch.words);
		if (p->dry_run && p->json && rc >= 0)
			printf("{\"would_delete\":%lld,\"bytes\":%llu}\n", (long long)rc, (unsigned long long)p->bytes);
		else if (p->dry_run && rc >= 0)
			printf("%lld %s, %s, would be deleted\n", (long long)rc, rc == 1 ? "message" : "messages", quarantine_size(p->bytes, size));
		else if (!p->dry_run)
			tell_deleted(&p->batch, p->json);
		/* One that somebody else has deleted meanwhile is gone, as was wanted. */
		status = rc < 0 || p->batch.status == QUARANTINE_FAILED ? QUARANTINE_FAILED : QUARANTINE_DONE;
	}
	quarantine_close(&q);
	return status;
}

static int older_than(struct purge *p, const char *text)
{
	int64_t length_s, until_s;

	if (when_duration(text, &length_s) < 0) {
		quarantine_fail("purge", "--older-than: that is no length of time, expected one such as 7d or 12h");
		return -1;
	}
	until_s = clock_wall_s() - length_s;
	if (!p->filter.until_s || until_s < p->filter.until_s)
		p->filter.until_s = until_s;
	return 0;
}

static int purge_options(struct purge *p, int argc, char **argv, int *status)
{
	static const struct option options[] = {
		QUARANTINE_FILTER_OPTIONS, { "config", required_argument, NULL, 'c' }, { "older-than", required_argument, NULL, 'o' },
		{ "dry-run", no_argument, NULL, 'n' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*status = QUARANTINE_FAILED;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': p->conf = optarg; break;
		case 'n': p->dry_run = true; break;
		case 'j': p->json = true; break;
		case 'o':
			if (older_than(p, optarg) < 0)
				return -1;
			break;
		case 'h':
			fputs(purge_usage, stdout);
			*status = QUARANTINE_DONE;
			return -1;
		case '?': fputs(purge_usage, stderr); return -1;
		default:
			if (quarantine_filter_option("purge", &p->filter, c, optarg) < 0)
				return -1;
		}
	}
	if (optind < argc || !store_filter_any(&p->filter)) {
		quarantine_fail("purge", "%s\n%s", optind < argc ? "no further argument was expected; `delete` takes ids"
								 : "at least one condition was expected", purge_usage);
		return -1;
	}
	return 0;
}

int quarantine_purge(int argc, char **argv)
{
	struct purge *p = calloc(1, sizeof(*p));
	int status;

	if (!p)
		return QUARANTINE_FAILED;
	p->conf = GATEPOST_CONFIG;
	fact_register_all();
	store_filter_init(&p->filter);
	if (purge_options(p, argc, argv, &status) == 0)
		status = purge_run(p);
	store_filter_release(&p->filter);
	free(p);
	return status;
}
