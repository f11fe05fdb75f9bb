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

enum dkim_answer dkim_answer_key(const struct dns_answer *a, struct dkim_key *key, char why[DKIM_ANSWER_WHY])
{
	enum dkim_answer first = DKIM_ANSWER_NONE;

	why[0] = '\0';
	if (a->status == DNS_TEMPFAIL) {
		snprintf(why, DKIM_ANSWER_WHY, "the key could not be looked up: %.80s", a->why && a->why[0] ? a->why : "no answer");
		return DKIM_ANSWER_LATER;
	}
	if (a->status != DNS_OK)
		return say(DKIM_ANSWER_NONE, why, "there is no key for this selector");
	for (size_t i = 0; i < a->count && i < RECORDS_MAX; i++) {
		char fault[DKIM_ANSWER_WHY];
		struct dkim_key one;
		enum dkim_answer state = record_read(&a->rr[i], &one, fault);

		if (state == DKIM_ANSWER_KEY || state == DKIM_ANSWER_LATER) {
			*key = one;
			return say(state, why, fault);
		}
		if (why[0] || !fault[0])
			continue;
		*key = one;
		first = say(state, why, fault);
	}
	return why[0] ? first : say(DKIM_ANSWER_NONE, why, "the key record cannot be read");
}
