#include "rua/rua_mail.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smtp/trace.h"
#include "spool/dsn_text.h"

/* ID_MAX: whole, as it stands in the report itself (rua_sign_report): two names of hosts, and a number. */
enum { ID_MAX = 560, BOUNDARY_MAX = 80, DATE_MAX = 40, WORDS_MAX = 8192 };

/* RFC 5322 section 3.2.3, and the @ of an id. */
static bool is_id(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-/=?^_`{|}~.@", c));
}

/* The Report-ID, as it stands in fields. */
static const char *clean_id(const struct rua_mail *m, char *out)
{
	size_t n = 0;

	for (const char *p = m->report_id; *p && n < ID_MAX - 1; p++)
		out[n++] = is_id(*p) ? *p : '_';
	out[n] = '\0';
	return out;
}

/* What base64 does not contain, nor quoted-printable, nor words of ours. */
static const char *boundary(const struct rua_mail *m, char *out)
{
	size_t n = (size_t)snprintf(out, BOUNDARY_MAX, "=_gatepost_");

	for (const char *p = m->report_id; *p && n < 69; p++)  /* RFC 2046 section 5.1.1: 70 at most */
		out[n++] = isalnum((unsigned char)*p) ? *p : '_';
	out[n] = '\0';
	return out;
}

static const char *submitter(const struct rua_mail *m)
{
	return strrchr(m->from, '@') + 1;
}

static void add_to(const struct rua_mail *m, struct buf *out)
{
	for (size_t i = 0; i < m->to_count; i++)
		buf_addf(out, "%s<%s>", i ? ",\r\n\t" : "To: ", m->to[i]);
	buf_adds(out, "\r\n");
}

static void add_header(const struct rua_mail *m, struct buf *out)
{
	char date[DATE_MAX], id[ID_MAX], line[BOUNDARY_MAX];

	clean_id(m, id);
	buf_addf(out, "Date: %s\r\nFrom: <%s>\r\n", trace_date(m->now_s, date), m->from);
	add_to(m, out);
	buf_addf(out, "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n", m->domain, submitter(m), id);
	buf_addf(out, "Message-ID: <%s", id);
	if (!strchr(id, '@'))
		buf_addf(out, "@%s", submitter(m));
	/* RFC 3834 section 5: made by itself, and no answer to anything. */
	buf_addf(out, ">\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"%s\"\r\n\r\n", boundary(m, line));
}

static const char *moment(int64_t at_s, char out[DATE_MAX])
{
	time_t t = (time_t)at_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, DATE_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(out, DATE_MAX, "?");
	return out;
}

static void words(const struct rua_mail *m, struct buf *out)
{
	char begin[DATE_MAX], end[DATE_MAX], id[ID_MAX];

	buf_addf(out, "This is an aggregate report of DMARC (RFC 9990) about mail that came to us under\r\nthe name of %s.\r\n\r\n", m->domain);
	buf_addf(out, "  From:       %s\r\n", m->org);
	if (m->contact)
		buf_addf(out, "  Contact:    %s\r\n", m->contact);
	buf_addf(out, "  Period:     %s to\r\n              %s\r\n", moment(m->begin_s, begin), moment(m->end_s, end));
	buf_addf(out, "  Report-ID:  %s\r\n  Messages:   %llu in %zu row%s\r\n\r\n", clean_id(m, id), (unsigned long long)m->messages, m->rows, m->rows == 1 ? "" : "s");
	buf_addf(out, "The report itself is attached: XML, compressed, for programs to read. It says which\r\nhosts sent how much mail, with which results of SPF, "
		 "DKIM and DMARC, and nothing of\r\ncontent or recipients. It is sent because the DMARC record of this domain asks for\r\n"
		 "it (rua=).\r\n");
}

static void add_words(const struct rua_mail *m, struct buf *out)
{
	AUTO(buf) struct buf text = BUF_INIT(WORDS_MAX);
	bool plain;

	words(m, &text);
	out->failed |= text.failed;
	plain = dsn_text_plain(buf_str(&text), text.len);
	buf_addf(out, "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n", plain ? "us-ascii" : "utf-8", plain ? "7bit" : "quoted-printable");
	if (plain) {
		buf_add(out, text.data, text.len);
	} else {
		struct dsn_qp qp = { .out = out };

		dsn_qp_add(&qp, text.data, text.len);
		dsn_qp_end(&qp);
	}
}

/*
 * The receiver is the gateway, not the domain that submits: of several, each reports what came to it, and a second file of the same name would be taken for the
 * first once more. No unique-id: it would have to be the Report-ID, which has other characters (RFC 9990, "Unique Identifiers").
 */
static void add_name(const struct rua_mail *m, struct buf *out)
{
	buf_addf(out, "\"%s!%s!%lld!%lld.xml.gz\"", m->host, m->domain, (long long)m->begin_s, (long long)m->end_s);
}

void rua_mail_head(const struct rua_mail *m, struct buf *out)
{
	char line[BOUNDARY_MAX];

	boundary(m, line);
	add_header(m, out);
	buf_addf(out, "--%s\r\n", line);
	add_words(m, out);
	buf_addf(out, "\r\n--%s\r\nContent-Type: application/gzip;\r\n\tname=", line);
	add_name(m, out);
	buf_adds(out, "\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n\tfilename=");
	add_name(m, out);
	buf_adds(out, "\r\n\r\n");
}

void rua_mail_lines(const char *p, size_t len, struct buf *out)
{
	unsigned char line[RUA_MAIL_STEP / 3 * 4 + 1];

	for (size_t n; len > 0; p += n, len -= n) {
		n = len < RUA_MAIL_STEP ? len : RUA_MAIL_STEP;
		buf_add(out, line, (size_t)EVP_EncodeBlock(line, (const unsigned char *)p, (int)n));
		buf_adds(out, "\r\n");
	}
}

void rua_mail_tail(const struct rua_mail *m, struct buf *out)
{
	char line[BOUNDARY_MAX];

	buf_addf(out, "\r\n--%s--\r\n", boundary(m, line));
}
