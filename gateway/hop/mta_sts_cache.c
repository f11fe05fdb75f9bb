#include "hop/mta_sts_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/dns.h"
#include "base/https.h"
#include "base/log.h"
#include "base/net.h"
#include "base/task.h"
#include "filters/domain.h"
#include "policy/state.h"

enum {
	BUCKETS = 512,
	TXT_MS = 10000,
	DAY_S = 86400,
	CHUNKS_MAX = STATE_OPS_MAX - 1,         /* of a policy in the state store; a longer one is kept in memory alone */
	CHUNK_BYTES = STATE_TEXT_MAX - 24,      /* beside its mark */
	STATE_RETRY_MS = 60000,
};

/* Who waits for a fetch, on his own stack. */
struct waiter {
	struct future done;
	TAILQ_ENTRY(waiter) entry;
};

struct entry {
	struct mta_sts_cache *cache;
	char domain[DOMAIN_MAX];
	int users;                      /* tasks that look at it: it stays */
	struct mta_sts_policy *policy;  /* or NULL */
	char id[MTA_STS_ID_MAX + 1];    /* of the policy */
	int64_t fetched_s, expires_s;
	bool stored;                    /* the state store has been asked */
	int64_t store_ms;               /* if it does not answer: not before */
	bool fetching;
	char wanted[MTA_STS_ID_MAX + 1];        /* of the fetch under way, or of the last one that failed */
	int64_t retry_ms;
	TAILQ_HEAD(waiter_list, waiter) waiters;
	TAILQ_ENTRY(entry) lru;
	struct entry *next;             /* in its bucket */
};

struct mta_sts_cache {
	struct dns *dns;
	struct state *state;
	struct ssl_ctx_st *tls;
	unsigned short port;
	const struct net_prefix *never;
	size_t never_count;
	size_t count;
	TAILQ_HEAD(lru, entry) lru;     /* the longest unused first */
	struct entry *bucket[BUCKETS];
};

/* ---- the table ---- */

static struct entry **slot(struct mta_sts_cache *c, const char *domain)
{
	unsigned h = 5381;
	struct entry **p;

	for (const char *s = domain; *s; s++)
		h = h * 33 + (unsigned char)*s;
	for (p = &c->bucket[h % BUCKETS]; *p && strcmp((*p)->domain, domain) != 0; p = &(*p)->next)
		;
	return p;
}

static void forget(struct entry *e)
{
	struct entry **p = slot(e->cache, e->domain);

	*p = e->next;
	TAILQ_REMOVE(&e->cache->lru, e, lru);
	e->cache->count--;
	mta_sts_policy_free(e->policy);
	free(e);
}

static void make_room(struct mta_sts_cache *c)
{
	struct entry *e = TAILQ_FIRST(&c->lru);

	while (e && c->count >= MTA_STS_DOMAINS_MAX) {
		struct entry *next = TAILQ_NEXT(e, lru);

		if (e->users == 0 && !e->fetching)
			forget(e);
		e = next;
	}
}

static struct entry *entry_get(struct mta_sts_cache *c, const char *domain)
{
	struct entry *e = *slot(c, domain);

	if (e) {
		TAILQ_REMOVE(&c->lru, e, lru);
		TAILQ_INSERT_TAIL(&c->lru, e, lru);
		return e;
	}
	make_room(c);
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->cache = c;
	snprintf(e->domain, sizeof(e->domain), "%s", domain);
	TAILQ_INIT(&e->waiters);
	*slot(c, domain) = e;
	TAILQ_INSERT_TAIL(&c->lru, e, lru);
	c->count++;
	return e;
}

/* ---- the state store ---- */

/*
 * The policy's text behind a line "id fetched expires", in pieces of a record each: "sts" "domain n". Every piece begins with the moment of the fetch, so that pieces
 * of two policies never become one; the first one's count says how many there are.
 */
