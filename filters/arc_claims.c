#include "filters/arc_claims.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "filters/authres_read.h"

const char *const arc_claims_spf[] = { "none", "pass", "fail", "softfail", "neutral", "policy", "permerror", NULL };
const char *const arc_claims_dkim[] = { "none", "pass", "fail", "policy", "neutral", "permerror", NULL };
const char *const arc_claims_dmarc[] = { "none", "pass", "fail", "permerror", NULL };

static const char *word_of(const char *const *table, const char *word)
{
	for (; *table; table++)
		if (strcmp(*table, word) == 0)
			return *table;
	return "none";
}

/* The author's domain, which some write with the whole address. Twice, it is none: one of them may be what the message said. */
static void from_read(const struct authres_result *r, char out[DOMAIN_MAX])
{
	const char *value = NULL, *at;

	out[0] = '\0';
	for (size_t i = 0; i < r->count; i++) {
		if (strcmp(r->property[i].name, "header.from") != 0)
			continue;
		if (value)
			return;
		value = r->property[i].value;
	}
	if (!value)
		return;
	at = strrchr(value, '@');
	value = at ? at + 1 : value;
	if (domain_canonical(value, strlen(value), out) < 0)
		out[0] = '\0';
}

static void nothing(struct arc_claims *out)
{
	out->spf = out->dkim = out->dmarc = "none";
	out->from[0] = '\0';
}

struct reading {
	struct authres_read read;
	struct authres_result one;
	bool spf, spf_sender, dkim, dmarc;      /* has been met; spf_sender: that of MAIL FROM */
	bool contrary;
};

static void spf_take(struct reading *x, struct arc_claims *out)
{
	bool sender = authres_result_value(&x->one, "smtp.mailfrom") || authres_result_value(&x->one, "smtp.mfrom");

	if (x->spf && (x->spf_sender || !sender))
		return;
	x->spf = true;
	x->spf_sender = sender;
	out->spf = word_of(arc_claims_spf, x->one.word);
}

/* There is one author domain, so there is one result: two that differ are somebody's trick or mistake. */
static void dmarc_take(struct reading *x, struct arc_claims *out)
{
	const char *word = word_of(arc_claims_dmarc, x->one.word);
	char from[DOMAIN_MAX];

	from_read(&x->one, from);
	if (x->dmarc && (out->dmarc != word || strcmp(from, out->from) != 0))
		x->contrary = true;
	x->dmarc = true;
	out->dmarc = word;
	memcpy(out->from, from, sizeof(from));
}

int arc_claims_read(const char *results, size_t len, struct arc_claims *out)
{
	struct reading *x = calloc(1, sizeof(*x));

	nothing(out);
	if (!x)
		return -ENOMEM;
	if (authres_read_begin(&x->read, results, len)) {
		while (authres_read_next(&x->read, &x->one)) {
			if (strcmp(x->one.method, "spf") == 0) {
				spf_take(x, out);
			} else if (strcmp(x->one.method, "dkim") == 0 && (!x->dkim || strcmp(x->one.word, "pass") == 0)) {
				x->dkim = true;
				out->dkim = word_of(arc_claims_dkim, x->one.word);
			} else if (strcmp(x->one.method, "dmarc") == 0) {
				dmarc_take(x, out);
			}
		}
	}
	if (x->read.broken)
		nothing(out);
	if (x->contrary) {
		out->dmarc = "none";
		out->from[0] = '\0';
	}
	free(x);
	return 0;
}
