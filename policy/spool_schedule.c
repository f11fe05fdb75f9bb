#include "policy/spool_schedule.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"

static const unsigned steps[] = { 1, 5, 15, 30, 60 };   /* times retry_min; then each twice the last */
enum { STEPS = sizeof(steps) / sizeof(*steps) };

struct item;

struct route {
	char *text;
	struct heap ready, later;       /* its parts: due, in order of arrival; due later */
	size_t parts, active;           /* all; those being delivered */
	unsigned failures;              /* since it was last heard of: it is put off, and tried by one part alone */
	int64_t not_before_ms;
	uint64_t down_since;            /* the last lease that was given when it was put off: what these report is not counted again */
	int64_t key_ms;                 /* when something of it can be leased */
	uint64_t turn;                  /* of several: who had none for the longest time */
	bool minor;                     /* of such entries; others to the same next hop have a route of their own */
	size_t at_routes;
};

struct part {
	struct item *entry;
	struct part *next;
	struct route *route;
	bool urgent;                    /* somebody asked for it by its id */
	bool given_up;                  /* somebody wants no more of it */
	bool told, wanted;              /* wanted: somebody still waits */
	unsigned attempts, deaths;
	unsigned closed;                /* sessions that ended over it, one after the other */
	int64_t due_ms, notice_ms, recheck_ms;
	size_t at_queue, at_notices, at_leases;
	uint64_t lease;                 /* 0: none */
	const void *holder;
	enum spool_duty duty;
	int64_t until_ms;
};

struct item {           /* an entry (search.h has taken the word) */
	char id[STORE_ID_MAX];
	int64_t created_ms;
	uint64_t bytes;
	bool minor;
	struct part *parts;
};

struct spool_schedule {
	struct spool_settings set;
	void *entries, *routes_by_text; /* search.h */
	struct heap notices, leases, routes[2];         /* routes: [1] the minor ones */
	size_t minor_active;
	struct spool_totals total;
	uint64_t number, turn;
};

/* --- orders --- */

static bool ready_before(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return x->urgent != y->urgent ? x->urgent : strcmp(x->entry->id, y->entry->id) < 0;
}

static bool later_before(const void *a, const void *b)
{
	return ((const struct part *)a)->due_ms < ((const struct part *)b)->due_ms;
}

static bool notice_before(const void *a, const void *b)
{
	return ((const struct part *)a)->notice_ms < ((const struct part *)b)->notice_ms;
}

static bool lease_before(const void *a, const void *b)
{
	return ((const struct part *)a)->until_ms < ((const struct part *)b)->until_ms;
}

static bool route_before(const void *a, const void *b)
{
	const struct route *x = a, *y = b;

	return x->key_ms != y->key_ms ? x->key_ms < y->key_ms : x->turn < y->turn;
}

static int entry_order(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->id, ((const struct item *)b)->id);
}

static int route_order(const void *a, const void *b)
{
	const struct route *x = a, *y = b;
	int c = strcmp(x->text, y->text);

	return c ? c : x->minor - y->minor;
}

/* --- times --- */

int64_t spool_pause_ms(const struct spool_settings *set, unsigned n)
{
	int64_t ms;

	if (n == 0)
		return 0;
	ms = (int64_t)set->retry_min_ms * steps[n <= STEPS ? n - 1 : STEPS - 1];
	for (unsigned i = STEPS; i < n && ms < set->retry_max_ms; i++)
		ms *= 2;
	return ms < set->retry_max_ms ? ms : set->retry_max_ms;
}

static int64_t life_ms(const struct spool_schedule *s)
{
	return (int64_t)s->set.life_s * 1000;
}

static int64_t delay_ms(const struct spool_schedule *s)
{
	return (int64_t)s->set.delay_notice_s * 1000;
}

static bool is_expired(const struct spool_schedule *s, const struct part *p, int64_t now_ms)
{
	return now_ms >= p->entry->created_ms + life_ms(s);
}

static bool is_to_tell(const struct spool_schedule *s, const struct part *p, int64_t now_ms)
{
	return !p->told && s->set.delay_notice_s > 0 && now_ms >= p->entry->created_ms + delay_ms(s);
}

static int64_t recheck_ms(const struct spool_schedule *s)
{
	return s->set.retry_min_ms < SPOOL_RECHECK_MS ? s->set.retry_min_ms : SPOOL_RECHECK_MS;
}