static void op_prepare(struct state_op *op, enum state_verb verb, const char *domain, size_t n)
{
	char number[24];

	memset(op, 0, sizeof(*op));
	op->verb = verb;
	snprintf(number, sizeof(number), "%zu", n);
	state_key(op, "sts", domain, number, NULL);
}

/* may wait */
static void store_put(struct entry *e)
{
	AUTO(buf) struct buf text = BUF_INIT((size_t)CHUNKS_MAX * CHUNK_BYTES);
	struct state_op *ops;
	size_t n;

	buf_addf(&text, "%s %lld %lld\n", e->id, (long long)e->fetched_s, (long long)e->expires_s);
	if (!e->cache->state || mta_sts_text(e->policy, &text) < 0)
		return;
	n = (text.len + CHUNK_BYTES - 1) / CHUNK_BYTES;
	ops = calloc(n, sizeof(*ops));
	for (size_t i = 0; ops && i < n; i++) {
		size_t at = i * CHUNK_BYTES, len = text.len - at < CHUNK_BYTES ? text.len - at : CHUNK_BYTES;

		op_prepare(&ops[i], STATE_PUT, e->domain, i);
		ops[i].ttl_s = e->expires_s - e->fetched_s;
		ops[i].add = (int64_t)n;
		snprintf(ops[i].text, sizeof(ops[i].text), "%lld %.*s", (long long)e->fetched_s, (int)len, text.data + at);
	}
	if (!ops || state_run(e->cache->state, ops, n) < 0)
		log_warning("mta-sts", "domain", e->domain, "error", "the policy could not be stored: a restart forgets it", NULL);
	free(ops);
}

/* "id fetched expires\npolicy" */
static void store_read(struct entry *e, const char *text)
{
	const char *lf = strchr(text, '\n'), *why;
	struct mta_sts_policy *p;
	char id[MTA_STS_ID_MAX + 1];
	long long fetched, expires;

	if (!lf || sscanf(text, "%32s %lld %lld", id, &fetched, &expires) != 3 || expires <= clock_wall_s() || fetched <= e->fetched_s)
		return;
	if (mta_sts_parse(lf + 1, strlen(lf + 1), &p, &why) < 0)
		return;
	mta_sts_policy_free(e->policy);
	e->policy = p;
	memcpy(e->id, id, sizeof(e->id));
	e->fetched_s = fetched;
	e->expires_s = expires;
}

/* Piece n of those that begin with mark; false: it is of another policy. */
static bool piece_add(const struct state_op *op, const char *mark, struct buf *out)
{
	size_t n = strlen(mark);

	return op->found && strncmp(op->text, mark, n) == 0 && op->text[n] == ' ' && buf_adds(out, op->text + n + 1) == 0;
}

/* may wait */
static void store_get(struct entry *e)
{
	AUTO(buf) struct buf text = BUF_INIT((size_t)CHUNKS_MAX * CHUNK_BYTES);
	struct state_op *ops;
	char mark[24];
	size_t n;
	int rc;

	if (e->stored || !e->cache->state || clock_ms() < e->store_ms)
		return;
	ops = calloc(CHUNKS_MAX, sizeof(*ops));
	if (!ops)
		return;
	op_prepare(&ops[0], STATE_GET, e->domain, 0);
	rc = state_run(e->cache->state, ops, 1);
	n = rc == 0 && ops[0].found && ops[0].count >= 1 && ops[0].count <= CHUNKS_MAX ? (size_t)ops[0].count : 0;
	for (size_t i = 1; i < n; i++)
		op_prepare(&ops[i], STATE_GET, e->domain, i);
	if (n > 1)
		rc = state_run(e->cache->state, ops + 1, n - 1);
	e->stored = rc == 0;
	e->store_ms = clock_ms() + STATE_RETRY_MS;
	snprintf(mark, sizeof(mark), "%.*s", (int)strcspn(ops[0].text, " "), ops[0].text);
	for (size_t i = 0; i < n && rc == 0; i++)
		if (!piece_add(&ops[i], mark, &text))
			n = 0;
	if (n > 0 && rc == 0)
		store_read(e, buf_str(&text));
	free(ops);
}

