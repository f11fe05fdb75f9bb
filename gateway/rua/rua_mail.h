/*
 * rua_mail - the mail that an aggregate report is sent in, RFC 9990, "Email"
 *
 * multipart/mixed: words for people, and the gzipped XML under the name that the RFC has for it. The message is in lines of ASCII, and the same input makes
 * the same octets: sent once more (its sender died before it could say that the first is on its way) it has the same Report-ID, Message-ID and file name, by
 * which whoever reads reports knows it. Pure: no I/O, no clock.
 *
 *     rua_mail_head(m, out);
 *     rua_mail_lines(gz, n, out);      any number of times, n divisible by RUA_MAIL_STEP but for the last
 *     rua_mail_tail(m, out);
 *
 * out->failed says whether all of it fitted.
 */
#ifndef RUA_MAIL_H
#define RUA_MAIL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { RUA_MAIL_STEP = 57 };    /* octets of one line of base64, RFC 2045 6.8 */

struct rua_mail {
	const char *from;               /* "dmarc-reports@example.com"; its domain is who submits the report */
	const char *host;               /* which of our gateways has seen the mail: canonical, a name of its own */
	const char *org, *contact;      /* who we are, in UTF-8; contact may be NULL */
	const char *domain;             /* the report's */
	const char *report_id;          /* without angle brackets */
	int64_t begin_s, end_s;         /* of the report */
	uint64_t messages;              /* that it is about, and how many rows it has */
	size_t rows;
	int64_t now_s;
	const char *const *to;          /* addresses as rua_uri has them */
	size_t to_count;
};

void rua_mail_head(const struct rua_mail *m, struct buf *out);
void rua_mail_lines(const char *p, size_t len, struct buf *out);
void rua_mail_tail(const struct rua_mail *m, struct buf *out);

#endif
