#include "spool/dsn.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/message.h"
#include "filters/txn.h"
#include "policy/regdomain.h"
#include "smtp/smtp_reply.h"
#include "smtp/trace.h"
#include "spool/dsn_params.h"
#include "spool/dsn_text.h"

enum {
	WORDS_MAX = 1024 * 1024, DATE_MAX = 40, BOUNDARY_MAX = 100, BOUNDARY_TRIES = 100, ADDRESS_MAX = 600, FIELD_MAX = 2048, MSGID_MAX = 250,
};

/* While one is made. */
struct making {
	const struct dsn *d;
	struct dsn_params params;
	bool *wanted;
	enum dsn_action worst;
	bool unicode;                   /* it goes by SMTPUTF8: the return path is not ASCII */
	bool eightbit;                  /* a part is 8bit */
	struct buf words, status, original;
	const char *original_type, *original_encoding;
	char boundary[BOUNDARY_MAX];
};

static void making_release(struct making *m)
{
	free(m->wanted);
	buf_release(&m->words);
	buf_release(&m->status);
	buf_release(&m->original);
}

/* --- whom it is for --- */

static bool wants(const struct dsn_rcpt *r)
{
	return r->action == DSN_FAILED ? dsn_wants_failure(r->params) : r->action == DSN_DELAYED ? dsn_wants_delay(r->params) :
	       dsn_wants_success(r->params);
}

/* Who is not told of is not in it. 0, -ENOENT, -ENOMEM. */
static int choose(struct making *m)
{
	size_t n = 0;

	m->wanted = calloc(m->d->rcpt_count + 1, sizeof(*m->wanted));
	if (!m->wanted)
		return -ENOMEM;
	m->worst = DSN_RELAYED;
	for (size_t i = 0; i < m->d->rcpt_count; i++) {
		m->wanted[i] = wants(&m->d->rcpt[i]);
		if (!m->wanted[i])
			continue;
		n++;
		if (m->d->rcpt[i].action < m->worst)
			m->worst = m->d->rcpt[i].action;
	}
	return n ? 0 : -ENOENT;
}

static bool is_ascii(const char *p)
{
	for (; *p; p++)
		if ((unsigned char)*p >= 0x80)
			return false;
	return true;
}

/* --- message/delivery-status --- */

const char *dsn_status(const struct dsn_rcpt *r, char *out)
{
	int want = r->action == DSN_FAILED ? 5 : r->action == DSN_DELAYED ? 4 : 2, n[3] = { 0 };
	const char *reply = r->reply ? r->reply : "";
	bool coded = isdigit((unsigned char)reply[0]) && isdigit((unsigned char)reply[1]) && isdigit((unsigned char)reply[2]) && reply[3] == ' ';

	/* Persistent transient failure: time is over, sent again it may succeed (RFC 3463 2 and 3.5). */
	if (r->expired)
		return "4.4.7";
	if (r->action == DSN_RELAYED)
		return "2.0.0";
	if (coded && smtp_status_parse(reply + 4, strlen(reply + 4), n) && n[0] == want)
		snprintf(out, DSN_STATUS_MAX, "%d.%d.%d", n[0], n[1], n[2]);
	else if (coded && reply[0] - '0' == want)
		snprintf(out, DSN_STATUS_MAX, "%s", smtp_status_default(atoi(reply)));
	else
		snprintf(out, DSN_STATUS_MAX, "%d.%s", want, want == 4 ? "4.1" : "0.0");
	return out;
}

/* A name, without the address that our log has behind it ("mx.example.net[192.0.2.1]"), or an address in brackets. */
static void add_mta(const char *field, const char *name, struct buf *out)
{
	buf_addf(out, "%s: dns; ", field);
	for (size_t i = 0; i < 255 && name[i] && (i == 0 || (name[i] != '[' && name[i] != ' ')); i++)
		buf_addc(out, isalnum((unsigned char)name[i]) || strchr(".-_:[]", name[i]) ? name[i] : '?');
	buf_adds(out, "\r\n");
}

