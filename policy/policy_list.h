/*
 * policy_list - a set of domains, addresses, networks and texts that is looked up in constant time
 *
 * An entry is read as what it looks like:
 *
 *     192.0.2.0/24  2001:db8::1     a network or an address: facts that are addresses of the net
 *     example.com                   this domain and all below it
 *     .example.com                  all below it, not itself
 *     user@example.com              this mailbox
 *     @example.com                  all mailboxes at this domain, not below it
 *     "any text"                    exactly this text
 *     /regex/                       whatever this matches, of facts of all these types as text
 *
 * A domain entry also holds for a mailbox at that domain. Case of ASCII letters is ignored
 * everywhere but in a regular expression. One hash table holds all; a lookup costs one probe per label of a domain or per
 * prefix length in use, and one match for each regular expression.
 *
 * What comes from a file is an image (list_table.h), which all processes share: a list forked off shares
 * it, and a new one can be handed over as a descriptor and take the place of the old one between two lookups.
 */
#ifndef POLICY_LIST_H
#define POLICY_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "filters/fact.h"

enum {
	LIST_ENTRIES_MAX = 8000000,
	LIST_REGEX_MAX = 1000,
	LIST_FILE_BYTES_MAX = 256 << 20,
	LIST_ENTRY_MAX = 320,           /* bytes of one entry */
};

struct policy_list;

struct policy_list *policy_list_new(void);
void policy_list_free(struct policy_list *l);
AUTO_DEFINE(policy_list)

/*
 * Add one entry; quoted: it may be any text. 0; -EINVAL and err ("what is wrong, what was
 * expected") if it is none; -ENOSPC when the list is full; -ENOMEM.
 */
int policy_list_add(struct policy_list *l, const char *entry, size_t len, bool quoted,
		    struct buf *err);
/* The same of a regular expression (policy_regex.h), without slashes; an error is at byte *offset of it. */
int policy_list_add_regex(struct policy_list *l, const char *pattern, size_t len, size_t *offset,
			  struct buf *err);
/* A domain that stands for itself only (".example.com": for all below): how a site's own domains
   are written. */
int policy_list_add_exact(struct policy_list *l, const char *domain);
/* Which file it was when a list was read from it: another stamp, another content. Zeroed: none. */
struct list_stamp {
	bool there;
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
};

/* The stamp of what path leads to now, links followed; whether there is anything. */
bool policy_list_stamp(const char *path, struct list_stamp *out);
bool policy_list_stamp_same(const struct list_stamp *a, const struct list_stamp *b);

/*
 * The entries of a file into an empty list, which becomes an image: one per line, blanks around it,
 * # comments, texts in double quotes, regular expressions between slashes. label: its name in errors.
 * Errors go to errors as lines "label:line:column: ..."; their number is returned (bounded), and the
 * list is not to be used; or -errno when the file could not be read. stamp (may be NULL) is that of the
 * file, also when it has errors.
 */
int policy_list_load(struct policy_list *l, const char *path, const char *label,
		     struct list_stamp *stamp, struct buf *errors);
/* The same of a text that is in memory, into any list that is no image. */
int policy_list_read(struct policy_list *l, const char *text, size_t len, const char *label,
		     struct buf *errors);

/*
 * What one line of such a file holds. LINE_ENTRY, LINE_TEXT: *entry (in the line) of *entry_len
 * bytes, without the quotes. LINE_REGEX: with its slashes. LINE_BAD: err. *column, from 1, is where it begins.
 */
enum list_line { LINE_EMPTY, LINE_ENTRY, LINE_TEXT, LINE_REGEX, LINE_BAD };

enum list_line policy_list_line(const char *p, size_t len, const char **entry, size_t *entry_len,
				size_t *column, struct buf *err);

/* For policy_list_load: what is added from now on goes to an image; it is complete. 0 or -errno. */
int policy_list_begin(struct policy_list *l);
int policy_list_finish(struct policy_list *l);

/* The descriptor of its image, the caller's from now on; -1: it is none, or was asked before. */
int policy_list_take_fd(struct policy_list *l);
/*
 * l becomes the image in fd (which stays the caller's): what it was is gone at once. Regular expressions that it had are
 * not compiled again. 0, -EPROTO (no image), -errno: l is as it was.
 */
int policy_list_map(struct policy_list *l, int fd);
/* l becomes fresh, which is freed. */
void policy_list_become(struct policy_list *l, struct policy_list *fresh);

size_t policy_list_count(const struct policy_list *l);
/* A number that a list with other entries hardly ever has. Of an image at once, else in the time of reading it. */
uint64_t policy_list_sum(const struct policy_list *l);
size_t policy_list_regexes(const struct policy_list *l);
/* Whether some entry could ever hold for a fact of this type. */
bool policy_list_useful(const struct policy_list *l, enum fact_type type);

/* Whether the list holds the value of a fact of this type. *limit (may be NULL) is set when a regular expression gave
   up, too much work. */
bool policy_list_has(const struct policy_list *l, enum fact_type type, const char *value, bool *limit);

/*
 * The same in pieces: without its regular expressions, and one of them, which each may take milliseconds. *given_up, 0 to begin for each value,
 * counts those that gave up; past a few the others are not tried.
 */
bool policy_list_has_entry(const struct policy_list *l, enum fact_type type, const char *value);
bool policy_list_matches(const struct policy_list *l, size_t i, const char *value, int *given_up);

/* "example.com" as domains are compared: letters, digits, - and _ in labels of 1..63, at most 253
   bytes, one final dot dropped; out (254 bytes) gets it in lower case. */
bool policy_domain_text(const char *text, size_t len, char *out);

#endif