static void notice_set(const struct spool_schedule *s, struct part *p)
{
	int64_t at_ms = p->entry->created_ms + (!p->told && s->set.delay_notice_s > 0 && delay_ms(s) < life_ms(s) ?
							delay_ms(s) : life_ms(s));

	if (p->given_up)
		at_ms = 0;
	p->notice_ms = at_ms > p->recheck_ms ? at_ms : p->recheck_ms;
}

/* Those of a server of ours get what waited in the order in which it came. */
static bool is_strict(const struct route *r)
{
	return (strncmp(r->text, "backend", 7) == 0 && (r->text[7] == 0 || r->text[7] == ' ')) || strncmp(r->text, "owner ", 6) == 0;
}

static void route_changed(struct spool_schedule *s, struct route *r)
{
	size_t limit = r->failures > 0 || is_strict(r) ? 1 : (size_t)s->set.deliveries;
	const struct part *later = heap_first(&r->later);

	r->key_ms = INT64_MAX;
	if (r->active < limit && r->ready.count > 0)
		r->key_ms = r->not_before_ms;
	else if (r->active < limit && later)
		r->key_ms = later->due_ms > r->not_before_ms ? later->due_ms : r->not_before_ms;
	heap_moved(&s->routes[r->minor], r);
}

/* --- routes --- */

static void route_free(void *p)
{
	struct route *r = p;

	heap_release(&r->ready);
	heap_release(&r->later);
	free(r->text);
	free(r);
}

static struct route *route_make(struct spool_schedule *s, const char *text, bool minor)
{
	struct route key = { .text = (char *)text, .minor = minor }, *r;
	void *at = tfind(&key, &s->routes_by_text, route_order);

	if (at)
		return *(struct route **)at;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	*r = (struct route){ .text = strdup(text), .minor = minor, .ready = HEAP_INIT(struct part, at_queue, ready_before),
			     .later = HEAP_INIT(struct part, at_queue, later_before), .key_ms = INT64_MAX };
	if (!r->text || heap_reserve(&s->routes[minor], s->routes[minor].count + 1) < 0 || !tsearch(r, &s->routes_by_text, route_order)) {
		route_free(r);
		return NULL;
	}
	heap_add(&s->routes[minor], r);
	s->total.routes++;
	return r;
}

/* A route that nobody needs is forgotten. */
static void route_leave(struct spool_schedule *s, struct route *r)
{
	if (r->parts > 0) {
		route_changed(s, r);
		return;
	}
	s->total.routes--;
	s->total.routes_down -= r->failures > 0;
	heap_remove(&s->routes[r->minor], r);
	tdelete(r, &s->routes_by_text, route_order);
	route_free(r);
}

static void route_failures(struct spool_schedule *s, struct route *r, unsigned n)
{
	s->total.routes_down += (n > 0) - (r->failures > 0);
	r->failures = n;
}

/* --- parts --- */

/* Not leased: where it waits. */
static void part_queue(struct part *p, int64_t now_ms)
{
	heap_add(p->due_ms <= now_ms ? &p->route->ready : &p->route->later, p);
}

static void part_unqueue(struct part *p)
{
	heap_remove(&p->route->ready, p);
	heap_remove(&p->route->later, p);
}

static struct part *part_new(struct spool_schedule *s, struct item *e, struct route *r)
{
	struct part *p = calloc(1, sizeof(*p));

	/* All the room that it will ever need: what happens later cannot fail. */
	if (!p || heap_reserve(&r->ready, r->parts + 1) < 0 || heap_reserve(&r->later, r->parts + 1) < 0 ||
	    heap_reserve(&s->notices, (size_t)s->total.parts + 1) < 0 || heap_reserve(&s->leases, (size_t)s->total.parts + 1) < 0) {
		free(p);
		return NULL;
	}
	p->entry = e;
	p->route = r;
	p->next = e->parts;
	e->parts = p;
	r->parts++;
	s->total.parts++;
	return p;
}

static void lease_drop(struct spool_schedule *s, struct part *p)
{
	if (!p->lease)
		return;
	heap_remove(&s->leases, p);
	p->lease = 0;
	p->holder = NULL;
	p->route->active -= p->duty == SPOOL_DELIVER;
	s->minor_active -= p->duty == SPOOL_DELIVER && p->route->minor;
	s->total.leased--;
}

/* Out of everything; the entry no longer knows it. */
static void part_free(struct spool_schedule *s, struct part *p)
{
	struct route *r = p->route;

	lease_drop(s, p);
	part_unqueue(p);
	heap_remove(&s->notices, p);
	r->parts--;
	s->total.parts--;
	free(p);
	route_leave(s, r);
}

