#include "directory/directory_service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "base/tls.h"
#include "directory/directory_believe.h"
#include "directory/directory_impl.h"

enum {
	BURST_S = 2,                    /* of live questions, as many as in so many seconds */
	ALONE_MS = 2 * 1000,            /* a directory that does not answer is not asked again for so long, doubled each time */
	ALONE_MAX_MS = 60 * 1000,
};

#define NOT_DUE INT64_MAX       /* it is being refreshed */

/* ---- making ---- */

static int directory_make(struct directory *d, const struct directory_conf *c, char *password, struct buf *err)
{
	bool tls = c->tls != DIRECTORY_TLS_OFF;

	d->conf = c;
	d->password = password;
	directory_copy_hash(c, d->hash);
	directory_copy_who(c, d->who);
	for (size_t i = 0; i < c->server_count; i++)
		tls = tls || c->server[i].implicit;
	d->wanted = calloc(c->attribute_count + 2, sizeof(*d->wanted));
	if (!d->wanted)
		return -ENOMEM;
	for (size_t i = 0; i < c->attribute_count; i++)
		d->wanted[i] = c->attribute[i];
	if (c->schema == DIRECTORY_ACTIVE)
		d->wanted[c->attribute_count] = (char *)"msExchRequireAuthToSendTo";
	return tls ? tls_client_ctx(true, c->tls_ca_pem, &d->ctx, err) : 0;
}

int directory_service_new(const struct directory_conf *conf, size_t count, char **password, int negative_s, struct directory_service **out, struct buf *err)
{
	struct directory_service *s = calloc(1, sizeof(*s) + count * sizeof(s->d[0]));
	int rc = 0;

	if (!s)
		return -ENOMEM;
	s->count = count;
	s->negative_s = negative_s;
	for (int i = 0; i < DIRECTORY_COPIES; i++)
		s->copy_fd[i] = -1;
	siphash_key_make(&s->key);
	s->negative = calloc(NEGATIVES, sizeof(*s->negative));
	if (!s->negative)
		rc = -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int each = directory_make(&s->d[i], &conf[i], password[i], err);

		password[i] = NULL;
		rc = rc < 0 ? rc : each;
	}
	if (rc < 0)
		directory_service_free(s);
	else
		*out = s;
	return rc;
}

void directory_service_free(struct directory_service *s)
{
	for (size_t i = 0; s && i < s->count; i++) {
		struct directory *d = &s->d[i];

		directory_fetch_tidy(d, true);
		directory_table_release(&d->table);
		directory_table_release(&d->late);
		tls_ctx_free(d->ctx);
		if (d->password)
			explicit_bzero(d->password, strlen(d->password));
		free(d->password);
		free(d->wanted);
	}
	if (s)
		free(s->negative);
	free(s);
}

/* ---- the copy ---- */

static void copy_take(struct directory_service *s)
{
	struct directory_copy c;

	if (s->copy_fd[0] < 0 || directory_copy_read(s->copy_fd, &c) < 0)
		return;
	for (size_t k = 0; k < c.count; k++)
		for (size_t i = 0; i < s->count; i++) {
			struct directory *d = &s->d[i];

			if (strcmp(d->conf->name, c.part[k].name) != 0 || memcmp(d->hash, c.part[k].conf, sizeof(d->hash)) != 0 || d->table.count > 0 ||
			    directory_table_read(&d->table, c.part[k].text, c.part[k].len) < 0 || d->table.count == 0)
				continue;
			d->refreshed_ms = c.part[k].refreshed_ms;
			d->shown = memcmp(d->who, c.part[k].who, sizeof(d->who)) == 0;
		}
	free(c.bytes);
}

static void copy_write(struct directory_service *s)
{
	struct directory_copy c = { .born_ms = s->born_ms };
	int rc;

	if (s->copy_fd[0] < 0)
		return;
	for (size_t i = 0; i < s->count; i++) {
		struct directory_part *p = &c.part[c.count];

		if (s->d[i].table.count == 0)
			continue;
		snprintf(p->name, sizeof(p->name), "%s", s->d[i].conf->name);
		memcpy(p->conf, s->d[i].hash, sizeof(p->conf));
		/* Of a copy that others had made: nobody's, until these servers have been seen. */
		if (s->d[i].shown)
			memcpy(p->who, s->d[i].who, sizeof(p->who));
		p->refreshed_ms = s->d[i].refreshed_ms;
		p->text = s->d[i].table.text;
		p->len = s->d[i].table.used;
		c.count++;
	}
	rc = directory_copy_write(s->copy_fd, &c);
	if (rc < 0 && rc != -ESTALE && rc != -EWOULDBLOCK)
		log_error("directory", "error", "what is known cannot be kept on disk: a start while the directory is away would know nobody", "why", strerror(-rc), NULL);
}

