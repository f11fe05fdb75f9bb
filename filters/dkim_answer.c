#include "filters/dkim_answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { RECORDS_MAX = 8 };

static enum dkim_answer say(enum dkim_answer state, char *why, const char *text)
{
	snprintf(why, DKIM_ANSWER_WHY, "%s", text);
	return state;
}

/* One record. KEY; NONE with why "" if it is no TXT record at all. */
static enum dkim_answer record_read(const struct dns_rr *rr, struct dkim_key *key, char *why)
{
	const char *fault = "";
	char *text = NULL;
	size_t len = 0;
	enum dkim_key_state state;
	int rc = dns_txt(rr, &text, &len);

	why[0] = '\0';
	if (rc == -ENOMEM)
		return say(DKIM_ANSWER_LATER, why, "no memory for the key");
	if (rc < 0)
		return DKIM_ANSWER_NONE;
	state = dkim_key_parse(text, len, key, &fault);
	free(text);
	if (state == DKIM_KEY_GOOD)
		return DKIM_ANSWER_KEY;
	return say(state == DKIM_KEY_WEAK ? DKIM_ANSWER_WEAK : DKIM_ANSWER_NONE, why, fault);
}

bool dkim_answer_fits(const struct dkim_key *key, enum dkim_algorithm algorithm)
{
	return (key->type == DKIM_KEY_ED25519) == (algorithm == DKIM_ALG_ED25519_SHA256);
}

/* Which of two records speaks for the selector: a key that fits, no memory for what may be one, another key, a fault, nothing that could be read. */
static int rank(enum dkim_answer state, const struct dkim_key *key, enum dkim_algorithm algorithm, const char *fault)
{
	switch (state) {
	case DKIM_ANSWER_KEY: return dkim_answer_fits(key, algorithm) ? 4 : 2;
	case DKIM_ANSWER_LATER: return 3;
	default: return fault[0] ? 1 : 0;
	}
}

enum dkim_answer dkim_answer_key(const struct dns_answer *a, enum dkim_algorithm algorithm, struct dkim_key *key, char why[DKIM_ANSWER_WHY])
{
	enum dkim_answer best = DKIM_ANSWER_NONE;
	int ranked = 0;

	why[0] = '\0';
	if (a->status == DNS_TEMPFAIL) {
		snprintf(why, DKIM_ANSWER_WHY, "the key could not be looked up: %.80s", a->why && a->why[0] ? a->why : "no answer");
		return DKIM_ANSWER_LATER;
	}
	if (a->status != DNS_OK)
		return say(DKIM_ANSWER_NONE, why, "there is no key for this selector");
	for (size_t i = 0; i < a->count && i < RECORDS_MAX && ranked < 4; i++) {
		char fault[DKIM_ANSWER_WHY];
		struct dkim_key one = { .len = 0 };
		enum dkim_answer state = record_read(&a->rr[i], &one, fault);
		int r = rank(state, &one, algorithm, fault);

		if (r <= ranked)
			continue;
		ranked = r;
		*key = one;
		best = say(state, why, fault);
	}
	return ranked ? best : say(DKIM_ANSWER_NONE, why, "the key record cannot be read");
}
