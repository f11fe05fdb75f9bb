/*
 * dmarc_report_xml - an aggregate report as RFC 9990 has it: XML 1.0, UTF-8, the namespace urn:ietf:params:xml:ns:dmarc-2.0
 *
 * What comes out is valid by the schema of the RFC's Appendix A (tests/conformance/dmarc/rfc9990.xsd), whatever is in the struct. Elements stand in the
 * order of the tables of section 3.1.1. A string is escaped; what is no UTF-8, or no character of XML 1.0, becomes U+FFFD. What the schema
 * demands and the struct has not is written as its harmless form: "" for a string, none for a policy, a disposition or a result of DKIM or SPF, fail for alignment.
 * What the schema has no word for is put otherwise: several errors become one text with line ends, overrides of RFC 7489 alone become "other" with their
 * word as comment, a scope of helo is left out. pct is not written.
 *
 * Pure: no I/O.
 */
#ifndef DMARC_REPORT_XML_H
#define DMARC_REPORT_XML_H

#include "base/buf.h"
#include "policy/dmarc_report.h"

#define DMARC_REPORT_NAMESPACE "urn:ietf:params:xml:ns:dmarc-2.0"

/* Appends r to out. 0; -EINVAL: it has no record, which the schema does not allow; -ENOSPC: more than out takes, or no memory: out has failed then, and no more
   in it than before. */
int dmarc_report_xml(const struct dmarc_report *r, struct buf *out);

/*
 * The same in pieces, for who lets others have their turn between them and does not want all of it in memory: the beginning, each record, the end. Whether
 * out has failed is the caller's to see.
 */
void dmarc_report_xml_begin(const struct dmarc_report *r, struct buf *out);
void dmarc_report_xml_record(const struct dmarc_report_record *rec, struct buf *out);
void dmarc_report_xml_end(struct buf *out);

#endif