void directory_service_start(struct directory_service *s, struct dns *dns, int64_t born_ms, const int copy_fd[DIRECTORY_COPIES])
{
	s->dns = dns;
	s->born_ms = born_ms;
	memcpy(s->copy_fd, copy_fd, sizeof(s->copy_fd));
	copy_take(s);
}

/* ---- refreshing ---- */

static void line_say(enum log_level level, const struct directory *d, const char *what, const char *why)
{
	struct log_line l;

	log_start(&l, level, "directory");
	log_str(&l, "name", d->conf->name);
	log_str(&l, "what", what);
	if (why)
		log_str(&l, "why", why);
	log_num(&l, "addresses", (int64_t)d->table.count);
	if (d->refreshed_ms)
		log_num(&l, "age_s", (clock_wall_ms() - d->refreshed_ms) / 1000);
	log_emit(&l);
}

/* A directory that fails is left alone for a while; loud when it goes and when it is back. */
static void went(struct directory *d, const char *why)
{
	snprintf(d->why, sizeof(d->why), "%s", why);
	d->failures += d->failures < 1000;
	if (!d->away)
		line_say(LOG_LEVEL_ERROR, d, "away", why);
	d->away = true;
}

static void came(struct directory *d)
{
	if (d->away)
		line_say(LOG_LEVEL_NOTICE, d, "it answers again", NULL);
	d->away = false;
	d->failures = 0;
	d->alone_until_ms = 0;
}

static void table_swap(struct directory_service *s, struct directory *d, struct directory_table *fresh, int64_t asked_ms)
{
	/* Whom a question has found while this was under way may be newer than it. Without memory he is asked for again. */
	(void)directory_table_merge(fresh, &d->late);
	directory_table_release(&d->table);
	d->table = *fresh;
	*fresh = (struct directory_table){ .text = NULL };
	d->shown = true;
	d->refreshed_ms = asked_ms;
	d->suspect = false;
	copy_write(s);
	line_say(LOG_LEVEL_NOTICE, d, d->doubted ? "refreshed: fewer addresses, seen twice" : "refreshed", NULL);
	d->doubted = 0;
}

/* Unless another one has been asked for meanwhile. */
static void due_set(struct directory *d, int64_t in_ms)
{
	if (d->due_ms == NOT_DUE)
		d->due_ms = clock_ms() + in_ms;
}

static void refresh(struct directory_service *s, struct directory *d)
{
	struct directory_table fresh = { .text = NULL };
	char why[DIRECTORY_WHY_MAX] = "", text[200];
	int64_t asked_ms = clock_wall_ms();
	int rc = directory_fetch_all(s, d, &fresh, why);
	bool believed = rc == 0 && directory_believe(d->table.count, d->doubted, fresh.count);

	d->tried_ms = asked_ms;
	if (rc == -ECANCELED || task_cancelled()) {
		directory_table_release(&fresh);
		directory_table_release(&d->late);
		return;
	}
	if (rc < 0) {
		went(d, why);
		due_set(d, directory_retry_ms(d->failures, d->conf->refresh_s));
	} else {
		uint32_t chance = (uint32_t)(siphash(&s->key, &asked_ms, sizeof(asked_ms)) >> 7);

		came(d);
		due_set(d, directory_next_ms(believed, d->conf->refresh_s, chance));
	}
	/* Whoever is there would be refused. */
	if (rc == 0 && d->elsewhere[0])
		line_say(LOG_LEVEL_ERROR, d, "a part of it is on another server, which is not asked: server = a global catalog, or domains = those of this one", d->elsewhere);
	if (believed) {
		table_swap(s, d, &fresh, asked_ms);
	} else if (rc == 0) {
		snprintf(text, sizeof(text), "it gives %zu addresses, of %zu before: %s", fresh.count, d->table.count,
			 fresh.count ? "not believed until seen twice" : "never believed; look at base, filter, attributes and the rights of bind_dn");
		line_say(LOG_LEVEL_ERROR, d, "DOUBTED", text);
		snprintf(d->why, sizeof(d->why), "%s", text);
		d->doubted = fresh.count;
		d->suspect = true;
	}
	directory_table_release(&fresh);
	directory_table_release(&d->late);
}

