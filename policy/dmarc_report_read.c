#include "policy/dmarc_report_read.h"

#include <errno.h>
#include <expat.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "filters/charset.h"

/* FEED: octets that expat gets at a time. Of a tag that is not closed it looks at all octets again with each piece. */
enum { HEAD_MAX = 1024, FEED = 16 * 1024, PREFIX_MAX = 64, COUNT_MAX = 1000000000 };

enum element {
	NONE,                           /* not known: passed over */
	OUTSIDE,                        /* what is around <feedback> */
	FEEDBACK, METADATA, DATE_RANGE, POLICY, RECORD, ROW, EVALUATED, REASON, IDENTIFIERS, AUTH, DKIM, SPF,
	ORG_NAME, EMAIL, EXTRA_CONTACT, REPORT_ID, ERROR_TEXT, GENERATOR, BEGIN, END,
	POLICY_DOMAIN, DISCOVERY, P, SP, NP, ADKIM, ASPF, TESTING, FO, PCT,
	SOURCE_IP, COUNT, DISPOSITION, DKIM_ALIGNED, SPF_ALIGNED, TYPE, COMMENT,
	HEADER_FROM, ENVELOPE_FROM, ENVELOPE_TO,
	DKIM_DOMAIN, DKIM_SELECTOR, DKIM_RESULT, DKIM_HUMAN, SPF_DOMAIN, SPF_SCOPE, SPF_RESULT, SPF_HUMAN,
};

static const struct { enum element within; const char *name; enum element element; } elements[] = {
	{ OUTSIDE, "feedback", FEEDBACK },
	{ FEEDBACK, "report_metadata", METADATA },
	{ METADATA, "org_name", ORG_NAME },
	{ METADATA, "email", EMAIL },
	{ METADATA, "extra_contact_info", EXTRA_CONTACT },
	{ METADATA, "report_id", REPORT_ID },
	{ METADATA, "error", ERROR_TEXT },
	{ METADATA, "generator", GENERATOR },
	{ METADATA, "date_range", DATE_RANGE },
	{ DATE_RANGE, "begin", BEGIN },
	{ DATE_RANGE, "end", END },
	{ FEEDBACK, "policy_published", POLICY },
	{ POLICY, "domain", POLICY_DOMAIN },
	{ POLICY, "discovery_method", DISCOVERY },
	{ POLICY, "p", P },
	{ POLICY, "sp", SP },
	{ POLICY, "np", NP },
	{ POLICY, "adkim", ADKIM },
	{ POLICY, "aspf", ASPF },
	{ POLICY, "testing", TESTING },
	{ POLICY, "fo", FO },
	{ POLICY, "pct", PCT },
	{ FEEDBACK, "record", RECORD },
	{ RECORD, "row", ROW },
	{ ROW, "source_ip", SOURCE_IP },
	{ ROW, "count", COUNT },
	{ ROW, "policy_evaluated", EVALUATED },
	{ EVALUATED, "disposition", DISPOSITION },
	{ EVALUATED, "dkim", DKIM_ALIGNED },
	{ EVALUATED, "spf", SPF_ALIGNED },
	{ EVALUATED, "reason", REASON },
	{ REASON, "type", TYPE },
	{ REASON, "comment", COMMENT },
	{ RECORD, "identifiers", IDENTIFIERS },
	{ IDENTIFIERS, "header_from", HEADER_FROM },
	{ IDENTIFIERS, "envelope_from", ENVELOPE_FROM },
	{ IDENTIFIERS, "envelope_to", ENVELOPE_TO },
	{ RECORD, "auth_results", AUTH },
	{ AUTH, "dkim", DKIM },
	{ DKIM, "domain", DKIM_DOMAIN },
	{ DKIM, "selector", DKIM_SELECTOR },
	{ DKIM, "result", DKIM_RESULT },
	{ DKIM, "human_result", DKIM_HUMAN },
	{ AUTH, "spf", SPF },
	{ SPF, "domain", SPF_DOMAIN },
	{ SPF, "scope", SPF_SCOPE },
	{ SPF, "result", SPF_RESULT },
	{ SPF, "human_result", SPF_HUMAN },
};

