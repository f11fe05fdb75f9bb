#include "policy/rua_aggregate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "base/varint.h"
#include "policy/regdomain.h"

enum {
	ROW_BUCKETS = 1 << 15, DOMAIN_BUCKETS = 1 << 12,
	SEEN_SETS = 1 << 12, SEEN_WAYS = 4,     /* transactions that are remembered */
	SEEN_MS = 3600 * 1000,
	NUMBERS_OCTETS = 16,            /* those in front of a row */
};

const struct rua_bounds rua_bounds = {
	.domains = RUA_DOMAINS_MAX, .rows = RUA_ROWS_MAX, .variants = 100, .domain_octets = RUA_REPORT_OCTETS_MAX, .octets = 64 << 20, .org_domains = 100,
	.org_share = 16,
};

struct row {
	struct row *next;               /* in its bucket */
	struct row *next_of_domain;
	uint64_t hash;                  /* of domain and what even merged messages have in common */
	struct domain *domain;
	uint64_t count;
	uint32_t len, common;
	char data[];
};

/* Whoever has registered them. */
struct org {
	struct org *next;
	char *name;
	size_t domains, octets;
};

struct domain {
	struct domain *next;
	char *name;
	struct org *org;
	struct rua_published published;
	char **rua;
	size_t rua_count, rua_octets;
	uint64_t policy_sum;            /* of what the two above were read from */
	uint64_t messages, merged, left_out;
	struct row *first, *last;
	size_t rows, octets;
};

/* A transaction, and where its message is counted. */
struct seen {
	uint64_t hash;
	int64_t at_ms;
	struct domain *domain;          /* NULL: the place is free */
	struct row *row;                /* NULL: in none */
	bool merged;
	enum rua_done done;
};

struct rua_aggregate {
	struct rua_bounds bounds;
	struct siphash_key key;
	char *only;
	struct domain **domain;         /* in the order in which they were seen */
	size_t domain_count, domain_cap;
	uint64_t strangers;
	bool partial;
	size_t octets;
	struct rua_message message;     /* the one that is looked at */
	struct buf scratch;
	struct domain *by_name[DOMAIN_BUCKETS];
	struct org *org[DOMAIN_BUCKETS];
	struct row *bucket[ROW_BUCKETS];
	struct seen seen[SEEN_SETS][SEEN_WAYS];
};

struct rua_aggregate *rua_aggregate_new(const char *only, const struct rua_bounds *bounds)
{
	struct rua_aggregate *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->bounds = bounds ? *bounds : rua_bounds;
	siphash_key_make(&a->key);
	buf_init(&a->scratch, RUA_ROW_OCTETS_MAX);
	a->only = only ? strdup(only) : NULL;
	if (only && !a->only) {
		rua_aggregate_free(a);
		return NULL;
	}
	return a;
}

static void rua_free(char **rua, size_t count)
{
	for (size_t i = 0; rua && i < count; i++)
		free(rua[i]);
	free(rua);
}

void rua_aggregate_free(struct rua_aggregate *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->domain_count; i++) {
		struct domain *d = a->domain[i];

		while (d->first) {
			struct row *r = d->first;

			d->first = r->next_of_domain;
			free(r);
		}
		rua_free(d->rua, d->rua_count);
		free(d->name);
		free(d);
	}
	for (size_t i = 0; i < DOMAIN_BUCKETS; i++) {
		for (struct org *o = a->org[i], *next; o; o = next) {
			next = o->next;
			free(o->name);
			free(o);
		}
	}
	free(a->domain);
	free(a->only);
	buf_release(&a->scratch);
	free(a);
}

/* Organizations */

/* What it may hold in all: the less is free, the less each. One domain alone is all there is. */
static size_t org_octets(const struct rua_aggregate *a)
{
	size_t left = a->octets < a->bounds.octets ? a->bounds.octets - a->octets : 0;

	return a->only ? SIZE_MAX : left / a->bounds.org_share;
}

static void octets_add(struct rua_aggregate *a, struct org *o, size_t more, size_t less)
{
	a->octets += more - less;
	o->octets += more - less;
}

/* Of the domain; NULL: no memory. */
static struct org *org_of(struct rua_aggregate *a, const char *domain)
{
	const char *name = regdomain_of(domain);
	struct org *o, **bucket;

	if (!name)
		name = domain_tail(domain, 2);
	bucket = &a->org[siphash(&a->key, name, strlen(name)) % DOMAIN_BUCKETS];
	for (o = *bucket; o; o = o->next)
		if (strcmp(o->name, name) == 0)
			return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->name = strdup(name);
	if (!o->name) {
		free(o);
		return NULL;
	}
	o->next = *bucket;
	*bucket = o;
	octets_add(a, o, sizeof(*o) + strlen(name), 0);
	return o;
}

/* Domains */