/* ---- fetching ---- */

/* Whoever has a name in the DNS does not choose whom we connect to inside. */
static bool usable(void *arg, const struct net_addr *a)
{
	const struct mta_sts_cache *c = arg;

	for (size_t i = 0; i < c->never_count; i++)
		if (net_in(a, &c->never[i]))
			return false;
	return true;
}

/* 0 and *out, or -errno and why. may wait */
static int fetch_policy(struct entry *e, struct mta_sts_policy **out, char *why)
{
	char host[DOMAIN_MAX + 16];
	const char *words;
	struct https_get q = { .dns = e->cache->dns, .tls_ctx = e->cache->tls, .host = host, .path = "/.well-known/mta-sts.txt", .port = e->cache->port,
			       .deadline_ms = clock_ms() + MTA_STS_FETCH_MS, .usable = usable, .arg = e->cache };
	struct http_reply reply;
	int rc;

	snprintf(host, sizeof(host), "mta-sts.%s", e->domain);
	http_reply_init(&reply, MTA_STS_POLICY_MAX);
	rc = https_get(&q, &reply, why);
	if (rc == 0 && reply.status != 200) {
		snprintf(why, HTTPS_WHY_MAX, "%.100s: status %d", host, reply.status);
		rc = -EPROTO;
	}
	/* Where users can put pages, and no files: RFC 8461 section 3.2. */
	if (rc == 0 && strcmp(reply.type, "text/plain") != 0) {
		snprintf(why, HTTPS_WHY_MAX, "%.100s: Content-Type %.60s, not text/plain", host, reply.type);
		rc = -EPROTO;
	}
	if (rc == 0) {
		rc = mta_sts_parse(buf_str(&reply.body), reply.body.len, out, &words);
		if (rc < 0)
			snprintf(why, HTTPS_WHY_MAX, "%.100s: %s", host, rc == -EBADMSG ? words : strerror(-rc));
	}
	http_reply_release(&reply);
	return rc;
}

static void fetched(struct entry *e, struct mta_sts_policy *p)
{
	mta_sts_policy_free(e->policy);
	e->policy = p;
	memcpy(e->id, e->wanted, sizeof(e->id));
	e->fetched_s = clock_wall_s();
	e->expires_s = e->fetched_s + p->max_age_s;
	e->stored = true;
	e->retry_ms = 0;
	log_info("mta-sts", "domain", e->domain, "id", e->id, "mode", mta_sts_mode_word(p->mode), NULL);
}

static void fetch_failed(struct entry *e, const char *why)
{
	e->retry_ms = clock_ms() + MTA_STS_RETRY_MS;
	log_warning("mta-sts", "domain", e->domain, "error",
		    e->policy && clock_wall_s() < e->expires_s ? "the policy cannot be fetched: the one of before goes on" :
								 "the policy cannot be fetched: there is none",
		    "why", why, NULL);
}

static void fetch_task(void *arg)
{
	struct entry *e = arg;
	struct mta_sts_policy *p = NULL;
	char why[HTTPS_WHY_MAX] = "";
	int rc = fetch_policy(e, &p, why);
	struct waiter *w;

	if (rc == 0)
		fetched(e, p);
	else if (rc != -ECANCELED)
		fetch_failed(e, why);
	e->fetching = false;
	while ((w = TAILQ_FIRST(&e->waiters))) {
		TAILQ_REMOVE(&e->waiters, w, entry);
		future_resolve(&w->done, 0);
	}
	if (rc == 0) {
		e->users++;
		store_put(e);
		e->users--;
	}
}

static int fetch_start(struct entry *e, const char *id)
{
	int rc;

	memmove(e->wanted, id, strlen(id) + 1);
	e->fetching = true;
	rc = task_spawn("mta-sts", fetch_task, e, NULL);
	if (rc < 0)
		e->fetching = false;
	return rc;
}

