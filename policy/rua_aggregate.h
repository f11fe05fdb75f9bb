/*
 * rua_aggregate - the messages of a day as rows of aggregate reports: what fared the same is one row, with a count
 *
 * One report for each domain whose policy applied (RFC 9990); what its record said last stands in it. A message counts once, however many records it has made:
 * those of one transaction come within minutes of each other, and the best that it fared counts.
 *
 * Memory is bounded, whoever sends what, and no organization (by the public suffix list: the DNS of a stranger says whatever he likes, and has a record at each of
 * his subdomains) takes the room of others: it has so many domains at most, and no more octets than a part of what is still free. Beyond the bounds a message is counted in a row that has the source, the disposition, the alignment and the author domain in
 * common with it, or if there is none, in no row; the report says how many. Pure, but for the key of its hash.
 */
#ifndef RUA_AGGREGATE_H
#define RUA_AGGREGATE_H

#include "policy/rua_wire.h"

struct rua_bounds {
	size_t domains;                 /* RUA_DOMAINS_MAX */
	size_t rows;                    /* of one domain: RUA_ROWS_MAX */
	size_t variants;                /* rows with the same source and so on, that differ in details: 100 */
	size_t domain_octets;           /* of one domain's rows: RUA_REPORT_OCTETS_MAX */
	size_t octets;                  /* of everything: 64 MiB */
	size_t org_domains;             /* of one organization: 100 */
	size_t org_share;               /* and of its octets: what is left, divided by this: 16 */
};
extern const struct rua_bounds rua_bounds;

struct rua_aggregate;

/* Of one domain, reports asked for or not; NULL: of all whose record has an rua=. bounds (copied) NULL: as above. NULL: no memory. */
struct rua_aggregate *rua_aggregate_new(const char *only, const struct rua_bounds *bounds);
void rua_aggregate_free(struct rua_aggregate *a);
AUTO_DEFINE(rua_aggregate)

/* 0 or -ENOMEM: then it is of no use any more. */
int rua_aggregate_add(struct rua_aggregate *a, const struct history_record *r);

/* Not all of the day is there any more: all its reports say so. */
void rua_aggregate_partial(struct rua_aggregate *a);

/* Domains seen; how many messages had to be left out because there were too many domains. */
size_t rua_aggregate_count(const struct rua_aggregate *a);
uint64_t rua_aggregate_strangers(const struct rua_aggregate *a);

/*
 * The report of the i-th domain, as rua_wire.h has it: appended to head and rows. 0; -ENOENT: it has nothing to tell, or (without only) its record wants no reports
 * any more; -ENOSPC, -ENOMEM.
 */
int rua_aggregate_head(struct rua_aggregate *a, size_t i, struct buf *head);
int rua_aggregate_rows(struct rua_aggregate *a, size_t i, struct buf *rows);
const char *rua_aggregate_domain(const struct rua_aggregate *a, size_t i);

#endif
