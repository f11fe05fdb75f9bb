/*
 * spool_run - a worker delivers what is in the spool
 *
 * One task asks the keeper for due parts (policy/spool.h) and gives each to a task of its own, SPOOL_RUN_MAX at most; how many of one route, and in
 * which order, is the keeper's. A part is tried (spool_deliver.h), the sender is told what he is to be told (spool_bounce.h), and the
 * outcome of each recipient is reported. A worker killed between a server's 250 and the report delivers again: at least once.
 *
 * A worker that ends leases nothing more: what is under way is finished, what was not tried yet is given back.
 */
#ifndef SPOOL_RUN_H
#define SPOOL_RUN_H

#include <stdbool.h>

struct smtp_service;
struct spool_lease;

enum { SPOOL_RUN_MAX = 50 };

/* svc->spool is there. 0 or -ENOMEM: nothing runs. svc->spool_busy counts what is under way. */
int spool_run_start(struct smtp_service *svc);

/* No further leases. */
void spool_run_stop(struct smtp_service *svc);

/* One leased part, from beginning to end; the lease is used up. may wait */
void spool_run_lease(struct smtp_service *svc, struct spool_lease *l);

#endif
