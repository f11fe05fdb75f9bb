#include "policy/refusal.h"

#include <stdio.h>
#include <string.h>

enum {
	VALUE_SHOWN = 100,      /* octets of a name */
	RECORD_SHOWN = 160,     /* of an SPF record, of a reason */
	ZONES_SHOWN = 3,
	PIECES_MAX = 12,
	PIECE_MAX = 320,
	PIECE_LEAST = 60,       /* less than that of one says nothing */
};

/* What kinds of checks have failed, for the enhanced code. */
enum { SPF_FAILED = 1, SPF_UNREADABLE = 2, SPF_OTHER = 4, DKIM_FAILED = 8, DMARC_FAILED = 16, RDNS_FAILED = 32 };

struct words {
	const struct policy_facts *known;
	const char *ip;
	struct buf *out;        /* of the check that is being told */
};

static const struct fact *fact(const struct words *w, const char *name)
{
	int id = fact_find(name, strlen(name));
	bool final;

	return id == FACT_NONE ? NULL : w->known->get(w->known->arg, id, &final);
}

/* The value of a fact, or instead. */
static const char *value(const struct words *w, const char *name, const char *instead)
{
	const struct fact *f = fact(w, name);

	return f && f->state == FACT_KNOWN && f->count && f->text[0][0] ? f->text[0] : instead;
}

