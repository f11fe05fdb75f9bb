/* Verdicts that are kept: in the state, and for a while in this process. */
#include "retrieval/retrieval_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/state.h"
#include "policy/store_id.h"

enum {
	DAY_S = 24 * 3600,
	PASS_S = DAY_S,
	NOTICE_S = 30 * DAY_S,
	DOUBT_S = 900,                  /* found without an answer that there may be soon */
	COPY_S = 7 * DAY_S,             /* another fetch of the same content gets no copy of its own */
	COPY_LEFT_S = 3600,             /* one that has not that long to lie is none */
	HERE_MS = 60 * 1000,            /* in this process */
	NOTICE_HERE_MS = 600 * 1000,    /* each scan of such a message would put one copy more aside, were the state away */
	ASK_AGAIN_MS = 1000,            /* whether it has been released */
	AWAY_MS = 10 * 1000,
};

static const char space[] = "fetch";

/* --- names --- */

/*
 * Each part with its length before it: mailboxes have blanks in their names, and nobody shall choose one that makes him
 * another.
 */
static void hash_parts(const char *const *part, size_t count, char out[KEY_TEXT_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	out[0] = '\0';
	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1) {
		for (size_t i = 0; i < count; i++) {
			const uint64_t n = strlen(part[i]);

			EVP_DigestUpdate(ctx, &n, sizeof(n));
			EVP_DigestUpdate(ctx, part[i], n);
		}
		if (EVP_DigestFinal_ex(ctx, md, &len) != 1)
			len = 0;
	}
	EVP_MD_CTX_free(ctx);
	for (unsigned i = 0; i < len && i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", md[i]);
}

void keep_key(const struct retrieval *r, const struct retrieval_key *key, char out[KEY_TEXT_MAX])
{
	const char *listener = key->listener && r->by_listener ? key->listener : "";
	const char *const part[] = { key->backend, key->account, key->mailbox, key->validity, key->uid, listener };

	out[0] = '\0';
	if (key->uid[0])
		hash_parts(part, sizeof(part) / sizeof(*part), out);
}

static void copy_key(const struct retrieval_scan *s, char out[KEY_TEXT_MAX])
{
	const char *const part[] = { "copy", s->backend, s->account, s->content };

	hash_parts(part, sizeof(part) / sizeof(*part), out);
}

/* Of all that a verdict comes from. */
uint64_t keep_fingerprint(struct retrieval *r)
{
	const struct site *site = r->conf.site;
	const uint64_t part[] = { site->mode, site->limits.message_bytes, site->limits.message.header_bytes, site->limits.message.header_fields };
	uint64_t h = policy_fingerprint(site->policy);

	for (size_t i = 0; i < sizeof(part) / sizeof(*part); i++)
		h = (h ^ h >> 29 ^ part[i]) * 0xd6e8feb86659fd93u;
	return h;
}

/* --- the state --- */

/* Who does not answer is left alone for a while: a user waits for his mail. */
static int run(struct retrieval *r, struct state_op *ops, size_t count)
{
	int rc;

	if (!r->conf.state || clock_ms() < r->state_away_ms)
		return -ENOTCONN;
	rc = state_run(r->conf.state, ops, count);
	if (rc < 0) {
		r->state_away_ms = clock_ms() + AWAY_MS;
		log_warning("retrieval", "warning", "the state does not answer: what is fetched is scanned anew", "error", strerror(-rc), NULL);
	}
	return rc;
}

static void op_set(struct state_op *op, enum state_verb verb, const char *key)
{
	*op = (struct state_op){ .verb = verb };
	state_key(op, space, key, NULL);
}

bool keep_released(struct retrieval *r, const char *content)
{
	struct state_op *op = malloc(sizeof(*op));
	bool found = false;

	if (op) {
		released_ask_op(op, content);
		found = run(r, op, 1) == 0 && op->found;
	}
	if (found) {    /* as long as somebody fetches it */
		released_mark_op(op, content);
		run(r, op, 1);
	}
	free(op);
	return found;
}

/* --- this process --- */

static struct kept *slot_of(struct retrieval *r, const char *key)
{
	char head[9];

	snprintf(head, sizeof(head), "%.8s", key);
	return &r->kept[strtoul(head, NULL, 16) % KEEP_SLOTS];
}

static void kept_free(struct kept *k)
{
	free(k->reason);
	*k = (struct kept){ .answer = RETRIEVAL_UNKNOWN };
}

/* A verdict, known from now on here. */
static void remember(struct retrieval *r, const char *key, const struct retrieval_verdict *v, uint64_t fingerprint, bool doubt)
{
	struct kept *k = slot_of(r, key);
	int64_t now_ms = clock_ms();
	char *reason = v->answer == RETRIEVAL_NOTICE ? strdup(v->reason) : NULL;

	kept_free(k);
	if (v->answer == RETRIEVAL_NOTICE && !reason)
		return;
	memcpy(k->key, key, KEY_TEXT_MAX);
	k->answer = v->answer;
	k->fingerprint = fingerprint;
	k->asked_ms = now_ms;
	k->until_ms = now_ms + (v->answer == RETRIEVAL_NOTICE && !doubt ? NOTICE_HERE_MS : HERE_MS);
	k->reason = reason;
	memcpy(k->id, v->id, sizeof(k->id));
	memcpy(k->content, v->content, sizeof(k->content));
}

/* false: nothing is known here. may wait */
static bool recall(struct retrieval *r, const char *key, uint64_t fingerprint, struct retrieval_verdict *out)
{
	struct kept *k = slot_of(r, key);
	char content[RELEASED_CONTENT_MAX];
	int64_t now_ms = clock_ms();

	if (strcmp(k->key, key) != 0 || now_ms >= k->until_ms || k->fingerprint != fingerprint)
		return false;
	*out = (struct retrieval_verdict){ .answer = k->answer };
	memcpy(out->content, k->content, sizeof(out->content));
	if (k->answer != RETRIEVAL_NOTICE)
		return true;
	memcpy(out->id, k->id, sizeof(out->id));
	snprintf(out->reason, sizeof(out->reason), "%s", k->reason);
	if (!k->content[0] || now_ms - k->asked_ms < ASK_AGAIN_MS)
		return true;
	k->asked_ms = now_ms;
	memcpy(content, k->content, sizeof(content));
	if (!keep_released(r, content))
		return true;
	k = slot_of(r, key);            /* others had their turn */
	if (strcmp(k->key, key) == 0)
		kept_free(k);
	return false;
}

/* --- copies --- */

/* For how long the quarantine surely has the copy yet, in seconds; INT_MAX: for ever. */
static int copy_life(const struct retrieval *r, const char *id)
{
	const struct store_retention *q = &r->conf.site->quarantine;
	int64_t keep_s = q->keep_s, age_s = (clock_wall_ms() - store_id_ms(id)) / 1000;

	for (uint32_t i = 0; i < q->class_count; i++)
		if (q->class[i].keep_s > 0 && (keep_s == 0 || q->class[i].keep_s < keep_s))
			keep_s = q->class[i].keep_s;
	if (keep_s == 0 || store_id_ms(id) < 0)
		return INT_MAX;
	return age_s >= keep_s ? 0 : (int)(keep_s - age_s);
}

/* A copy that will be there for a while yet, by its key. */
static bool copy_here(struct retrieval *r, const char *key, char id[STORE_ID_MAX])
{
	const struct kept *k = slot_of(r, key);

	if (strcmp(k->key, key) != 0 || clock_ms() >= k->until_ms)
		return false;
	memcpy(id, k->id, STORE_ID_MAX);
	return true;
}

void keep_copy_find(struct retrieval_scan *s, char id[STORE_ID_MAX])
{
	struct state_op *op;
	char key[KEY_TEXT_MAX];

	id[0] = '\0';
	copy_key(s, key);
	if (!key[0] || copy_here(s->r, key, id) || !(op = malloc(sizeof(*op))))
		return;
	op_set(op, STATE_GET, key);
	if (run(s->r, op, 1) == 0 && op->found && strlen(op->text) < STORE_ID_MAX && copy_life(s->r, op->text) > COPY_LEFT_S)
		strcpy(id, op->text);
	free(op);
}

void keep_copy(struct retrieval_scan *s, const char *id)
{
	struct retrieval_verdict here = { .answer = RETRIEVAL_NOTICE };
	struct state_op *op = malloc(sizeof(*op));
	char key[KEY_TEXT_MAX];

	copy_key(s, key);
	snprintf(here.id, sizeof(here.id), "%s", id);
	if (key[0])
		remember(s->r, key, &here, 0, false);   /* the state may be away, and the message may have no name */
	if (op && key[0]) {
		op_set(op, STATE_PUT, key);
		op->ttl_s = COPY_S;
		snprintf(op->text, sizeof(op->text), "%s", id);
		run(s->r, op, 1);
	}
	free(op);
}

/* --- kept verdicts --- */

/*
 * In the state: count is the answer; the text "fingerprint", "fingerprint content", or "fingerprint id content reason" with
 * "-" for what there is not.
 */
static void write_text(char *text, size_t size, uint64_t fingerprint, const struct retrieval_verdict *v)
{
	int n = snprintf(text, size, "%016" PRIx64, fingerprint);

	if (v->answer == RETRIEVAL_NOTICE)
		snprintf(text + n, size - (size_t)n, " %s %s %s", v->id[0] ? v->id : "-", v->content[0] ? v->content : "-", v->reason);
	else if (v->content[0])
		snprintf(text + n, size - (size_t)n, " %s", v->content);
}

/* The next word; "" for "-". NULL: it is none, or longer. */
static const char *word(const char *p, char *out, size_t size)
{
	size_t n = strcspn(p, " ");

	if (p[n] != ' ' || n >= size)
		return NULL;
	memcpy(out, p, n);
	out[n] = '\0';
	if (strcmp(out, "-") == 0)
		out[0] = '\0';
	return p + n + 1;
}

/* What is written there by who knows; void: the policy is another one. */
static bool read_text(const struct state_op *op, uint64_t fingerprint, struct retrieval_verdict *v)
{
	char hex[17], *end;
	const char *p = op->text;

	*v = (struct retrieval_verdict){ .answer = RETRIEVAL_UNKNOWN };
	snprintf(hex, sizeof(hex), "%s", p);
	if (!op->found || strlen(hex) != 16 || strtoull(hex, &end, 16) != fingerprint || *end)
		return false;
	if (op->count == RETRIEVAL_PASS) {
		if (p[16] && (p[16] != ' ' || !released_content_ok(p + 17)))
			return false;
		snprintf(v->content, sizeof(v->content), "%s", p[16] ? p + 17 : "");
		v->answer = RETRIEVAL_PASS;
		return true;
	}
	if (op->count != RETRIEVAL_NOTICE || p[16] != ' ')
		return false;
	p = word(p + 17, v->id, sizeof(v->id));
	p = p ? word(p, v->content, sizeof(v->content)) : NULL;
	if (!p || (v->content[0] && !released_content_ok(v->content)))
		return false;
	snprintf(v->reason, sizeof(v->reason), "%s", p);
	v->answer = RETRIEVAL_NOTICE;
	return true;
}

static bool any_temperror(const struct facts *f)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->v[i].state == FACT_TEMPERROR || (fact_def(f->v[i].id)->type == FACT_WORD && f->v[i].count && strcmp(f->v[i].text[0], "temperror") == 0))
			return true;
	return false;
}

