#include "policy/ledger.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/task.h"
#include "filters/filter.h"
#include "policy/conf.h"

enum {
	HASHED_AT_ONCE = 256 * 1024,            /* then others get their turn */
	HEX_MAX = 2 * 32 + 1,
	AWAY_MS = 10 * 1000,
	NAMES_MAX = 1024 * 1024,                /* sender, recipients, Message-ID */
};

static const char space[] = "ledger", marker[] = "until";

static void hex(const unsigned char *p, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

/* The text */

/* Four recipients a digit; "*": all of them. */
int ledger_text(const char *hash, const char *id, const bool *bits, size_t count, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "%s %s ", hash, id), set = 0;

	for (size_t i = 0; i < count; i++)
		set += bits[i];
	if (n + (set == count ? 1 : (count + 3) / 4) >= size)
		return -ENOSPC;
	if (set == count) {
		memcpy(out + n, "*", 2);
		return 0;
	}
	for (size_t i = 0; i < count; i += 4) {
		unsigned digit = 0;

		for (size_t k = 0; k < 4 && i + k < count; k++)
			digit |= (unsigned)bits[i + k] << k;
		out[n++] = "0123456789abcdef"[digit];
	}
	out[n] = '\0';
	return 0;
}

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool bits_read(const char *p, size_t count, bool *bits)
{
	if (strcmp(p, "*") == 0) {
		memset(bits, true, count);
		return true;
	}
	if (strlen(p) != (count + 3) / 4)
		return false;
	for (size_t i = 0; i < count; i++) {
		int digit = digit_of(p[i / 4]);

		if (digit < 0)
			return false;
		bits[i] = digit >> (i % 4) & 1;
	}
	return true;
}

bool ledger_text_read(const char *text, size_t count, char hash[65], char id[LEDGER_ID_MAX], bool *bits)
{
	size_t hash_len = strcspn(text, " "), id_len = text[hash_len] ? strcspn(text + hash_len + 1, " ") : 0;
	const char *rest = text + hash_len + 1 + id_len;

	if (hash_len != HEX_MAX - 1 || id_len == 0 || id_len >= LEDGER_ID_MAX || *rest != ' ')
		return false;
	memcpy(hash, text, hash_len);
	hash[hash_len] = '\0';
	memcpy(id, text + hash_len + 1, id_len);
	id[id_len] = '\0';
	return bits_read(rest + 1, count, bits);
}

/* The key */

static bool below(const char *domain, const char *parent)
{
	size_t d = strlen(domain), p = strlen(parent);

	return p > 0 && d >= p && strcasecmp(domain + d - p, parent) == 0 && (d == p || domain[d - p - 1] == '.');
}

static const struct fact *known(struct txn *t, const char *name)
{
	int id = fact_find(name, strlen(name));
	const struct fact *f = id == FACT_NONE ? NULL : filters_fact(t, id);

	return f && f->state == FACT_KNOWN && f->count ? f : NULL;
}

/* Of the domains that signed the sender's own, else the first by the alphabet: the same at each attempt. */
static const char *signer(const struct fact *f, const char *from_domain)
{
	const char *best = f->text[0];

	for (size_t i = 0; i < f->count; i++) {
		if (below(from_domain, f->text[i]))
			return f->text[i];
		if (strcmp(f->text[i], best) < 0)
			best = f->text[i];
	}
	return best;
}

/* Who sends. may wait */
static void who(struct txn *t, char *out, size_t size)
{
	const struct greylist_conf *g = &t->site->greylist;
	const struct fact *f = known(t, "dkim.pass_domains");
	char network[NET_TEXT_MAX];

	if (f) {
		snprintf(out, size, "dkim:%s", signer(f, t->env.from_domain));
		return;
	}
	f = known(t, "spf");
	if (f && strcmp(f->text[0], "pass") == 0 && (f = known(t, "spf.domain"))) {
		snprintf(out, size, "spf:%s", f->text[0]);
		return;
	}
	snprintf(out, size, "net:%s", net_network_text(client_counted(t->client), g->v4_bits, g->v6_bits, network));
}

static const struct recipient *sorting;         /* qsort has no argument; nothing waits in between */

