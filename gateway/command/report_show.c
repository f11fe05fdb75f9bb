#include "command/report_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "command/terminal.h"

enum { WORD_MAX = 253, COMMENT_MAX = 200, SIGNATURES_SHOWN = 5, REPORTS_SHOWN = 20, ADVICE_INDENT = 15, ADVICE_COLUMNS = 90 };

static void text(struct buf *out, const char *s, size_t max)
{
	if (s)
		terminal_text(s, strlen(s), max, out);
}

static void day(struct buf *out, int64_t at_s)
{
	time_t t = (time_t)at_s;
	struct tm tm;
	char s[32] = "?";

	if (gmtime_r(&t, &tm))
		strftime(s, sizeof(s), "%Y-%m-%d %H:%M", &tm);
	buf_adds(out, s);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void share(struct buf *out, uint64_t part, uint64_t whole)
{
	if (whole && part <= UINT64_MAX / 1000)
		buf_addf(out, " (%" PRIu64 ".%" PRIu64 " %%)", part * 1000 / whole / 10, part * 1000 / whole % 10);
}

/* --- who reports, and the policy --- */

static uint64_t messages_of(const struct dmarc_report *r)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->record_count; i++)
		n += r->records[i].count;
	return n;
}

static void show_reporter(const struct dmarc_report *r, struct buf *out)
{
	uint64_t n = messages_of(r);

	buf_adds(out, "  reported by ");
	text(out, r->org_name && *r->org_name ? r->org_name : "somebody without a name", WORD_MAX);
	if (r->email && *r->email) {
		buf_adds(out, " <");
		text(out, r->email, WORD_MAX);
		buf_addc(out, '>');
	}
	buf_adds(out, ", ");
	day(out, r->begin_s);
	buf_adds(out, " to ");
	day(out, r->end_s);
	buf_addf(out, " UTC: %" PRIu64 " message%s\n", n, plural(n));
	for (size_t i = 0; i < r->error_count; i++) {
		buf_adds(out, "    which says: ");
		text(out, r->errors[i], COMMENT_MAX);
		buf_addc(out, '\n');
	}
}

static bool same_policy(const struct dmarc_report_policy_published *a, const struct dmarc_report_policy_published *b)
{
	return a->p == b->p && a->sp == b->sp && a->np == b->np && a->adkim == b->adkim && a->aspf == b->aspf && a->testing == b->testing && a->pct == b->pct;
}

static void show_policy(const struct dmarc_report_policy_published *p, struct buf *out)
{
	const char *word = dmarc_report_word(&dmarc_report_policy_words, p->p), *sp = dmarc_report_word(&dmarc_report_policy_words, p->sp),
		   *np = dmarc_report_word(&dmarc_report_policy_words, p->np);

	buf_addf(out, "  policy they saw: p=%s%s%s%s%s, DKIM %s, SPF %s", word ? word : "?", sp ? ", sp=" : "", sp ? sp : "", np ? ", np=" : "", np ? np : "",
		 p->adkim == DMARC_REPORT_MODE_STRICT ? "strict" : "relaxed", p->aspf == DMARC_REPORT_MODE_STRICT ? "strict" : "relaxed");
	if (p->testing == DMARC_REPORT_TESTING_YES)
		buf_adds(out, ", t=y (a test: one step milder is what is asked)");
	if (p->pct >= 0 && p->pct < 100)
		buf_addf(out, ", pct=%d (for so many in a hundred, with those who still know pct)", p->pct);
	buf_adds(out, "\n    ");
	buf_adds(out, p->p == DMARC_REPORT_POLICY_REJECT       ? "reject: mail that fails shall be refused"
		      : p->p == DMARC_REPORT_POLICY_QUARANTINE ? "quarantine: mail that fails shall be put aside, with the junk"
							       : "none: nothing is asked of receivers about mail that fails; they only report");
	buf_addc(out, '\n');
}

static void show_policies(const struct report_domain *d, struct buf *out)
{
	for (size_t i = 0; i < d->report_count; i++) {
		bool seen = false;

		for (size_t j = 0; j < i && !seen; j++)
			seen = same_policy(&d->report[i]->policy, &d->report[j]->policy);
		if (!seen)
			show_policy(&d->report[i]->policy, out);
	}
}