static struct item *entry_find(const struct spool_schedule *s, const char *id)
{
	struct item key;
	void *at;

	if (strlen(id) >= sizeof(key.id))
		return NULL;
	strcpy(key.id, id);
	at = tfind(&key, &s->entries, entry_order);
	return at ? *(struct item **)at : NULL;
}

static void entry_remove(struct spool_schedule *s, struct item *e)
{
	while (e->parts) {
		struct part *p = e->parts;

		e->parts = p->next;
		part_free(s, p);
	}
	s->total.messages--;
	s->total.bytes -= e->bytes;
	tdelete(e, &s->entries, entry_order);
	free(e);
}

/* Parts that nobody waits for go, but not under their worker's hands; an entry without parts, too. */
static void entry_sweep(struct spool_schedule *s, struct item *e)
{
	struct part **at = &e->parts;

	while (*at) {
		struct part *p = *at;

		if (p->wanted || p->lease) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		part_free(s, p);
	}
	if (!e->parts)
		entry_remove(s, e);
}

/* --- the schedule --- */

struct spool_schedule *spool_schedule_new(const struct spool_settings *set, uint64_t number)
{
	struct spool_schedule *s = calloc(1, sizeof(*s));

	if (s)
		*s = (struct spool_schedule){ .set = *set, .number = number, .notices = HEAP_INIT(struct part, at_notices, notice_before),
					      .leases = HEAP_INIT(struct part, at_leases, lease_before),
					      .routes = { HEAP_INIT(struct route, at_routes, route_before), HEAP_INIT(struct route, at_routes, route_before) } };
	return s;
}

static void entry_free(void *p)
{
	struct item *e = p;

	while (e->parts) {
		struct part *next = e->parts->next;

		free(e->parts);
		e->parts = next;
	}
	free(e);
}

void spool_schedule_free(struct spool_schedule *s)
{
	if (!s)
		return;
	tdestroy(s->entries, entry_free);
	tdestroy(s->routes_by_text, route_free);
	heap_release(&s->notices);
	heap_release(&s->leases);
	heap_release(&s->routes[0]);
	heap_release(&s->routes[1]);
	free(s);
}

static void set_entry(const void *node, VISIT which, void *arg)
{
	struct spool_schedule *s = arg;

	if (which != postorder && which != leaf)
		return;
	for (struct part *p = (*(struct item *const *)node)->parts; p; p = p->next) {
		notice_set(s, p);
		heap_moved(&s->notices, p);
	}
}

static void set_route(const void *node, VISIT which, void *arg)
{
	if (which == postorder || which == leaf)
		route_changed(arg, *(struct route *const *)node);
}

void spool_schedule_set(struct spool_schedule *s, const struct spool_settings *set)
{
	s->set = *set;
	twalk_r(s->entries, set_entry, s);
	twalk_r(s->routes_by_text, set_route, s);
}

static struct item *entry_make(struct spool_schedule *s, const struct spool_envelope *e, int64_t now_ms, int64_t wall_ms)
{
	struct item *n = entry_find(s, e->id);

	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	memcpy(n->id, e->id, sizeof(n->id));
	/* What a wrong clock has put into the future comes of age nevertheless. */
	n->created_ms = now_ms - (wall_ms > e->created_s * 1000 ? wall_ms - e->created_s * 1000 : 0);
	n->bytes = e->bytes;
	n->minor = e->minor;
	if (!tsearch(n, &s->entries, entry_order)) {
		free(n);
		return NULL;
	}
	s->total.messages++;
	s->total.bytes += n->bytes;
	return n;
}

/* What one recipient adds to what is known of its part. last: the part of the one before, as those of a route come together, mostly. */
static int put_recipient(struct spool_schedule *s, struct item *n, const struct spool_recipient *r, int64_t shift_ms, struct part **last)
{
	struct part *p = *last && strcmp((*last)->route->text, r->route) == 0 ? *last : NULL;
	struct route *route = p ? p->route : route_make(s, r->route, n->minor);

	for (struct part *i = p ? NULL : n->parts; i && route && !p; i = i->next)
		p = i->route == route ? i : NULL;
	if (!p && route) {
		p = part_new(s, n, route);
		if (!p)
			route_leave(s, route);
	}
	if (!p)
		return -ENOMEM;
	*last = p;
	if (!p->wanted)
		p->told = true;
	p->wanted = true;
	p->told &= r->delay_told;
	if (r->attempts > p->attempts)
		p->attempts = r->attempts;
	/* Before it is queued for the first time: as if Gatepost had been here all the time. */
	if (!heap_has(&s->notices, p) && !p->lease && r->attempts > 0) {
		int64_t due_ms = r->tried_s * 1000 + shift_ms + spool_pause_ms(&s->set, r->attempts);

		p->due_ms = due_ms > p->due_ms ? due_ms : p->due_ms;
	}
	return 0;
}

