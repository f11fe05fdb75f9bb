/*
 * client_table - how many sessions each client has now: by address for IPv4, by /64 for IPv6
 */
#ifndef CLIENT_TABLE_H
#define CLIENT_TABLE_H

#include "base/net.h"

struct client_table;

struct client_table *client_table_new(void);
void client_table_free(struct client_table *t);

/* One more session of this client: how many it has now, or -ENOMEM. */
int client_table_enter(struct client_table *t, const struct net_addr *a);
/* The same, if it has not max already. 0, -EBUSY, -ENOMEM. */
int client_table_admit(struct client_table *t, const struct net_addr *a, int max);
/* One less; what was not entered is ignored. */
void client_table_leave(struct client_table *t, const struct net_addr *a);

#endif