/* --- the sum --- */

static void show_totals(const struct report_domain *d, struct buf *out)
{
	uint64_t failed = d->messages - d->passed;

	buf_addf(out, "  %" PRIu64 " message%s: %s%" PRIu64 " passed%s", d->messages, plural(d->messages), terminal_colour(TERMINAL_GREEN), d->passed,
		 terminal_colour(TERMINAL_PLAIN));
	share(out, d->passed, d->messages);
	buf_addf(out, ", %s%" PRIu64 " failed%s\n", failed ? terminal_colour(TERMINAL_RED) : "", failed, failed ? terminal_colour(TERMINAL_PLAIN) : "");
	buf_addf(out, "  done because of DMARC: %" PRIu64 " refused, %" PRIu64 " put aside, nothing with %" PRIu64 "\n", d->disposition[DMARC_REPORT_DISPOSITION_REJECT],
		 d->disposition[DMARC_REPORT_DISPOSITION_QUARANTINE],
		 d->disposition[0] + d->disposition[DMARC_REPORT_DISPOSITION_NONE] + d->disposition[DMARC_REPORT_DISPOSITION_PASS]);
	if (d->overridden)
		buf_addf(out, "  spared by the reporters' own judgement: %" PRIu64 " of those that failed\n", d->overridden);
}

/* What a stricter policy would have done. */
static void show_prospect(const struct report_domain *d, struct buf *out)
{
	enum dmarc_report_policy p = d->report[d->report_count - 1]->policy.p;
	uint64_t failed = d->messages - d->passed, ours = d->class[REPORT_STRICT] + d->class[REPORT_OTHER] + d->class[REPORT_BROKEN];

	if (!d->messages)
		return;
	if (!failed) {
		buf_adds(out, p == DMARC_REPORT_POLICY_REJECT ? "  p=reject has harmed none of it\n" : "  p=quarantine or p=reject would have harmed none of it\n");
		return;
	}
	if (p == DMARC_REPORT_POLICY_REJECT)
		buf_addf(out, "  p=reject asks that what failed (%" PRIu64 ") is refused", failed);
	else if (p == DMARC_REPORT_POLICY_QUARANTINE)
		buf_addf(out, "  with p=reject what failed (%" PRIu64 ") would have been refused", failed);
	else
		buf_addf(out, "  with p=quarantine what failed (%" PRIu64 ") would have been put aside, with p=reject refused", failed);
	if (d->class[REPORT_FORWARDED])
		buf_addf(out, ",\n    but for some of the %" PRIu64 " that came by forwarders and lists", d->class[REPORT_FORWARDED]);
	buf_adds(out, ".\n    ");
	if (ours)
		buf_addf(out, "Of what failed, %" PRIu64 " may be yours (something passes, or was signed): see to that first.\n", ours);
	else
		buf_adds(out, "Nothing shows that any of it is yours.\n");
}

/* --- a row --- */

static void show_signature(const struct report_row *row, const struct dmarc_report_dkim *sig, struct buf *out)
{
	bool aligned = row->rec->dkim_aligned == DMARC_REPORT_ALIGNED_PASS && report_related(sig->domain, row->rec, row->policy);
	const char *result = dmarc_report_word(&dmarc_report_dkim_words, sig->result);

	buf_adds(out, "DKIM of ");
	text(out, sig->domain && *sig->domain ? sig->domain : "nobody", WORD_MAX);
	if (sig->selector && *sig->selector) {
		buf_adds(out, " (");
		text(out, sig->selector, WORD_MAX);
		buf_addc(out, ')');
	}
	if (sig->result == DMARC_REPORT_DKIM_PASS)
		buf_adds(out, aligned ? " passes" : " passes, not aligned");
	else
		buf_addf(out, ": %s", result ? result : "no result");
	if (sig->result != DMARC_REPORT_DKIM_PASS && sig->human_result && *sig->human_result) {
		buf_adds(out, " (");
		text(out, sig->human_result, COMMENT_MAX);
		buf_addc(out, ')');
	}
}

