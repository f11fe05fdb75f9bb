#include "policy/client_use.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	V4_BITS = 32,
	COUNT_BITS = 24,                /* of a window */
	SAY_MS = 60 * 1000,
	UNSAID_MAX = 0xffff,
};

static const uint64_t COUNT_MASK = ((uint64_t)1 << COUNT_BITS) - 1;

/* Of IPv6 anybody gets a /56 or a /48 for the asking. */
static const struct { int v6_bits, factor; } networks[USE_NETWORKS] = { { 64, 1 }, { 56, 4 }, { 48, 16 } };

static const char *const kinds[USE_TOLD] = {
	[USE_CONNECTIONS] = "connections", [USE_COMMANDS] = "commands", [USE_ERRORS] = "errors", [USE_RECIPIENTS] = "recipients",
	[USE_UNKNOWN] = "unknown_recipients", [USE_MESSAGES] = "messages", [USE_BYTES] = "bytes", [USE_LOGINS] = "logins",
	[USE_SESSIONS] = "sessions",
};

const char *use_kind_name(enum use_kind kind)
{
	return kinds[kind];
}

/* --- a window --- */

struct window {
	uint16_t period;
	uint32_t before, now;
};

static struct window unpack(uint64_t v)
{
	return (struct window){ .period = (uint16_t)(v >> (2 * COUNT_BITS)), .before = (uint32_t)(v >> COUNT_BITS & COUNT_MASK), .now = (uint32_t)(v & COUNT_MASK) };
}

static uint64_t pack(struct window w)
{
	return (uint64_t)w.period << (2 * COUNT_BITS) | (uint64_t)w.before << COUNT_BITS | w.now;
}

/* As it is in that period. A clock that went back by less than a period is taken to stand still; by more, and all begins anew. */
static struct window turn(struct window w, uint16_t period)
{
	int16_t passed = (int16_t)(uint16_t)(period - w.period);

	if (passed == 0 || passed == -1)
		return w;
	return (struct window){ .period = period, .before = passed == 1 ? w.now : 0 };
}

/* What counts at this moment. To the nearest whole: cut off, one of those of a moment ago would be forgotten as soon as the period turns. */
static int64_t counted(struct window w, int period_ms, int64_t now_ms)
{
	uint16_t period = (uint16_t)(now_ms / period_ms);
	int64_t left = period == w.period ? period_ms - now_ms % period_ms : period_ms;

	return (int64_t)w.now + (2 * (int64_t)w.before * left + period_ms) / (2 * (int64_t)period_ms);
}

/* n more, or fewer. What counts then. */
static int64_t window_add(_Atomic uint64_t *at, int period_ms, int64_t now_ms, int64_t n)
{
	uint64_t v = atomic_load_explicit(at, memory_order_relaxed);
	struct window w;

	do {
		int64_t now;

		w = turn(unpack(v), (uint16_t)(now_ms / period_ms));
		now = (int64_t)w.now + n;
		/* What is taken back may have been counted in the period before. */
		if (now < 0)
			w.before = w.before > (uint64_t)-now ? w.before - (uint32_t)-now : 0;
		w.now = now < 0 ? 0 : now > (int64_t)COUNT_MASK ? (uint32_t)COUNT_MASK : (uint32_t)now;
	} while (n != 0 && !atomic_compare_exchange_weak(at, &v, pack(w)));
	return counted(w, period_ms, now_ms);
}

static int load_of(int64_t count, int64_t limit)
{
	return count >= limit ? USE_FULL : (int)(count * USE_FULL / limit);
}

/* --- who is where --- */

void client_use_init(struct use_table *t)
{
	siphash_key_make(&t->key);
}

const char *client_use_network(const struct net_addr *client, int i, char out[NET_TEXT_MAX])
{
	struct net_addr a = net_counted(client);

	return a.family == AF_INET6 ? net_network_text(client, V4_BITS, networks[i].v6_bits, out) : net_text(&a, out);
}

