#include "smtp/smtp_groups.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A copy's failures concern nobody but the site: its sender hears nothing (RFC 3461 4.1). */
static const char copy_params[] = "NOTIFY=NEVER";

static bool changes_header(const struct rule *r)
{
	return r->action == ACTION_TAG || r->action == ACTION_ADD_HEADER || r->action == ACTION_REMOVE_HEADER;
}

/* The nth effect that changes the header, or NULL. */
static const struct rule *header_effect(const struct policy_run *run, size_t *at)
{
	while (*at < run->effect_count)
		if (changes_header(run->effects[(*at)++]))
			return run->effects[*at - 1];
	return NULL;
}

/* Two rules may say the same. */
static bool same_header(const struct policy_run *a, const struct policy_run *b)
{
	size_t i = 0, k = 0;

	for (;;) {
		const struct rule *x = header_effect(a, &i), *y = header_effect(b, &k);

		if (x != y && (!x || !y || x->action != y->action || strcmp(x->argument, y->argument) != 0))
			return false;
		if (!x)
			return true;
	}
}

/* FNV-1a over what same_header compares: with many recipients of different effects nearly all comparisons end here. */
static uint64_t header_hash(const struct policy_run *run)
{
	uint64_t h = 0xcbf29ce484222325u;
	const struct rule *r;
	size_t at = 0;

	while ((r = header_effect(run, &at))) {
		h = (h ^ (uint64_t)r->action) * 0x100000001b3u;
		for (const char *p = r->argument; *p; p++)
			h = (h ^ (unsigned char)*p) * 0x100000001b3u;
	}
	return h;
}

static bool belongs(const struct smtp_group *g, uint64_t group_hash, int fate, unsigned char way, const struct judge *j, uint64_t hash, bool plain)
{
	if (g->fate != fate || (fate == ACTION_ACCEPT && g->way != way))
		return false;
	return fate != ACTION_ACCEPT || plain || (group_hash == hash && g->judge && same_header(&g->judge[0]->run, &j->run));
}

/* Find each one's group. hashes: room for as many as recipients. */
static void divide(struct judge *judge, const int *fate, const unsigned char *way, size_t count, bool plain, uint64_t *hashes, struct smtp_groups *out)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t hash = fate[i] == ACTION_ACCEPT && !plain ? header_hash(&judge[i].run) : 0;
		unsigned char its = way ? way[i] : 0;
		size_t n = 0;

		while (n < out->count && !belongs(&out->group[n], hashes[n], fate[i], its, &judge[i], hash, plain))
			n++;
		if (n == out->count) {
			out->group[n].fate = fate[i];
			out->group[n].way = its;
			out->group[n].judge = calloc(count - i, sizeof(*out->group[n].judge));
			hashes[n] = hash;
			out->count++;
		}
		if (!out->group[n].judge)
			return;                 /* equip says so */
		out->group[n].judge[out->group[n].count++] = &judge[i];
		out->of[i] = n;
	}
}

const char *smtp_redirect(const struct judge *j)
{
	for (size_t i = 0; i < j->run.effect_count; i++)
		if (j->run.effects[i]->action == ACTION_REDIRECT)
			return j->run.effects[i]->argument;
	return NULL;
}

static bool is_target(const struct smtp_group *g, const char *address)
{
	for (size_t i = 0; i < g->target_count; i++)
		if (g->target[i].address && strcasecmp(g->target[i].address, address) == 0)
			return true;
	return false;
}

static void add_target(struct smtp_group *g, const char *address, const char *params, const char *instead_of, bool copy)
{
	g->target[g->target_count++] = (struct delivery_target){ .address = address, .params = params, .instead_of = instead_of, .copy = copy };
}

/* Recipients as the client named them, then those that are redirected. Copies find room behind. */
static int aim(struct smtp_group *g, bool plain)
{
	size_t copies = 0;

	for (size_t i = 0; i < g->count; i++)
		copies += plain ? 0 : g->judge[i]->run.effect_count;
	g->target = calloc(g->count + copies, sizeof(*g->target));
	if (!g->target)
		return -ENOMEM;
	for (size_t i = 0; i < g->count; i++)
		if (plain || !smtp_redirect(g->judge[i]))
			add_target(g, g->rcpt[i]->address, g->rcpt[i]->params, NULL, false);
	for (size_t i = 0; i < g->count && !plain; i++) {
		const char *to = smtp_redirect(g->judge[i]);

		if (to && !is_target(g, to))
			add_target(g, to, g->rcpt[i]->params, g->rcpt[i]->address, false);
	}
	return 0;
}

