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
 *
 * A domain entry also holds for a mailbox at that domain. Case of ASCII letters is ignored
 * everywhere. One hash table holds all; a lookup costs one probe per label of a domain or per
 * prefix length in use.
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
/* A domain that stands for itself only (".example.com": for all below): how a site's own domains
   are written. */
int policy_list_add_exact(struct policy_list *l, const char *domain);
/*
 * The entries of a file: one per line, blanks around it, # comments, texts in double quotes. label:
 * its name in errors. Errors go to errors as lines "label:line:column: ..."; their number is
 * returned (bounded), or -errno when it could not be read.
 */
int policy_list_load(struct policy_list *l, const char *path, const char *label,
		     struct buf *errors);

/* The same of a text that is in memory; the number of errors. */
int policy_list_read(struct policy_list *l, const char *text, size_t len, const char *label,
		     struct buf *errors);

/*
 * What one line of such a file holds. LINE_ENTRY, LINE_TEXT: *entry (in the line) of *entry_len bytes, without the quotes.
 * LINE_BAD: err. *column, from 1, is where it begins.
 */
enum list_line { LINE_EMPTY, LINE_ENTRY, LINE_TEXT, LINE_BAD };

enum list_line policy_list_line(const char *p, size_t len, const char **entry, size_t *entry_len,
				size_t *column, struct buf *err);

size_t policy_list_count(const struct policy_list *l);
/* Whether some entry could ever hold for a fact of this type. */
bool policy_list_useful(const struct policy_list *l, enum fact_type type);

/* Whether the list holds the value of a fact of this type. */
bool policy_list_has(const struct policy_list *l, enum fact_type type, const char *value);

/* "example.com" as domains are compared: letters, digits, - and _ in labels of 1..63, at most 253
   bytes, one final dot dropped; out (254 bytes) gets it in lower case. */
bool policy_domain_text(const char *text, size_t len, char *out);

#endif
