#include "policy/authres.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/authres_text.h"

enum { VALUE_MAX = 320, COMMENT_MAX = 200 };

/* A fact of the transaction or of its client; NULL while it is unknown. */
static const struct fact *known(const struct txn *t, const char *name)
{
	int id = fact_find(name, strlen(name));
	const struct fact *f = id == FACT_NONE ? NULL : facts_get(&t->evidence.facts, id);

	if (!f && t->client && id != FACT_NONE)
		f = facts_get(&t->client->evidence.facts, id);
	return f && f->state != FACT_UNKNOWN ? f : NULL;
}

/* The result word of a fact; NULL when there is none. */
static const char *word_of(const struct fact *f)
{
	if (!f)
		return NULL;
	if (f->state == FACT_TEMPERROR)
		return "temperror";
	return f->count > 0 && f->text ? f->text[0] : NULL;
}

static const char *text_of(const struct txn *t, const char *name)
{
	const struct fact *f = known(t, name);

	return f && f->state == FACT_KNOWN && f->count > 0 && f->text ? f->text[0] : NULL;
}

/* The envelope sender that was checked: milters may have put another in its place since. "": the null sender. */
static const char *sender_of(const struct txn *t)
{
	const char *checked = text_of(t, "sender");

	return checked ? checked : t->env.from ? t->env.from : "";
}

/* "method=result (comment)", on a line of its own. */
static void result_begin(struct authres_text *x, const char *method, const char *result, const char *comment)
{
	authres_text_line(x);
	authres_text_pair(x, method, result, VALUE_MAX);
	if (comment && comment[0])
		authres_text_comment(x, comment, COMMENT_MAX);
}

static void add_spf(const struct txn *t, struct authres_text *x)
{
	const struct fact *f = known(t, "spf"), *helo = known(t, "spf.helo");
	const char *sender = sender_of(t);
	bool null_sender = !sender[0];

	if (word_of(f)) {
		result_begin(x, "spf", word_of(f), f->why);
		if (!null_sender)
			authres_text_pair(x, "smtp.mailfrom", sender, VALUE_MAX);
		else if (t->client && t->client->helo)
			authres_text_pair(x, "smtp.helo", t->client->helo, VALUE_MAX);
	}
	/* With the null sender it would be the same result again. */
	if (word_of(helo) && !null_sender && t->client && t->client->helo) {
		result_begin(x, "spf", word_of(helo), helo->why);
		authres_text_pair(x, "smtp.helo", t->client->helo, VALUE_MAX);
	}
}

/* The token key=... in one text of dkim.results, before its semicolon, copied; NULL if it is not there. */
static const char *result_token(const char *text, const char *key, char *out, size_t room)
{
	size_t end = strcspn(text, ";"), klen = strlen(key);

	for (size_t i = strcspn(text, " ;"); i < end; i += strcspn(text + i, " ;")) {
		size_t n = strcspn(text + ++i, " ;");

		if (n <= klen || strncmp(text + i, key, klen) != 0)
			continue;
		n = n - klen < room - 1 ? n - klen : room - 1;
		memcpy(out, text + i + klen, n);
		out[n] = '\0';
		return out;
	}
	return NULL;
}

/* One text of dkim.results, see filters/dkim.h. */
static void add_signature(const char *text, struct authres_text *x)
{
	static const struct {
		const char *key, *property;
	} tokens[] = { { "d=", "header.d" }, { "s=", "header.s" }, { "a=", "header.a" }, { "b=", "header.b" } };
	char word[16], value[VALUE_MAX], bits[24];
	size_t n = strcspn(text, " ;");
	const char *why = strchr(text, ';'), *b;
	AUTO(buf) struct buf comment = BUF_INIT(COMMENT_MAX * 2);
	int rc = 0;

	n = n < sizeof(word) - 1 ? n : sizeof(word) - 1;
	memcpy(word, text, n);
	word[n] = '\0';
	why = why ? why + 1 + strspn(why + 1, " ") : "";
	b = result_token(text, "k=", bits, sizeof(bits));
	if (b)
		rc = buf_addf(&comment, "%s-bit key", b);
	if (why[0] && rc == 0)
		rc = buf_addf(&comment, "%s%.*s", b ? "; " : "", COMMENT_MAX, why);
	x->out->failed |= rc == -ENOMEM;
	result_begin(x, "dkim", word, buf_str(&comment));
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		if (result_token(text, tokens[i].key, value, sizeof(value)))
			authres_text_pair(x, tokens[i].property, value, VALUE_MAX);
}

