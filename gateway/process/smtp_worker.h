/*
 * smtp_worker - SMTP as a worker runs it: the service of smtp_server.h with its backends,
 * recipients and certificate
 */
#ifndef SMTP_WORKER_H
#define SMTP_WORKER_H

struct worker_protocol;

extern const struct worker_protocol smtp_worker;

#endif
