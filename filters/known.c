#include "filters/known.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/recent.h"
#include "policy/state.h"

enum {
	ADDRESS_MAX = 321,              /* RFC 5321 4.5.3.1: 64 + 1 + 255 */
	BATCH = STATE_OPS_MAX,
	LEARN_AGAIN_MS = 3600 * 1000,
	PRVS_TAG = 10,                  /* letters and digits of a BATV tag: KDDDSSSSSS */
};

static const struct fact_def known_facts[] = {
	{ "sender.known", FACT_BOOL, false, STAGE_MAIL, NULL, "one of our users has written to the envelope sender lately" },
	{ 0 },
};

/* Behind "prvs=" and a tag stands the address itself (BATV). */
static const char *bounce_tag_skip(const char *p)
{
	size_t n = 0;

	if (strncasecmp(p, "prvs=", 5) != 0)
		return p;
	while (n < PRVS_TAG && isalnum((unsigned char)p[5 + n]))
		n++;
	return n == PRVS_TAG && p[5 + n] == '=' ? p + 5 + n + 1 : p;
}

/* The address as it is remembered. 0; -EINVAL: it is none, or too long. */
static int normal(const char *address, char out[ADDRESS_MAX])
{
	const char *local = bounce_tag_skip(address), *at = strrchr(local, '@'), *plus;
	size_t n = 0;

	if (!at || at == local || !at[1] || strlen(local) >= ADDRESS_MAX)
		return -EINVAL;
	plus = *local == '"' ? NULL : memchr(local + 1, '+', (size_t)(at - local - 1));
	for (const char *p = local; *p; p++) {
		if (p == plus)
			p = at;
		out[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
	}
	out[n] = '\0';
	return 0;
}

static void key(struct state_op *op, const char *address)
{
	state_key(op, "known", address, NULL);
}

static int known_run(struct txn *t, int self, struct facts *out)
{
	char address[ADDRESS_MAX];
	struct state_op op = { .verb = STATE_GET };

	if (t->site->known_s <= 0 || normal(t->env.from, address) < 0)
		return facts_set_bool(out, "sender.known", false);
	key(&op, address);
	if (!t->state || state_run(t->state, &op, 1) < 0)
		return 0;               /* unknown for good */
	return facts_set_bool(out, "sender.known", op.found);
}

/* The state may have to be waited for. */
static bool known_ready(struct txn *t, int self)
{
	return !t->state || t->env.from[0] == '\0';
}

const struct filter filter_known = {
	.name = "known", .scope = SCOPE_TXN, .stage = STAGE_MAIL, .facts = known_facts, .run = known_run, .ready = known_ready,
};

int known_learn(struct state *s, struct recent *recent, int life_s, const struct recipient *const *rcpt, size_t count)
{
	struct state_op *ops;           /* 900 bytes each: not for a task's stack */
	size_t n = 0;
	int told = 0, rc = 0;

	if (!s || life_s <= 0)
		return 0;
	ops = calloc(BATCH, sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	for (size_t i = 0; i < count && i < KNOWN_LEARN_MAX && rc == 0; i++) {
		char address[ADDRESS_MAX];

		if (!rcpt[i]->local && normal(rcpt[i]->address, address) == 0 &&
		    !recent_note(recent, "known", address, LEARN_AGAIN_MS)) {
			ops[n] = (struct state_op){ .verb = STATE_TOUCH, .ttl_s = life_s };
			key(&ops[n++], address);
		}
		if (n == BATCH) {
			rc = state_run(s, ops, n);
			told += (int)n;
			n = 0;
		}
	}
	if (rc == 0 && n) {
		rc = state_run(s, ops, n);
		told += (int)n;
	}
	free(ops);
	return rc < 0 ? rc : told;
}