int spool_schedule_put(struct spool_schedule *s, const struct spool_envelope *e, int64_t now_ms, int64_t wall_ms)
{
	struct item *n = entry_make(s, e, now_ms, wall_ms);
	struct part *last = NULL;
	int rc = n ? 0 : -ENOMEM;

	if (!n)
		return rc;
	for (struct part *p = n->parts; p; p = p->next)
		p->wanted = false;
	for (size_t i = 0; i < e->rcpt_count && rc == 0; i++)
		if (e->rcpt[i].state == SPOOL_WAITING)
			rc = put_recipient(s, n, &e->rcpt[i], now_ms - wall_ms, &last);
	for (struct part *p = n->parts; p; p = p->next) {
		if (rc < 0)
			p->wanted = true;
		notice_set(s, p);
		if (!p->lease && !heap_has(&s->notices, p)) {
			/* A wall clock that was set back does not put it off for longer than a pause. */
			if (p->due_ms > now_ms + s->set.retry_max_ms)
				p->due_ms = now_ms + s->set.retry_max_ms;
			heap_add(&s->notices, p);
			part_queue(p, now_ms);
		}
		heap_moved(&s->notices, p);
		route_changed(s, p->route);
	}
	entry_sweep(s, n);
	return rc;
}

void spool_schedule_forget(struct spool_schedule *s, const char *id)
{
	struct item *e = entry_find(s, id);

	if (e)
		entry_remove(s, e);
}

bool spool_schedule_knows(const struct spool_schedule *s, const char *id)
{
	return entry_find(s, id) != NULL;
}

/* --- leases --- */

static void lease_take(struct spool_schedule *s, struct part *p, uint64_t number, enum spool_duty duty, const void *holder, int64_t until_ms)
{
	part_unqueue(p);
	heap_remove(&s->notices, p);
	p->lease = number;
	p->holder = holder;
	p->duty = duty;
	p->until_ms = until_ms;
	heap_add(&s->leases, p);
	p->route->active += duty == SPOOL_DELIVER;
	s->minor_active += duty == SPOOL_DELIVER && p->route->minor;
	p->route->turn = ++s->turn;
	s->total.leased++;
	route_changed(s, p->route);
}

static void grant(struct spool_schedule *s, struct part *p, enum spool_duty duty, const void *holder, int64_t now_ms, struct spool_grant *out)
{
	lease_take(s, p, ++s->number, duty, holder, now_ms + SPOOL_LEASE_MS);
	*out = (struct spool_grant){ .route = p->route->text, .number = p->lease, .duty = duty, .until_ms = p->until_ms };
	memcpy(out->id, p->entry->id, sizeof(out->id));
	out->last = duty == SPOOL_DELIVER && is_expired(s, p, now_ms);
	out->tell = duty == SPOOL_DELIVER && !out->last && is_to_tell(s, p, now_ms);
}

/* Back to where it waits. */
static void lease_return(struct spool_schedule *s, struct part *p, int64_t now_ms)
{
	lease_drop(s, p);
	p->urgent = false;
	p->recheck_ms = now_ms + recheck_ms(s);         /* not again at once, whatever it is that was to be told */
	if (p->given_up)
		p->due_ms = p->recheck_ms;
	notice_set(s, p);
	heap_add(&s->notices, p);
	part_queue(p, now_ms);
	route_changed(s, p->route);
}

/* Its worker died over it, or never came back: the second time it might be because of it. */
static void lease_lost(struct spool_schedule *s, struct part *p, int64_t now_ms)
{
	p->due_ms = now_ms + spool_pause_ms(&s->set, p->deaths++);
	lease_return(s, p, now_ms);
}

