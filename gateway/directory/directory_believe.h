/*
 * directory_believe - whether what a refresh has brought is believed, and when the next one is due
 *
 * A refresh that brings no address at all, or less than half of what was known, may be a directory that is being rebuilt, a base that was moved, a password whose rights
 * were taken away: it would refuse everybody's mail. Half is believed when it has been seen twice, and nearly the same: one that is being filled gives more each
 * time. Nothing never is. Pure.
 */
#ifndef DIRECTORY_BELIEVE_H
#define DIRECTORY_BELIEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIRECTORY_RETRY_MS = 1000, DIRECTORY_RETRY_MAX_MS = 5 * 60 * 1000, DIRECTORY_DOUBT_MS = 60 * 1000 };

/* before: addresses in force (0: none yet), doubted: of the refresh just before that was not believed (0: there was none), now: of this one. */
bool directory_believe(size_t before, size_t doubted, size_t now);

/* Milliseconds to the next refresh: after the nth failure in a row; after a success or a doubt, with chance (any number) for a tenth more or less. */
int64_t directory_retry_ms(int failures, int refresh_s);
int64_t directory_next_ms(bool believed, int refresh_s, uint32_t chance);

/* How old may what is known be to say that somebody is not known. */
int64_t directory_fresh_ms(int refresh_s);

#endif