static void show_dkim(const struct report_row *row, struct buf *out)
{
	const struct dmarc_report_record *rec = row->rec;

	if (!rec->dkim_count)
		buf_adds(out, "no DKIM signature");
	for (size_t i = 0; i < rec->dkim_count && i < SIGNATURES_SHOWN; i++) {
		buf_adds(out, i ? ", " : "");
		show_signature(row, &rec->dkim[i], out);
	}
	if (rec->dkim_count > SIGNATURES_SHOWN)
		buf_addf(out, " and %zu more signatures", rec->dkim_count - SIGNATURES_SHOWN);
}

static void show_spf(const struct dmarc_report_record *rec, struct buf *out)
{
	const char *result = dmarc_report_word(&dmarc_report_spf_words, rec->spf.result);
	const char *domain = rec->spf.domain && *rec->spf.domain ? rec->spf.domain : rec->envelope_from;

	if (!rec->spf.domain) {
		buf_adds(out, "SPF is not told");
		return;
	}
	buf_addf(out, "SPF of %s", rec->spf.scope == DMARC_REPORT_SCOPE_HELO ? "the greeting " : "");
	text(out, domain && *domain ? domain : "nobody", WORD_MAX);
	if (rec->spf.result == DMARC_REPORT_SPF_PASS)
		buf_adds(out, rec->spf_aligned == DMARC_REPORT_ALIGNED_PASS ? " passes" : " passes, not aligned");
	else if (rec->spf.result == DMARC_REPORT_SPF_NONE)
		buf_adds(out, ": there is no record");
	else
		buf_addf(out, ": %s", result ? result : "no result");
	if (rec->spf.result != DMARC_REPORT_SPF_PASS && rec->spf.human_result && *rec->spf.human_result) {
		buf_adds(out, " (");
		text(out, rec->spf.human_result, COMMENT_MAX);
		buf_addc(out, ')');
	}
}

static void show_reasons(const struct dmarc_report_record *rec, struct buf *out)
{
	for (size_t i = 0; i < rec->reason_count; i++) {
		const char *type = dmarc_report_word(&dmarc_report_override_words, rec->reasons[i].type);

		buf_addf(out, "%s%s", i ? ", " : "; the reporter: ", type ? type : "other");
		if (rec->reasons[i].comment && *rec->reasons[i].comment) {
			buf_adds(out, " (");
			text(out, rec->reasons[i].comment, COMMENT_MAX);
			buf_addc(out, ')');
		}
	}
}

static void show_row(const struct report_row *row, const char *domain, struct buf *out)
{
	const struct dmarc_report_record *rec = row->rec;
	bool passed = row->class < REPORT_FORWARDED;

	buf_addf(out, "  %8" PRIu64 "  %s%s%s", row->count, terminal_colour(passed ? TERMINAL_GREEN : TERMINAL_RED), passed ? "pass" : "FAIL",
		 terminal_colour(TERMINAL_PLAIN));
	buf_addf(out, "%s  ", rec->disposition == DMARC_REPORT_DISPOSITION_REJECT       ? ", refused"
			     : rec->disposition == DMARC_REPORT_DISPOSITION_QUARANTINE ? ", put aside"
										       : "");
	if (rec->header_from && strcasecmp(rec->header_from, domain) != 0) {
		buf_adds(out, "from ");
		text(out, *rec->header_from ? rec->header_from : "nobody", WORD_MAX);
		buf_adds(out, ": ");
	}
	show_dkim(row, out);
	buf_adds(out, "; ");
	show_spf(rec, out);
	show_reasons(rec, out);
	buf_addc(out, '\n');
}

/* --- what to do about it --- */

static const char *advice(enum report_class c)
{
	switch (c) {
	case REPORT_PASS_DKIM:
		return "DKIM carries it although SPF does not: forwarded mail, or a server that signs and is not in your SPF record. Nothing need be done.";
	case REPORT_PASS_SPF:
		return "SPF alone carries it, and breaks with the first forwarder: let this server sign with DKIM for your domain, too.";
	case REPORT_FORWARDED:
		return "It came by a forwarder or a mailing list, says the reporter. What is signed with DKIM survives most forwarders; lists that change it only by ARC.";
	case REPORT_STRICT:
		return "It passes for a name of yours, but adkim=s or aspf=s wants the very name in From: drop the s, or sign as that name.";
	case REPORT_OTHER:
		return "It passes for another domain than the one in From. If a service sends this for you: let it sign with DKIM for your domain, or use an envelope "
		       "sender below it. If it is a forwarder, nothing can be done here. Else somebody uses your name.";
	case REPORT_BROKEN:
		return "It has a signature of your domain that fails: changed on the way (a mailing list, a scanner behind the signer), or the key in the DNS is not "
		       "the signer's. If a server of yours sends it, see to that; `gatepost advise` looks at the keys.";
	case REPORT_DNS:
		return "The reporter could not look something up. If it stays so, see to your name servers: `gatepost advise`.";
	case REPORT_NOTHING:
		return "Nothing shows that it is yours: somebody else uses your name, and DMARC is there for that; or it is a server that you forgot: then put it into "
		       "your SPF record, and let it sign.";
	default:
		return NULL;
	}
}