static void add_date(const char *field, int64_t at_s, struct buf *out)
{
	char date[DATE_MAX];

	if (at_s > 0)
		buf_addf(out, "%s: %s\r\n", field, trace_date(at_s, date));
}

static void add_rcpt_status(struct making *m, const struct dsn_rcpt *r)
{
	static const char *const actions[] = { "failed", "delayed", "relayed" };
	AUTO(buf) struct buf original = BUF_INIT(FIELD_MAX);
	AUTO(buf) struct buf diagnostic = BUF_INIT(FIELD_MAX);
	struct dsn_params p;
	char status[DSN_STATUS_MAX];
	struct buf *out = &m->status;

	dsn_params_parse(r->params, &p);
	buf_adds(out, "\r\n");
	if (p.orcpt[0] && dsn_text_orcpt(p.orcpt, &original))
		buf_addf(out, "Original-Recipient: %s\r\n", buf_str(&original));
	buf_adds(out, "Final-Recipient: ");
	dsn_text_address(r->address, m->unicode, out);
	buf_addf(out, "\r\nAction: %s\r\nStatus: %s\r\n", actions[r->action], dsn_status(r, status));
	if (r->remote)
		add_mta("Remote-MTA", r->remote, out);
	if (r->reply && *r->reply) {
		buf_addf(&diagnostic, "%s; %.1000s", r->remote ? "smtp" : "x-gatepost", r->reply);
		dsn_text_field("Diagnostic-Code", buf_str(&diagnostic), out);
	}
	add_date("Last-Attempt-Date", r->attempt_s, out);
	if (r->action == DSN_DELAYED)
		add_date("Will-Retry-Until", r->retry_until_s, out);
}

static void make_status(struct making *m)
{
	add_mta("Reporting-MTA", m->d->hostname, &m->status);
	if (m->params.envid[0])
		dsn_text_field("Original-Envelope-Id", m->params.envid, &m->status);
	add_date("Arrival-Date", m->d->arrival_s, &m->status);
	for (size_t i = 0; i < m->d->rcpt_count; i++)
		if (m->wanted[i])
			add_rcpt_status(m, &m->d->rcpt[i]);
}

/* --- the original --- */

/* Bytes [0..end) of the message. */
static int read_message(struct message *m, size_t end, struct buf *out)
{
	for (size_t at = 0; at < end;) {
		const char *p;
		size_t n;
		int rc = message_read(m, at, &p, &n);

		if (rc < 0)
			return rc;
		if (!n)
			break;
		n = n < end - at ? n : end - at;
		rc = buf_add(out, p, n);
		if (rc < 0)
			return rc;
		at += n;
	}
	return 0;
}

/* Whole lines, as many as fit, if it is more than is returned. */
static size_t header_end(struct message *m)
{
	size_t end = 0;

	for (size_t i = 0; i < message_field_count(m); i++) {
		if (end + message_field(m, i)->raw_len > DSN_HEADER_MAX)
			break;
		end += message_field(m, i)->raw_len;
	}
	return end;
}

/* Only CRLF ends lines, none over 998 octets, no NUL: fit for "8bit" (RFC 2045 2.8). */
static bool fits_8bit(const struct buf *raw)
{
	size_t line = 0;

	for (size_t i = 0; i < raw->len; i++) {
		char c = raw->data[i];

		if (c == '\r' && i + 1 < raw->len && raw->data[i + 1] == '\n') {
			line = 0;
			i++;
		} else if (c == '\r' || c == '\n' || c == '\0' || ++line > 998) {
			return false;
		}
	}
	return true;
}

static void encode(struct making *m, const struct buf *raw)
{
	struct dsn_qp qp = { .out = &m->original };

	dsn_qp_add(&qp, raw->data, raw->len);
	dsn_qp_end(&qp);
	m->original_encoding = "quoted-printable";
}