/*
 * A verdict that could be another one when all answer: found in spite of a failure; or kept back, perhaps for it (dkim != pass, dkim = temperror). Without
 * the copy that there should be nobody could ever release it.
 */
static bool doubtful(const struct retrieval_scan *s, const struct retrieval_verdict *v)
{
	bool no_copy = !v->id[0] && s->rc == 0 && s->r->conf.store;

	return s->judge.temperror_expired || (v->answer == RETRIEVAL_NOTICE && (no_copy || any_temperror(&s->txn.evidence.facts)));
}

static int life_s(const struct retrieval_scan *s, const struct retrieval_verdict *v, bool doubt)
{
	int copy_s;

	if (doubt)
		return DOUBT_S;
	if (v->answer != RETRIEVAL_NOTICE)
		return PASS_S;
	copy_s = v->id[0] ? copy_life(s->r, v->id) : NOTICE_S;
	return copy_s > NOTICE_S ? NOTICE_S : copy_s < DOUBT_S ? DOUBT_S : copy_s;
}

void keep_verdict(struct retrieval_scan *s, uint64_t fingerprint, const struct retrieval_verdict *v)
{
	struct state_op *op = s->key[0] ? malloc(sizeof(*op)) : NULL;
	bool doubt = doubtful(s, v);

	if (!op)
		return;
	remember(s->r, s->key, v, fingerprint, doubt);
	op_set(op, STATE_PUT, s->key);
	op->ttl_s = life_s(s, v, doubt);
	op->add = v->answer;
	write_text(op->text, sizeof(op->text), fingerprint, v);
	run(s->r, op, 1);
	free(op);
}