/* true: *out. Else its next notice is in the future. */
static bool notice(struct spool_schedule *s, struct part *p, const void *holder, int64_t now_ms, struct spool_grant *out)
{
	bool expired = is_expired(s, p, now_ms), tell = !expired && is_to_tell(s, p, now_ms);

	p->recheck_ms = now_ms + recheck_ms(s);
	notice_set(s, p);
	heap_moved(&s->notices, p);
	if (p->given_up) {
		grant(s, p, SPOOL_EXPIRE, holder, now_ms, out);
		return true;
	}
	if (!expired && !tell)
		return false;
	if (p->route->failures > 0) {
		grant(s, p, expired ? SPOOL_EXPIRE : SPOOL_TELL, holder, now_ms, out);
		return true;
	}
	if (tell && heap_has(&p->route->later, p) && p->due_ms > now_ms) {
		grant(s, p, SPOOL_TELL, holder, now_ms, out);
		return true;
	}
	/* The next hop is there, for all that is known: a last attempt, when its turn comes. */
	if (expired && heap_has(&p->route->later, p)) {
		part_unqueue(p);
		p->due_ms = now_ms;
		part_queue(p, now_ms);
		route_changed(s, p->route);
	}
	return false;
}

static void route_advance(struct route *r, int64_t now_ms)
{
	struct part *p;

	while ((p = heap_first(&r->later)) && p->due_ms <= now_ms) {
		heap_remove(&r->later, p);
		heap_add(&r->ready, p);
	}
}

/* Where something can be leased first. */
static struct route *first_route(const struct spool_schedule *s)
{
	struct route *r = heap_first(&s->routes[0]), *minor = s->minor_active < SPOOL_MINOR_MAX ? heap_first(&s->routes[1]) : NULL;

	return !r || (minor && route_before(minor, r)) ? minor : r;
}

bool spool_schedule_lease(struct spool_schedule *s, const void *holder, int64_t now_ms, struct spool_grant *out)
{
	struct part *p;
	struct route *r;

	while ((p = heap_first(&s->leases)) && p->until_ms <= now_ms) {
		struct item *e = p->entry;

		lease_lost(s, p, now_ms);
		entry_sweep(s, e);
	}
	while ((p = heap_first(&s->notices)) && p->notice_ms <= now_ms)
		if (notice(s, p, holder, now_ms, out))
			return true;
	r = first_route(s);
	if (!r || r->key_ms > now_ms)
		return false;
	route_advance(r, now_ms);
	p = heap_first(&r->ready);
	if (!p) {
		route_changed(s, r);
		return false;
	}
	grant(s, p, p->given_up ? SPOOL_EXPIRE : SPOOL_DELIVER, holder, now_ms, out);
	return true;
}

int64_t spool_schedule_next_ms(const struct spool_schedule *s)
{
	const struct part *lease = heap_first(&s->leases), *tell = heap_first(&s->notices);
	const struct route *r = first_route(s);
	int64_t at_ms = r ? r->key_ms : INT64_MAX;

	if (lease && lease->until_ms < at_ms)
		at_ms = lease->until_ms;
	return tell && tell->notice_ms < at_ms ? tell->notice_ms : at_ms;
}

static struct part *lease_find(const struct spool_schedule *s, const char *id, uint64_t number)
{
	const struct item *e = entry_find(s, id);
	struct part *p = e ? e->parts : NULL;

	while (p && (p->lease != number || number == 0))
		p = p->next;
	return p;
}

static void end_down(struct spool_schedule *s, struct part *p, uint64_t number, int64_t now_ms)
{
	struct route *r = p->route;

	p->due_ms = 0;
	if (number <= r->down_since && r->failures > 0)
		return;                 /* it was under way when the route was put off: the same failure once more */
	route_failures(s, r, r->failures + 1);
	r->down_since = s->number;
	r->not_before_ms = now_ms + spool_pause_ms(&s->set, r->failures);
	/* The others are not to wait behind it until its life is over. */
	if (p->closed > 1)
		p->due_ms = r->not_before_ms + spool_pause_ms(&s->set, p->closed - 1);
}

bool spool_schedule_end(struct spool_schedule *s, const char *id, uint64_t number, enum spool_end end, int64_t now_ms)
{
	struct part *p = lease_find(s, id, number);
	struct item *e;

	if (!p)
		return false;
	e = p->entry;
	if (p->duty == SPOOL_DELIVER) {
		p->closed += end == SPOOL_END_CLOSED;
		if (end == SPOOL_END_DOWN || end == SPOOL_END_CLOSED) {
			end_down(s, p, number, now_ms);
		} else if (end == SPOOL_END_UNTRIED) {
			/* Its place in the order is kept: the whole route holds on for a moment. */
			if (p->route->not_before_ms < now_ms + SPOOL_HOLD_MS)
				p->route->not_before_ms = now_ms + SPOOL_HOLD_MS;
		} else {
			route_failures(s, p->route, 0);
			p->route->not_before_ms = 0;
			p->deaths = p->closed = 0;
		}
		if (end == SPOOL_END_LATER)
			p->due_ms = now_ms + spool_pause_ms(&s->set, p->attempts ? p->attempts : 1);
	}
	lease_return(s, p, now_ms);
	entry_sweep(s, e);
	return true;
}