/* message/rfc822 cannot be encoded (RFC 2046 5.2.1); message/global can (RFC 6532 3.7). false: it cannot be returned whole. */
static bool add_whole(struct making *m, struct buf *raw)
{
	m->original_type = m->params.utf8 ? "message/global" : "message/rfc822";
	if (dsn_text_plain(buf_str(raw), raw->len)) {
		buf_add(&m->original, raw->data, raw->len);
		m->original_encoding = "7bit";
	} else if (m->params.utf8) {
		encode(m, raw);
	} else if (fits_8bit(raw)) {
		buf_add(&m->original, raw->data, raw->len);
		m->original_encoding = "8bit";
		m->eightbit = true;
	} else {
		return false;
	}
	return true;
}

static int make_original(struct making *m)
{
	struct message *message = m->d->message;
	AUTO(buf) struct buf raw = BUF_INIT(DSN_FULL_MAX);
	int rc;

	if (!message)
		return 0;
	/* RFC 3461 6.2: RET is of failures; and a message may be too large to go back. */
	if (m->params.ret == RET_FULL && m->worst == DSN_FAILED && message_size(message) <= DSN_FULL_MAX) {
		rc = read_message(message, message_size(message), &raw);
		if (rc < 0 || add_whole(m, &raw))
			return rc;
		buf_clear(&raw);
	}
	rc = read_message(message, header_end(message), &raw);
	if (rc < 0)
		return rc;
	m->original_type = m->params.utf8 ? "message/global-headers" : "text/rfc822-headers";
	m->original_encoding = "7bit";
	if (dsn_text_plain(buf_str(&raw), raw.len))
		return buf_add(&m->original, raw.data, raw.len);
	encode(m, &raw);
	return 0;
}

/* --- the whole --- */

/* A boundary that no part contains. The id is not known to who wrote the message, so the first nearly always does. */
static void make_boundary(struct making *m)
{
	const struct buf *const part[] = { &m->words, &m->status, &m->original };

	for (unsigned n = 0; n < BOUNDARY_TRIES; n++) {
		bool found = false;

		snprintf(m->boundary, sizeof(m->boundary), "=_gatepost_%.40s_%u", m->d->id, n);
		for (char *p = m->boundary + 2; *p; p++)
			if (!isalnum((unsigned char)*p))
				*p = '_';
		for (size_t i = 0; i < sizeof(part) / sizeof(*part) && !found; i++)
			found = part[i]->len && memmem(part[i]->data, part[i]->len, m->boundary, strlen(m->boundary));
		if (!found)
			return;
	}
	buf_clear(&m->original);        /* somebody tried hard: it does not go back */
	m->original_type = NULL;
}

/* The id of the message that this is about, if it is one that can be written. */
static void add_references(const struct making *m, struct buf *out)
{
	const struct header_field *h = m->d->message ? message_find(m->d->message, "Message-ID", 0) : NULL;
	const char *p = h ? h->body : NULL, *end = h ? h->body + h->body_len : NULL;

	while (p && p < end && strchr(" \t\r\n", *p))
		p++;
	while (p && end > p && strchr(" \t\r\n", end[-1]))
		end--;
	if (!p || end - p < 4 || end - p > MSGID_MAX || *p != '<' || end[-1] != '>')
		return;
	for (const char *q = p + 1; q < end - 1; q++)
		if (*q <= 0x20 || *q >= 0x7f || *q == '<' || *q == '>')
			return;
	buf_addf(out, "In-Reply-To: %.*s\r\nReferences: %.*s\r\n", (int)(end - p), p, (int)(end - p), p);
}