/* Those addresses that can be kept: in number and length as the fact has them. */
static int rua_copy(const struct fact *f, char ***out, size_t *count, size_t *octets)
{
	size_t n = f && f->count < RUA_ADDRESSES_MAX ? f->count : f ? RUA_ADDRESSES_MAX : 0, made = 0;
	char **rua = calloc(n + 1, sizeof(*rua));

	*octets = 0;
	for (size_t i = 0; rua && i < n; i++) {
		size_t len = strlen(f->text[i]);

		if (len > RUA_URI_MAX)
			continue;
		rua[made] = strdup(f->text[i]);
		if (!rua[made]) {
			rua_free(rua, made);
			return -ENOMEM;
		}
		*octets += len + sizeof(*rua);
		made++;
	}
	if (!rua)
		return -ENOMEM;
	*out = rua;
	*count = made;
	return 0;
}

static uint64_t policy_sum(const struct rua_aggregate *a, const struct rua_message *m)
{
	uint64_t sum = siphash(&a->key, &m->published, sizeof(m->published));

	for (size_t i = 0; m->rua && i < m->rua->count; i++)
		sum = sum * 31 + siphash(&a->key, m->rua->text[i], strlen(m->rua->text[i]));
	return sum;
}

/* What the record said last counts. */
static int domain_policy(struct rua_aggregate *a, struct domain *d, const struct rua_message *m)
{
	uint64_t sum = policy_sum(a, m);
	size_t count, octets;
	char **rua;

	if (d->rua && d->policy_sum == sum)
		return 0;
	if (rua_copy(m->rua, &rua, &count, &octets) < 0)
		return -ENOMEM;
	rua_free(d->rua, d->rua_count);
	octets_add(a, d->org, octets, d->rua_octets);
	d->rua = rua;
	d->rua_count = count;
	d->rua_octets = octets;
	d->published = m->published;
	d->policy_sum = sum;
	return 0;
}

static int domain_new(struct rua_aggregate *a, const struct rua_message *m, uint64_t hash, struct org *org, struct domain **out)
{
	struct domain *d = calloc(1, sizeof(*d)), **all = a->domain;

	if (a->domain_count == a->domain_cap) {
		size_t cap = a->domain_cap ? a->domain_cap * 2 : 64;

		all = reallocarray(a->domain, cap, sizeof(*all));
		if (all) {
			a->domain = all;
			a->domain_cap = cap;
		}
	}
	if (d) {
		d->org = org;
		d->name = strdup(m->domain);
	}
	if (!all || !d || !d->name || domain_policy(a, d, m) < 0) {
		free(d ? d->name : NULL);
		free(d);
		return -ENOMEM;
	}
	d->next = a->by_name[hash % DOMAIN_BUCKETS];
	a->by_name[hash % DOMAIN_BUCKETS] = d;
	a->domain[a->domain_count++] = d;
	octets_add(a, org, sizeof(*d) + strlen(d->name), 0);
	org->domains++;
	*out = d;
	return 0;
}

/* The domain of m. 0; -ENOENT: it plays no part; -ENOMEM. */
static int domain_of(struct rua_aggregate *a, const struct rua_message *m, struct domain **out)
{
	uint64_t hash = siphash(&a->key, m->domain, strlen(m->domain));
	bool asks = m->rua && m->rua->count > 0;
	struct org *org;

	if (a->only && strcmp(a->only, m->domain) != 0)
		return -ENOENT;
	for (struct domain *d = a->by_name[hash % DOMAIN_BUCKETS]; d; d = d->next)
		if (strcmp(d->name, m->domain) == 0) {
			*out = d;
			return domain_policy(a, d, m);
		}
	if (!asks && !a->only)
		return -ENOENT;
	if (a->domain_count >= a->bounds.domains || a->octets >= a->bounds.octets) {
		a->strangers++;
		return -ENOENT;
	}
	org = org_of(a, m->domain);
	if (!org)
		return -ENOMEM;
	if (!a->only && org->domains && (org->domains >= a->bounds.org_domains || org->octets >= org_octets(a))) {
		a->strangers++;
		return -ENOENT;
	}
	return domain_new(a, m, hash, org, out);
}

/* Rows */

static struct row *row_new(struct rua_aggregate *a, struct domain *d, uint64_t hash, size_t common)
{
	struct row *r = malloc(sizeof(*r) + a->scratch.len);

	if (!r)
		return NULL;
	*r = (struct row){ .next = a->bucket[hash % ROW_BUCKETS], .hash = hash, .domain = d, .len = (uint32_t)a->scratch.len, .common = (uint32_t)common };
	memcpy(r->data, a->scratch.data, a->scratch.len);
	a->bucket[hash % ROW_BUCKETS] = r;
	if (d->last)
		d->last->next_of_domain = r;
	else
		d->first = r;
	d->last = r;
	d->rows++;
	d->octets += r->len + NUMBERS_OCTETS;
	octets_add(a, d->org, sizeof(*r) + r->len, 0);
	return r;
}

static bool has_room(const struct rua_aggregate *a, const struct domain *d, size_t variants)
{
	const struct rua_bounds *b = &a->bounds;
	size_t more = sizeof(struct row) + a->scratch.len;

	return variants < b->variants && d->rows < b->rows && d->octets + a->scratch.len + NUMBERS_OCTETS <= b->domain_octets &&
	       a->octets + more <= b->octets && d->org->octets + more <= org_octets(a);
}