int client_use_factor(int i)
{
	return networks[i].factor;
}

int client_use_bits(int i)
{
	return networks[i].v6_bits;
}

void client_use_name(const struct use_table *t, const struct use_conf *conf, const struct net_addr *client, struct use_client *out)
{
	struct net_addr a = net_counted(client);
	/* Windows of another length are others: generations of workers may have their own. */
	struct { uint32_t period_ms; unsigned char bits, ip[8], pad[3]; } name;

	out->networks = a.family == AF_INET6 ? USE_NETWORKS : 1;
	for (int i = 0; i < out->networks; i++) {
		size_t octets = a.family == AF_INET6 ? (size_t)networks[i].v6_bits / 8 : 4;

		memset(&name, 0, sizeof(name));
		name.period_ms = (uint32_t)conf->period_ms;
		name.bits = a.family == AF_INET6 ? (unsigned char)networks[i].v6_bits : V4_BITS;
		memcpy(name.ip, a.ip, octets);
		out->hash[i] = siphash(&t->key, &name, sizeof(name));
		out->hash[i] += out->hash[i] == 0;
	}
}

static struct use_entry *find(struct use_table *t, uint64_t hash)
{
	size_t b = hash % USE_BUCKETS;

	for (int i = 0; i < USE_WAYS; i++)
		if (atomic_load_explicit(&t->owner[b][i], memory_order_relaxed) == hash)
			return &t->entry[b][i];
	return NULL;
}

/* How much of its limits somebody has used: who is shut out, all of them. */
static int worth(const struct use_entry *e, const struct use_conf *conf, int64_t now_ms)
{
	int most = 0;

	if (atomic_load_explicit(&e->shut_ms, memory_order_relaxed) > now_ms)
		return USE_FULL;
	for (int k = 0; k < USE_KINDS; k++) {
		struct window w = turn(unpack(atomic_load_explicit(&e->window[k], memory_order_relaxed)), (uint16_t)(now_ms / conf->period_ms));
		int load = conf->limit[k] > 0 ? load_of(counted(w, conf->period_ms, now_ms), conf->limit[k]) : 0;

		most = load > most ? load : most;
	}
	return most;
}

static int cheapest(struct use_table *t, size_t b, const struct use_conf *conf, int64_t now_ms)
{
	int best = 0, least = USE_FULL + 1;

	for (int i = 0; i < USE_WAYS && least > 0; i++) {
		int n = atomic_load_explicit(&t->owner[b][i], memory_order_relaxed) ? worth(&t->entry[b][i], conf, now_ms) : -1;

		if (n < least) {
			least = n;
			best = i;
		}
	}
	return best;
}

static void clear(struct use_entry *e)
{
	for (int k = 0; k < USE_KINDS; k++)
		atomic_store_explicit(&e->window[k], 0, memory_order_relaxed);
	atomic_store_explicit(&e->shut_ms, 0, memory_order_relaxed);
	for (int k = 0; k < USE_TOLD; k++)
		atomic_store_explicit(&e->said[k], 0, memory_order_relaxed);
}

/* NULL: somebody else was quicker, with another. */
static struct use_entry *claim(struct use_table *t, uint64_t hash, const struct use_conf *conf, int64_t now_ms)
{
	size_t b = hash % USE_BUCKETS;
	int i = cheapest(t, b, conf, now_ms);
	uint64_t was = atomic_load(&t->owner[b][i]);

	if (!atomic_compare_exchange_strong(&t->owner[b][i], &was, hash))
		return was == hash ? &t->entry[b][i] : NULL;
	clear(&t->entry[b][i]);
	/* Two may have claimed one each for the same: the first that is found counts, the other is forgotten in time. */
	return find(t, hash);
}

/* --- counting --- */

