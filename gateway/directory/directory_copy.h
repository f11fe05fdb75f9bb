/*
 * directory_copy - what is known of the directories, kept on disk for a start while they are away
 *
 * Two files by turns, each with a number and a hash over all of it: what was being written when the power went away is seen to be none, and the one before counts. So
 * nothing waits for the disk. They are opened before the process is confined; it opens no path.
 *
 *     head: "gatepost-dir 2\n" NUL, born_ms, serial, count; of each directory: a head (name, hashes of what it is asked and of who is asked, refreshed_ms,
 *     length), and its texts as directory_table.h has them; SHA-256 of all before it. Numbers as this machine writes them.
 */
#ifndef DIRECTORY_COPY_H
#define DIRECTORY_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/directory_conf.h"

enum { DIRECTORY_NAME_MAX = 64, DIRECTORY_HASH = 32, DIRECTORY_COPIES = 2 };

struct directory_part {
	char name[DIRECTORY_NAME_MAX];
	unsigned char conf[DIRECTORY_HASH];     /* of what its addresses depend on */
	unsigned char who[DIRECTORY_HASH];      /* of its servers, and of who asks */
	int64_t refreshed_ms;                   /* wall clock */
	const char *text;
	size_t len;
};

struct directory_copy {
	int64_t born_ms;                /* when the process that wrote it was started */
	uint64_t serial;
	size_t count;
	struct directory_part part[DIRECTORIES_MAX];
	void *bytes;                    /* that the parts point into; of directory_copy_read: to be freed */
};

/* Of what is asked of a directory: another one than before makes what was kept worth nothing. */
void directory_copy_hash(const struct directory_conf *c, unsigned char out[DIRECTORY_HASH]);
/* Of its servers and of who asks: with others than before, who was in it is known still; that somebody was not says nothing. */
void directory_copy_who(const struct directory_conf *c, unsigned char out[DIRECTORY_HASH]);

/* 0 and *out, which points into p; -EBADMSG: it is none, or damaged. Pure. */
int directory_copy_parse(const void *p, size_t len, struct directory_copy *out);

/* The newer one of those that are whole: 0 and *out (free(out->bytes)), -ENOENT: none is; -ENOMEM, or -errno. */
int directory_copy_read(const int fd[DIRECTORY_COPIES], struct directory_copy *out);

/*
 * In place of the older one. c->serial is counted up. -ESTALE: a process that was started later has written there, whose configuration is newer. 0 or -errno.
 */
int directory_copy_write(const int fd[DIRECTORY_COPIES], struct directory_copy *c);

#endif
