/*
 * access_worker - listeners with protocol = pop3 and imap as a worker runs them: the services of access_server.h
 */
#ifndef ACCESS_WORKER_H
#define ACCESS_WORKER_H

struct worker_protocol;

extern const struct worker_protocol pop3_worker, imap_worker;

#endif
