/*
 * files - whether a worker may have as many open files as its connections need
 *
 * A connection that passes through (tcp, pop3, imap) takes two sockets, and its listener's max_connections hold over all workers; a session of SMTP waits
 * with one, and limits { sessions } are each worker's. Beyond the limit of the system clients are turned away (worker.h): that is told before it happens.
 */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <stdint.h>

struct site;

enum { FILES_WHY_MAX = 320 };

/* Of one worker, when all that may connect has connected, and the workers share it evenly. */
uint64_t files_wanted(const struct site *s);

/* Whether more are wanted than this process, and so its children, may have; and why says so in words, with what to do. */
bool files_missing(const struct site *s, char *why);

#endif
