/*
 * archive - the names in archives that are attached, to any depth
 *
 * Facts archive.*, when a rule asks. A box (unpack.h) finds the parts, decodes what begins like an archive, or is called like one (archive_list.h), into its memory, and lists it. When a
 * box is ended by one of them another one goes on with the next, and archive.unread is true. archive.name and archive.extension have each value once; where there are more than a list takes,
 * archive.bomb is true, as for every limit: ARCHIVE_OCTETS_MAX of an attachment, ARCHIVES_MAX of them, ARCHIVE_TIME_MS for all, those of archive_list.h and of box.h.
 */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include "filters/filter.h"

enum { ARCHIVE_OCTETS_MAX = 64 * 1024 * 1024, ARCHIVES_MAX = 64, ARCHIVE_TIME_MS = 10000 };

extern const struct filter filter_archive;

#endif