struct dmarc_report_reader {
	XML_Parser parser;
	struct dmarc_report *report;
	int rc;
	char why[200];
	bool begun, done;               /* the parser has begun; </feedback> has been read */
	bool repair;                    /* the octets are meant as UTF-8: what is none is replaced before the parser sees it */
	size_t octets, fed;             /* that came; that the parser got */
	char head[HEAD_MAX];            /* the first octets, until it is known what they are */
	size_t head_len;
	char rest[4];                   /* repair: the beginning of a sequence that has not come yet */
	size_t rest_len;
	char feed[FEED];
	size_t feed_len;
	char prefix[PREFIX_MAX + 1];    /* of <feedback>: others are other namespaces' */
	enum element stack[DMARC_REPORT_READ_DEPTH_MAX];
	size_t depth;
	struct buf text;                /* of the present element since its last child */
	struct dmarc_report_record *record;     /* the last one of the report, while within it */
	struct dmarc_report_reason reason;
	struct dmarc_report_dkim dkim;
	struct dmarc_report_spf spf;
};

/* The first thing that is wrong is the one. */
static int wrong(struct dmarc_report_reader *rd, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int wrong(struct dmarc_report_reader *rd, int rc, const char *fmt, ...)
{
	va_list args;

	if (rd->rc)
		return rd->rc;
	rd->rc = rc;
	va_start(args, fmt);
	vsnprintf(rd->why, sizeof(rd->why), fmt, args);
	va_end(args);
	return rc;
}

static int full(struct dmarc_report_reader *rd, int rc)
{
	return rc == -ENOMEM ? wrong(rd, -ENOMEM, "no memory") : wrong(rd, -E2BIG, "it is larger than any report may be");
}

/* --- values --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int64_t number_of(const char *p, size_t len, int64_t max)
{
	int64_t n = 0;

	if (!len || *p < '0' || *p > '9')
		return -1;
	for (size_t i = 0; i < len && p[i] >= '0' && p[i] <= '9'; i++)
		n = n > max / 10 ? max : n * 10 + (p[i] - '0');
	return n < max ? n : max;
}

/* Seconds since 1970; some reporters write milliseconds. */
static int64_t time_of(const char *p, size_t len)
{
	int64_t n = number_of(p, len, INT64_MAX / 16);

	if (n >= 100000000000)
		n /= 1000;
	return n < 0 ? 0 : n < 253402300800 ? n : 253402300799;         /* 9999-12-31 */
}

/* Words that were written before RFC 7489, or by its comments: "TempError" commonly implemented as "unknown", "PermError" as "error" (Appendix C). */
static enum dmarc_report_spf_result spf_result_of(const char *p, size_t len)
{
	static const struct { const char *word; enum dmarc_report_spf_result result; } others[] = {
		{ "hardfail", DMARC_REPORT_SPF_FAIL }, { "unknown", DMARC_REPORT_SPF_TEMPERROR }, { "error", DMARC_REPORT_SPF_PERMERROR },
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strlen(others[i].word) == len && !strncasecmp(p, others[i].word, len))
			return others[i].result;
	return dmarc_report_value(&dmarc_report_spf_words, p, len);
}

/* "none" and the like are found, too: whatever is not a pass is none. */
static enum dmarc_report_aligned aligned_of(const char *p, size_t len)
{
	enum dmarc_report_aligned aligned = dmarc_report_value(&dmarc_report_aligned_words, p, len);

	return aligned || !len ? aligned : DMARC_REPORT_ALIGNED_FAIL;
}

static int source_of(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	char ip[64];
	int rc;

	if (len && *p == '[' && p[len - 1] == ']') {
		p++;
		len -= len > 1 ? 2 : 1;
	}
	if (len >= sizeof(ip))
		return 0;
	memcpy(ip, p, len);
	ip[len] = '\0';
	rc = dmarc_report_source(rd->report, rd->record, ip);
	return rc == -EINVAL ? 0 : rc;                          /* counted all the same, as of an unknown source */
}

static int type_of(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	rd->reason.type = dmarc_report_value(&dmarc_report_override_words, p, len);
	if (rd->reason.type || !len)
		return 0;
	rd->reason.type = DMARC_REPORT_OVERRIDE_OTHER;
	return rd->reason.comment ? 0 : dmarc_report_text(rd->report, &rd->reason.comment, p, len);
}

/* --- what an element says --- */

static int error_of(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	char text[DMARC_REPORT_TEXT_MAX + 1];
	int rc;

	if (!len || rd->report->error_count >= DMARC_REPORT_ERRORS_MAX)
		return 0;
	len = len < sizeof(text) ? len : sizeof(text) - 1;
	memcpy(text, p, len);
	text[len] = '\0';
	rc = dmarc_report_error(rd->report, text);
	return rc;
}

static int take_metadata(struct dmarc_report_reader *rd, enum element e, const char *p, size_t len)
{
	struct dmarc_report *r = rd->report;

	switch (e) {
	case ORG_NAME:
		return dmarc_report_text(r, &r->org_name, p, len);
	case EMAIL:
		return dmarc_report_text(r, &r->email, p, len);
	case EXTRA_CONTACT:
		return dmarc_report_text(r, &r->extra_contact, p, len);
	case REPORT_ID:
		return dmarc_report_text(r, &r->report_id, p, len);
	case GENERATOR:
		return dmarc_report_text(r, &r->generator, p, len);
	case ERROR_TEXT:
		return error_of(rd, p, len);
	case BEGIN:
		r->begin_s = time_of(p, len);
		return 0;
	case END:
		r->end_s = time_of(p, len);
		return 0;
	default:
		return 0;
	}
}

static int take_policy(struct dmarc_report_reader *rd, enum element e, const char *p, size_t len)
{
	struct dmarc_report_policy_published *policy = &rd->report->policy;

	switch (e) {
	case POLICY_DOMAIN:
		return dmarc_report_text(rd->report, &policy->domain, p, len);
	case FO:
		return dmarc_report_text(rd->report, &policy->fo, p, len);
	case DISCOVERY:
		policy->discovery = dmarc_report_value(&dmarc_report_discovery_words, p, len);
		return 0;
	case P:
		policy->p = dmarc_report_value(&dmarc_report_policy_words, p, len);
		return 0;
	case SP:
		policy->sp = dmarc_report_value(&dmarc_report_policy_words, p, len);
		return 0;
	case NP:
		policy->np = dmarc_report_value(&dmarc_report_policy_words, p, len);
		return 0;
	case ADKIM:
		policy->adkim = dmarc_report_value(&dmarc_report_mode_words, p, len);
		return 0;
	case ASPF:
		policy->aspf = dmarc_report_value(&dmarc_report_mode_words, p, len);
		return 0;
	case TESTING:
		policy->testing = dmarc_report_value(&dmarc_report_testing_words, p, len);
		return 0;
	case PCT:
		policy->pct = (int)number_of(p, len, 101);
		policy->pct = policy->pct > 100 ? -1 : policy->pct;
		return 0;
	default:
		return 0;
	}
}

static int take_record(struct dmarc_report_reader *rd, enum element e, const char *p, size_t len)
{
	struct dmarc_report *r = rd->report;
	struct dmarc_report_record *rec = rd->record;
	int64_t count;

	switch (e) {
	case SOURCE_IP:
		return source_of(rd, p, len);
	case COUNT:
		count = number_of(p, len, COUNT_MAX);
		rec->count = count < 0 ? 1 : (uint64_t)count;
		return 0;
	case DISPOSITION:
		rec->disposition = dmarc_report_value(&dmarc_report_disposition_words, p, len);
		return 0;
	case DKIM_ALIGNED:
		rec->dkim_aligned = aligned_of(p, len);
		return 0;
	case SPF_ALIGNED:
		rec->spf_aligned = aligned_of(p, len);
		return 0;
	case TYPE:
		return type_of(rd, p, len);
	case COMMENT:
		return len ? dmarc_report_text(r, &rd->reason.comment, p, len) : 0;
	case HEADER_FROM:
		return dmarc_report_text(r, &rec->header_from, p, len);
	case ENVELOPE_FROM:
		return dmarc_report_text(r, &rec->envelope_from, p, len);
	case ENVELOPE_TO:
		return dmarc_report_text(r, &rec->envelope_to, p, len);
	default:
		return 0;
	}
}

static int take_auth(struct dmarc_report_reader *rd, enum element e, const char *p, size_t len)
{
	struct dmarc_report *r = rd->report;

	switch (e) {
	case DKIM_DOMAIN:
		return dmarc_report_text(r, &rd->dkim.domain, p, len);
	case DKIM_SELECTOR:
		return dmarc_report_text(r, &rd->dkim.selector, p, len);
	case DKIM_HUMAN:
		return dmarc_report_text(r, &rd->dkim.human_result, p, len);
	case DKIM_RESULT:
		rd->dkim.result = dmarc_report_value(&dmarc_report_dkim_words, p, len);
		return 0;
	case SPF_DOMAIN:
		return dmarc_report_text(r, &rd->spf.domain, p, len);
	case SPF_HUMAN:
		return dmarc_report_text(r, &rd->spf.human_result, p, len);
	case SPF_SCOPE:
		rd->spf.scope = dmarc_report_value(&dmarc_report_scope_words, p, len);
		return 0;
	case SPF_RESULT:
		rd->spf.result = spf_result_of(p, len);
		return 0;
	default:
		return 0;
	}
}

/* --- groups of elements --- */

static int begin_group(struct dmarc_report_reader *rd, enum element e)
{
	int rc = 0;

	if (e == RECORD) {
		rd->record = dmarc_report_record(rd->report, NULL, 1, &rc);
	} else if (e == REASON) {
		rd->reason = (struct dmarc_report_reason){ 0 };
	} else if (e == DKIM) {
		rd->dkim = (struct dmarc_report_dkim){ 0 };
	} else if (e == SPF) {
		rd->spf = (struct dmarc_report_spf){ 0 };
	}
	return rc;
}

/* Their strings are in the report already: only the row is added. Past the bound of the list the rest is passed over. */
static int end_reason(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	size_t count = rd->record->reason_count;
	int rc = 0;

	if (!rd->reason.type && !rd->reason.comment && len)     /* <reason>forwarded</reason> */
		rc = type_of(rd, p, len);
	if (rc || (!rd->reason.type && !rd->reason.comment) || count >= DMARC_REPORT_REASONS_MAX)
		return rc;
	rc = dmarc_report_reason(rd->report, rd->record, rd->reason.type ? rd->reason.type : DMARC_REPORT_OVERRIDE_OTHER, NULL);
	if (!rc)
		rd->record->reasons[count].comment = rd->reason.comment;
	return rc;
}

static int end_dkim(struct dmarc_report_reader *rd)
{
	size_t count = rd->record->dkim_count;
	int rc;

	if (count >= DMARC_REPORT_DKIM_MAX)
		return 0;
	rc = dmarc_report_dkim(rd->report, rd->record, NULL, NULL, rd->dkim.result, NULL);
	if (!rc)
		rd->record->dkim[count] = rd->dkim;
	return rc;
}

/* RFC 7489 allowed several: of the MAIL FROM, which DMARC goes by, and of the HELO. */
static void end_spf(struct dmarc_report_reader *rd)
{
	struct dmarc_report_spf *had = &rd->record->spf;

	if (had->domain && (had->scope != DMARC_REPORT_SCOPE_HELO || rd->spf.scope == DMARC_REPORT_SCOPE_HELO))
		return;
	*had = rd->spf;
	if (!had->domain)
		had->domain = "";
}

static int end_element(struct dmarc_report_reader *rd, enum element e)
{
	const char *p = buf_str(&rd->text);
	size_t len = rd->text.len;

	for (; len && is_blank(*p); p++, len--)
		;
	while (len && is_blank(p[len - 1]))
		len--;
	if (e == RECORD)
		rd->record = NULL;
	else if (e == REASON)
		return end_reason(rd, p, len);
	else if (e == DKIM)
		return end_dkim(rd);
	else if (e == SPF)
		end_spf(rd);
	else if (e >= DKIM_DOMAIN)
		return take_auth(rd, e, p, len);
	else if (e >= SOURCE_IP)
		return take_record(rd, e, p, len);
	else if (e >= POLICY_DOMAIN)
		return take_policy(rd, e, p, len);
	else if (e >= ORG_NAME)
		return take_metadata(rd, e, p, len);
	return 0;
}

/* --- what expat calls --- */

static void stop(struct dmarc_report_reader *rd)
{
	XML_StopParser(rd->parser, XML_FALSE);
}

static enum element element_find(struct dmarc_report_reader *rd, const char *qname)
{
	enum element within = rd->depth ? rd->stack[rd->depth - 1] : OUTSIDE;
	const char *colon = strchr(qname, ':'), *name = colon ? colon + 1 : qname;
	size_t prefix_len = colon ? (size_t)(colon - qname) : 0;

	if (within == OUTSIDE) {
		if (strcasecmp(name, "feedback") != 0)
			return OUTSIDE;
		if (prefix_len > PREFIX_MAX)
			return NONE;
		memcpy(rd->prefix, qname, prefix_len);
		rd->prefix[prefix_len] = '\0';
		return FEEDBACK;
	}
	if (strlen(rd->prefix) != prefix_len || memcmp(rd->prefix, qname, prefix_len) != 0)
		return NONE;
	for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
		if (elements[i].within == within && !strcasecmp(elements[i].name, name))
			return elements[i].element;
	return NONE;
}

static void on_start(void *arg, const char *qname, const char **attributes)
{
	struct dmarc_report_reader *rd = arg;
	enum element e;
	int rc;

	if (rd->rc || rd->done)
		return;
	if (rd->depth >= DMARC_REPORT_READ_DEPTH_MAX) {
		wrong(rd, -E2BIG, "line %lu: more elements within each other than any report has", XML_GetCurrentLineNumber(rd->parser));
		stop(rd);
		return;
	}
	e = element_find(rd, qname);
	buf_clear(&rd->text);
	rd->stack[rd->depth++] = e;
	rc = begin_group(rd, e);
	if (rc == -ENOSPC)
		wrong(rd, -E2BIG, "it has more records than any report may have");
	else if (rc)
		full(rd, rc);
	if (rc)
		stop(rd);
}

static void on_end(void *arg, const char *qname)
{
	struct dmarc_report_reader *rd = arg;
	enum element e;
	int rc;

	if (rd->rc || rd->done || !rd->depth)
		return;
	e = rd->stack[--rd->depth];
	rc = end_element(rd, e);
	buf_clear(&rd->text);
	if (rc)
		full(rd, rc);
	if (e == FEEDBACK)
		rd->done = true;
	if (rc || rd->done)
		stop(rd);                                       /* what follows is none of ours, whatever it is */
}

static void on_text(void *arg, const char *p, int len)
{
	struct dmarc_report_reader *rd = arg;
	size_t room = rd->text.max - rd->text.len, n = (size_t)len;

	if (rd->rc || rd->done || !rd->depth || rd->stack[rd->depth - 1] <= OUTSIDE)
		return;
	for (; n && !rd->text.len && is_blank(*p); p++, n--)
		;
	if (buf_add(&rd->text, p, n < room ? n : room) < 0) {
		full(rd, -ENOMEM);
		stop(rd);
	}
}

static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid, int internal)
{
	struct dmarc_report_reader *rd = arg;

	if (!internal)
		return;
	wrong(rd, -EBADMSG, "it declares a document type of its own, which no report does");
	stop(rd);
}