/* The word that a fact is: "temperror" when it could not be established, "" when it is not known. */
static const char *word(const struct words *w, const char *name)
{
	const struct fact *f = fact(w, name);

	return f && f->state == FACT_TEMPERROR ? "temperror" : value(w, name, "");
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static void cut(struct buf *out, const char *text, size_t max)
{
	size_t len = strlen(text);

	buf_add(out, text, len > max ? max : len);
	if (len > max)
		buf_adds(out, "...");
}

/* --- one check each; the kind of its failure, 0: it has not failed, or not in a way of which a code tells --- */

static int say_spf_of(struct words *w, const char *result, const char *domain, const char *record)
{
	if (is(result, "") || is(result, "pass"))
		return 0;
	if (is(result, "none")) {
		buf_adds(w->out, "SPF: ");
		cut(w->out, domain, VALUE_SHOWN);
		buf_adds(w->out, " has no record");
		return SPF_OTHER;
	}
	buf_adds(w->out, "SPF: the record of ");
	cut(w->out, domain, VALUE_SHOWN);
	if (record) {
		buf_adds(w->out, " (");
		cut(w->out, record, RECORD_SHOWN);
		buf_adds(w->out, ")");
	}
	if (is(result, "temperror")) {
		buf_adds(w->out, " could not be looked up");
		return SPF_UNREADABLE;
	}
	if (is(result, "permerror")) {
		buf_adds(w->out, " has an error");
		return SPF_UNREADABLE;
	}
	buf_addf(w->out, is(result, "neutral") ? " says nothing about %s" : " does not allow %s", w->ip);
	if (is(result, "softfail"))
		buf_adds(w->out, " (softfail)");
	return is(result, "neutral") ? SPF_OTHER : SPF_FAILED;
}

static int say_spf(struct words *w)
{
	return say_spf_of(w, word(w, "spf"), value(w, "spf.domain", "the sender's domain"), value(w, "spf.record", NULL));
}

static int say_spf_helo(struct words *w)
{
	return say_spf_of(w, word(w, "spf.helo"), value(w, "helo", "your greeting"), NULL);
}

static int say_dkim(struct words *w)
{
	const struct fact *f = fact(w, "dkim");
	const char *result = word(w, "dkim");

	if (is(result, "") || is(result, "pass"))
		return 0;
	buf_adds(w->out, "DKIM: ");
	if (is(result, "none"))
		buf_adds(w->out, "the message has no signature");
	else if (is(result, "temperror"))
		buf_adds(w->out, "the key of a signature could not be looked up");
	else
		buf_adds(w->out, "no signature is valid");
	if (f->why && f->why[0] && !is(result, "none")) {
		buf_adds(w->out, " (");
		cut(w->out, f->why, RECORD_SHOWN);
		buf_adds(w->out, ")");
	}
	return DKIM_FAILED;
}

static int say_dmarc(struct words *w)
{
	const char *result = word(w, "dmarc"), *author = value(w, "from.domain", "the author's domain");
	const char *record = value(w, "dmarc.record_domain", author), *policy = word(w, "dmarc.policy");

	if (is(result, "fail")) {
		buf_adds(w->out, "DMARC: neither SPF nor DKIM vouches for ");
		cut(w->out, author, VALUE_SHOWN);
		if (!is(policy, "") && !is(policy, "temperror")) {
			buf_adds(w->out, ", and the policy of ");
			cut(w->out, record, VALUE_SHOWN);
			buf_addf(w->out, " is %s", policy);
		}
		return DMARC_FAILED;
	}
	if (is(result, "none") || is(result, "temperror") || is(result, "permerror")) {
		buf_adds(w->out, "DMARC: ");
		cut(w->out, author, VALUE_SHOWN);
		buf_adds(w->out, is(result, "temperror") ? " could not be looked up" : " has no usable record");
		return DMARC_FAILED;
	}
	return 0;
}

/* A zone that speaks for the client is none that refuses it. code: "zone=127.0.0.2". */
static bool counts_for(const struct fact *score, const char *code)
{
	const char *eq = strchr(code, '=');
	char said[400];

	if (!eq || !score || !score->why)
		return false;
	snprintf(said, sizeof(said), "%.*s: %s counts -", (int)(eq - code > 300 ? 300 : eq - code), code, eq + 1);
	return strstr(score->why, said);
}

static int say_dnsbl(struct words *w)
{
	const struct fact *codes = fact(w, "dnsbl.codes"), *score = fact(w, "dnsbl.score");
	size_t shown = 0;

	for (size_t i = 0; codes && codes->state == FACT_KNOWN && i < codes->count && shown < ZONES_SHOWN; i++) {
		const char *eq = strchr(codes->text[i], '=');

		if (!eq || counts_for(score, codes->text[i]))
			continue;
		if (shown++ == 0)
			buf_addf(w->out, "%s is listed by ", w->ip);
		else
			buf_adds(w->out, ", ");
		buf_addf(w->out, "%.*s (%.20s)", (int)(eq - codes->text[i] > VALUE_SHOWN ? VALUE_SHOWN : eq - codes->text[i]), codes->text[i],
			 eq + 1);
	}
	return 0;
}

static int say_rdns(struct words *w)
{
	const char *result = word(w, "client.fcrdns");

	if (is(result, "none")) {
		buf_addf(w->out, "%s has no reverse name (PTR)", w->ip);
	} else if (is(result, "temperror")) {
		buf_addf(w->out, "the reverse name of %s could not be looked up", w->ip);
	} else if (is(result, "fail")) {
		buf_addf(w->out, "the reverse name of %s, ", w->ip);
		cut(w->out, value(w, "client.rdns", "(none)"), VALUE_SHOWN);
		buf_adds(w->out, ", does not have that address");
	} else {
		return 0;
	}
	return RDNS_FAILED;
}

static void greeting(struct words *w, const char *what)
{
	buf_adds(w->out, "your greeting ");
	cut(w->out, value(w, "helo", ""), VALUE_SHOWN);
	buf_addf(w->out, " %s", what);
}

static int say_syntax(struct words *w)
{
	const struct fact *f = fact(w, "helo.syntax");

	if (!is(word(w, "helo.syntax"), "bad"))
		return 0;
	greeting(w, "is no host name");
	if (f->why && f->why[0]) {
		buf_adds(w->out, " (");
		cut(w->out, f->why, VALUE_SHOWN);
		buf_adds(w->out, ")");
	}
	return 0;
}

static int say_bare(struct words *w)
{
	if (is(word(w, "helo.kind"), "bare"))
		greeting(w, "is not the full name of a host");
	return 0;
}

static bool yes(const struct words *w, const char *name)
{
	const struct fact *f = fact(w, name);

	return f && f->state == FACT_KNOWN && f->number;
}

static int say_mismatch(struct words *w)
{
	if (yes(w, "helo.literal_mismatch")) {
		greeting(w, "is not your address ");
		buf_adds(w->out, w->ip);
	}
	return 0;
}

static int say_ours(struct words *w)
{
	if (yes(w, "helo.ours"))
		greeting(w, "is a name of ours");
	return 0;
}

static int say_resolves(struct words *w)
{
	const char *result = word(w, "helo.resolves");

	if (is(result, "none"))
		greeting(w, "has no address");
	else if (is(result, "no"))
		greeting(w, "does not have your address "), buf_adds(w->out, w->ip);
	return 0;
}

/* A rule without a text that asks what milters think says it with their words. */
static int say_milter(struct words *w)
{
	return 0;
}

/* --- all of them --- */

/* Facts by name, or, with a dot at the end, by how the name begins. What is not here is the site's own affair. */
static const struct {
	const char *fact;
	int (*say)(struct words *w);
} checks[] = {
	{ "spf.helo", say_spf_helo },
	{ "spf", say_spf },
	{ "spf.", say_spf },
	{ "dkim", say_dkim },
	{ "dkim.", say_dkim },
	{ "dmarc", say_dmarc },
	{ "dmarc.", say_dmarc },
	{ "dnsbl.", say_dnsbl },
	{ "client.fcrdns", say_rdns },
	{ "client.rdns", say_rdns },
	{ "helo.syntax", say_syntax },
	{ "helo.kind", say_bare },
	{ "helo.bare", say_bare },
	{ "helo.literal_mismatch", say_mismatch },
	{ "helo.ours", say_ours },
	{ "helo.resolves", say_resolves },
	{ "milter.rcpt", say_milter },
	{ "milter.action", say_milter },
};

struct noted {
	int (*say[PIECES_MAX])(struct words *w);
	size_t count;
};

static void note(int id, void *arg)
{
	const char *name = fact_def(id)->name;
	struct noted *n = arg;

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		size_t len = strlen(checks[i].fact);
		bool begins = checks[i].fact[len - 1] == '.';

		if (begins ? strncmp(name, checks[i].fact, len) != 0 : strcmp(name, checks[i].fact) != 0)
			continue;
		for (size_t k = 0; k < n->count; k++)
			if (n->say[k] == checks[i].say)
				return;
		if (n->count < PIECES_MAX)
			n->say[n->count++] = checks[i].say;
		return;
	}
}

