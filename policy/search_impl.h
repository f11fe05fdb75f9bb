/*
 * search_impl - what search_index.c and search_find.c share
 */
#ifndef SEARCH_IMPL_H
#define SEARCH_IMPL_H

#include <stdint.h>
#include <sys/stat.h>

#include "policy/search_words.h"

struct sqlite3;
struct sqlite3_stmt;

enum { SEARCH_KNOWN = 1 << 16 };

/* Letters that a word must have to be looked for inside of others; and the length of the parts that are indexed. */
enum { SEARCH_PART_CHARS = 4, SEARCH_GRAMS_MAX = SEARCH_WORD_CHARS * 4 * (SEARCH_PART_CHARS + 1) };

enum {
	SEARCH_HAS, SEARCH_DOC, SEARCH_DOC_REMOVE, SEARCH_WORDS, SEARCH_WORDS_REMOVE, SEARCH_VOCABULARY, SEARCH_PARTS, SEARCH_WORDS_MERGE,
	SEARCH_PARTS_MERGE, SEARCH_IDS,
	SEARCH_NOTE, SEARCH_NOTE_SET, SEARCH_STATEMENTS
};

struct search_index {
	struct sqlite3 *sql;
	struct sqlite3_stmt *stmt[SEARCH_STATEMENTS];
	struct stat file;
	int64_t data_version;           /* of SQLite: others have written since */
	int64_t vocabulary;             /* words in it, at most */
	uint64_t known[SEARCH_KNOWN];   /* hashes of words that are in the vocabulary: most of any message */
};

struct buf;

/* Appends each SEARCH_PART_CHARS characters that follow each other: "gebu ebuh buhr", each with quote around it. */
void search_grams(const char *word, const char *quote, struct buf *out);

#endif