/* Messages that this process does not know, up to STATE_OPS_MAX. */
struct batch {
	struct state_op op[STATE_OPS_MAX];
	char key[STATE_OPS_MAX][KEY_TEXT_MAX];
	size_t at[STATE_OPS_MAX];       /* in the list of verdicts */
	struct state_op ask[STATE_OPS_MAX];
	size_t count, asked[STATE_OPS_MAX];
};

/* Of those that were convicted: whether they have been released since. may wait */
static void void_released(struct retrieval *r, struct batch *b, struct retrieval_verdict *out)
{
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++) {
		if (out[b->at[i]].answer != RETRIEVAL_NOTICE || !out[b->at[i]].content[0])
			continue;
		released_ask_op(&b->ask[n], out[b->at[i]].content);
		b->asked[n++] = i;
	}
	if (n == 0 || run(r, b->ask, n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (b->ask[i].found)
			out[b->at[b->asked[i]]] = (struct retrieval_verdict){ .answer = RETRIEVAL_UNKNOWN };
}

/* may wait */
static void ask(struct retrieval *r, struct batch *b, uint64_t fingerprint, struct retrieval_verdict *out)
{
	if (b->count == 0)
		return;
	if (run(r, b->op, b->count) == 0) {
		for (size_t i = 0; i < b->count; i++)
			read_text(&b->op[i], fingerprint, &out[b->at[i]]);
		void_released(r, b, out);
		for (size_t i = 0; i < b->count; i++)
			if (out[b->at[i]].answer != RETRIEVAL_UNKNOWN)
				remember(r, b->key[i], &out[b->at[i]], fingerprint, false);
	}
	b->count = 0;
}

void retrieval_known(struct retrieval *r, const struct retrieval_key *key, size_t count, struct retrieval_verdict *out)
{
	struct batch *b = NULL;
	uint64_t fingerprint = keep_fingerprint(r);

	for (size_t i = 0; i < count; i++)
		out[i] = (struct retrieval_verdict){ .answer = RETRIEVAL_UNKNOWN };
	for (size_t i = 0; i < count; i++) {
		char text[KEY_TEXT_MAX];

		keep_key(r, &key[i], text);
		if (!text[0] || recall(r, text, fingerprint, &out[i]))
			continue;
		if (!b && !(b = calloc(1, sizeof(*b))))         /* 30 KB: not for a task's stack */
			return;
		memcpy(b->key[b->count], text, KEY_TEXT_MAX);
		b->at[b->count] = i;
		op_set(&b->op[b->count++], STATE_GET, text);
		if (b->count == STATE_OPS_MAX)
			ask(r, b, fingerprint, out);
	}
	if (b)
		ask(r, b, fingerprint, out);
	free(b);
}
