/*
 * report_names - the names of the addresses that reports tell of, where somebody asks for them
 *
 * What the DNS calls an address is what its owner wants: a hint, shown as foreign text, and not checked.
 */
#ifndef REPORT_NAMES_H
#define REPORT_NAMES_H

#include <stddef.h>

#include "command/report_sum.h"

/*
 * Looks up the first max sources (0: all) of each domain, by the resolver of the configuration in path; NULL: of the installation's, if there is one. 0; or -1: it
 * could not be tried, and why has been said on stderr.
 */
int report_names(struct report_sum *s, size_t max, const char *path);

#endif
