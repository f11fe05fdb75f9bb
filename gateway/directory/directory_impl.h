/*
 * directory_impl - what the files of the service share: directory_service.c answers, directory_fetch.c speaks with the servers
 */
#ifndef DIRECTORY_IMPL_H
#define DIRECTORY_IMPL_H

#include "directory/directory_address.h"
#include "directory/directory_line.h"
#include "directory/directory_service.h"
#include "directory/directory_table.h"

enum { NEGATIVES = 16384 };     /* remembered; a power of two */

struct negative {
	uint64_t hash;
	int64_t until_ms;
};

struct directory {
	const struct directory_conf *conf;
	char *password;
	struct ssl_ctx_st *ctx;
	unsigned char hash[DIRECTORY_HASH], who[DIRECTORY_HASH];
	char **wanted;                  /* attributes that are asked for, NULL last */
	struct directory_table table;
	struct directory_table late;    /* whom a question has found while all are being fetched */
	bool shown;                     /* these servers have shown all of theirs to whom we are: only then does it mean anything that somebody is not there */
	int64_t refreshed_ms, tried_ms; /* wall */
	int64_t due_ms, alone_until_ms; /* clock_ms: the next refresh; no live question before */
	int failures;
	bool refreshing, away;
	bool suspect;                   /* the last refresh is not believed: nor is it that somebody is unknown */
	size_t doubted;                 /* how many addresses that gave */
	size_t server;                  /* that answered last */
	struct directory_line *idle[DIRECTORY_LINES];
	int64_t idle_ms[DIRECTORY_LINES];
	int asking;
	int64_t turns, turns_ms;        /* questions that may be put now, in thousandths, and when that was counted */
	uint64_t asked, found, spared;
	char why[DIRECTORY_SAID_MAX];
	char elsewhere[DIRECTORY_WHY_MAX];      /* a server that has a part of it, and is not asked; "" */
};

struct directory_service {
	struct dns *dns;
	int64_t born_ms;
	int copy_fd[DIRECTORY_COPIES];
	int negative_s;
	struct siphash_key key;
	struct negative *negative;
	size_t count;
	struct directory d[];
};

/* directory_fetch.c. All addresses, into an empty table. 0, or -errno with why. may wait */
int directory_fetch_all(struct directory_service *s, struct directory *d, struct directory_table *out, char *why);
/* Whether it has one of these forms: 1 and the flags, and all addresses of who has it are in the table; 0; or -errno with why. may wait */
int directory_fetch_one(struct directory_service *s, struct directory *d, const struct directory_forms *f, unsigned *flags, char *why);
/* Lines that have been idle for long are closed. */
void directory_fetch_tidy(struct directory *d, bool all);

#endif