/* may wait */
static int fetch_wait(struct entry *e, int64_t deadline_ms)
{
	int64_t left = deadline_ms ? deadline_ms - clock_ms() : MTA_STS_WAIT_MS;
	struct waiter w = { 0 };
	int rc;

	if (left <= 0)
		return -ETIMEDOUT;
	TAILQ_INSERT_TAIL(&e->waiters, &w, entry);
	rc = future_wait(&w.done, left < MTA_STS_WAIT_MS ? (int)left : MTA_STS_WAIT_MS);
	if (!w.done.done)
		TAILQ_REMOVE(&e->waiters, &w, entry);
	return rc;
}

/* ---- asking ---- */

static bool in_force(const struct entry *e)
{
	return e->policy && clock_wall_s() < e->expires_s;
}

/* It is time for a look at whether it is still the same. */
static bool grown_old(const struct entry *e)
{
	int64_t age_s = clock_wall_s() - e->fetched_s;

	return age_s >= DAY_S || age_s >= e->policy->max_age_s / 2;
}

/* The domain's record names this id. may wait */
static int consider(struct entry *e, const char *id, int64_t deadline_ms)
{
	bool known = in_force(e) && strcmp(id, e->id) == 0, again = clock_ms() >= e->retry_ms || strcmp(id, e->wanted) != 0;
	int rc = 0;

	if (known && !grown_old(e))
		return 0;
	if (!e->fetching && again)
		rc = fetch_start(e, id);
	if (known || rc < 0 || !e->fetching)
		return rc == -ENOMEM ? rc : 0;
	rc = fetch_wait(e, deadline_ms);
	return rc == -ECANCELED ? rc : 0;
}

/* may wait */
static int record_find(struct entry *e, int64_t deadline_ms, char *id)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	char name[DOMAIN_MAX + 16];
	int64_t left = deadline_ms ? deadline_ms - clock_ms() : TXT_MS;

	snprintf(name, sizeof(name), "_mta-sts.%s", e->domain);
	if (dns_start_within(e->cache->dns, name, DNS_TXT, left < TXT_MS ? (int)left : TXT_MS, &l) < 0)
		return -ENOMEM;
	return mta_sts_id(dns_wait(l), id);
}

int mta_sts_find(struct mta_sts_cache *c, const char *domain, int64_t deadline_ms, struct mta_sts_policy **out)
{
	struct entry *e;
	char id[MTA_STS_ID_MAX + 1];
	int rc;

	*out = NULL;
	if (strlen(domain) >= DOMAIN_MAX)
		return 0;
	e = entry_get(c, domain);
	if (!e)
		return -ENOMEM;
	e->users++;
	store_get(e);
	rc = record_find(e, deadline_ms, id);
	if (rc == 0)
		rc = consider(e, id, deadline_ms);
	else if (rc == -ENOENT)
		rc = 0;                         /* a policy that is known outlives the record (section 5.1) */
	if (task_self() && task_cancelled())
		rc = -ECANCELED;
	if (rc == 0 && in_force(e))
		*out = mta_sts_policy_ref(e->policy);
	e->users--;
	return rc;
}

struct mta_sts_cache *mta_sts_cache_new(struct dns *dns, struct state *state, struct ssl_ctx_st *verifying, unsigned short port)
{
	struct mta_sts_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->dns = dns;
	c->state = state;
	c->tls = verifying;
	c->port = port;
	TAILQ_INIT(&c->lru);
	return c;
}

void mta_sts_cache_never(struct mta_sts_cache *c, const struct net_prefix *never, size_t count)
{
	c->never = never;
	c->never_count = count;
}

void mta_sts_cache_free(struct mta_sts_cache *c)
{
	struct entry *e;

	if (!c)
		return;
	while ((e = TAILQ_FIRST(&c->lru)))
		forget(e);
	free(c);
}
