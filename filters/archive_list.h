/*
 * archive_list - the names within an archive, by libarchive
 *
 * zip, rar, 7z, tar, cab, lha, iso; gzip, bzip2, xz, lzma, zstd, lz4 and compress around them or around a single file. Only names are read, and of
 * entries that are archives themselves their content, in memory. No file is written, no program is called. It takes its time, and libarchive is
 * large: it runs in a box (archive.h).
 *
 * Its answer is lines: "n" and a name, UTF-8; "s": a single file without one; "e": something in it is encrypted; "b" and why it is broken; "x" and which limit it is past; last, and only
 * if it came to its end, ".".
 */
#ifndef ARCHIVE_LIST_H
#define ARCHIVE_LIST_H

#include <stdbool.h>
#include <stddef.h>

enum {
	ARCHIVE_LOOK = 34 * 1024,               /* octets that archive_looks() wants to see at most: those of an ISO 9660 image */
	ARCHIVE_DEPTH_MAX = 4,                  /* archives in archives, the outermost counted */
	ARCHIVE_ENTRIES_MAX = 1000,             /* of all of them */
	ARCHIVE_NAME_MAX = 1024,                /* octets of a name that are told */
	ARCHIVE_UNPACKED_MAX = 64 * 1024 * 1024,/* octets that are unpacked in all, or ten times what was packed */
	ARCHIVE_UNPACKED_TIMES = 10,
};

/* Opens what libarchive needs of the file system; before any chroot, after it nothing is opened. Idempotent. */
void archive_list_setup(void);

/* Whether p[0..len) begins like an archive. */
bool archive_looks(const char *p, size_t len);
/* Whether a file of that extension is taken for one. */
bool archive_is_called_so(const char *extension);

/* write: gets the answer, a line at a time; false: nobody wants more. */
void archive_list(const char *p, size_t len, bool (*write)(void *arg, const char *p, size_t len), void *arg);

#endif