size_t spool_schedule_gone(struct spool_schedule *s, const void *holder, int64_t now_ms)
{
	size_t n = 0, i = 0;

	while (i < s->leases.count) {
		struct part *p = s->leases.v[i];
		struct item *e = p->entry;

		if (p->holder != holder) {
			i++;
			continue;
		}
		n++;
		lease_lost(s, p, now_ms);
		entry_sweep(s, e);
		i = 0;                  /* the heap has moved */
	}
	return n;
}

bool spool_schedule_claim(struct spool_schedule *s, const char *id, const char *route, uint64_t number, const void *holder, int64_t until_ms)
{
	struct item *e = entry_find(s, id);

	for (struct part *p = e ? e->parts : NULL; p; p = p->next)
		if (!p->lease && number != 0 && strcmp(p->route->text, route) == 0) {
			lease_take(s, p, number, SPOOL_DELIVER, holder, until_ms);
			return true;
		}
	return false;
}

bool spool_schedule_leased(const struct spool_schedule *s, const char *id)
{
	const struct item *e = entry_find(s, id);

	for (const struct part *p = e ? e->parts : NULL; p; p = p->next)
		if (p->lease)
			return true;
	return false;
}

/* --- waking, and what can be told --- */

size_t spool_schedule_wake_id(struct spool_schedule *s, const char *id, int64_t now_ms)
{
	struct item *e = entry_find(s, id);
	size_t n = 0;

	for (struct part *p = e ? e->parts : NULL; p; p = p->next) {
		if (p->lease)
			continue;
		part_unqueue(p);
		p->urgent = true;
		p->due_ms = now_ms;
		p->deaths = 0;
		part_queue(p, now_ms);
		p->route->not_before_ms = 0;
		route_changed(s, p->route);
		n++;
	}
	return n;
}

size_t spool_schedule_give_up(struct spool_schedule *s, const char *id, int64_t now_ms)
{
	struct item *e = entry_find(s, id);
	size_t n = 0;

	for (struct part *p = e ? e->parts : NULL; p; p = p->next) {
		if (p->lease)
			continue;
		p->given_up = true;
		p->notice_ms = now_ms;
		heap_moved(&s->notices, p);
		n++;
	}
	return n;
}

static bool is_meant(const struct route *r, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	return !text || strcmp(r->text, text) == 0 || (strncmp(r->text, text, len) == 0 && r->text[len] == ' ' && !strchr(text, ' '));
}

struct woken {
	struct spool_schedule *s;
	const char *text;
	size_t parts;
};

static void wake_route(const void *node, VISIT which, void *arg)
{
	struct woken *w = arg;
	struct route *r;
	struct part *p;

	if (which != postorder && which != leaf)
		return;
	r = *(struct route *const *)node;
	if (!is_meant(r, w->text))
		return;
	r->not_before_ms = 0;
	while ((p = heap_first(&r->later))) {
		heap_remove(&r->later, p);
		p->due_ms = 0;
		heap_add(&r->ready, p);
	}
	w->parts += r->ready.count;
	route_changed(w->s, r);
}

size_t spool_schedule_wake(struct spool_schedule *s, const char *route, int64_t now_ms)
{
	struct woken w = { .s = s, .text = route };

	twalk_r(s->routes_by_text, wake_route, &w);
	return w.parts;
}

size_t spool_schedule_parts(const struct spool_schedule *s, const char *id, struct spool_part_state *out, size_t max)
{
	const struct item *e = entry_find(s, id);
	size_t n = 0;

	for (const struct part *p = e ? e->parts : NULL; p && n < max; p = p->next)
		out[n++] = (struct spool_part_state){
			.route = p->route->text,
			.next_ms = p->due_ms > p->route->not_before_ms ? p->due_ms : p->route->not_before_ms,
			.leased = p->lease != 0,
			.route_down = p->route->failures > 0,
			.route_failures = p->route->failures,
		};
	return n;
}

struct spool_totals spool_schedule_totals(const struct spool_schedule *s)
{
	return s->total;
}