struct refreshing {
	struct directory_service *service;
	struct directory *directory;
};

static void refresh_task(void *arg)
{
	struct refreshing *r = arg;

	refresh(r->service, r->directory);
	r->directory->refreshing = false;
	free(r);
}

void directory_service_tick(struct directory_service *s)
{
	int64_t now_ms = clock_ms();

	for (size_t i = 0; i < s->count; i++) {
		struct directory *d = &s->d[i];
		struct refreshing *r;

		directory_fetch_tidy(d, false);
		if (d->refreshing || now_ms < d->due_ms)
			continue;
		r = calloc(1, sizeof(*r));
		if (!r)
			continue;
		*r = (struct refreshing){ s, d };
		d->refreshing = true;
		d->due_ms = NOT_DUE;
		if (task_spawn("directory", refresh_task, r, NULL) < 0) {
			d->refreshing = false;
			d->due_ms = now_ms;
			free(r);
		}
	}
}

void directory_service_refresh(struct directory_service *s)
{
	memset(s->negative, 0, NEGATIVES * sizeof(*s->negative));
	for (size_t i = 0; i < s->count; i++) {
		s->d[i].due_ms = 0;
		s->d[i].alone_until_ms = 0;
	}
	directory_service_tick(s);
}

/* ---- answering ---- */

static uint64_t negative_hash(const struct directory_service *s, const char *address)
{
	return siphash(&s->key, address, strlen(address)) | 1;
}

static bool negative_is(const struct directory_service *s, const char *address)
{
	uint64_t hash = negative_hash(s, address);
	const struct negative *n = &s->negative[hash / 2 % NEGATIVES];

	return n->hash == hash && clock_ms() < n->until_ms;
}

static void negative_note(struct directory_service *s, const char *address)
{
	uint64_t hash = negative_hash(s, address);

	if (s->negative_s > 0)
		s->negative[hash / 2 % NEGATIVES] = (struct negative){ hash, clock_ms() + (int64_t)s->negative_s * 1000 };
}

/* An age that a clock that was set has made negative is none. */
static bool not_older(const struct directory *d, int64_t than_ms)
{
	return d->refreshed_ms > 0 && d->table.count > 0 && clock_wall_ms() - d->refreshed_ms <= than_ms;
}

static bool usable(const struct directory *d)
{
	return not_older(d, (int64_t)d->conf->keep_s * 1000);
}

static bool fresh(const struct directory *d)
{
	return d->shown && not_older(d, directory_fresh_ms(d->conf->refresh_s)) && usable(d);
}

static void verdict(struct directory_verdict *v, enum directory_answer answer, const struct directory *d, const char *by)
{
	*v = (struct directory_verdict){ .answer = answer, .by = by };
	if (d)
		snprintf(v->directory, sizeof(v->directory), "%s", d->conf->name);
}

/* He wants mail of authenticated senders only. */
static bool is_refused(const struct directory *d, unsigned flags)
{
	return flags & DIRECTORY_RESTRICTED && d->conf->restricted == DIRECTORY_RESTRICTED_REFUSE;
}

static void known(struct directory_verdict *v, const struct directory *d, unsigned flags, const char *by)
{
	verdict(v, is_refused(d, flags) ? DIRECTORY_KNOWN_RESTRICTED : DIRECTORY_KNOWN, d, by);
}

static bool table_has(const struct directory *d, const struct directory_forms *f, unsigned *flags)
{
	for (size_t k = 0; k < f->count; k++)
		if (directory_table_find(&d->table, f->text[k], flags))
			return true;
	return false;
}

/* Whether a question may be put to it now. */
static bool has_turn(struct directory *d)
{
	int64_t now_ms = clock_ms(), most = (int64_t)d->conf->live * 1000 * BURST_S;

	if (now_ms < d->alone_until_ms || d->asking >= DIRECTORY_LINES || d->conf->live == 0)
		return false;
	d->turns = d->turns_ms ? d->turns + (now_ms - d->turns_ms) * d->conf->live : most;
	d->turns_ms = now_ms;
	if (d->turns > most)
		d->turns = most;
	return d->turns >= 1000;
}

