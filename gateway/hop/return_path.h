/*
 * return_path - the sender that a next hop is told, and back: SRS where the site forwards mail of others (policy/srs.h)
 *
 * Mail that leaves for servers of others and whose sender is in none of our domains was forwarded: SPF of its sender's domain would not allow our
 * address. Its return path becomes one of ours, and what comes back to that goes on to whom it stands for.
 */
#ifndef RETURN_PATH_H
#define RETURN_PATH_H

#include <stdbool.h>

#include "policy/srs.h"

struct next_hop;
struct recipient;
struct site;

/* from, or what stands for it, in out. */
const char *return_path(const struct site *site, const struct next_hop *hop, const char *from, char out[SRS_ADDRESS_MAX]);

/*
 * A recipient that is such a return path of ours becomes the one it stands for (address, domain, local, rewritten). NULL, also for any other; or the
 * reply that refuses it: forged, or too old.
 */
const char *return_path_back(const struct site *site, struct recipient *r);

#endif