/* RFC 7372 3.1, 3.2, 3.3, 3.4; NULL: none fits. Without the class. */
static const char *enhanced(int failed)
{
	bool spf = failed & (SPF_FAILED | SPF_UNREADABLE | SPF_OTHER), dkim = failed & DKIM_FAILED;

	if (failed & DMARC_FAILED || (spf && dkim))
		return "7.26";
	if (dkim)
		return "7.20";
	if (spf)
		return failed & SPF_FAILED ? "7.23" : failed & SPF_UNREADABLE ? "7.24" : NULL;
	return failed & RDNS_FAILED ? "7.25" : NULL;
}

/* One more piece behind the reply, if there is room for enough of it. */
static void append(struct buf *reply, const struct buf *piece, bool first)
{
	size_t room = reply->len + 2 + 1 < REFUSAL_MAX ? REFUSAL_MAX - 1 - reply->len - 2 : 0;

	if (piece->len == 0 || (piece->len > room && (!first || room < PIECE_LEAST)))
		return;
	buf_adds(reply, "; ");
	for (size_t i = 0; i < (piece->len > room ? room - 3 : piece->len); i++)
		buf_addc(reply, piece->data[i] < 0x20 || piece->data[i] > 0x7e ? '?' : piece->data[i]);
	if (piece->len > room)
		buf_adds(reply, "...");
}

static bool milter_words(const struct policy_facts *known, char class, char *out, size_t size)
{
	struct words w = { .known = known };
	const char *reply = value(&w, "milter.reply", "");

	if (reply[0] != class)
		return false;
	snprintf(out, size, "%s", reply);
	return true;
}

void refusal_reply(const struct policy *p, const struct rule *r, const struct policy_facts *known, const char *ip, char *out, size_t size)
{
	const char *plain = r->reply ? r->reply : r->action == ACTION_DEFER ? "451 4.7.1 deferred by policy, try again later"
									   : "550 5.7.1 refused by policy";
	AUTO(buf) struct buf reply = BUF_INIT(600);
	struct noted noted = { .count = 0 };
	int failed = 0;
	bool first = true;
	const char *code, *text = plain + 4 + strcspn(plain + 4, " ");
	const int codes = (int)(text - plain);

	policy_reasons(p, r, known, note, &noted);
	if (!r->reply && noted.count == 1 && noted.say[0] == say_milter && milter_words(known, plain[0], out, size))
		return;
	/* room is measured with the longest code */
	buf_addf(&reply, "%.6s0.00%s", plain, text);
	for (size_t i = 0; i < noted.count; i++) {
		AUTO(buf) struct buf piece = BUF_INIT(1000);
		struct words w = { .known = known, .ip = ip, .out = &piece };
		size_t before = reply.len;

		failed |= noted.say[i](&w);
		append(&reply, &piece, first);
		first = first && reply.len == before;
	}
	code = r->coded ? NULL : enhanced(failed);
	/* Without memory it is a reply all the same, the rule's own. */
	if (reply.len > 10)
		text = reply.data + 10;
	else
		code = NULL;
	snprintf(out, size, "%.*s%s%s", code ? 6 : codes, plain, code ? code : "", text);
}
