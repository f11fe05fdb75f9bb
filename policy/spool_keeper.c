#include "policy/spool_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/durable.h"
#include "base/file.h"
#include "base/log.h"
#include "policy/spool_file.h"
#include "policy/spool_record.h"
#include "policy/spool_split.h"
#include "policy/store_clock.h"

enum {
	ID_TRIES = 20,
	LOAD_AT_ONCE = 100,
	LEASE_TRIES = 16,
	UNSAVED_MAX = 1000,
	PIECES_MAX = SPOOL_RECIPIENTS_MAX / SPOOL_ENTRY_ROUTES + 1,
	CLAIMS_MAX = SPOOL_HELD_MAX,
};

#define MESSAGE_BYTES_MAX ((off_t)4 << 30)

/* Done, but for the fsync of the directory. */
struct pending {
	char id[STORE_ID_MAX];
	bool kept;                      /* else: it has been done with, its message is to be unlinked */
};

/* What could not be written for want of room: known here only, until there is some. */
struct unsaved {
	struct spool_envelope *e;
	struct unsaved *next;
};

struct claim {
	struct spool_held held;
	const void *holder;
	int64_t until_ms;
};

struct spool_keeper {
	int dir_fd, proc_fd;
	struct spool_settings set;
	struct spool_schedule *schedule;
	int64_t last_ms;                /* of the last id, so that ids never go back */
	char (*list)[STORE_ID_MAX];     /* of the start; NULL: all have been looked at */
	size_t list_count, list_at;
	struct claim *claim;            /* leases of before, until their entries are known */
	size_t claim_count;
	struct pending *pending;
	size_t pending_count, pending_room;
	bool dirty;                     /* the directory has changed since its last fsync */
	int sync_rc;                    /* of an fsync in between that failed: the kernel says so once, and it was about all since the last flush */
	struct unsaved *unsaved;
	size_t unsaved_count;
	struct store_clock clock;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int dir_open(struct spool_keeper *k, const char *dir)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)    /* as a rule the parent has made it */
		return -errno;
	k->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->dir_fd < 0)
		return -errno;
	while (flock(k->dir_fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	k->list = spool_file_list(k->dir_fd, true, &k->list_count);
	if (!k->list)
		return -errno;
	if (k->list_count)
		k->last_ms = store_id_ms(k->list[k->list_count - 1]);
	return 0;
}

int spool_keeper_open(const char *dir, int proc_fd, const struct spool_settings *set, uint64_t number, struct spool_keeper **out)
{
	struct spool_keeper *k = calloc(1, sizeof(*k));
	int rc = 0;

	if (!k) {
		close_fd(&proc_fd);
		return -ENOMEM;
	}
	k->set = *set;
	k->dir_fd = -1;
	k->proc_fd = proc_fd >= 0 ? proc_fd : durable_proc();
	k->schedule = spool_schedule_new(set, number);
	rc = k->schedule ? dir_open(k, dir) : -ENOMEM;
	if (rc < 0) {
		log_error("spool", "error", strerror(-rc), "path", dir, NULL);
		spool_keeper_close(k);
		return rc;
	}
	*out = k;
	return 0;
}

static void claims_free(struct spool_keeper *k)
{
	for (size_t i = 0; i < k->claim_count; i++)
		free(k->claim[i].held.route);
	free(k->claim);
	k->claim = NULL;
	k->claim_count = 0;
}

void spool_keeper_close(struct spool_keeper *k)
{
	if (!k)
		return;
	while (k->unsaved) {
		struct unsaved *u = k->unsaved;

		k->unsaved = u->next;
		spool_envelope_free(u->e);
		free(u);
	}
	claims_free(k);
	spool_schedule_free(k->schedule);
	free(k->list);
	free(k->pending);
	close_fd(&k->dir_fd);
	close_fd(&k->proc_fd);
	free(k);
}

void spool_keeper_set(struct spool_keeper *k, const struct spool_settings *set)
{
	k->set = *set;
	spool_schedule_set(k->schedule, set);
}

struct spool_schedule *spool_keeper_schedule(struct spool_keeper *k)
{
	return k->schedule;
}

bool spool_keeper_loading(const struct spool_keeper *k)
{
	return k->list != NULL;
}

int spool_keeper_temp(struct spool_keeper *k)
{
	return durable_temp(k->dir_fd);
}

/* What time it is, though somebody may have set the clock a year ahead: that makes nothing old. */
static int64_t wall_clock(struct spool_keeper *k, int64_t now_ms, int64_t wall_ms)
{
	(void)store_clock_trusted(&k->clock, k->dir_fd, wall_ms, now_ms);
	return store_clock_now_ms(&k->clock);
}

/* --- the start --- */

static void load_one(struct spool_keeper *k, const char *id, int64_t now_ms, int64_t wall_ms)
{
	struct spool_envelope *e = NULL;
	const char *why = "";
	int rc = spool_file_read(k->dir_fd, id, &e, &why);

	if (rc == 0)
		rc = spool_schedule_put(k->schedule, e, now_ms, wall_ms);
	if (rc == 0 && spool_envelope_waiting(e) == 0) {
		char name[DURABLE_NAME_MAX];

		/* An earlier end could not be written: now it can. */
		snprintf(name, sizeof(name), "%s.json", id);
		unlinkat(k->dir_fd, name, 0);
		snprintf(name, sizeof(name), "%s.eml", id);
		unlinkat(k->dir_fd, name, 0);
	}
	if (rc == -EINVAL)
		spool_file_aside(k->dir_fd, id, why);
	else if (rc < 0 && rc != -ENOENT)
		log_error("spool", "error", "an entry cannot be read: it is left alone until the next start", "id", id, "why", strerror(-rc), NULL);
	spool_envelope_free(e);
}

bool spool_keeper_load(struct spool_keeper *k, int64_t now_ms, int64_t wall_ms)
{
	struct spool_totals total;
	struct log_line l;

	if (!k->list)
		return false;
	wall_ms = wall_clock(k, now_ms, wall_ms);
	for (int i = 0; i < LOAD_AT_ONCE && k->list_at < k->list_count; i++)
		load_one(k, k->list[k->list_at++], now_ms, wall_ms);
	if (k->list_at < k->list_count)
		return true;
	free(k->list);
	k->list = NULL;
	for (size_t i = 0; i < k->claim_count; i++) {
		const struct claim *c = &k->claim[i];

		spool_schedule_claim(k->schedule, c->held.id, c->held.route, c->held.number, c->holder, c->until_ms);
	}
	claims_free(k);
	total = spool_schedule_totals(k->schedule);
	if (total.messages > 0) {
		log_start(&l, LOG_LEVEL_INFO, "spool");
		log_str(&l, "what", "messages wait to be delivered");
		log_num(&l, "messages", (int64_t)total.messages);
		log_num(&l, "routes", (int64_t)total.routes);
		log_emit(&l);
	}
	return false;
}

/* --- files --- */

static int pending_add(struct spool_keeper *k, const char *id, bool kept)
{
	if (k->pending_count == k->pending_room) {
		size_t room = k->pending_room ? 2 * k->pending_room : 64;
		struct pending *more = realloc(k->pending, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		k->pending = more;
		k->pending_room = room;
	}
	k->pending[k->pending_count].kept = kept;
	memcpy(k->pending[k->pending_count++].id, id, STORE_ID_LEN + 1);
	return 0;
}

static void unlink_file(struct spool_keeper *k, const char *id, const char *end)
{
	char name[DURABLE_NAME_MAX];

	snprintf(name, sizeof(name), "%s%s", id, end);
	unlinkat(k->dir_fd, name, 0);
}

int spool_keeper_flush(struct spool_keeper *k)
{
	int rc = k->pending_count || k->dirty ? durable_sync(k->dir_fd, ".") : 0;

	if (k->sync_rc < 0)
		rc = k->sync_rc;
	k->sync_rc = 0;
	k->dirty = rc < 0;
	for (size_t i = 0; i < k->pending_count; i++) {
		const struct pending *p = &k->pending[i];

		if (!p->kept && rc == 0) {
			unlink_file(k, p->id, ".eml");
		} else if (p->kept && rc < 0) {
			spool_schedule_forget(k->schedule, p->id);
			unlink_file(k, p->id, ".json");
			unlink_file(k, p->id, ".eml");
		}
	}
	k->pending_count = 0;
	return rc;
}

static void new_id(struct spool_keeper *k, char id[STORE_ID_MAX], int64_t wall_ms)
{
	unsigned chance = 0;

	(void)!getrandom(&chance, sizeof(chance), 0);
	if (wall_ms <= k->last_ms)
		wall_ms = k->last_ms + 1;
	k->last_ms = wall_ms;
	store_id_make(wall_ms, chance, id);
}

static int link_as(struct spool_keeper *k, int fd, uint64_t bytes, const char *id, const char *end)
{
	char name[DURABLE_NAME_MAX];

	snprintf(name, sizeof(name), "%s%s", id, end);
	return durable_link(k->dir_fd, k->proc_fd, fd, bytes, name);
}

/* The record in a file of its own, on stable storage. A descriptor or -errno. */
static int record_file(struct spool_keeper *k, const char *text)
{
	int fd = durable_temp(k->dir_fd);
	int rc = fd < 0 ? fd : file_write_all(fd, text, strlen(text));

	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc < 0)
		close_fd(&fd);
	return rc < 0 ? rc : fd;
}

/* The message's name first: an entry that has its record has all. */
static int place(struct spool_keeper *k, int fd, const struct spool_envelope *e)
{
	char *text = spool_record_text(e);
	int json_fd = text ? record_file(k, text) : -ENOMEM;
	int rc = json_fd < 0 ? json_fd : link_as(k, fd, e->bytes, e->id, ".eml");

	if (rc == 0) {
		rc = link_as(k, json_fd, strlen(text), e->id, ".json");
		if (rc < 0)
			unlink_file(k, e->id, ".eml");
	}
	if (json_fd >= 0)
		close(json_fd);
	free(text);
	return rc;
}

/* The descriptor comes from a worker: a regular file and nothing else, so that no read waits. */
static int keep_envelope(struct spool_keeper *k, int fd, struct spool_envelope *e, int64_t now_ms, int64_t wall_ms)
{
	struct stat st;
	int rc = -EEXIST;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > MESSAGE_BYTES_MAX)
		return -EFBIG;
	if (fsync(fd) < 0)
		return -errno;
	e->bytes = (uint64_t)st.st_size;
	if (e->created_s == 0)
		e->created_s = wall_ms / 1000;
	for (int i = 0; i < ID_TRIES && rc == -EEXIST; i++) {
		new_id(k, e->id, wall_ms);
		rc = place(k, fd, e);
	}
	if (rc < 0)
		return rc;
	rc = pending_add(k, e->id, true);
	if (rc == 0)
		rc = spool_schedule_put(k->schedule, e, now_ms, wall_ms);
	if (rc < 0) {
		spool_schedule_forget(k->schedule, e->id);
		unlink_file(k, e->id, ".json");
		unlink_file(k, e->id, ".eml");
	}
	return rc;
}