/* Copies that were asked for so far. */
struct copies {
	const char **address;
	size_t count;
};

static bool copied(const struct copies *c, const char *address)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcasecmp(c->address[i], address) == 0)
			return true;
	return false;
}

static void copy_group(struct smtp_groups *all, struct smtp_group *g, struct copies *done)
{
	for (size_t i = 0; i < g->count; i++) {
		const struct policy_run *run = &g->judge[i]->run;

		for (size_t k = 0; k < run->effect_count; k++) {
			const char *to = run->effects[k]->argument;
			bool gets_it = false;

			if (run->effects[k]->action != ACTION_COPY || copied(done, to))
				continue;
			for (size_t n = 0; n < all->count; n++)
				gets_it |= is_target(&all->group[n], to);
			done->address[done->count++] = to;
			if (g->fate == ACTION_ACCEPT && !gets_it)
				add_target(g, to, copy_params, NULL, true);
		}
	}
}

/* First of all those whose copies have been made with the message in an earlier attempt. */
static int copy_all(struct smtp_groups *all)
{
	struct copies done = { 0 };
	size_t most = 0;

	for (size_t n = 0; n < all->count; n++)
		for (size_t i = 0; i < all->group[n].count; i++)
			for (size_t k = 0; k < all->group[n].judge[i]->run.effect_count; k++)
				most += all->group[n].judge[i]->run.effects[k]->action == ACTION_COPY;
	if (!most)
		return 0;
	done.address = calloc(most, sizeof(*done.address));
	if (!done.address)
		return -ENOMEM;
	for (size_t n = 0; n < all->count; n++)
		if (all->group[n].fate == FATE_HAS_IT)
			copy_group(all, &all->group[n], &done);
	for (size_t n = 0; n < all->count; n++)
		if (all->group[n].fate == ACTION_ACCEPT)
			copy_group(all, &all->group[n], &done);
	free(done.address);
	return 0;
}

static int equip(struct smtp_group *g, bool plain)
{
	g->result = DELIVERY_TAKEN;
	if (!g->judge)
		return -ENOMEM;
	g->rcpt = calloc(g->count, sizeof(*g->rcpt));
	if (!g->rcpt)
		return -ENOMEM;
	for (size_t i = 0; i < g->count; i++)
		g->rcpt[i] = g->judge[i]->rcpt;
	return g->fate == ACTION_ACCEPT || g->fate == FATE_HAS_IT ? aim(g, plain) : 0;
}

int smtp_groups_make(struct judge *judge, const int *fate, const unsigned char *way, size_t count, bool plain, struct smtp_groups *out)
{
	size_t room = count ? count : 1;
	uint64_t *hashes = calloc(room, sizeof(*hashes));
	int rc = -ENOMEM;

	*out = (struct smtp_groups){ .rcpt_count = count };
	out->group = calloc(room, sizeof(*out->group));
	out->of = calloc(room, sizeof(*out->of));
	if (hashes && out->group && out->of) {
		rc = 0;
		divide(judge, fate, way, count, plain, hashes, out);
	}
	for (size_t i = 0; rc == 0 && i < out->count; i++)
		rc = equip(&out->group[i], plain);
	if (rc == 0 && !plain)
		rc = copy_all(out);
	free(hashes);
	if (rc < 0)
		smtp_groups_release(out);
	return rc;
}

void smtp_groups_release(struct smtp_groups *g)
{
	for (size_t i = 0; g->group && i < g->count; i++) {
		free(g->group[i].judge);
		free(g->group[i].rcpt);
		free(g->group[i].target);
	}
	free(g->group);
	free(g->of);
	*g = (struct smtp_groups){ 0 };
}

struct smtp_group *smtp_groups_find(const struct smtp_groups *g, int fate)
{
	for (size_t i = 0; i < g->count; i++)
		if (g->group[i].fate == fate)
			return &g->group[i];
	return NULL;
}