/* Words in lines of ADVICE_COLUMNS, indented. */
static void wrap(struct buf *out, const char *s)
{
	size_t column = 0;

	while (*s) {
		size_t n = strcspn(s, " ");

		if (column && column + 1 + n > ADVICE_COLUMNS) {
			buf_addf(out, "\n%*s", ADVICE_INDENT, "");
			column = 0;
		} else if (column) {
			buf_addc(out, ' ');
			column++;
		}
		buf_add(out, s, n);
		column += n;
		s += n;
		s += strspn(s, " ");
	}
	buf_addc(out, '\n');
}

/* Once for each that is there, what most messages have first. */
static void show_advice(const struct report_source *s, struct buf *out)
{
	bool said[REPORT_CLASSES] = { false };

	for (size_t i = 0; i < s->row_count; i++) {
		enum report_class c = s->row[i].class;

		if (!said[c] && advice(c)) {
			buf_addf(out, "%*s%s->%s ", ADVICE_INDENT - 3, "", terminal_colour(TERMINAL_BOLD), terminal_colour(TERMINAL_PLAIN));
			wrap(out, advice(c));
		}
		said[c] = true;
	}
}

static void show_source(const struct report_source *s, const char *domain, struct buf *out)
{
	uint64_t failed = s->messages - s->passed;

	buf_addf(out, "\n  %s%s%s", terminal_colour(TERMINAL_BOLD), *s->ip ? s->ip : "an address that is not told", terminal_colour(TERMINAL_PLAIN));
	if (s->name) {
		buf_adds(out, " (");
		text(out, s->name, WORD_MAX);
		buf_addc(out, ')');
	}
	buf_addf(out, ": %" PRIu64 " message%s", s->messages, plural(s->messages));
	if (failed)
		buf_addf(out, ", %" PRIu64 " failed", failed);
	buf_addc(out, '\n');
	for (size_t i = 0; i < s->row_count; i++)
		show_row(&s->row[i], domain, out);
	show_advice(s, out);
}

static void show_rest(const struct report_domain *d, size_t from, struct buf *out)
{
	uint64_t messages = 0, passed = 0;

	for (size_t i = from; i < d->source_count; i++) {
		messages += d->source[i].messages;
		passed += d->source[i].passed;
	}
	buf_addf(out, "\n  and %zu more source%s with %" PRIu64 " message%s, %" PRIu64 " failed: --all shows them\n", d->source_count - from,
		 plural(d->source_count - from), messages, plural(messages), messages - passed);
}

void report_show(const struct report_domain *d, size_t max, struct buf *out)
{
	size_t shown = max && max < d->source_count ? max : d->source_count;

	buf_adds(out, terminal_colour(TERMINAL_BOLD));
	text(out, *d->name ? d->name : "a domain that is not told", WORD_MAX);
	buf_addf(out, "%s\n", terminal_colour(TERMINAL_PLAIN));
	for (size_t i = 0; i < d->report_count && i < REPORTS_SHOWN; i++)
		show_reporter(d->report[i], out);
	if (d->report_count > REPORTS_SHOWN)
		buf_addf(out, "  and %zu more reports\n", d->report_count - REPORTS_SHOWN);
	if (d->duplicates)
		buf_addf(out, "  %zu report%s came twice and counted once\n", d->duplicates, plural(d->duplicates));
	show_policies(d, out);
	show_totals(d, out);
	show_prospect(d, out);
	for (size_t i = 0; i < shown; i++)
		show_source(&d->source[i], d->name, out);
	if (shown < d->source_count)
		show_rest(d, shown, out);
}
