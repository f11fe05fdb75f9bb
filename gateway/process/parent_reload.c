#include "process/parent_impl.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/tls.h"
#include "base/version.h"
#include "process/files.h"
#include "process/keeper.h"
#include "process/notify.h"
#include "process/statedir.h"

void generation_release(struct parent *p, struct generation *g)
{
	if (g->site)
		p->opt->free(g->site);
	listen_close(&g->listen);
	*g = (struct generation){ .number = 0 };
}

static int certificate(struct parent *p, struct site *s, struct buf *err)
{
	if (!s->tls_offer || s->tls_cert_pem)
		return 0;
	s->tls_key = statedir_certificate(p->state_dir, s->hostname, &s->tls_cert_pem, &s->keys, err);
	return s->tls_key < 0 ? s->tls_key : 0;
}

static int too_many(const char *path, int line, const char *what, struct buf *err)
{
	buf_addf(err, "%s:%d: more than %d %s\n", path, line, SHARED_PLACES, what);
	return -ENOSPC;
}

/* Whether no worker of an older configuration lives, which counts in places that the present one does not have. */
static bool alone(const struct parent *p)
{
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].pid > 0 && p->child[i].generation != p->now.number)
			return false;
	return true;
}

/* Places of those that the site no longer has can be taken. */
static void share_keep(struct parent *p, const struct site *s)
{
	const char *names[SHARED_PLACES];
	size_t count = 0;

	for (size_t i = 0; i < s->backend_count && count < SHARED_PLACES; i++)
		names[count++] = s->backend[i].name;
	shared_names_keep(&p->shared->backend_names, names, count);
	count = 0;
	for (size_t i = 0; i < s->listener_count && count < SHARED_PLACES; i++)
		if (s->listener[i].protocol != LISTENER_SMTP)
			names[count++] = s->listener[i].name;
	shared_names_keep(&p->shared->listener_names, names, count);
	count = 0;
	for (size_t i = 0; i < s->daemon_count && count < SHARED_PLACES; i++)
		names[count++] = s->daemon[i]->name;
	shared_names_keep(&p->shared->daemon_names, names, count);
}

static int share(struct parent *p, struct site *s, struct buf *err)
{
	if (p->now.site && p->now.site != s && alone(p))
		share_keep(p, p->now.site);
	for (size_t i = 0; i < s->backend_count; i++)
		if (shared_backend_claim(p->shared, s->backend[i].name) < 0)
			return too_many(s->path, s->backend[i].line, "backends", err);
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].protocol != LISTENER_SMTP && shared_listener_claim(p->shared, s->listener[i].name) < 0)
			return too_many(s->path, s->listener[i].line, "listeners of protocols other than smtp", err);
	for (size_t i = 0; i < s->daemon_count; i++)
		(void)shared_daemon_claim(p->shared, s->daemon[i]->name);       /* one that has none is not seen by gatepost status */
	return 0;
}

int generation_make(struct parent *p, struct site *site, struct generation *g,
			   struct buf *err)
{
	char why[FILES_WHY_MAX];
	int rc;

	*g = (struct generation){ .number = ++p->last_number, .site = site };
	if (files_missing(site, why))
		log_warning("limits", "what", why, NULL);
	for (size_t i = 0; i < site->listener_count; i++)
		p->transparent |= site->listener[i].transparent;
	rc = certificate(p, site, err);
	/* Without them each worker's tickets are for itself alone: that is slower, and works. */
	(void)tls_tickets_renew();
	if (rc == 0)
		rc = share(p, site, err);
	if (rc == 0)
		rc = listen_open(site->path, site->listener, site->listener_count, &p->now.listen,
				 &g->listen, err);
	if (rc == 0)
		rc = parent_daemons_add(p, site, g->number);
	if (rc == 0)
		shared_dnsbl_begin(p->shared, g->number, site, p->now.number,
				   g == &p->now ? NULL : p->now.site);
	if (rc < 0)
		generation_release(p, g);
	return rc;
}

void parent_log_lines(enum log_level level, const char *event, const char *key,
		      const struct buf *text)
{
	const char *p = buf_str(text);

	while (*p) {
		size_t len = strcspn(p, "\n");
		struct log_line l;

		log_start(&l, level, event);
		log_bytes(&l, key, p, len);
		log_emit(&l);
		p += len + (p[len] == '\n');
	}
}

void parent_reload_refused(struct parent *p, const struct buf *errors)
{
	bool heir = !p->now.site;

	if (!heir)
		listen_settle(&p->now.listen, p->now.site->listener);
	parent_log_lines(LOG_LEVEL_ERROR, "reload", "error", errors);
	if (heir)
		log_error("upgrade", "what", "THE NEW PROGRAM HAS NO CONFIGURATION: the workers of the former one go on, and are not started again "
			  "when they die, until a SIGHUP finds a good one", NULL);
	else
		log_error("reload", "what", "refused: the configuration of before goes on", NULL);
	atomic_fetch_add(&p->shared->reloads_refused, 1);
	p->phase = heir ? PHASE_HEIR : PHASE_RUNNING;
	notify_ready();
}

