/*
 * dmarc_report_file - a file with aggregate reports in it, as they come: XML, gzip, zip, or the whole mail message that carries one
 *
 * What a file is, its octets say, not its name: reporters send gzip that is called zip, and the other way round. It is unpacked and read in a box
 * (base/box.h), without network and files; what comes back is read as if the sender had written it (dmarc_report_wire.h). A zip may have several reports, a message
 * several parts; parts that are neither called like a report nor look like one are none.
 *
 * Bounds: DMARC_REPORT_FILE_MAX octets of the file and of a part of a message; _UNPACKED_MAX that are unpacked of it, and of what is packed _RATIO_MAX times as
 * many; _ENTRIES_MAX reports and _RECORDS_MAX records in one file.
 */
#ifndef DMARC_REPORT_FILE_H
#define DMARC_REPORT_FILE_H

#include "policy/dmarc_report.h"

enum {
	DMARC_REPORT_FILE_MAX = 64 << 20,
	DMARC_REPORT_FILE_UNPACKED_MAX = 64 << 20,
	DMARC_REPORT_FILE_RATIO_MAX = 200,
	DMARC_REPORT_FILE_RATIO_FROM = 1 << 20,         /* octets unpacked before the ratio counts */
	DMARC_REPORT_FILE_ENTRIES_MAX = 100,
	DMARC_REPORT_FILE_RECORDS_MAX = 2 * DMARC_REPORT_RECORDS_MAX,
	DMARC_REPORT_FILE_TIME_MS = 60 * 1000,
};

/* What is found, in order. wrong: what of it cannot be read and why, in words; may quote the file: foreign text. */
struct dmarc_report_file {
	void (*report)(void *arg, struct dmarc_report *r);      /* r is the callee's */
	void (*wrong)(void *arg, const char *why);
	void *arg;
};

/* Before any file is opened: what reading needs of the file system, and the box. 0 or -errno. */
int dmarc_report_file_setup(void);

/* The file fd, which is one of the file system or of memory and stays the caller's. 0, also when all of it was wrong; or -errno: it could not be tried. May wait. */
int dmarc_report_file(int fd, const struct dmarc_report_file *found);

#endif