/* Count the message where it belongs. */
static int row_count(struct rua_aggregate *a, struct domain *d, struct seen *where)
{
	size_t common, variants = 0;
	struct row *like = NULL;
	uint64_t hash;

	buf_clear(&a->scratch);
	rua_put_row(&a->scratch, &a->message, &common);
	if (a->scratch.failed)
		return -ENOMEM;
	hash = siphash(&a->key, a->scratch.data, common) ^ (uint64_t)(uintptr_t)d * 0x9e3779b97f4a7c15u;
	*where = (struct seen){ .domain = d, .done = a->message.done };
	for (struct row *r = a->bucket[hash % ROW_BUCKETS]; r; r = r->next) {
		if (r->hash != hash || r->domain != d || r->common != common || memcmp(r->data, a->scratch.data, common) != 0)
			continue;
		variants++;
		like = r;
		if (r->len == a->scratch.len && memcmp(r->data, a->scratch.data, r->len) == 0) {
			where->row = r;
			r->count++;
			return 0;
		}
	}
	where->merged = like && !has_room(a, d, variants);
	where->row = like;
	if (has_room(a, d, variants)) {
		where->row = row_new(a, d, hash, common);
		if (!where->row)
			return -ENOMEM;
	}
	if (where->row)
		where->row->count++;
	d->merged += where->merged;
	d->left_out += !where->row;
	return 0;
}

static void row_uncount(const struct seen *s)
{
	if (s->row)
		s->row->count--;
	s->domain->merged -= s->merged;
	s->domain->left_out -= !s->row;
}

/* Transactions */

/* The place of this one among those seen: its own, or one that may be taken. */
static struct seen *seen_find(struct rua_aggregate *a, uint64_t hash, int64_t at_ms, bool *again)
{
	struct seen *set = a->seen[hash % SEEN_SETS], *oldest = set;

	*again = false;
	for (int i = 0; i < SEEN_WAYS; i++) {
		int64_t since_ms = at_ms - set[i].at_ms;

		if (set[i].domain && set[i].hash == hash && since_ms < SEEN_MS && since_ms > -SEEN_MS) {
			*again = true;
			return &set[i];
		}
		if (!set[i].domain || (oldest->domain && set[i].at_ms < oldest->at_ms))
			oldest = &set[i];
	}
	return oldest;
}

/* Ids of transactions are of 32 bits: who the client was tells two of the same apart. */
static uint64_t transaction_hash(const struct rua_aggregate *a, const struct history_record *r)
{
	return siphash(&a->key, r->code, strlen(r->code)) * 31 + siphash(&a->key, r->client, strlen(r->client));
}

int rua_aggregate_add(struct rua_aggregate *a, const struct history_record *r)
{
	uint64_t hash = transaction_hash(a, r);
	struct seen *seen, where;
	struct domain *d;
	bool again;
	int rc;

	if (!rua_message_read(r, &a->message))
		return 0;
	rc = domain_of(a, &a->message, &d);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	seen = seen_find(a, hash, r->at_ms, &again);
	if (again && seen->done >= a->message.done)
		return 0;
	if (again)
		row_uncount(seen);
	else
		d->messages++;
	rc = row_count(a, d, &where);
	if (rc < 0)
		return rc;
	*seen = where;
	seen->hash = hash;
	seen->at_ms = r->at_ms;
	return 0;
}

/* What came of it */

void rua_aggregate_partial(struct rua_aggregate *a)
{
	a->partial = true;
}

size_t rua_aggregate_count(const struct rua_aggregate *a)
{
	return a->domain_count;
}

uint64_t rua_aggregate_strangers(const struct rua_aggregate *a)
{
	return a->strangers;
}

const char *rua_aggregate_domain(const struct rua_aggregate *a, size_t i)
{
	return a->domain[i]->name;
}

static bool has_report(const struct rua_aggregate *a, const struct domain *d)
{
	const struct row *r = d->first;

	while (r && r->count == 0)
		r = r->next_of_domain;
	return r && (a->only || d->rua_count > 0);
}

int rua_aggregate_head(struct rua_aggregate *a, size_t i, struct buf *head)
{
	const struct domain *d = a->domain[i];
	struct rua_head h = { .domain = d->name, .published = d->published, .rua = (const char *const *)d->rua, .rua_count = d->rua_count,
			      .messages = d->messages, .merged = d->merged, .left_out = d->left_out, .partial = a->partial };

	if (!has_report(a, d))
		return -ENOENT;
	rua_put_head(head, &h);
	return head->failed ? -ENOSPC : 0;
}

int rua_aggregate_rows(struct rua_aggregate *a, size_t i, struct buf *rows)
{
	const struct domain *d = a->domain[i];

	if (!has_report(a, d))
		return -ENOENT;
	for (const struct row *r = d->first; r; r = r->next_of_domain) {
		if (r->count == 0)
			continue;       /* its messages fared better in the end */
		varint_put(rows, r->count);
		varint_put(rows, r->len);
		buf_add(rows, r->data, r->len);
	}
	return rows->failed ? -ENOSPC : 0;
}