void parent_fixed(const char *what, const char *now, const char *want)
{
	if (strcmp(now ? now : "", want ? want : "") != 0)
		log_warning("reload", "what", "this changes at a restart only", "option", what,
			    "remains", now ? now : "", NULL);
}

bool parent_reload_room(const struct parent *p)
{
	int room = 0;

	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		room += p->child[i].role != ROLE_WORKER;
	return !p->now.site || (room >= parent_workers_wanted(p->now.site) && parent_beside_room(p, ROLE_KEYS) && parent_beside_room(p, ROLE_DIRECTORY));
}

/* Workers of older configurations, which still have connections, take the places that new ones need: they get the time that they have at a stop. */
void parent_room_ask(struct parent *p, bool *asked)
{
	if (!*asked) {
		log_notice("reload", "what", "waits until workers of older configurations have ended", NULL);
		for (unsigned g = 1; g < p->now.number; g++)
			parent_workers_end(p, g, p->drain.stop_s);
	}
	*asked = true;
}

void parent_reload(struct parent *p)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024), warnings = BUF_INIT(64 * 1024);
	struct site *site;

	if (p->phase == PHASE_HEIR) {
		parent_succession_begin(p);
		return;
	}
	if (p->phase != PHASE_RUNNING) {
		p->reload_again = p->phase != PHASE_STOPPING;
		return;
	}
	if (!parent_reload_room(p)) {
		parent_room_ask(p, &p->reload_waits);
		p->reload_again = true;
		return;
	}
	p->reload_again = p->reload_waits = false;
	notify_reloading();
	log_notice("reload", "what", "begins", "file", p->opt->path, NULL);
	site = p->opt->load(p->opt->path, &errors, &warnings);
	parent_log_lines(LOG_LEVEL_WARNING, "reload", "warning", &warnings);
	if (!site) {
		parent_reload_refused(p, &errors);
		return;
	}
	parent_fixed("user", p->user, site->user);
	parent_fixed("keeper_user", p->keeper_user, site->keeper_user);
	parent_fixed("key_user", p->key_user, site->key_user);
	parent_fixed("directory_user", p->directory_user, site->directory_user);
	parent_fixed("state_dir", p->state_dir, site->state_dir);
	parent_fixed("control", p->control_path, site->control_path);
	if (generation_make(p, site, &p->next, &errors) < 0) {
		parent_reload_refused(p, &errors);
		return;
	}
	p->phase = PHASE_RELOADING;
	p->phase_deadline_ms = clock_ms() + PARENT_START_S * 1000;
	if (parent_keys_start(p, &p->next) < 0 || parent_directory_start(p, &p->next) < 0 || parent_workers_start(p, &p->next) < 0)
		p->phase_deadline_ms = 0; /* given up in this round */
}

void parent_reload_give_up(struct parent *p)
{
	AUTO(buf) struct buf why = BUF_INIT(200);

	buf_adds(&why, "the new workers did not come up (the lines above say why)");
	parent_workers_end(p, p->next.number, 0); /* their places are freed as they are reaped */
	generation_release(p, &p->next);
	parent_reload_refused(p, &why);
}

void parent_reload_done(struct parent *p)
{
	unsigned old = p->now.number;

	generation_release(p, &p->now);
	p->now = p->next;
	p->next = (struct generation){ .number = 0 };
	listen_settle(&p->now.listen, p->now.site->listener);
	parent_drain_set(p, p->now.site);
	atomic_store(&p->shared->generation, p->now.number);
	p->settings = keeper_settings(p->now.site);
	for (int i = STATE; i < KEEPERS; i++)
		child_tell(&p->child[i], CHANNEL_SETTINGS, &p->settings, sizeof(p->settings), -1);
	/* Every former generation is told how long it has; the oldest of many, less. */
	for (unsigned g = 1; g <= old; g++) {
		bool many = old - g + 1 >= PARENT_GENERATIONS_MAX;

		if (g == old || many)
			parent_workers_end(p, g,
					   many ? p->drain.stop_s : p->drain.reload_s);
	}
	p->phase = PHASE_RUNNING;
	parent_lists_begin(p);
	if (p->upgrade.heir)
		log_notice("upgrade", "what", "done", "version", version_text(), NULL);
	else
		log_notice("reload", "what", "done", NULL);
	if (p->upgrade.heir)
		atomic_store(&p->shared->upgraded_ms, clock_wall_ms());
	p->upgrade.heir = false;
	notify_ready();
}