static void on_entity(void *arg, const char *name, int parameter, const char *value, int value_len, const char *base, const char *sysid,
		      const char *pubid, const char *notation)
{
	on_doctype(arg, name, sysid, pubid, 1);
}

static int on_encoding(void *arg, const char *name, XML_Encoding *map)
{
	const struct charset *c = charset_find(name, strlen(name));

	if (!c)
		return XML_STATUS_ERROR;
	*map = (XML_Encoding){ 0 };
	for (int i = 0; i < 256; i++) {
		AUTO(buf) struct buf out = BUF_INIT(16);
		const unsigned char *p;
		char octet = (char)i;

		map->map[i] = i < 0x80 ? i : -1;
		if (i < 0x80 || charset_decode(c, &octet, 1, &out) < 0 || !out.len || utf8_len(out.data, out.len) != out.len)
			continue;
		p = (const unsigned char *)out.data;
		if (out.len == 2)
			map->map[i] = (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
		else if (out.len == 3)
			map->map[i] = (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
	}
	return XML_STATUS_OK;
}

/* --- octets --- */

static int parse(struct dmarc_report_reader *rd, const char *p, size_t len, bool last)
{
	XML_Index at;

	if (XML_Parse(rd->parser, p, (int)len, last) == XML_STATUS_ERROR && !rd->rc && !rd->done) {
		enum XML_Error error = XML_GetErrorCode(rd->parser);

		if (error == XML_ERROR_NO_MEMORY)
			return full(rd, -ENOMEM);
		if (last && (error == XML_ERROR_UNCLOSED_TOKEN || error == XML_ERROR_PARTIAL_CHAR || error == XML_ERROR_UNCLOSED_CDATA_SECTION))
			error = XML_ERROR_NO_ELEMENTS;
		if (error == XML_ERROR_NO_ELEMENTS)
			return rd->fed + len ? wrong(rd, -EBADMSG, "it ends in the middle") : wrong(rd, -EBADMSG, "it is empty");
		return wrong(rd, -EBADMSG, "line %lu: %s", XML_GetCurrentLineNumber(rd->parser), XML_ErrorString(error));
	}
	rd->fed += len;
	at = XML_GetCurrentByteIndex(rd->parser);
	if (!rd->rc && !rd->done && at >= 0 && rd->fed - (size_t)at > DMARC_REPORT_READ_TOKEN_MAX)
		return wrong(rd, -E2BIG, "line %lu: a tag longer than any report has", XML_GetCurrentLineNumber(rd->parser));
	return rd->rc;
}

static int flush(struct dmarc_report_reader *rd)
{
	int rc = rd->feed_len && !rd->rc && !rd->done ? parse(rd, rd->feed, rd->feed_len, false) : rd->rc;

	rd->feed_len = 0;
	return rc;
}

/* To the parser. */
static void feed(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	for (size_t n; len && !rd->rc && !rd->done; p += n, len -= n) {
		n = FEED - rd->feed_len < len ? FEED - rd->feed_len : len;
		memcpy(rd->feed + rd->feed_len, p, n);
		rd->feed_len += n;
		if (rd->feed_len == FEED)
			flush(rd);
	}
}

static bool is_plain(char c)
{
	return ((unsigned char)c >= 0x20 && (unsigned char)c < 0x80) || is_blank(c);
}

/* p begins a sequence of UTF-8 that needs more octets than len to be told from what is none. */
static bool is_part(const char *p, size_t len)
{
	unsigned char c = (unsigned char)*p;
	size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;

	for (size_t i = 1; i < len; i++)
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return false;
	return c < 0xf5 && len < need;
}

static int feed_repaired(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	char joined[8];
	size_t n;

	while (len && !rd->rc && !rd->done) {
		const char *q = p;
		size_t have = len, held = rd->rest_len;

		for (n = 0; !held && n < len && is_plain(p[n]); n++)
			;
		if (n) {
			feed(rd, p, n);
			p += n;
			len -= n;
			continue;
		}
		if (held) {                                     /* what was kept, and as much as it may take */
			n = len < sizeof(joined) - held ? len : sizeof(joined) - held;
			memcpy(joined, rd->rest, held);
			memcpy(joined + held, p, n);
			q = joined;
			have = held + n;
		}
		n = utf8_len(q, have);
		if (!n && have < 4 && is_part(q, have)) {
			memcpy(rd->rest, q, have);
			rd->rest_len = have;
			return rd->rc;
		}
		if (n && (n > 1 || is_plain(*q)))
			feed(rd, q, n);
		else
			feed(rd, UTF8_REPLACEMENT, 3);
		n = n ? n : 1;
		if (held > n) {                                 /* the rest of what was kept, once more */
			memmove(rd->rest, rd->rest + n, held - n);
			rd->rest_len = held - n;
			continue;
		}
		rd->rest_len = 0;
		p += n - held;
		len -= n - held;
	}
	return rd->rc;
}

static int feed_all(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	if (rd->repair)
		return feed_repaired(rd, p, len);
	feed(rd, p, len);
	return rd->rc;
}

/* Whether head[0..len) begins with an XML declaration that names an encoding which is neither UTF-8, nor ASCII, nor UTF-16: octets are octets here. */
static bool names_encoding(const char *head, size_t len)
{
	static const char *const ours[] = { "utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf16", "utf-16le", "utf-16be", "unicode" };
	const char *end = memchr(head, '>', len), *p = memmem(head, len, "encoding", 8);
	size_t n = 0;

	if (len < 5 || strncmp(head, "<?xml", 5) != 0 || !end || !p || p > end)
		return false;
	for (p += 8; p < end && (is_blank(*p) || *p == '=' || *p == '"' || *p == '\''); p++)
		;
	while (p + n < end && p[n] != '"' && p[n] != '\'')
		n++;
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strlen(ours[i]) == n && !strncasecmp(ours[i], p, n))
			return false;
	return true;
}

/* The first octets are here, or all there are: blanks before all else and a mark of UTF-8 go, then it is seen what the rest is. */
static int begin(struct dmarc_report_reader *rd)
{
	const char *p = rd->head, *end = rd->head + rd->head_len;
	bool wide;

	while (p < end && is_blank(*p))
		p++;
	if (end - p >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
		p += 3;
	while (p < end && is_blank(*p))
		p++;
	wide = end - p >= 2 && (!p[0] || !p[1] || !memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2));
	rd->begun = true;
	rd->repair = !wide && !names_encoding(p, (size_t)(end - p));
	rd->parser = XML_ParserCreate(rd->repair ? "UTF-8" : NULL);
	if (!rd->parser)
		return full(rd, -ENOMEM);
	XML_SetUserData(rd->parser, rd);
	XML_SetElementHandler(rd->parser, on_start, on_end);
	XML_SetCharacterDataHandler(rd->parser, on_text);
	XML_SetStartDoctypeDeclHandler(rd->parser, on_doctype);
	XML_SetEntityDeclHandler(rd->parser, on_entity);
	XML_SetUnknownEncodingHandler(rd->parser, on_encoding, NULL);
	return feed_all(rd, p, (size_t)(end - p));
}

int dmarc_report_reader_add(struct dmarc_report_reader *rd, const char *p, size_t len)
{
	size_t n = HEAD_MAX - rd->head_len;

	if (rd->rc || rd->done)
		return rd->rc;
	if (len > DMARC_REPORT_READ_MAX - rd->octets)
		return full(rd, -E2BIG);
	rd->octets += len;
	if (rd->begun)
		return feed_all(rd, p, len);
	n = len < n ? len : n;
	memcpy(rd->head + rd->head_len, p, n);
	rd->head_len += n;
	if (rd->head_len < HEAD_MAX)
		return 0;
	begin(rd);
	return feed_all(rd, p + n, len - n);
}

int dmarc_report_reader_end(struct dmarc_report_reader *rd, struct dmarc_report **out)
{
	if (!rd->rc && !rd->begun)
		begin(rd);
	if (!rd->rc && !rd->done && rd->rest_len)
		feed(rd, UTF8_REPLACEMENT, 3);
	flush(rd);
	if (!rd->rc && !rd->done)
		parse(rd, "", 0, true);
	if (!rd->rc && !rd->done)
		wrong(rd, -EBADMSG, "it has no <feedback>");
	if (rd->rc)
		return rd->rc;
	*out = rd->report;
	rd->report = NULL;
	return 0;
}

const char *dmarc_report_reader_why(const struct dmarc_report_reader *rd)
{
	return rd->why;
}

struct dmarc_report_reader *dmarc_report_reader_new(void)
{
	struct dmarc_report_reader *rd = calloc(1, sizeof(*rd));

	if (!rd)
		return NULL;
	buf_init(&rd->text, DMARC_REPORT_TEXT_MAX + 4);
	rd->report = dmarc_report_new();
	if (rd->report)
		return rd;
	dmarc_report_reader_free(rd);
	return NULL;
}

void dmarc_report_reader_free(struct dmarc_report_reader *rd)
{
	if (!rd)
		return;
	if (rd->parser)
		XML_ParserFree(rd->parser);
	dmarc_report_free(rd->report);
	buf_release(&rd->text);
	free(rd);
}
