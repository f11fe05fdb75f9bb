/*
 * dmarc_walk - the tree walk of RFC 9989 section 4.10, from a domain up to its top-level domain
 *
 * Which names a walk may ask is known from the domain alone, so they are all asked at once
 * (dmarc_walk_start) and read in order: a walk costs its slowest lookup, not their sum. A struct
 * dmarc_walks belongs to one message: a name is asked once in it, so that author, SPF and DKIM
 * domains share what their walks have in common. Domains are canonical (filters/domain.h).
 */
#ifndef DMARC_WALK_H
#define DMARC_WALK_H

#include "base/auto.h"
#include "base/dns.h"
#include "filters/dmarc_record.h"

enum {
	DMARC_WALK_MAX = 8,             /* names of one walk, 4.10 */
	DMARC_NAMES_MAX = 128,          /* of one message: author, SPF and some DKIM domains */
};

struct dmarc_walks;

/* One name of a walk, and what stands at _dmarc below it. */
struct dmarc_name {
	const char *name;
	bool found;                     /* exactly one record stands there: */
	struct dmarc_record record;
	const char *text;               /* and as it was published: text_len octets, or NULL where there is no memory for it */
	size_t text_len;
	bool temperror;                 /* could not be asked; why says so */
	const char *why;                /* or: what was there and does not count; "" */
};

struct dmarc_walk {
	struct dmarc_name step[DMARC_WALK_MAX]; /* from the domain up, to where it stopped */
	size_t count;
	bool temperror;                 /* the last step could not be asked: nothing follows */
	const char *org;                /* the organizational domain, 4.10.2: a tail of the first */
	const struct dmarc_name *policy;        /* 4.10.1: the step with the policy, or NULL */
};

/* The names of a walk from domain, tails of it. Returns how many. */
size_t dmarc_walk_names(const char *domain, const char *names[DMARC_WALK_MAX]);

struct dmarc_walks *dmarc_walks_new(struct dns *dns);   /* NULL: no memory */
void dmarc_walks_free(struct dmarc_walks *w);
AUTO_DEFINE(dmarc_walks)

/* Ask for all names of the walk from domain that were not asked yet. Never waits. What fails here
 * is a temperror when it is read. */
void dmarc_walk_start(struct dmarc_walks *w, const char *domain);

/* From now on it is asked, too, whether domain exists, but only once _dmarc below it is seen not
 * to. Never waits. */
void dmarc_exists_start(struct dmarc_walks *w, const char *domain);

/* The record of the domain itself. may wait */
void dmarc_walk_own(struct dmarc_walks *w, const char *domain, struct dmarc_name *out);

/* The whole walk. Its strings live as long as w; out->policy points into out. may wait */
void dmarc_walk(struct dmarc_walks *w, const char *domain, struct dmarc_walk *out);

/* Whether domain exists (it is not NXDOMAIN: RFC 9989 3.2.13 with RFC 8020). 1, 0, or -EAGAIN when
 * that could not be asked. may wait */
int dmarc_exists(struct dmarc_walks *w, const char *domain);

#endif
