/*
 * capabilities - what of root's power a process keeps
 *
 * By the kernel's own calls: they are two, and libcap-ng would refuse what systemd has done already (its bounding set cannot be made smaller by who
 * has no CAP_SETPCAP, and need not be).
 */
#ifndef CAPABILITIES_H
#define CAPABILITIES_H

#include <stdint.h>

/*
 * What the parent needs while it runs: bind ports below 1024; transparent sockets (NET_RAW); make children another user, with a root directory of
 * their own and nothing that a program could gain (SETPCAP); hand directories over to them; end children. Files of
 * others it reads, and to their unix sockets it connects, as their owner (base/file.h).
 */
extern const uint64_t capabilities_parent;

/* What a program that is executed, or anything else, could ever get again: these at most. Needs CAP_SETPCAP; without it, as it was. */
void capabilities_bound(uint64_t set);

/* Give up, for good, all that is not in the set. 0 or -errno. */
int capabilities_keep(uint64_t set);

#endif