static bool is_full(const struct spool_keeper *k, int fd)
{
	struct spool_totals t = spool_schedule_totals(k->schedule);
	struct stat st = { .st_size = 0 };

	if (t.messages + (k->list ? k->list_count - k->list_at : 0) >= (uint64_t)k->set.max_messages)
		return true;
	(void)fstat(fd, &st);
	return t.bytes + (uint64_t)st.st_size > k->set.max_bytes;
}

/* As several entries, where it has too many routes for one: all of them, or none. first: the id of one. */
static int keep_pieces(struct spool_keeper *k, int fd, struct spool_envelope *e, int64_t now_ms, int64_t wall_ms, char first[STORE_ID_MAX])
{
	char id[PIECES_MAX][STORE_ID_MAX];
	struct spool_envelope *piece = e, *rest = NULL;
	struct stat st = { .st_size = 0 };
	size_t routes, n = 0;
	int rc = 0;

	(void)fstat(fd, &st);
	routes = spool_split_routes((uint64_t)st.st_size);
	while (piece && rc == 0) {
		rc = n == PIECES_MAX ? -E2BIG : is_full(k, fd) ? -ENOSPC : spool_split(piece, routes, &rest);
		if (rc == 0)
			rc = keep_envelope(k, fd, piece, now_ms, wall_ms);
		if (rc == 0)
			memcpy(id[n++], piece->id, STORE_ID_MAX);
		if (piece != e)
			spool_envelope_free(piece);
		piece = rest;
		rest = NULL;
	}
	if (piece != e)
		spool_envelope_free(piece);
	while (rc < 0 && n > 0) {
		n--;
		spool_schedule_forget(k->schedule, id[n]);
		unlink_file(k, id[n], ".json");
		unlink_file(k, id[n], ".eml");
	}
	if (rc == 0)
		memcpy(first, id[0], STORE_ID_MAX);
	return rc;
}