static void add_header(const struct making *m, struct buf *out)
{
	const struct dsn *d = m->d;
	char date[DATE_MAX];

	buf_addf(out, "Date: %s\r\n", trace_date(d->now_s, date));
	buf_adds(out, "From: Mail Delivery System <");
	if (d->from)
		dsn_text_clean(d->from, ADDRESS_MAX, out);
	else
		buf_addf(out, "postmaster@%s", d->hostname);
	buf_addf(out, ">\r\nTo: <%s>\r\nSubject: %s\r\n", d->sender, dsn_subject(m->worst));
	buf_addf(out, "Message-ID: <%.60s.dsn@%s>\r\n", d->id, d->hostname);
	add_references(m, out);
	buf_addf(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		 "Content-Type: multipart/report; report-type=%s;\r\n\tboundary=\"%s\"\r\n",
		 m->unicode ? "global-delivery-status" : "delivery-status", m->boundary);
	if (m->eightbit)
		buf_adds(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_adds(out, "\r\n");
}

/* A part whose text needs it is encoded. */
static void add_part(const struct making *m, const char *type, const struct buf *text, struct buf *out)
{
	bool plain = dsn_text_plain(buf_str(text), text->len);

	buf_addf(out, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", m->boundary, type, plain ? "7bit" : "quoted-printable");
	if (plain) {
		buf_add(out, text->data, text->len);
	} else {
		struct dsn_qp qp = { .out = out };

		dsn_qp_add(&qp, text->data, text->len);
		dsn_qp_end(&qp);
	}
	buf_adds(out, "\r\n");
}

static int assemble(struct making *m, struct buf *out)
{
	if (m->words.failed || m->status.failed || m->original.failed)
		return -ENOSPC;
	make_boundary(m);
	add_header(m, out);
	add_part(m, "text/plain; charset=utf-8", &m->words, out);
	add_part(m, m->unicode ? "message/global-delivery-status" : "message/delivery-status", &m->status, out);
	if (m->original_type) {
		buf_addf(out, "--%s\r\nContent-Type: %s%s\r\nContent-Transfer-Encoding: %s\r\n\r\n", m->boundary, m->original_type,
			 strncmp(m->original_type, "text/", 5) == 0 ? "; charset=utf-8" : "", m->original_encoding);
		buf_add(out, m->original.data, m->original.len);
		buf_adds(out, "\r\n");
	}
	buf_addf(out, "--%s--\r\n", m->boundary);
	return out->failed ? -ENOSPC : 0;
}

/* Nothing in it that would end a line of the header: it comes from an SMTP parser, but perhaps by way of a file. */
static bool address_ok(const char *p)
{
	size_t len = strlen(p);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f || p[i] == '<' || p[i] == '>')
			return false;
	return len > 0 && len <= ADDRESS_MAX && strchr(p, '@');
}

int dsn_make(const struct dsn *d, struct buf *out, const char **params)
{
	struct making m = {
		.d = d, .words = BUF_INIT(WORDS_MAX), .status = BUF_INIT(WORDS_MAX), .original = BUF_INIT(4 * DSN_FULL_MAX),
	};
	int rc;

	if (!d->sender || !address_ok(d->sender))
		return -EINVAL;
	dsn_params_parse(d->params, &m.params);
	m.unicode = !is_ascii(d->sender);
	rc = choose(&m);
	if (rc == 0) {
		dsn_words(d, m.wanted, &m.words);
		make_status(&m);
		rc = make_original(&m);
	}
	if (rc == 0)
		rc = assemble(&m, out);
	if (rc == 0)
		*params = m.eightbit && m.unicode ? "BODY=8BITMIME SMTPUTF8" : m.eightbit ? "BODY=8BITMIME" : m.unicode ? "SMTPUTF8" : "";
	making_release(&m);
	return rc;
}

/* --- who is told at all --- */

static bool aligned(const char *a, const char *b)
{
	const char *x = regdomain_of(a), *y = regdomain_of(b);

	return strcmp(a, b) == 0 || (x && y && strcmp(x, y) == 0);
}

bool dsn_credible(const struct txn *t)
{
	const struct fact *dkim = facts_get_name(&t->evidence.facts, "dkim.pass_domains");
	const char *spf = facts_word(&t->evidence.facts, "spf");

	if (!t->env.from || !t->env.from[0] || !t->env.from_domain)
		return false;
	if (spf && strcmp(spf, "pass") == 0)
		return true;
	for (size_t i = 0; dkim && dkim->state == FACT_KNOWN && i < dkim->count; i++)
		if (aligned(dkim->text[i], t->env.from_domain))
			return true;
	return false;
}