/* The network that is over its limit counts, or that which is nearest to it; the wider one if two are. */
static void view(struct use_view *out, int network, int64_t count, int64_t limit, int64_t n)
{
	bool over = count + (n == 0) > limit;
	int load = load_of(count, limit);

	if (network > 0 && (load < out->load || (out->over && !over)))
		return;
	*out = (struct use_view){ .load = load, .network = network, .count = count, .limit = limit, .over = over, .shut = out->shut };
}

/* Whether it is shut out: that begins when the limit is reached, and is over a period later. */
static bool shut(struct use_entry *e, const struct use_conf *conf, int64_t count, int64_t limit, int64_t n, int64_t now_ms)
{
	int64_t until = atomic_load(&e->shut_ms);

	if (until > now_ms && until <= now_ms + conf->period_ms)
		return true;
	if (n <= 0 || count < limit)
		return false;
	atomic_store(&e->shut_ms, now_ms + conf->period_ms);
	return true;
}

void client_use_add(struct use_table *t, const struct use_conf *conf, const struct use_client *c, enum use_kind kind, int64_t n, int64_t now_ms,
		     struct use_view *out)
{
	*out = (struct use_view){ .limit = conf->limit[kind] };
	if (conf->limit[kind] <= 0)
		return;
	for (int i = 0; i < c->networks; i++) {
		struct use_entry *e = find(t, c->hash[i]);
		int64_t limit = (int64_t)conf->limit[kind] * networks[i].factor, count;

		if (!e && n > 0)
			e = claim(t, c->hash[i], conf, now_ms);
		if (!e)
			continue;
		count = window_add(&e->window[kind], conf->period_ms, now_ms, n);
		if (kind == USE_UNKNOWN)
			out->shut = shut(e, conf, count, limit, n, now_ms) || out->shut;
		view(out, i, count, limit, n);
	}
}

void client_use_take_back(struct use_table *t, const struct use_conf *conf, const struct use_client *c, enum use_kind kind, int64_t n, int64_t now_ms)
{
	for (int i = 0; conf->limit[kind] > 0 && n > 0 && i < c->networks; i++) {
		struct use_entry *e = find(t, c->hash[i]);

		if (e)
			window_add(&e->window[kind], conf->period_ms, now_ms, -n);
	}
}

void site_use_add(struct use_table *t, const struct use_conf *conf, enum use_kind kind, int64_t n, int64_t now_ms, struct use_view *out)
{
	*out = (struct use_view){ .limit = conf->limit[kind] };
	if (conf->limit[kind] > 0)
		view(out, 0, window_add(&t->site.window[kind], conf->period_ms, now_ms, n), conf->limit[kind], n);
}

int use_delay_ms(const struct use_conf *conf, int load)
{
	int from = conf->slow_from * (USE_FULL / 100);

	if (load < from || from >= USE_FULL)
		return 0;
	return load >= USE_FULL ? conf->slow_max_ms : (int)((int64_t)conf->slow_max_ms * (load - from) / (USE_FULL - from));
}

/* --- what is said of it --- */

bool client_use_say(struct use_table *t, const struct use_conf *conf, const struct use_client *c, int network, enum use_kind kind, int64_t now_ms,
		     int *unsaid)
{
	struct use_entry *e = c ? find(t, c->hash[network]) : &t->site;
	uint32_t minute = (uint32_t)(now_ms / SAY_MS % UINT16_MAX + 1) << 16, v, next;
	bool say;

	*unsaid = 0;
	if (!e && c)
		e = claim(t, c->hash[network], conf, now_ms);
	if (!e)
		return false;
	v = atomic_load(&e->said[kind]);
	do {
		say = (v & ~(uint32_t)UNSAID_MAX) != minute;
		next = say ? minute : (v & UNSAID_MAX) == UNSAID_MAX ? v : v + 1;
	} while (!atomic_compare_exchange_weak(&e->said[kind], &v, next));
	if (say)
		*unsaid = (int)(v & UNSAID_MAX);
	return say;
}