static void add_dkim(const struct txn *t, struct authres_text *x)
{
	const struct fact *f = known(t, "dkim"), *list = known(t, "dkim.results");

	for (size_t i = 0; list && list->state == FACT_KNOWN && i < list->count; i++)
		add_signature(list->text[i], x);
	if (word_of(f) && !(list && list->state == FACT_KNOWN && list->count > 0))
		result_begin(x, "dkim", word_of(f), f->why);
}

static void add_dmarc(const struct txn *t, struct authres_text *x)
{
	const struct fact *f = known(t, "dmarc");
	const char *policy = text_of(t, "dmarc.policy"), *from = text_of(t, "from.domain");
	char comment[64];

	if (!word_of(f))
		return;
	snprintf(comment, sizeof(comment), policy ? "p=%s" : "%s", policy ? policy : "");
	result_begin(x, "dmarc", word_of(f), comment);
	if (from)
		authres_text_pair(x, "header.from", from, VALUE_MAX);
}

/* Domains between colons, within max. */
static void domains_join(const struct fact *f, char *out, size_t max)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; f && f->state == FACT_KNOWN && i < f->count && n + strlen(f->text[i]) + 2 < max; i++)
		n += (size_t)snprintf(out + n, max - n, "%s%s", i ? ":" : "", f->text[i]);
}

/*
 * RFC 8617 section 10.1. Without a chain there is nothing to say. The chain: the domains of the seals, the newest first; a
 * value is quoted where it has colons.
 */
static void add_arc(const struct txn *t, struct authres_text *x)
{
	const struct fact *f = known(t, "arc"), *oldest = known(t, "arc.oldest_pass");
	char number[24], chain[VALUE_MAX];

	if (!word_of(f) || strcmp(word_of(f), "none") == 0)
		return;
	result_begin(x, "arc", word_of(f), f->why);
	if (oldest && oldest->state == FACT_KNOWN) {
		snprintf(number, sizeof(number), "%lld", (long long)oldest->number);
		authres_text_pair(x, "header.oldest-pass", number, VALUE_MAX);
	}
	domains_join(known(t, "arc.sealers"), chain, sizeof(chain));
	if (chain[0])
		authres_text_pair(x, "arc.chain", chain, VALUE_MAX);
}

/* RFC 8601 section 2.7.3: a client without a name is a permerror. */
static void add_iprev(const struct txn *t, struct authres_text *x)
{
	const struct fact *f = known(t, "client.fcrdns");
	const char *word = word_of(f), *name = text_of(t, "client.rdns");

	if (!word || !t->client)
		return;
	if (strcmp(word, "pass") != 0 && strcmp(word, "fail") != 0 && strcmp(word, "temperror") != 0)
		word = "permerror";
	result_begin(x, "iprev", word, name);
	authres_text_pair(x, "policy.iprev", t->client->ip, VALUE_MAX);
}

int authres_make(const struct txn *t, const char *authserv_id, struct buf *out)
{
	struct authres_text x = { .out = out };

	authres_text_begin(&x, "Authentication-Results");
	authres_text_value(&x, authserv_id, VALUE_MAX);
	add_spf(t, &x);
	add_dkim(t, &x);
	add_dmarc(t, &x);
	add_arc(t, &x);
	add_iprev(t, &x);
	if (x.lines == 0)
		authres_text_none(&x);
	authres_text_end(&x);
	return out->failed ? -ENOSPC : 0;
}

int authres_received_spf(const struct txn *t, const char *receiver, struct buf *out)
{
	struct authres_text x = { .out = out, .dot_atom = true };
	const struct fact *f = known(t, "spf");
	const char *word = word_of(f), *mechanism = text_of(t, "spf.mechanism"), *sender = sender_of(t);
	bool null_sender = !sender[0];
	const char *helo = t->client ? t->client->helo : NULL;

	if (!word)
		return 0;
	authres_text_begin(&x, "Received-SPF");
	authres_text_raw(&x, word);
	if (f->why && f->why[0])
		authres_text_comment(&x, f->why, COMMENT_MAX);
	x.separator = "";
	authres_text_pair(&x, "receiver", receiver, VALUE_MAX);
	x.separator = ";";
	authres_text_pair(&x, "identity", null_sender ? "helo" : "mailfrom", 0);
	if (t->client && t->client->ip[0])
		authres_text_pair(&x, "client-ip", t->client->ip, VALUE_MAX);
	if (t->env.from)
		authres_text_pair(&x, "envelope-from", sender, VALUE_MAX);
	if (helo)
		authres_text_pair(&x, "helo", helo, VALUE_MAX);
	if (mechanism)
		authres_text_pair(&x, "mechanism", mechanism, VALUE_MAX);
	authres_text_end(&x);
	return out->failed ? -ENOSPC : 0;
}