static int address_order(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int order = strcmp(sorting[x].address, sorting[y].address);

	return order ? order : x < y ? -1 : x > y;
}

/* Places in the envelope, in the order of the addresses; only: of these alone, or NULL. The caller frees them. */
static size_t *sorted(const struct envelope *env, const bool *only, size_t *count)
{
	size_t *at = calloc(env->rcpt_count, sizeof(*at));

	*count = 0;
	for (size_t i = 0; at && i < env->rcpt_count; i++)
		if (!only || only[i])
			at[(*count)++] = i;
	sorting = env->rcpt;
	if (at)
		qsort(at, *count, sizeof(*at), address_order);
	return at;
}

bool ledger_can_tell(const struct txn *t)
{
	return message_find(t->message, "Message-ID", 0) || message_find(t->message, "Date", 0);
}

static int names_hash(const struct txn *t, const size_t *order, size_t count, char out[HEX_MAX])
{
	AUTO(buf) struct buf names = BUF_INIT(NAMES_MAX);
	const struct header_field *h = message_find(t->message, "Message-ID", 0);
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned md_len;

	buf_add(&names, t->env.from, strlen(t->env.from) + 1);
	for (size_t i = 0; i < count; i++)
		buf_add(&names, t->env.rcpt[order[i]].address, strlen(t->env.rcpt[order[i]].address) + 1);
	if (h)
		buf_add(&names, h->body, h->body_len);
	if (names.failed || EVP_Digest(names.data, names.len, md, &md_len, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	hex(md, 32, out);
	return 0;
}

static int make_key(struct txn *t, const size_t *order, size_t count, struct state_op *op)
{
	char sender[STATE_KEY_MAX], names[HEX_MAX];
	int rc = names_hash(t, order, count, names);

	if (rc < 0)
		return rc;
	who(t, sender, sizeof(sender));
	state_key(op, space, sender, names, NULL);
	return 0;
}

/* SHA-256 of the message, as it came. may wait */
static int message_hash(struct message *m, char out[HEX_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char md[EVP_MAX_MD_SIZE];
	size_t off = 0, since = 0, n = 1;
	int rc = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;

	while (rc == 0 && off < message_size(m)) {
		const char *p;

		rc = message_read(m, off, &p, &n);
		if (rc == 0 && n == 0)
			rc = -EIO;
		if (rc == 0 && EVP_DigestUpdate(ctx, p, n) != 1)
			rc = -ENOMEM;
		off += n;
		since += n;
		if (since >= HASHED_AT_ONCE && task_self()) {
			since = 0;
			task_yield();
		}
	}
	if (rc == 0 && EVP_DigestFinal_ex(ctx, md, NULL) != 1)
		rc = -ENOMEM;
	EVP_MD_CTX_free(ctx);
	if (rc == 0)
		hex(md, 32, out);
	return rc;
}

/* Asking and writing */

/* No later than this is any entry alive. */
static void note_until(struct ledger *l, int64_t until_s)
{
	int64_t was = atomic_load(l->until_s);

	while (was < until_s && !atomic_compare_exchange_weak(l->until_s, &was, until_s))
		;
}

static bool may_have_one(const struct ledger *l)
{
	int64_t until_s;

	if (!l->state || !l->ttl_s || clock_ms() < l->away_until_ms)
		return false;
	if (l->ask)
		return true;
	until_s = atomic_load(l->until_s);
	return until_s == 0 || clock_wall_s() <= until_s;
}

/* op[0]: the entry's key; op[1] is room for the question until when there may be any, asked when it is not known. */
static int ask(struct ledger *l, struct state_op *op)
{
	bool learn = !l->ask && atomic_load(l->until_s) == 0;
	int rc;

	op[0].verb = STATE_GET;
	op[1].verb = STATE_GET;
	state_key(&op[1], space, marker, NULL);
	rc = state_run(l->state, op, learn ? 2 : 1);
	if (rc < 0)
		l->away_until_ms = clock_ms() + AWAY_MS;
	else if (learn)
		note_until(l, op[1].found && op[1].count > 1 ? op[1].count : 1);
	return rc;
}

/* An entry was found under the key: whether it is of this message. */
static struct ledger_entry *compare(struct txn *t, const size_t *order, const struct state_op *op)
{
	size_t count = t->env.rcpt_count;
	struct ledger_entry *e = calloc(1, sizeof(*e) + count * sizeof(*e->has));
	bool *bits = calloc(count, sizeof(*bits));
	char want[HEX_MAX], is[HEX_MAX];
	bool same = e && bits && ledger_text_read(op->text, count, want, e->id, bits) && message_hash(t->message, is) == 0 &&
		    strcmp(want, is) == 0;

	if (same) {
		e->key = *op;
		e->all = true;
		for (size_t i = 0; i < count; i++) {
			e->has[order[i]] = bits[i];
			e->all &= bits[i];
		}
	}
	free(bits);
	if (same)
		return e;
	free(e);
	return NULL;
}

struct ledger_entry *ledger_find(struct ledger *l, struct txn *t)
{
	struct ledger_entry *found = NULL;
	struct state_op *op;
	size_t *order, count;

	if (!may_have_one(l) || !ledger_can_tell(t))
		return NULL;
	op = calloc(2, sizeof(*op));            /* 900 bytes each: too much for a task's stack */
	order = sorted(&t->env, NULL, &count);
	if (op && order && make_key(t, order, count, op) == 0 && ask(l, op) == 0 && op->found)
		found = compare(t, order, op);
	free(op);
	free(order);
	return found;
}

int ledger_make(const struct ledger *l, struct txn *t, const bool *has, struct state_op *out)
{
	size_t count, *order = sorted(&t->env, NULL, &count);
	bool *bits = calloc(t->env.rcpt_count, sizeof(*bits));
	char hash[HEX_MAX];
	int rc = order && bits ? 0 : -ENOMEM;

	if (rc == 0) {
		*out = (struct state_op){ .verb = STATE_PUT, .ttl_s = l->ttl_s };
		rc = make_key(t, order, count, out);
	}
	if (rc == 0)
		rc = message_hash(t->message, hash);
	for (size_t i = 0; rc == 0 && i < count; i++)
		bits[i] = has[order[i]];
	if (rc == 0)
		rc = ledger_text(hash, t->id, bits, count, out->text, sizeof(out->text));
	free(bits);
	free(order);
	return rc;
}

/* The key of what is sent again to those alone. may wait */
static int part_key(struct txn *t, const bool *has, struct state_op *op)
{
	size_t count, *order = sorted(&t->env, has, &count);
	int rc = order ? make_key(t, order, count, op) : -ENOMEM;

	free(order);
	return rc;
}

int ledger_make_part(struct txn *t, const bool *has, const struct state_op *whole, struct state_op *out)
{
	const char *bits = strrchr(whole->text, ' ');
	int rc;

	if (!bits)
		return -EINVAL;
	*out = (struct state_op){ .verb = whole->verb, .ttl_s = whole->ttl_s };
	rc = part_key(t, has, out);
	if (rc == 0)
		snprintf(out->text, sizeof(out->text), "%.*s *", (int)(bits - whole->text), whole->text);
	return rc;
}

int ledger_write(struct ledger *l, struct state_op *op)
{
	struct state_op *ops;
	int rc;

	if (!l->state || !l->ttl_s)
		return -ENOENT;
	if (l->ask)
		return state_run(l->state, op, 1);
	ops = calloc(2, sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	ops[0] = *op;
	ops[1] = (struct state_op){ .verb = STATE_PUT, .ttl_s = l->ttl_s, .add = clock_wall_s() + l->ttl_s };
	state_key(&ops[1], space, marker, NULL);
	/* First that there may be one: another worker asks at once. */
	note_until(l, ops[1].add);
	rc = state_run(l->state, ops, 2);
	free(ops);
	return rc;
}

void ledger_forget(struct ledger *l, struct txn *t, const struct ledger_entry *e)
{
	struct state_op *op = calloc(2, sizeof(*op));
	size_t count = 1;

	if (!op)
		return;
	op[0].verb = op[1].verb = STATE_DELETE;
	memcpy(op[0].space, e->key.space, sizeof(op[0].space));
	memcpy(op[0].key, e->key.key, sizeof(op[0].key));
	if (!e->all && part_key(t, e->has, &op[1]) == 0)
		count = 2;
	state_run(l->state, op, count);
	free(op);
}
