/*
 * policy_regex - Perl regular expressions (PCRE2) over what strangers send
 *
 * Patterns are UTF-8; a subject that is not is matched piece by piece. Each match has limits on
 * work, depth, memory and time (some 20 ms) and sees the first REGEX_SUBJECT_MAX bytes; in one that
 * is longer than 8 KiB, a match of up to 1 KiB is found wherever it is, a longer one may not be. Whether compiled code (JIT) is
 * used is decided once, and it runs on a stack of its own, so that a task's is enough. One thread.
 */
#ifndef POLICY_REGEX_H
#define POLICY_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { REGEX_PATTERN_MAX = 1000, REGEX_SUBJECT_MAX = 65536 };

struct policy_regex;

/* NULL, and err says why and at which byte of the pattern: *offset. */
struct policy_regex *policy_regex_new(const char *pattern, size_t len, size_t *offset,
				      struct buf *err);
void policy_regex_free(struct policy_regex *r);

enum regex_match { REGEX_NO, REGEX_YES, REGEX_LIMIT };

/* REGEX_LIMIT: given up, too much work. */
enum regex_match policy_regex_match(const struct policy_regex *r, const char *subject, size_t len);

/* Whether patterns made from now on are compiled to machine code. By default: if the machine and
   its rules let us. Call before the first. */
void policy_regex_use_jit(bool on);
bool policy_regex_has_jit(const struct policy_regex *r);

#endif
