/*
 * dmarc_report_wire - a report as octets, from one process to another
 *
 * What a report is on its way out of the box where it was read (dmarc_report_file.h). A number is seven bits an octet, the low ones first, the high bit saying that
 * more follow; one that may be negative has its sign in the lowest bit. A string is its length plus one (0: none) and its octets. Nothing of a report is lost.
 * No octet is trusted when it is read. Pure: no I/O.
 */
#ifndef DMARC_REPORT_WIRE_H
#define DMARC_REPORT_WIRE_H

#include "base/buf.h"
#include "policy/dmarc_report.h"

/* Appends r to out. 0, or -ENOSPC: more than out takes, or no memory. */
int dmarc_report_wire_write(const struct dmarc_report *r, struct buf *out);

/* p[0..len) is one, and nothing else. 0: *out is the caller's; -EBADMSG, -ENOSPC (past a bound of dmarc_report.h) or -ENOMEM. */
int dmarc_report_wire_read(const char *p, size_t len, struct dmarc_report **out);

#endif