int spool_keeper_keep(struct spool_keeper *k, int fd, const char *record, size_t len, int64_t now_ms, int64_t wall_ms, char id[STORE_ID_MAX])
{
	AUTO(spool_envelope) struct spool_envelope *e = NULL;
	int rc = spool_record_parse(record, len, RECORD_NEW, &e, NULL);

	if (rc == 0 && spool_envelope_waiting(e) == 0)
		rc = -EINVAL;
	if (rc == 0)
		rc = keep_pieces(k, fd, e, now_ms, wall_clock(k, now_ms, wall_ms), id);
	return rc == -EDQUOT ? -ENOSPC : rc;
}

/* --- envelopes as they are now --- */

static struct unsaved **unsaved_find(struct spool_keeper *k, const char *id)
{
	struct unsaved **at = &k->unsaved;

	while (*at && strcmp((*at)->e->id, id) != 0)
		at = &(*at)->next;
	return at;
}

static struct spool_envelope *unsaved_take(struct spool_keeper *k, const char *id)
{
	struct unsaved **at = unsaved_find(k, id), *u = *at;
	struct spool_envelope *e;

	if (!u)
		return NULL;
	*at = u->next;
	e = u->e;
	free(u);
	k->unsaved_count--;
	return e;
}

/* e is taken over. */
static void unsaved_add(struct spool_keeper *k, struct spool_envelope *e)
{
	struct unsaved *u = k->unsaved_count < UNSAVED_MAX ? calloc(1, sizeof(*u)) : NULL;

	if (!u) {
		log_error("spool", "error", "what became of a message could not be written: it may be delivered again", "id", e->id, NULL);
		spool_envelope_free(e);
		return;
	}
	u->e = e;
	u->next = k->unsaved;
	k->unsaved = u;
	k->unsaved_count++;
}

