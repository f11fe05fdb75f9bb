/*
 * backend_domains - the groups of servers behind us that sections domain name
 *
 * One group for each owner, however many sections name it; one that has the same members as a group that is there already (of a listener) is that one. All
 * take NULL for "there are no such sections".
 */
#ifndef BACKEND_DOMAINS_H
#define BACKEND_DOMAINS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct backend_domains;
struct backend_group;
struct dns;
struct site;
struct smtp_caps;

/*
 * have: groups that are there; they, site and dns outlive the result, which is NULL where there are no sections. 0, or -errno with err.
 */
int backend_domains_new(const struct site *site, struct dns *dns, struct backend_group *const *have, size_t have_count, struct backend_domains **out,
			struct buf *err);
void backend_domains_free(struct backend_domains *d);

/* Groups of its own: to be shared and started as any other. */
size_t backend_domains_count(const struct backend_domains *d);
struct backend_group *backend_domains_at(const struct backend_domains *d, size_t i);

/* The group of the owner of that name (struct domain_owner), or NULL. */
struct backend_group *backend_domains_find(const struct backend_domains *d, const char *name);

/* caps becomes what it and all of them can do; those that have not been seen yet do not count. */
void backend_domains_meet(const struct backend_domains *d, struct smtp_caps *caps);

/* backend_group_ready of all, within one time. may wait */
int backend_domains_ready(const struct backend_domains *d, int timeout_ms);

/* backend_group_sessions of its own groups. */
int backend_domains_sessions(const struct backend_domains *d);

/* backend_group_has of any. */
struct net_addr;
bool backend_domains_has(const struct backend_domains *d, const struct net_addr *a);

#endif
