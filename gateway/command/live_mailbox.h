/*
 * live_mailbox - a server for POP3, IMAP, or for bytes: whether it answers, and TLS with it
 */
#ifndef LIVE_MAILBOX_H
#define LIVE_MAILBOX_H

struct live_part;
struct net_addr;
struct ssl_ctx_st;

/* Of p->backend; ctx NULL: tls = off. may wait */
void live_mailbox(struct live_part *p, const struct net_addr *to, struct ssl_ctx_st *ctx);

#endif