/* What e says now, into its file; or nobody waits: out of the directory. */
static int save(struct spool_keeper *k, const struct spool_envelope *e)
{
	char name[DURABLE_NAME_MAX];
	int rc;

	if (spool_envelope_waiting(e) > 0) {
		k->dirty = true;
		return spool_file_write(k->dir_fd, e);
	}
	rc = pending_add(k, e->id, false);
	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "%s.json", e->id);
	if (unlinkat(k->dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	rc = -errno;
	k->pending_count--;
	return rc;
}

void spool_keeper_tick(struct spool_keeper *k, int64_t now_ms, int64_t wall_ms)
{
	struct spool_envelope *e = k->unsaved ? unsaved_take(k, k->unsaved->e->id) : NULL;

	(void)wall_clock(k, now_ms, wall_ms);
	while (e && save(k, e) == 0) {
		spool_envelope_free(e);
		e = k->unsaved ? unsaved_take(k, k->unsaved->e->id) : NULL;
	}
	if (e)
		unsaved_add(k, e);
}

static int entry_read(struct spool_keeper *k, const char *id, struct spool_envelope **out)
{
	struct unsaved *u = *unsaved_find(k, id);
	const char *why = "";
	int rc;

	if (u) {
		char *text = spool_record_text(u->e);

		rc = text ? spool_record_parse(text, strlen(text), RECORD_KEPT, out, NULL) : -ENOMEM;
		free(text);
		return rc;
	}
	rc = spool_file_read(k->dir_fd, id, out, &why);
	if (rc == -EINVAL) {
		spool_file_aside(k->dir_fd, id, why);
		rc = -ENOENT;
	}
	if (rc == -ENOENT)
		spool_schedule_forget(k->schedule, id);
	return rc;
}

/* --- leases --- */

int64_t spool_keeper_next_ms(const struct spool_keeper *k)
{
	return k->list ? INT64_MAX : spool_schedule_next_ms(k->schedule);
}

bool spool_keeper_lease(struct spool_keeper *k, const void *holder, int64_t now_ms, struct spool_grant *out, struct spool_envelope **e, int *fd)
{
	for (int i = 0; i < LEASE_TRIES && !k->list; i++) {
		int rc;

		if (!spool_schedule_lease(k->schedule, holder, now_ms, out))
			return false;
		*e = NULL;
		rc = entry_read(k, out->id, e);
		if (rc == -ENOENT)
			continue;
		*fd = rc < 0 ? rc : spool_file_open(k->dir_fd, out->id, ".eml");
		if (*fd >= 0)
			return true;
		spool_envelope_free(*e);
		*e = NULL;
		log_error("spool", "error", "an entry cannot be read now", "id", out->id, "why", strerror(-*fd), NULL);
		spool_schedule_end(k->schedule, out->id, out->number, SPOOL_END_LATER, now_ms);
		return false;
	}
	return false;
}

void spool_keeper_gone(struct spool_keeper *k, const void *holder, int64_t now_ms)
{
	for (size_t i = 0; i < k->claim_count; i++)
		if (k->claim[i].holder == holder)
			k->claim[i].held.number = 0;    /* claims nothing */
	spool_schedule_gone(k->schedule, holder, now_ms);
}

void spool_keeper_claim(struct spool_keeper *k, const struct spool_held *h, const void *holder, int64_t now_ms)
{
	struct claim c = { .held = *h, .holder = holder, .until_ms = now_ms + h->left_ms };
	struct claim *more;

	if (!k->list) {
		spool_schedule_claim(k->schedule, h->id, h->route, h->number, holder, c.until_ms);
		return;
	}
	c.held.route = strdup(h->route);
	more = k->claim_count < CLAIMS_MAX ? realloc(k->claim, (k->claim_count + 1) * sizeof(*more)) : NULL;
	if (more)
		k->claim = more;
	if (more && c.held.route)
		more[k->claim_count++] = c;
	else
		free(c.held.route);
}

void spool_keeper_untried(struct spool_keeper *k, const char *id, uint64_t number, int64_t now_ms)
{
	spool_schedule_end(k->schedule, id, number, SPOOL_END_UNTRIED, now_ms);
}

/* --- reports --- */

/* A copy in place of what was there; without memory that stays. */
static void replace(char **at, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (!copy)
		return;
	free(*at);
	*at = copy;
}

struct change {
	bool any, notable;              /* notable: somebody is to be told by the DSN */
};

static struct change apply(struct spool_envelope *e, const struct spool_told *t, int64_t wall_ms, bool without_dsn)
{
	struct change c = { false, false };

	for (size_t i = 0; i < t->count; i++) {
		const struct spool_outcome *o = &t->outcome[i];
		struct spool_recipient *r = o->rcpt < e->rcpt_count ? &e->rcpt[o->rcpt] : NULL;
		bool told = o->delay_told && !without_dsn;

		if (!r || r->state != SPOOL_WAITING)
			continue;       /* it was reported before, by this worker or another */
		if (o->kind == SPOOL_TAKEN)
			r->state = SPOOL_DELIVERED;
		else if (o->kind == SPOOL_FOR_GOOD && !without_dsn)
			r->state = SPOOL_FAILED;
		c.notable |= r->state != SPOOL_WAITING || (told && !r->delay_told);
		r->delay_told |= told;
		if (o->kind != SPOOL_UNTRIED && t->duty == SPOOL_DELIVER) {
			r->attempts++;
			r->tried_s = wall_ms / 1000;
		}
		if (o->kind != SPOOL_UNTRIED) {
			replace(&r->reply, o->reply);
			replace(&r->remote, o->remote);
		}
		replace(&r->route, o->route);
		c.any |= o->kind != SPOOL_UNTRIED || told || o->route;
	}
	return c;
}

static enum spool_end end_of(const struct spool_told *t, bool without_dsn)
{
	bool later = false, said = false;

	for (size_t i = 0; i < t->count; i++) {
		later |= t->outcome[i].kind == SPOOL_LATER || (without_dsn && t->outcome[i].kind == SPOOL_FOR_GOOD);
		said |= t->outcome[i].kind != SPOOL_UNTRIED;
	}
	return t->route_down ? (t->met ? SPOOL_END_CLOSED : SPOOL_END_DOWN) : later ? SPOOL_END_LATER : said ? SPOOL_END_ALIVE : SPOOL_END_UNTRIED;
}

/* The DSN is on stable storage before anything else is said. */
static int keep_dsn(struct spool_keeper *k, struct spool_envelope *dsn, int fd, int64_t now_ms, int64_t wall_ms)
{
	int rc = keep_envelope(k, fd, dsn, now_ms, wall_ms);

	if (rc == 0) {
		k->pending_count--;     /* not with the others */
		rc = durable_sync(k->dir_fd, ".");
		if (rc < 0) {
			k->sync_rc = rc;
			spool_schedule_forget(k->schedule, dsn->id);
			unlink_file(k, dsn->id, ".json");
			unlink_file(k, dsn->id, ".eml");
		}
	}
	return rc == -EDQUOT ? -ENOSPC : rc;
}

int spool_keeper_report(struct spool_keeper *k, const struct spool_told *t, int dsn_fd, int64_t now_ms, int64_t wall_ms)
{
	struct spool_envelope *e = NULL;
	bool without_dsn = false;
	struct change change;
	int rc = entry_read(k, t->id, &e), dsn_rc = 0;

	if (rc == -ENOENT)
		return 0;               /* it has been deleted, or all this was reported before */
	if (rc < 0) {
		spool_schedule_end(k->schedule, t->id, t->number, SPOOL_END_LATER, now_ms);
		return rc;
	}
	wall_ms = wall_clock(k, now_ms, wall_ms);
	change = apply(e, t, wall_ms, false);
	if (change.notable && t->dsn && dsn_fd >= 0)
		dsn_rc = keep_dsn(k, t->dsn, dsn_fd, now_ms, wall_ms);
	if (dsn_rc < 0) {
		/* Nobody is dropped of whom nobody was told. */
		spool_envelope_free(e);
		e = NULL;
		rc = entry_read(k, t->id, &e);
		if (rc < 0) {
			spool_schedule_end(k->schedule, t->id, t->number, SPOOL_END_LATER, now_ms);
			return rc == -ENOENT ? 0 : rc;
		}
		without_dsn = true;
		change = apply(e, t, wall_ms, true);
	}
	if (change.any)
		rc = save(k, e);
	/* Twice, as a part that is not known any more is the worst that can come of it. */
	if (spool_schedule_put(k->schedule, e, now_ms, wall_ms) < 0)
		(void)spool_schedule_put(k->schedule, e, now_ms, wall_ms);
	spool_schedule_end(k->schedule, t->id, t->number, end_of(t, without_dsn), now_ms);
	if (change.any)                 /* else what waits to be written waits on */
		spool_envelope_free(unsaved_take(k, t->id));
	if (rc < 0) {
		unsaved_add(k, e);
		e = NULL;
	}
	spool_envelope_free(e);
	return rc < 0 ? rc : dsn_rc;
}

/* --- commands --- */

int spool_keeper_delete(struct spool_keeper *k, const char *id)
{
	char name[DURABLE_NAME_MAX];
	int rc;

	if (store_id_ms(id) < 0)
		return -ENOENT;
	if (spool_schedule_leased(k->schedule, id))
		return -EBUSY;
	rc = pending_add(k, id, false);
	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "%s.json", id);
	if (unlinkat(k->dir_fd, name, 0) < 0) {
		rc = -errno;
		k->pending_count--;
		return rc;
	}
	spool_envelope_free(unsaved_take(k, id));
	spool_schedule_forget(k->schedule, id);
	return 0;
}

int spool_keeper_give_up(struct spool_keeper *k, const char *id, int64_t now_ms)
{
	if (!spool_schedule_knows(k->schedule, id))
		return -ENOENT;
	if (spool_schedule_leased(k->schedule, id))
		return -EBUSY;
	return spool_schedule_give_up(k->schedule, id, now_ms) ? 0 : -ENOENT;
}
