/*
 * directory_service - the directories of a site, asked and remembered
 *
 * Of each directory all addresses are in memory (directory_table.h), fetched at the start and then every `refresh`; a new table takes the place of the former one when all
 * of it has come and it is believed (directory_believe.h). Whom no table knows is asked for, so that a new mailbox is there at once: by at most DIRECTORY_LINES
 * questions of a directory at a time, `live` of them a second, and one that was answered "unknown" not again for `negative`. Beyond that the table counts.
 *
 * A table that is not older than `keep` says yes. One that is fresh says no, too; an older one does not: who is not in it is put off (DIRECTORY_LATER), unless the
 * directory itself says no, all of whose addresses have been fetched and believed. So nobody is refused because a directory is away.
 *
 * One task asks at a time for each question, one refreshes each directory; what is known is answered without a wait (directory_service_quick).
 */
#ifndef DIRECTORY_SERVICE_H
#define DIRECTORY_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "directory/directory_ask.h"
#include "directory/directory_copy.h"

struct buf;
struct directory_service;
struct dns;

enum { DIRECTORY_LINES = 8, DIRECTORY_PASSWORD_MAX = 512, DIRECTORY_SAID_MAX = 256 };

/* What is to be seen of a directory. */
struct directory_view {
	char name[DIRECTORY_NAME_MAX];
	size_t count, bytes;            /* addresses in force, and their memory */
	int64_t refreshed_ms, tried_ms; /* wall clock; 0: never */
	bool away;
	int failures;                   /* in a row */
	size_t doubted;                 /* addresses of a refresh that is not believed yet; 0: none */
	uint64_t asked, found, spared;  /* live questions, those that found somebody, those that there was no turn for */
	char why[DIRECTORY_SAID_MAX];   /* the last failure */
};

/* Why an answer is what it is. */
struct directory_verdict {
	enum directory_answer answer;
	char directory[DIRECTORY_NAME_MAX];     /* that said so; "" */
	const char *by;                         /* "table", "catch-all", "asked", "asked before", "away", ... */
};

/*
 * conf stays the caller's, and so does dns; negative_s: option of section recipients. password: of each directory, or NULL; taken over, wiped in the end. 0, or -ENOMEM, -EINVAL
 * with a line in err. Before the process is confined (CAs).
 */
int directory_service_new(const struct directory_conf *conf, size_t count, char **password, int negative_s, struct directory_service **out, struct buf *err);
/* May be used from now on; dns for names of servers. copy_fd: directory_copy.h, -1: none; what they hold is taken. */
void directory_service_start(struct directory_service *s, struct dns *dns, int64_t born_ms, const int copy_fd[DIRECTORY_COPIES]);
/* Its tasks must have ended. */
void directory_service_free(struct directory_service *s);

/* Once a second or more often: refreshes that are due begin, in tasks of their own. */
void directory_service_tick(struct directory_service *s);
/* All of them as soon as may be; who was unknown is asked for again. */
void directory_service_refresh(struct directory_service *s);

/* address: normal form (directory_address.h). True: answered without a wait. Else directory_service_ask, which may wait (timeout of the directory at most). */
bool directory_service_quick(struct directory_service *s, const char *address, struct directory_verdict *out);
void directory_service_ask(struct directory_service *s, const char *address, struct directory_verdict *out);

size_t directory_service_count(const struct directory_service *s);
void directory_service_view(const struct directory_service *s, size_t i, struct directory_view *out);

#endif