bool directory_service_quick(struct directory_service *s, const char *address, struct directory_verdict *out)
{
	bool covered = false, question = false, unsure = false;
	struct directory_forms forms;
	struct directory *whose = NULL;
	unsigned flags;

	for (size_t i = 0; i < s->count; i++) {
		struct directory *d = &s->d[i];

		if (!directory_covers(d->conf, address))
			continue;
		covered = true;
		if (directory_catches(d->conf, address)) {
			known(out, d, 0, "catch-all");
			return true;
		}
		directory_forms(d->conf, address, &forms);
		/* What is old is believed where it says yes alone. */
		if (usable(d) && table_has(d, &forms, &flags) && (fresh(d) || !is_refused(d, flags))) {
			known(out, d, flags, "table");
			return true;
		}
		if (has_turn(d)) {
			question = true;
		} else {
			d->spared++;
			unsure |= !fresh(d);
			whose = d;
		}
	}
	if (!covered)
		verdict(out, DIRECTORY_ELSEWHERE, NULL, "no directory is for that domain");
	else if (negative_is(s, address))
		verdict(out, DIRECTORY_UNKNOWN, NULL, "asked before");
	else if (question)
		return false;
	else if (unsure)
		verdict(out, DIRECTORY_LATER, whose, "the directory is away, or has had its questions, and what is known of it is not fresh");
	else
		verdict(out, DIRECTORY_UNKNOWN, whose, "table");
	return true;
}

/* 1: known, out is set; 0: not; -1: nobody can say. may wait */
static int live(struct directory_service *s, struct directory *d, const char *address, struct directory_verdict *out)
{
	struct directory_forms *forms;
	char why[DIRECTORY_WHY_MAX] = "";
	unsigned flags = 0;
	int rc;

	if (!has_turn(d)) {
		d->spared++;
		return -1;
	}
	forms = malloc(sizeof(*forms));         /* too much for a task's stack */
	if (!forms)
		return -1;
	directory_forms(d->conf, address, forms);
	d->turns -= 1000;
	d->asking++;
	d->asked++;
	rc = directory_fetch_one(s, d, forms, &flags, why);
	d->asking--;
	free(forms);
	if (rc >= 0)
		came(d);
	if (rc == 1) {
		d->found++;
		known(out, d, flags, "asked");
	} else if (rc < 0 && rc != -ECANCELED) {
		int64_t alone_ms = (int64_t)ALONE_MS << (d->failures < 6 ? d->failures : 6);

		went(d, why);
		d->alone_until_ms = clock_ms() + (alone_ms < ALONE_MAX_MS ? alone_ms : ALONE_MAX_MS);
	}
	/* Who sees nothing of a directory finds nobody in it: that it does show its entries is known when all have been fetched once. */
	return rc < 0 || (rc == 0 && (d->suspect || !d->shown)) ? -1 : rc;
}

void directory_service_ask(struct directory_service *s, const char *address, struct directory_verdict *out)
{
	bool all_said = true;

	if (directory_service_quick(s, address, out))
		return;
	verdict(out, DIRECTORY_UNKNOWN, NULL, "asked");
	for (size_t i = 0; i < s->count; i++) {
		struct directory *d = &s->d[i];
		int said = directory_covers(d->conf, address) ? live(s, d, address, out) : 0;

		if (said > 0)
			return;
		all_said = all_said && said == 0;
		if (said < 0 && !fresh(d))
			verdict(out, DIRECTORY_LATER, d, "the directory is away, or not believed, and what is known of it is not fresh");
		else if (said < 0 && out->answer == DIRECTORY_UNKNOWN)
			verdict(out, DIRECTORY_UNKNOWN, d, "table");
	}
	if (all_said)
		negative_note(s, address);
}

/* ---- looking at it ---- */

size_t directory_service_count(const struct directory_service *s)
{
	return s->count;
}

void directory_service_view(const struct directory_service *s, size_t i, struct directory_view *out)
{
	const struct directory *d = &s->d[i];

	*out = (struct directory_view){ .count = d->table.count, .bytes = directory_table_bytes(&d->table), .refreshed_ms = d->refreshed_ms,
					.tried_ms = d->tried_ms, .away = d->away, .failures = d->failures, .doubted = d->doubted, .asked = d->asked,
					.found = d->found, .spared = d->spared };
	snprintf(out->name, sizeof(out->name), "%s", d->conf->name);
	snprintf(out->why, sizeof(out->why), "%s", d->away || d->suspect ? d->why : "");
}
