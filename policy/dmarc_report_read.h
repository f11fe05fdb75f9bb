/*
 * dmarc_report_read - an aggregate report as others write it: XML goes in, a struct dmarc_report comes out
 *
 *     struct dmarc_report_reader *rd = dmarc_report_reader_new();
 *     rc = dmarc_report_reader_add(rd, p, len);               // pieces of any size
 *     rc = dmarc_report_reader_end(rd, &report);              // or dmarc_report_reader_why(rd) says what is wrong
 *     dmarc_report_reader_free(rd);
 *
 * The forms of RFC 9990 and of RFC 7489, with a namespace, with another one, or without. The XML is expat's; it is lenient where reporters err and nothing
 * is lost: elements that are not known are passed over with all within them; what is missing is absent in the struct; words in any case, with blanks around
 * them; the older words of SPF (hardfail, unknown, error); blanks before the XML and anything behind </feedback>; a <feedback> within another element; octets that are no
 * UTF-8, and controls, as U+FFFD; UTF-16 in the declaration where there is none; times in milliseconds or with fractions. Encodings: UTF-8, UTF-16, ISO-8859-1,
 * and charsets of one octet that filters/charset.h knows (charset_setup() before); of others that it knows only ASCII is kept.
 *
 * Strict in its bounds: DMARC_REPORT_READ_MAX octets, _DEPTH_MAX elements within each other, _TOKEN_MAX octets of one tag, and those of dmarc_report.h: longer texts
 * are cut, of the lists of a record and of errors the rest is passed over, more records are an error. A document type that declares anything is
 * refused, so there are no entities to expand, and nothing outside is ever opened.
 *
 * Pure: no I/O. It is intricate code on foreign octets all the same: commands run it in a box (base/box.h).
 */
#ifndef DMARC_REPORT_READ_H
#define DMARC_REPORT_READ_H

#include "policy/dmarc_report.h"

enum {
	DMARC_REPORT_READ_MAX = 64 << 20,
	DMARC_REPORT_READ_DEPTH_MAX = 32,
	DMARC_REPORT_READ_TOKEN_MAX = 64 << 10,
};

struct dmarc_report_reader;

struct dmarc_report_reader *dmarc_report_reader_new(void);      /* NULL: no memory */
void dmarc_report_reader_free(struct dmarc_report_reader *rd);
AUTO_DEFINE(dmarc_report_reader)

/* 0; -EBADMSG: it is no such report; -E2BIG: past a bound; -ENOMEM. What it was stays so: the next call says the same. */
int dmarc_report_reader_add(struct dmarc_report_reader *rd, const char *p, size_t len);

/* No more comes. 0: *out is the caller's; or an error as above: *out is untouched. Once. */
int dmarc_report_reader_end(struct dmarc_report_reader *rd, struct dmarc_report **out);

/* What is wrong, in words: "line 12: mismatched tag". "": nothing. May quote the report: foreign text. */
const char *dmarc_report_reader_why(const struct dmarc_report_reader *rd);

#endif
